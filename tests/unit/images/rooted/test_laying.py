from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import pytest
from hypothesis import given, strategies as st

from squall.blobs.digest import Digest
from squall.blobs.manifest import ROOT, Attributes, Directory, Entry, File, Manifest, Part, Symlink
from squall.blobs.manifest_bytes import decode
from squall.blobs.memory_blobs import MemoryBlobs
from squall.blobs.stack import stack
from squall.images.rooted.laying import Blob, Bytes, Laid, lay, led
from squall.model.errors import ImageBuildError

PLAIN, FOLDER = Attributes(mode=0o644), Attributes(mode=0o755)
CLOSED = Attributes(mode=0o700, uid=7, gid=8)


def link(path: str, target: str) -> Symlink:
    return Symlink(path=path, attributes=Attributes(mode=0o777), target=target)


def image(*entries: Entry) -> dict[str, Entry]:
    return {one.path: one for one in (Directory(path=ROOT, attributes=FOLDER), *entries)}


def folder(path: str, attributes: Attributes = FOLDER) -> Directory:
    return Directory(path=path, attributes=attributes)


def laid(below: Mapping[str, Entry], *entries: Laid) -> tuple[Manifest, MemoryBlobs]:
    blobs = MemoryBlobs()

    async def work() -> Manifest:
        taken = await lay(entries, blobs, below.get)
        manifest = decode(await blobs.get(taken.manifest))
        assert taken.entries == len(manifest.entries)
        assert taken.size == manifest.size
        return manifest

    return asyncio.run(work()), blobs


def text(path: str, data: bytes) -> Bytes:
    return Bytes(path=path, attributes=PLAIN, data=data)


def content(manifest: Manifest, blobs: MemoryBlobs, path: str) -> bytes:
    (file,) = (one for one in manifest.entries if one.path == path)
    assert isinstance(file, File)

    async def read() -> bytes:
        return b"".join(
            [
                await blobs.get(part.chunk, start=part.offset, stop=part.offset + part.length)
                for part in file.parts
            ]
        )

    return asyncio.run(read())


LINKED = image(
    folder("usr"),
    folder("usr/bin"),
    link("bin", "usr/bin"),
    link("absolute", "/usr"),
    link("up", "../../usr/./bin"),
    link("a", "b"),
    link("b", "a"),
    folder("home", CLOSED),
    link("home/me", "../bin"),
)


@pytest.mark.parametrize(
    ("path", "leads"),
    [
        ("bin/sh", "usr/bin/sh"),
        ("/bin/sh", "usr/bin/sh"),
        ("absolute/bin", "usr/bin"),
        ("up", "usr/bin"),
        ("up/x/y", "usr/bin/x/y"),
        ("home/me/x", "usr/bin/x"),
        ("not/there", "not/there"),
        ("usr/../../etc", "etc"),
        ("/", ""),
    ],
)
def test_a_path_leads_where_the_links_of_the_image_lead_and_never_out(path: str, leads: str) -> None:
    assert led(path, LINKED.get) == leads


def test_links_in_a_circle_are_an_error() -> None:
    with pytest.raises(ImageBuildError, match="40 links"):
        led("a/x", LINKED.get)


def test_directories_that_are_there_keep_their_attributes_and_new_ones_are_roots() -> None:
    manifest, _ = laid(LINKED, text("home/new/file", b"x"))
    assert [(one.path, one.attributes) for one in manifest.entries if isinstance(one, Directory)] == [
        (ROOT, FOLDER),
        ("home", CLOSED),
        ("home/new", FOLDER),
    ]


def test_bytes_are_those_that_were_given_and_files_keep_their_chunks() -> None:
    large = bytes(range(256)) * 5000  # more than two chunks
    blobs = MemoryBlobs()

    async def work() -> Manifest:
        there = Part(chunk=await blobs.put(b"there"), offset=1, length=4)
        parts = (
            File(path="from/blob", attributes=PLAIN, size=4, parts=(there,)),
            Blob(path="from/whole", attributes=PLAIN, size=len(large), digest=await blobs.put(large)),
            text("empty", b""),
            text("large", large + b"!"),
            text("small", b"small"),
            text("small2", b"other"),
        )
        return decode(await blobs.get((await lay(parts, blobs, LINKED.get)).manifest))

    manifest = asyncio.run(work())
    assert content(manifest, blobs, "from/blob") == b"here"
    assert content(manifest, blobs, "from/whole") == large
    assert content(manifest, blobs, "large") == large + b"!"
    assert content(manifest, blobs, "small") + content(manifest, blobs, "small2") == b"smallother"
    assert content(manifest, blobs, "empty") == b""


def test_a_blob_of_another_size_than_was_said_is_an_error() -> None:
    blobs = MemoryBlobs()

    async def work(size: int) -> None:
        one = Blob(path="x", attributes=PLAIN, size=size, digest=await blobs.put(b"12345"))
        await lay([one], blobs, LINKED.get)

    for size in (4, 6):
        with pytest.raises(ImageBuildError, match="/x is said to have"):
            asyncio.run(work(size))


names = st.sampled_from(["a", "b", "c", "usr", "bin"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)


@given(st.dictionaries(paths, st.binary(max_size=8), max_size=6))
def test_what_is_laid_shows_over_the_image_as_it_was_given(files: dict[str, bytes]) -> None:
    # A file cannot be above another one.
    files = {
        path: data for path, data in files.items() if not any(other.startswith(path + "/") for other in files)
    }
    below = Manifest((folder(ROOT), folder("x"), File(path="x/y", attributes=PLAIN)))
    lower = {one.path: one for one in below.entries}
    manifest, blobs = laid(lower, *(text(path, data) for path, data in files.items()))
    shown = {one.path: one for one in stack(below, manifest).entries}
    assert "x/y" in shown
    assert {path: content(manifest, blobs, path) for path in files} == files


Work = Callable[[MemoryBlobs], Awaitable[Digest]]


def test_the_same_files_give_the_same_digest_in_any_order() -> None:
    def digest(*parts: Laid) -> Digest:
        async def work() -> Digest:
            return (await lay(parts, MemoryBlobs(), LINKED.get)).manifest

        return asyncio.run(work())

    first, second = text("one", b"1"), text("two/three", b"3")
    assert digest(first, second) == digest(second, first)
    assert digest(first) != digest(second)
