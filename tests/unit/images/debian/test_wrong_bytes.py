from __future__ import annotations

import dataclasses
import sys
import tracemalloc
from collections.abc import Callable

import pytest

from squall.images.debian.release import MAX_RELEASE_BYTES
from squall.model.errors import (
    DebianPackageInvalid,
    FeatureUnavailable,
    MirrorAnswerWrong,
    MirrorUnreachable,
)
from tests.unit.images.debian.building import TOOL, build, with_bytes
from tests.unit.images.debian.distribution import ar, base, giving, index, mirror, pack, with_index
from tests.unit.images.registry.hostile import Answer, Asked, Wire

MIB = 1 << 20
# What of a stream is there: half of it, or all but some bytes of its end, with all that was packed.
CUTS: dict[str, Callable[[bytes], bytes]] = {
    "half": lambda data: data[: len(data) // 2],
    "without its end": lambda data: data[:-5],
}
each_cut = pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)


@each_cut
@pytest.mark.parametrize("packing", ["xz", "gz"])
def test_an_index_that_is_cut_off_is_refused_by_name(packing: str, cut: Callable[[bytes], bytes]) -> None:
    name = f"Packages.{packing}"
    # It is announced as it comes: only its packing tells.
    built = build(with_index(mirror(base()), name, cut(pack(index(base()), packing))))
    assert isinstance(built.failed, MirrorAnswerWrong), built.failed
    assert f"binary-amd64/{name}" in str(built.failed)
    assert "the packages of bookworm" in str(built.failed)
    assert "are cut off" in str(built.failed)


@each_cut
@pytest.mark.parametrize("member", ["control", "data"])
@pytest.mark.parametrize("packing", ["xz", "zst", "gz"])
def test_a_package_of_which_a_member_is_cut_off_is_refused_by_name(
    packing: str, member: str, cut: Callable[[bytes], bytes]
) -> None:
    members = dataclasses.replace(TOOL, packing=packing).members()
    packed = ar(*((name, cut(data) if name.startswith(member) else data) for name, data in members.items()))
    built = build(with_bytes(TOOL, packed), "tool")
    assert isinstance(built.failed, DebianPackageInvalid), built.failed
    assert built.failed.package == "tool"
    assert "are cut off" in str(built.failed)


def test_a_package_that_is_packed_with_zstd_gives_the_same_root() -> None:
    xz, zst = (
        build(mirror([*base(), dataclasses.replace(TOOL, packing=packing)]), "tool")
        for packing in ("xz", "zst")
    )
    assert zst.unpacked is not None, zst.failed
    assert zst.texts["usr/share/doc/tool/copyright"] == "free"
    # Where its mirror was is the one thing that differs.
    del xz.texts["etc/apt/sources.list"], zst.texts["etc/apt/sources.list"]
    assert (zst.texts, set(zst.tree)) == (xz.texts, set(xz.tree))


def test_where_nothing_reads_zstd_the_package_is_named_and_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = mirror([*base(), dataclasses.replace(TOOL, packing="zst")])
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setitem(sys.modules, "compression", None)
    built = build(files, "tool")
    assert isinstance(built.failed, FeatureUnavailable), built.failed
    assert "tool 1.0-1" in str(built.failed)
    assert "squall[zstd]" in built.failed.remedy


@pytest.mark.parametrize("which", ["package", "index"])
@pytest.mark.parametrize("by", [-1, 1], ids=["more comes", "less comes"])
@pytest.mark.parametrize("length", [True, False], ids=["with its length", "without"])
def test_what_has_another_size_than_is_announced_is_refused(which: str, by: int, *, length: bool) -> None:
    # Its digest is right: only its size tells.
    files, path = _with_size(which, by)
    built = build(_plainly(files, path, length=length), "tool")
    assert path.rpartition("/")[2] in str(built.failed)
    size = len(files[path])
    if length:
        assert isinstance(built.failed, MirrorAnswerWrong), built.failed
        assert f"it has {size} bytes, and {size + by} are announced" in str(built.failed)
    elif by < 0:
        assert isinstance(built.failed, MirrorAnswerWrong), built.failed
        assert f"a file of {size + by} bytes goes on after its end" in str(built.failed)
    else:
        assert isinstance(built.failed, MirrorUnreachable), built.failed
        assert "1 bytes too early" in str(built.failed)


def test_an_index_that_unpacks_to_more_than_is_announced_is_refused() -> None:
    files = mirror(base())
    release, size = "/debian/dists/bookworm/InRelease", len(index(base()))
    said = files[release].replace(b" %d main/" % size, b" %d main/" % (size - 1))
    assert said != files[release]
    built = build(files | {release: said})
    assert isinstance(built.failed, MirrorAnswerWrong), built.failed
    assert f"more than the {size - 1} bytes" in str(built.failed)


@pytest.mark.parametrize("which", ["InRelease", "Packages.xz", TOOL.filename])
def test_a_body_that_never_ends_is_cut_off_and_takes_no_memory(which: str) -> None:
    most = 64 * MIB  # were it not cut off, the test would still end
    files = with_index(mirror([*base(), TOOL]), "Packages.xz", pack(index([*base(), TOOL]), "xz"))
    endless = _ending(files, which)
    serve, block, sent = giving(files), b"Codename: bookworm\n" * 4_096, 0

    async def answer(asked: Asked, wire: Wire) -> None:
        nonlocal sent
        if asked.target != endless:
            await serve(asked, wire)
            return
        await wire.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", files[endless])
        while sent < most:
            await wire.send(block)
            sent += len(block)

    # A root is made before: what is loaded once is not measured.
    assert build(files, "tool").unpacked is not None
    tracemalloc.start()
    try:
        built = build(answer, "tool")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(built.failed, MirrorAnswerWrong), built.failed
    assert endless.rpartition("/")[2] in str(built.failed)
    assert sent < most / 2
    assert peak < MAX_RELEASE_BYTES + 8 * MIB


def _with_size(which: str, by: int) -> tuple[dict[str, bytes], str]:
    """A mirror that announces a file of it with so many bytes more than it has, and the path of that."""
    debs = [*base(), TOOL]
    files = with_index(mirror(debs), "Packages", index(debs))
    path = f"/debian/{TOOL.filename}" if which == "package" else _ending(files, "/Packages")
    size = len(files[path])
    if which == "package":
        said = index(debs).replace(b"\nSize: %d\n" % size, b"\nSize: %d\n" % (size + by))
        return with_index(files, "Packages", said), path
    release = _ending(files, "/InRelease")
    said = files[release].replace(b" %d main/" % size, b" %d main/" % (size + by))
    return files | {release: said}, path


def _ending(files: dict[str, bytes], end: str) -> str:
    """The one path that ends so."""
    (found,) = (path for path in files if path.endswith(end))
    return found


def _plainly(files: dict[str, bytes], path: str, *, length: bool) -> Answer:
    """Answers as a server that knows no ranges, and not even the length of `path` unless `length`."""
    serve = giving(files)

    async def answer(asked: Asked, wire: Wire) -> None:
        if asked.target != path:
            await serve(asked, wire)
            return
        head = b"HTTP/1.1 200 OK\r\n" + b"Content-Length: %d\r\n" % len(files[path]) * length
        await wire.send(head, b"\r\n", files[path])

    return answer
