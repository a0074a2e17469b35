"""Volumes on the server: commits are merged onto the newest version, once each, and only when their bytes are there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import pytest

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest, digest_of
from squall.blobs.manifest import ROOT, Attributes, Directory, Entry, File, Manifest, Part, Whiteout, key
from squall.blobs.manifest_bytes import encode
from squall.blobs.memory_blobs import MemoryBlobs
from squall.context.fresh import fresh_id
from squall.model.errors import BlobMissing, TreeInvalid, VolumeNotFound, VolumeVersionNotFound
from squall.model.ids import COMMIT, CommitId, VolumeId
from squall.server.volumes import EMPTY, Commit, Volumes
from squall.state.memory_state import MemoryState
from squall.state.volumes.records import Keeping, VolumeVersion

PLAIN = Attributes(mode=0o644, mtime_ns=1)
FOLDER = Attributes(mode=0o755, mtime_ns=2)
GONE = "gone"
Files = Mapping[str, str]


class Scene:
    """A volume, and what writers do with it."""

    def __init__(self, blobs: BlobStore | None = None) -> None:
        self.blobs = blobs or MemoryBlobs()
        self.state = MemoryState()
        self.volumes = Volumes(self.state, self.blobs)
        self.of = VolumeId("")

    async def layer(self, files: Files) -> Digest:
        """A layer of these paths, their bytes in one chunk as small files are; "/" for a directory, GONE for a whiteout."""
        entries: dict[str, Entry] = {ROOT: Directory(path=ROOT, attributes=FOLDER)}
        chunk = "".join(text for text in files.values() if text not in {"/", "//", GONE}).encode()
        held, at = digest_of(chunk), 0
        for path, text in files.items():
            for count in range(1, path.count("/") + 1):
                above = "/".join(path.split("/")[:count])
                entries.setdefault(above, Directory(path=above, attributes=FOLDER))
            if text in {"/", "//"}:
                entries[path] = Directory(path=path, attributes=FOLDER, opaque=text == "//")
            elif text == GONE:
                entries[path] = Whiteout(path=path)
            else:
                parts = (Part(chunk=held, offset=at, length=len(text)),)
                entries[path] = File(path=path, attributes=PLAIN, size=len(text), parts=parts)
                at += len(text)
        await self.blobs.put(chunk)
        return await self.blobs.put(encode(Manifest(tuple(sorted(entries.values(), key=key)))))

    async def commit(
        self, files: Files, *, base: int = 0, since: Digest | None = None, id_: str = ""
    ) -> VolumeVersion:
        return await self.volumes.commit(await self.asked(files, base=base, since=since, id_=id_))

    async def asked(
        self, files: Files, *, base: int = 0, since: Digest | None = None, id_: str = ""
    ) -> Commit:
        return Commit(
            volume=self.of,
            id=CommitId(id_ or fresh_id(COMMIT)),
            base=base,
            changes=await self.layer(files),
            since=since or "",
        )

    async def shows(self, version: int | None = None) -> dict[str, str]:
        """Every path of a version, with its bytes."""
        found = await self.volumes.version(self.of, version)
        shown: dict[str, str] = {}
        for entry in (await self.volumes.trees.get(Digest(found.manifest))).entries[1:]:
            if isinstance(entry, File):
                (part,) = entry.parts
                data = await self.blobs.get(part.chunk, start=part.offset, stop=part.offset + part.length)
                shown[entry.path] = data.decode()
            else:
                shown[entry.path] = "/"
        return shown


def play(work: Callable[[Scene], Awaitable[None]]) -> None:
    async def run() -> None:
        scene = Scene()
        scene.of = (await scene.volumes.find("main", "data", create=True)).id
        await work(scene)

    asyncio.run(run())


def test_a_volume_begins_empty_and_is_there_under_its_name() -> None:
    async def work(scene: Scene) -> None:
        head = await scene.volumes.head(scene.of)
        assert (head.number, await scene.volumes.trees.get(Digest(head.manifest))) == (0, EMPTY)
        assert (await scene.volumes.find("main", "data", create=False)).id == scene.of
        with pytest.raises(VolumeNotFound, match="'other'"):
            await scene.volumes.find("main", "other", create=False)

    play(work)


def test_two_writers_on_disjoint_paths_lose_nothing_and_at_one_path_the_last_one_wins() -> None:
    async def work(scene: Scene) -> None:
        await scene.commit({"d/a": "1", "both": "1"})
        await scene.commit({"d/b": "22", "both": "22"})
        assert await scene.shows() == {"d": "/", "d/a": "1", "d/b": "22", "both": "22"}
        await scene.commit({"d": "//", "d/c": "333"}, base=1)
        assert await scene.shows() == {"d": "/", "d/b": "22", "d/c": "333", "both": "22"}
        await scene.commit({"d": GONE}, base=2)
        assert await scene.shows() == {"d": "/", "d/c": "333", "both": "22"}

    play(work)


def test_a_writer_that_says_all_its_changes_each_time_writes_only_the_new_ones_again() -> None:
    async def work(scene: Scene) -> None:
        first: Files = {"a": "1", "b": "mine", "tmp": "x"}
        await scene.commit(first)
        await scene.commit({"a": "theirs", "c": "theirs"})
        # What came between moves the others to other places in their chunk.
        await scene.commit({"A": "new", "a": "1", "b": "MINE"}, since=await scene.layer(first))
        assert await scene.shows() == {"A": "new", "a": "theirs", "b": "MINE", "c": "theirs"}

    play(work)


def test_a_commit_that_is_sent_again_is_one_and_one_that_changes_nothing_is_none() -> None:
    async def work(scene: Scene) -> None:
        asked = await scene.asked({"a": "1"})
        first = await scene.volumes.commit(asked)
        await scene.commit({"a": "22"}, base=1)
        assert await scene.volumes.commit(asked) == first
        assert await scene.shows() == {"a": "22"}
        assert (await scene.commit({}, base=2)).number == 2

    play(work)


def test_commits_at_once_are_all_there_in_the_end() -> None:
    async def work(scene: Scene) -> None:
        made = await asyncio.gather(*(scene.commit({f"d/{name}": str(name)}) for name in range(20)))
        assert sorted(one.number for one in made) == list(range(1, 21))
        assert len(await scene.shows()) == 21

    play(work)


def test_two_servers_that_both_take_a_version_for_the_newest_lose_nothing() -> None:
    async def work(scene: Scene) -> None:
        other = Volumes(scene.state, scene.blobs)
        asked = [await scene.asked({f"d/{name}": str(name)}) for name in range(8)]
        await asyncio.gather(
            *((other if name % 2 else scene.volumes).commit(one) for name, one in enumerate(asked))
        )
        assert len(await scene.shows()) == 9

    play(work)


def test_a_commit_whose_bytes_are_not_all_there_changes_nothing() -> None:
    async def work(scene: Scene) -> None:
        asked = await scene.asked({"a": "lost"})
        await scene.blobs.delete([digest_of(b"lost")])
        with pytest.raises(BlobMissing):
            await scene.volumes.commit(asked)
        with pytest.raises(BlobMissing):
            await scene.commit({"a": "1"}, since=digest_of(b"never"))
        assert (await scene.volumes.head(scene.of)).number == 0
        await scene.blobs.put(b"lost")
        assert (await scene.volumes.commit(asked)).number == 1

    play(work)


def test_what_is_no_layer_is_refused() -> None:
    async def work(scene: Scene) -> None:
        asked = Commit(
            volume=scene.of, id=CommitId("cm-1"), changes=await scene.blobs.put(b"no manifest at all\n")
        )
        with pytest.raises(TreeInvalid):
            await scene.volumes.commit(asked)

    play(work)


def test_a_base_that_is_not_kept_any_more_is_taken_for_the_newest_version() -> None:
    async def work(scene: Scene) -> None:
        for number in range(3):
            await scene.commit({"a": f"{number}", f"at{number}": "1"}, base=number)
        await scene.state.prune_versions(Keeping(most=1, before_s=2e10, young_s=2e10))
        await scene.commit({"a": "late", "at0": GONE}, base=1)
        assert await scene.shows() == {"a": "late", "at1": "1", "at2": "1"}
        with pytest.raises(VolumeVersionNotFound, match="no version 1"):
            await scene.shows(1)

    play(work)


def test_a_volume_that_was_deleted_takes_no_commit() -> None:
    async def work(scene: Scene) -> None:
        await scene.commit({"a": "1"})
        await scene.volumes.drop(scene.of)
        with pytest.raises(VolumeNotFound):
            await scene.commit({"a": "22"}, base=1)

    play(work)
