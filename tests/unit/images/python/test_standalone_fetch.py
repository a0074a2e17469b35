from __future__ import annotations

import asyncio
import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from squall.blobs.digest import digest_of
from squall.blobs.manifest import Entry, File, Symlink
from squall.blobs.manifest_bytes import decode
from squall.blobs.memory_blobs import MemoryBlobs
from squall.images.python.give import Means, give_python
from squall.images.python.nouns import Archive, PythonInImage, Wanted
from squall.images.python.standalone_fetch import Source, fetched
from squall.model.errors import (
    DigestMismatch,
    LayerInvalid,
    PythonUnavailable,
    RegistryAnswerWrong,
    RegistryNotFound,
    RegistryUnreachable,
)
from tests.unit.images.python.trees import glibc, tree
from tests.unit.images.registry.hostile import IMPATIENT, QUICK, Answer, Asked, Wire, serving

NAME = "cpython-3.12.13+20260414-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz"
RELEASES = "/astral-sh/python-build-standalone/releases/download"
TARGET = f"{RELEASES}/20260414/{NAME.replace('+', '%2B')}"


def packed(*names: str) -> bytes:
    """An archive as those are that are published, with nothing in its files."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            data = f"# {name}\n".encode() if "." in name.rpartition("/")[2] else b""
            if " -> " in name:
                member.name, _, member.linkname = name.partition(" -> ")
                member.type, data = tarfile.SYMTYPE, b""
            member.mode, member.uid, member.uname, member.mtime, member.size = (
                0o755,
                1001,
                "builder",
                99,
                len(data),
            )
            archive.addfile(member, io.BytesIO(data))
    return gzip.compress(raw.getvalue(), mtime=0)


BUILD = packed(
    *("python/bin/python3.12", "python/bin/python3 -> python3.12", "python/bin/pip3.12"),
    *(
        "python/lib/python3.12/os.py",
        "python/lib/python3.12/test/test_os.py",
        "python/lib/libpython3.12.so.1.0",
    ),
    *("python/lib/python3.12/site-packages/pip/__init__.py", "python/include/python3.12/Python.h"),
)


def archive(data: bytes = BUILD) -> Archive:
    return Archive(version="3.12.13", release="20260414", name=NAME, digest=digest_of(data))


def loaded(
    wanted: Archive, answer: Answer, *, impatient: bool = False
) -> tuple[dict[str, Entry], list[str], MemoryBlobs]:
    """The entries of the layer, what the server was asked, and what is kept then."""

    async def main() -> tuple[dict[str, Entry], list[str], MemoryBlobs]:
        blobs = MemoryBlobs()
        async with serving(answer) as server:
            patience = IMPATIENT if impatient else QUICK
            source = Source(releases=f"http://{server.address}{RELEASES}", patience=patience)
            layer = await fetched(wanted, source, blobs, {})
            entries = {entry.path: entry for entry in decode(await blobs.get(layer)).entries}
            return entries, server.targets(), blobs

    return asyncio.run(main())


def files(data: bytes = BUILD) -> Answer:
    async def answer(asked: Asked, wire: Wire) -> None:
        await wire.reply(200 if asked.target == TARGET else 404, data if asked.target == TARGET else b"")

    return answer


def test_a_pinned_build_comes_as_a_layer_at_its_place() -> None:
    entries, asked, _ = loaded(archive(), files())
    assert asked == [f"GET {TARGET}"]
    assert isinstance(entries["usr/local/bin/python3.12"], File)
    link = entries["usr/local/bin/python3"]
    assert isinstance(link, Symlink)
    assert link.target == "python3.12"
    assert "usr/local/include/python3.12/Python.h" in entries
    assert "usr/local/lib/libpython3.12.so.1.0" in entries
    assert not [path for path in entries if "pip" in path or "test" in path or path.startswith("python")]


def test_a_release_may_lead_on_to_where_its_files_lie() -> None:
    async def answer(asked: Asked, wire: Wire) -> None:
        if asked.target == TARGET:
            await wire.reply(302, Location="/assets/1?signature=x")
        else:
            await wire.reply(200, BUILD)

    entries, asked, _ = loaded(archive(), answer)
    assert asked[-1] == "GET /assets/1?signature=x"
    assert "usr/local/bin/python3.12" in entries


def test_other_bytes_than_were_published_leave_no_layer() -> None:
    other = packed("python/bin/python3.12", "python/lib/python3.12/os.py", "python/lib/python3.12/evil.py")
    kept: list[MemoryBlobs] = []

    async def main() -> None:
        blobs = MemoryBlobs()
        kept.append(blobs)
        async with serving(files(data=other)) as server:
            await fetched(
                archive(), Source(releases=f"http://{server.address}{RELEASES}", patience=QUICK), blobs, {}
            )

    with pytest.raises(DigestMismatch):
        asyncio.run(main())

    async def manifests() -> list[bytes]:
        whole = [await kept[0].get(info.digest) async for info in kept[0].blobs()]
        return [data for data in whole if data.startswith(b'["squall-manifest"')]

    assert asyncio.run(manifests()) == []


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (packed("python/bin/python3.12"), LayerInvalid),
        (packed("elsewhere/bin/python3.12"), LayerInvalid),
        (packed("python/../../etc/passwd"), LayerInvalid),
        (b"no archive at all", LayerInvalid),
    ],
)
def test_what_is_no_such_archive_is_refused(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        loaded(archive(data), files(data=data))


def test_a_build_that_breaks_off_is_asked_for_again() -> None:
    tries = 0

    async def answer(asked: Asked, wire: Wire) -> None:
        nonlocal tries
        tries += 1
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(BUILD)}\r\n\r\n".encode()
        await wire.send(head, BUILD if tries > 1 else BUILD[:100])

    assert "usr/local/bin/python3.12" in loaded(archive(), answer)[0]
    assert tries == 2


async def missing(asked: Asked, wire: Wire) -> None:
    await wire.reply(404)


async def silent(asked: Asked, wire: Wire) -> None:
    await asyncio.Event().wait()


async def elsewhere(asked: Asked, wire: Wire) -> None:
    await wire.reply(302, Location="http://example.org/")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (missing, RegistryNotFound),
        (silent, RegistryUnreachable),
        (elsewhere, RegistryAnswerWrong),
    ],
)
def test_a_place_that_has_nothing_or_does_not_answer_is_given_up(
    answer: Answer, error: type[Exception]
) -> None:
    with pytest.raises(error):
        loaded(archive(), answer, impatient=True)


def given(answer: Answer, wanted: Wanted, scratch: Path, check: Callable[[PythonInImage], None]) -> None:
    async def main() -> None:
        blobs = MemoryBlobs()
        trees = [await tree(blobs, glibc())]
        async with serving(answer) as server:
            source = Source(
                builds=lambda *_: archive(), releases=f"http://{server.address}{RELEASES}", patience=IMPATIENT
            )
            check(await give_python(wanted, trees, Means(blobs=blobs, scratch=scratch, source=source)))

    asyncio.run(main())


def test_an_image_is_given_a_standalone_build_where_one_can_be_had(tmp_path: Path) -> None:
    def check(python: PythonInImage) -> None:
        assert python.origin == "standalone"
        assert python.interpreter == "/usr/local/bin/python3.12"
        assert python.version == "3.12.13"
        assert python.tree is not None
        assert "unchecked-hash /usr/local/lib/python3.12" in python.commands[0]

    given(files(), Wanted(minor="3.12"), tmp_path, check)


@pytest.mark.parametrize(
    ("answer", "why"),
    [(missing, "has nothing of that name"), (files(packed("python/bin/python3.12")), "announced as")],
)
def test_where_it_cannot_be_had_what_comes_next_is_taken_and_says_why(
    answer: Answer, why: str, tmp_path: Path
) -> None:
    with pytest.raises(PythonUnavailable) as raised:
        given(answer, Wanted(minor="3.12"), tmp_path, lambda _: None)
    assert why in raised.value.message
    assert "the client's own Python: it is not on this machine" in raised.value.message
