from __future__ import annotations

from collections.abc import Callable

import pytest

from squall.blobs.chunks import CHUNK_BYTES
from squall.blobs.digest import Digest, digest_of
from squall.blobs.manifest import (
    MAX_FILE_BYTES,
    MAX_XATTR_BYTES,
    MAX_XATTRS_BYTES,
    Attributes,
    Directory,
    Entry,
    Fifo,
    File,
    Hardlink,
    Manifest,
    Part,
    Symlink,
    Whiteout,
)
from squall.blobs.manifest_bytes import Reader, Writer, decode, encode
from squall.blobs.path_names import MAX_DEPTH
from squall.model.errors import TreeInvalid

PLAIN = Attributes(mode=0o644)
LINK = Attributes(mode=0o777)
SOME = digest_of(b"some")
ROOT = Directory(path="", attributes=Attributes(mode=0o755))


def directory(path: str) -> Directory:
    return Directory(path=path, attributes=Attributes(mode=0o755))


def file(path: str) -> File:
    return File(path=path, attributes=PLAIN)


@pytest.mark.parametrize(
    "entries",
    [
        (),
        (directory("a"),),
        (file(""),),
        (ROOT, ROOT),
        (ROOT, file("b"), file("a")),
        (ROOT, file("a"), file("a")),
        (ROOT, file("a/b")),
        (ROOT, file("a"), file("a/b")),
        (ROOT, Symlink(path="a", attributes=LINK, target="/etc"), file("a/passwd")),
        (ROOT, Whiteout(path="a"), file("a/b")),
        (ROOT, directory("a"), file("a-b"), file("a/b")),
        (ROOT, directory("a"), file("b"), file("a/c")),
        (ROOT, file("../up")),
        (ROOT, file("/etc")),
        (ROOT, file("a\0b")),
        (ROOT, file("n" * 256)),
        (ROOT, Hardlink(path="b", first="a")),
        (ROOT, directory("a"), Hardlink(path="b", first="a")),
        (ROOT, file("a"), Hardlink(path="b", first="a"), Hardlink(path="c", first="b")),
        (ROOT, Whiteout(path="a"), Hardlink(path="b", first="a")),
    ],
)
def test_what_is_out_of_place_is_refused(entries: tuple[Entry, ...]) -> None:
    with pytest.raises(TreeInvalid):
        Manifest(entries)


def test_a_directory_too_deep_is_refused() -> None:
    names = ["d"] * (MAX_DEPTH + 1)
    with pytest.raises(TreeInvalid, match="deeper"):
        Manifest((ROOT, *(directory("/".join(names[: count + 1])) for count in range(len(names)))))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Attributes(mode=0o10000),
        lambda: Attributes(mode=-1),
        lambda: Attributes(mode=0, uid=-1),
        lambda: Attributes(mode=0, gid=0xFFFF_FFFF),
        lambda: Attributes(mode=0, mtime_ns=1 << 63),
        lambda: Attributes(mode=0, xattrs=(("user.b", b""), ("user.a", b""))),
        lambda: Attributes(mode=0, xattrs=(("user.a", b""), ("user.a", b""))),
        lambda: Attributes(mode=0, xattrs=(("", b""),)),
        lambda: Attributes(mode=0, xattrs=(("user." + "a" * 251, b""),)),
        lambda: Attributes(mode=0, xattrs=(("user.a", bytes(MAX_XATTR_BYTES + 1)),)),
        lambda: Attributes(
            mode=0, xattrs=tuple((f"user.{n}", bytes(MAX_XATTRS_BYTES // 3)) for n in range(3))
        ),
        lambda: Attributes(mode=0, xattrs=(("trusted.overlay.redirect", b"/etc"),)),
        lambda: Attributes(mode=0, xattrs=(("user.overlay.opaque", b"y"),)),
        lambda: Part(chunk=SOME, offset=0, length=0),
        lambda: Part(chunk=SOME, offset=-1, length=2),
        lambda: Part(chunk=SOME, offset=1, length=CHUNK_BYTES),
        lambda: Part(chunk=Digest("../" + SOME), offset=0, length=1),
        lambda: File(path="a", attributes=PLAIN, size=1),
        lambda: File(path="a", attributes=PLAIN, size=-1),
        lambda: File(path="a", attributes=PLAIN, size=MAX_FILE_BYTES + 1),
        lambda: File(path="a", attributes=PLAIN, size=0, parts=(Part(chunk=SOME, offset=0, length=1),)),
        lambda: Symlink(path="a", attributes=LINK, target=""),
        lambda: Symlink(path="a", attributes=LINK, target="a\0"),
        lambda: Symlink(path="a", attributes=LINK, target="\ud800"),
        lambda: Attributes(mode=0, xattrs=(("user.\ud800", b""),)),
        lambda: Symlink(path="a", attributes=LINK, target="a" * 4001),
        lambda: Symlink(path="a", attributes=PLAIN, target="b"),
        lambda: Hardlink(path="a", first="a"),
        lambda: Hardlink(path="a", first="b"),
        lambda: Hardlink(path="b", first="../a"),
    ],
)
def test_what_no_file_system_keeps_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(TreeInvalid):
        make()


EVERY: tuple[Entry, ...] = (
    Directory(path="", attributes=Attributes(mode=0o1777, uid=7, gid=8, mtime_ns=-5), opaque=True),
    directory("d"),
    Symlink(path="d/l\udcff", attributes=LINK, target="\udcfe"),
    File(path="f", attributes=Attributes(mode=0o4755, xattrs=(("user.\udcff", b"\0\xff"),)), size=3, parts=(
        Part(chunk=SOME, offset=1, length=1), Part(chunk=SOME, offset=0, length=2)
    )),
    Hardlink(path="g", first="d/l\udcff"),
    Fifo(path="p", attributes=PLAIN),
    Whiteout(path="w"),
)  # fmt: skip


def test_a_manifest_is_written_as_this() -> None:
    assert encode(Manifest(EVERY)).decode() == (
        '["squall-manifest",1]\n'
        '["o","",1023,7,8,-5,[]]\n'
        '["d","d",493,0,0,0,[]]\n'
        '["l","d/l\\udcff",511,0,0,0,[],"\\udcfe"]\n'
        f'["f","f",2541,0,0,0,[["user.\\udcff","00ff"]],3,[["{SOME}",1,1],["{SOME}",0,2]]]\n'
        '["h","g","d/l\\udcff"]\n'
        '["p","p",420,0,0,0,[]]\n'
        '["w","w"]\n'
    )
    assert decode(encode(Manifest(EVERY))) == Manifest(EVERY)


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        ('["squall-manifest",1]', '["squall-manifest",2]'),
        ('["squall-manifest",1]\n', ""),
        ('["w","w"]\n', '["w","w"]'),
        ('["w","w"]\n', '["w","w"]\r\n'),
        ('["w","w"]\n', '["w","w"]\n\n'),
        ('["w","w"]', '["w", "w"]'),
        ('["w","w"]', '["w","w",1]'),
        ('["w","w"]', '["W","w"]'),
        ('["w","w"]', '["w","\\u0077"]'),
        ('["w","w"]', '{"w":"w"}'),
        ('["w","w"]', "[" * 100_000),
        ('["w","w"]', '["h","w","nowhere"]'),
        ('["p","p",420', '["p","p",420.0'),
        ('["p","p",420,0', '["p","p",420,false'),
        ('["p","p",420', '["p","p",0420'),
        ('["p","p",420,0', '["p","p",420,-0'),
        ('["p","p",420,0', '["p","p",420,NaN'),
        ('["p","p",420,0', '["p","p",420,' + "9" * 5_000),
        ('"00ff"', '"00FF"'),
        ('"00ff"', '"00 ff"'),
        ('"00ff"', '"00f"'),
        ('[["user.\\udcff","00ff"]]', '{"user.\\udcff":"00ff"}'),
        ('[["user.\\udcff","00ff"]]', "7"),
        ('[["user.\\udcff","00ff"]]', '["ab"]'),
        ('[["user.\\udcff","00ff"]]', '[["trusted.overlay.opaque","79"]]'),
        (SOME, SOME.upper()),
        (",1,1]", ",1,true]"),
        (",1,1]", ",1]"),
    ],
)  # fmt: skip
def test_another_spelling_is_refused(written: str, instead: str) -> None:
    raw = encode(Manifest(EVERY)).decode()
    assert written in raw
    with pytest.raises(TreeInvalid):
        decode(raw.replace(written, instead).encode())


def test_nothing_and_a_head_alone_are_refused() -> None:
    for raw in (b"", b'["squall-manifest",1]\n', b'["squall-manifest",1]'):
        with pytest.raises(TreeInvalid):
            decode(raw)
    with pytest.raises(TreeInvalid):
        Writer().end()


def test_a_line_without_end_is_refused_before_it_fills_the_memory() -> None:
    reader = Reader(most=100)
    reader.feed(b"x" * 100)
    with pytest.raises(TreeInvalid, match="no end"):
        reader.feed(b"x")


def test_a_manifest_knows_what_it_needs() -> None:
    manifest = Manifest(EVERY)
    assert manifest.chunks == {SOME}
    assert manifest.size == 3
    assert not manifest.whole
    assert Manifest((ROOT, file("a"))).whole
