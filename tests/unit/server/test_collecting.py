"""Collecting: what nothing refers to goes, what a record, an app or an image names stays; damage is found and told."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from squall.blobs.certain import certain
from squall.blobs.digest import Digest, digest_of
from squall.blobs.disk_blobs import DiskBlobs
from squall.blobs.leases import Leases
from squall.blobs.manifest_bytes import encode
from squall.blobs.snapshot import snapshot
from squall.images.rooted.kept import Kept
from squall.images.rooted.nouns import Built
from squall.model.call import Verb
from squall.model.errors import BlobMissing, ConflictError
from squall.model.function import Code, Function
from squall.model.ids import AppId, CallId, FunctionId
from squall.server.collecting import Collecting, Notes, read_notes
from squall.server.digests import digests_in
from squall.settings.lock import Lock
from squall.settings.options import DAY_S, Options
from squall.settings.paths import StatePaths, open_state
from squall.state.memory_state import MemoryState
from squall.state.records import CallRecord, InputChunk
from tests.local_trees import local_tree

LONG_AGO_S = time.time() - 10 * DAY_S


@dataclass
class Scene:
    """One state directory and what looks after its blobs."""

    paths: StatePaths
    blobs: DiskBlobs
    state: MemoryState
    functions: list[Function]
    collecting: Collecting

    def age(self) -> None:
        """All that is here now was put long ago."""
        for path in self.paths.blobs.glob("??/*"):
            os.utime(path, (LONG_AGO_S, LONG_AGO_S))

    async def here(self) -> set[Digest]:
        return {info.digest async for info in self.blobs.blobs()}

    async def image(self, key: str, files: dict[str, bytes]) -> Built:
        """An image of one layer with these files."""
        layer = self.paths.builds / f"layer-{key}"
        layer.mkdir()
        for name, data in files.items():
            (layer / name).write_bytes(data)
        taken = await snapshot(layer, self.blobs)
        built = Built(key=key * 64, trees=(taken.manifest,), label=f"image {key}")
        Kept(self.paths.images).keep(built)
        return built

    async def tree(self, data: bytes) -> tuple[Digest, Digest]:
        """A tree of one file, and the file."""
        file = await self.blobs.put(data)
        return await self.blobs.put(encode(local_tree({"f.py": data}))), file


def play(tmp_path: Path, work: Callable[[Scene], Awaitable[None]]) -> None:
    async def run() -> None:
        paths = open_state(tmp_path / "state")
        blobs = await DiskBlobs.open(paths.blobs)
        state, functions = MemoryState(), list[Function]()
        collecting = Collecting(blobs, state, paths, Options(scrub_bytes=2**36), lambda: functions)
        try:
            await work(Scene(paths, blobs, state, functions, collecting))
        finally:
            await blobs.close()

    asyncio.run(run())


def function(source: Digest, added: Digest, pickled: Digest) -> Function:
    return Function(
        id=FunctionId("ap-1/f"),
        app=AppId("ap-1"),
        name="f",
        code=Code(module="m", qualname="f", source=source, pickled=pickled),
        image={"steps": [{"kind": "local", "tree": added}]},
    )


def test_what_nothing_refers_to_goes_after_its_grace_and_nothing_else(tmp_path: Path) -> None:
    async def work(scene: Scene) -> None:
        source, added = await scene.tree(b"source"), await scene.tree(b"added")
        pickled, argument = await scene.blobs.put(b"pickled"), await scene.blobs.put(b"argument")
        forgotten = {*await scene.tree(b"forgotten"), await scene.blobs.put(b"nobody's")}
        scene.functions.append(function(source[0], added[0], pickled))
        call = CallRecord(
            id=CallId("fc-1"), function=FunctionId("ap-9/g"), verb=Verb.SPAWN, created_s=1.0, inputs=1
        )
        await scene.state.record_call(call, [InputChunk(start=0, lengths=(0,), blobs={0: argument})])
        await scene.image("1", {"a": b"a" * 70_000, "b": b"b" * 700_000})
        before = await scene.here()
        assert (await scene.collecting.collect()).blobs == 0, "within the grace nothing goes"
        scene.age()
        young = await scene.blobs.put(b"put just now")
        told = await scene.collecting.collect()
        assert await scene.here() == (before - forgotten) | {young}
        assert told.blobs == len(forgotten)
        notes = scene.collecting.notes
        assert (notes.blobs, notes.freed) == (told.blobs, told.freed)
        assert 0 <= time.time() - notes.collected_s < 60
        assert (await scene.collecting.collect()).blobs == 0

    play(tmp_path, work)


def test_an_image_that_was_forgotten_goes_but_for_what_others_share(tmp_path: Path) -> None:
    async def work(scene: Scene) -> None:
        shared = b"s" * (512 << 10)
        await scene.image("1", {"shared": shared})
        before = await scene.here()
        await scene.image("2", {"shared": shared, "own": b"o" * 600_000})
        scene.age()
        assert (await scene.collecting.collect()).blobs == 0
        Kept(scene.paths.images).drop("2" * 64)
        assert (await scene.collecting.collect()).blobs > 0
        assert await scene.here() == before
        assert digest_of(shared) in before

    play(tmp_path, work)


def test_whoever_was_told_that_a_tree_is_here_has_its_files_too(tmp_path: Path) -> None:
    """A client asks for its tree, and for the files only if that is missing."""

    async def work(scene: Scene) -> None:
        tree, file = await scene.tree(b"of an app that ended long ago")
        scene.age()
        assert await scene.blobs.has_many([tree], renew=True)
        assert (await scene.collecting.collect()).blobs == 0
        assert await scene.blobs.get(file)

    play(tmp_path, work)


def test_a_lease_holds_what_came_since_it_began_and_ends_with_its_holder(tmp_path: Path) -> None:
    async def work(scene: Scene) -> None:
        leases = Leases(scene.paths.leases)
        before = await scene.blobs.put(b"before")
        os.utime(scene.paths.blobs / before[:2] / before[2:], (time.time() - 50, time.time() - 50))
        async with leases.held():
            during = await scene.blobs.put(b"during")
            await asyncio.sleep(0.01)
            assert (await scene.collecting.collect(grace_s=0.0)).blobs == 1
            assert await scene.here() == {during}
        assert (await scene.collecting.collect(grace_s=0.0)).blobs == 1
        assert list(scene.paths.leases.iterdir()) == []
        # One whose holder was killed counts until it should have been renewed.
        async with leases.held():
            (held,) = scene.paths.leases.iterdir()
            assert len(leases.live()) == 1
            os.utime(held, (time.time() - 700, time.time() - 700))
            late = await scene.blobs.put(b"late")
            await asyncio.sleep(0.01)
            assert (await scene.collecting.collect(grace_s=0.0)).blobs == 1
            assert late not in await scene.here()

    play(tmp_path, work)


def test_one_collection_runs_at_a_time(tmp_path: Path) -> None:
    async def work(scene: Scene) -> None:
        lock = Lock.take(scene.paths.run / "collect.lock")
        assert lock is not None
        with pytest.raises(ConflictError, match="under way"):
            await scene.collecting.collect()
        lock.close()
        await scene.collecting.collect()

    play(tmp_path, work)


def test_certain_is_all_or_an_error(tmp_path: Path) -> None:
    async def work(scene: Scene) -> None:
        built = await scene.image("1", {"a": b"a" * 70_000, "b": b"b" * 700_000})
        scene.age()
        await certain(scene.blobs, map(Digest, built.trees))
        assert all([info.stored_s > LONG_AGO_S + DAY_S async for info in scene.blobs.blobs()])
        for digest in await scene.here():
            path = scene.paths.blobs / digest[:2] / digest[2:]
            path.rename(tmp_path / "aside")
            with pytest.raises(BlobMissing):
                await certain(scene.blobs, map(Digest, built.trees))
            (tmp_path / "aside").rename(path)

    play(tmp_path, work)


def test_a_scrub_finds_what_is_damaged_says_who_stands_on_it_and_what_is_built_again(tmp_path: Path) -> None:
    async def work(scene: Scene) -> None:
        broken = await scene.image("1", {"a": b"a" * 700_000})
        whole = await scene.image("2", {"b": b"b" * 700_000})
        source, file = await scene.tree(b"source")
        added, _ = await scene.tree(b"added")
        scene.functions.append(function(source, added, digest_of(b"elsewhere")))
        assert (await scene.collecting.scrub()).damaged == ()
        damaged = digest_of((b"a" * 700_000)[: 512 << 10])
        for digest in (damaged, file):
            path = scene.paths.blobs / digest[:2] / digest[2:]
            seen = path.stat()
            path.chmod(0o600)
            path.write_bytes(b"x" * seen.st_size)
            os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
        count = len(await scene.here())
        notes = await scene.collecting.scrub()
        stands = {one.digest: one.stands for one in notes.damaged}
        assert stands == {damaged: (f"image image 1 ({'1' * 12})",), file: ("function ap-1/f",)}
        assert notes.checked == count - (1 if source > file else 0)
        assert notes.scrub_ended_s >= notes.scrub_begun_s > 0
        assert read_notes(scene.paths.store_notes) == notes
        kept = Kept(scene.paths.images)
        assert (kept.find(broken.key), kept.find(whole.key)) == (None, whole)
        # Its client is to hear that the tree is missing, so that it sends the file again.
        assert await scene.blobs.has_many([source, added]) == {added}

    play(tmp_path, work)


def test_a_scrub_goes_on_where_the_last_one_broke_off(tmp_path: Path) -> None:
    async def work(scene: Scene) -> None:
        digests = sorted([await scene.blobs.put(bytes([number])) for number in range(8)])
        scene.collecting._note(Notes(scrub_begun_s=5.0, scrubbed_through=digests[4], checked=5))
        notes = await scene.collecting.scrub()
        assert (notes.checked, notes.scrub_begun_s, notes.scrubbed_through) == (8, 5.0, "")

    play(tmp_path, work)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"blobs": "x"}', '{"damaged": [1]}'])
def test_notes_that_make_no_sense_are_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text(text)
    assert read_notes(tmp_path / "store.json") == Notes()


def test_whatever_looks_like_a_digest_is_one() -> None:
    one, other = digest_of(b"1"), digest_of(b"2")
    plain = {"a": [1, None, {"b": f"/trees/{one}/x"}], other: True}
    assert set(digests_in(plain)) == {one, other}
