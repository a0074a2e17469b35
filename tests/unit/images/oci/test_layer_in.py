from __future__ import annotations

import asyncio
import gzip
import hashlib
import random
import tarfile
from collections.abc import AsyncIterable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings, strategies as st

from squall.blobs.chunks import CHUNK_BYTES
from squall.blobs.digest import Bytes, Digest, digest_of
from squall.blobs.disk_blobs import DiskBlobs
from squall.blobs.manifest import (
    Attributes,
    Directory,
    Entry,
    Fifo,
    File,
    Hardlink,
    Part,
    Symlink,
    Whiteout,
)
from squall.blobs.manifest_bytes import HEAD, decode
from squall.blobs.memory_blobs import MemoryBlobs
from squall.images.oci.compression import Compression
from squall.images.oci.layer_in import Announced, Note, layer_in
from squall.model.errors import DigestMismatch, DiskFull, LayerInvalid
from tests.unit.images.oci.archives import (
    END,
    Kept,
    archive,
    entry,
    header,
    in_parts,
    info,
    records,
    taken,
)

SOME = digest_of(b"some")


def hexed(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest())


class Full(MemoryBlobs):
    """Takes so many blobs."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    async def put(
        self, data: Bytes | AsyncIterable[Bytes], *, announced: Digest | None = None, forced: bool = True
    ) -> Digest:
        self.room -= 1
        if self.room < 0:
            raise DiskFull("no room", path="/blobs")
        return await super().put(data, announced=announced, forced=forced)


@pytest.mark.parametrize("room", [0, 17, 39, 40])
def test_a_store_that_is_full_while_more_is_unpacked_ends_it_without_a_manifest(room: int) -> None:
    files = [(info(f"f{number}"), bytes([number]) * CHUNK_BYTES) for number in range(40)]

    async def scene() -> None:
        blobs = Full(room)
        with pytest.raises(DiskFull):
            await layer_in(in_parts(archive(files)), blobs)
        heads = [await blobs.get(one.digest, stop=len(HEAD)) async for one in blobs.blobs()]
        assert HEAD not in heads
        assert {task for task in asyncio.all_tasks() if task is not asyncio.current_task()} == set()

    asyncio.run(scene())


def test_a_layer_becomes_a_manifest_and_chunks() -> None:
    large = b"l" * (2 * CHUNK_BYTES + 3)
    program = info("./bin/su", mode=0o4755)
    program.uid, program.gid, program.mtime = 5, 6, 7
    program.pax_headers = {"SCHILY.xattr.user.a": "1"}
    data = archive(
        [
            (info("./", tarfile.DIRTYPE, mode=0o711), b""),
            (info("./z", tarfile.FIFOTYPE, mode=0o600), b""),
            (info("./bin/large"), large),
            (program, b"su"),
            (info("./bin", tarfile.DIRTYPE, mode=0o750), b""),
            (info("./bin/sh", tarfile.SYMTYPE, mode=0o640, target="../../etc/passwd"), b""),
            (info("a", tarfile.LNKTYPE, target="./bin/su"), b""),
            (info("./made/by/us"), b""),
        ]
    )
    kept = taken(data)
    su = Attributes(mode=0o4755, uid=5, gid=6, mtime_ns=7_000_000_000, xattrs=(("user.a", b"1"),))
    assert list(kept.entries) == [
        "",
        "a",
        "bin",
        "bin/large",
        "bin/sh",
        "bin/su",
        "made",
        "made/by",
        "made/by/us",
        "z",
    ]
    first = kept.entries["a"]
    assert isinstance(first, File)
    assert (first.attributes, first.size) == (su, 2)
    # The order of a manifest decides which name is the first one.
    assert kept.entries["bin/su"] == Hardlink(path="bin/su", first="a")
    assert kept.entries["bin"] == Directory(path="bin", attributes=Attributes(mode=0o750))
    assert kept.entries[""] == Directory(path="", attributes=Attributes(mode=0o711))
    assert kept.entries["made"] == Directory(path="made", attributes=Attributes(mode=0o755))
    assert kept.entries["bin/sh"] == Symlink(
        path="bin/sh", attributes=Attributes(mode=0o777), target="../../etc/passwd"
    )
    assert kept.entries["z"] == Fifo(path="z", attributes=Attributes(mode=0o600))
    assert kept.data("bin/large") == large
    assert kept.data("a") == b"su"
    layer = kept.layer
    assert (layer.diff_id, layer.digest) == (hexed(data), hexed(data))
    assert (layer.size, layer.unpacked_bytes) == (len(data), len(data))
    assert (layer.entries, layer.files_bytes) == (10, len(large) + 2)
    assert (layer.notes, layer.noted) == ((), 0)


@pytest.mark.parametrize(
    ("pack", "compression"),
    [
        (bytes, Compression.NONE),
        (gzip.compress, Compression.GZIP),
        (zstandard.ZstdCompressor().compress, Compression.ZSTD),
    ],
)
def test_both_digests_are_counted_in_one_pass(pack: object, compression: Compression) -> None:
    assert callable(pack)
    data = archive([(info("f"), b"data" * 1000)]) + bytes(5000)
    packed = pack(data)
    kept = taken(packed, announced=Announced(digest=hexed(packed), size=len(packed), diff_id=hexed(data)))
    assert kept.layer.compression is compression
    assert (kept.layer.digest, kept.layer.size) == (hexed(packed), len(packed))
    assert (kept.layer.diff_id, kept.layer.unpacked_bytes) == (hexed(data), len(data))
    assert kept.data("f") == b"data" * 1000


@pytest.mark.parametrize(
    "wrong",
    [Announced(digest=SOME), Announced(diff_id=SOME), Announced(size=5), Announced(size=10_000_000)],
)
def test_what_is_not_what_was_announced_is_kept_under_no_name(wrong: Announced) -> None:
    large = b"l" * CHUNK_BYTES
    blobs = MemoryBlobs()
    with pytest.raises(DigestMismatch):
        taken(gzip.compress(archive([(info("f"), large)])), announced=wrong, blobs=blobs)

    async def left() -> set[str]:
        return {blob.digest async for blob in blobs.blobs()}

    # At most the chunk: nothing names it.
    assert asyncio.run(left()) <= {digest_of(large)}


def test_the_last_of_a_name_counts() -> None:
    kept = taken(
        archive(
            [
                (info("a"), b"first"),
                (info("b", tarfile.LNKTYPE, target="a"), b""),
                (info("a", mode=0o600), b"last"),
                (info("d/x/y"), b"gone"),
                (info("d"), b"a file now"),
                (info("e"), b"a file"),
                (info("e", tarfile.DIRTYPE, mode=0o700), b""),
                (info("e/f"), b""),
                (info("g/h"), b"stays"),
                (info("g", tarfile.DIRTYPE, mode=0o711), b""),
            ]
        )
    )
    assert list(kept.entries) == ["", "a", "b", "d", "e", "e/f", "g", "g/h"]
    assert (kept.data("a"), kept.data("b"), kept.data("d")) == (b"last", b"first", b"a file now")
    assert kept.entries["g"] == Directory(path="g", attributes=Attributes(mode=0o711))
    assert kept.entries["e"] == Directory(path="e", attributes=Attributes(mode=0o700))


def test_whiteouts_hide_what_is_below_and_never_what_the_layer_has() -> None:
    kept = taken(
        archive(
            [
                (info("gone/.wh.a"), b""),
                (info("d/.wh..wh..opq"), b""),
                (info("d/new"), b""),
                (info("here"), b"stays"),
                (info(".wh.here"), b""),
                (info("again", tarfile.DIRTYPE), b""),
                (info(".wh.again"), b""),
                (info(".wh.later"), b""),
                (info("later/f"), b""),
                (info(".wh.linked", tarfile.LNKTYPE, target=".wh..wh.plnk/1"), b""),
                (info(".wh..wh.aufs"), b"noted"),
                (info(".wh..wh.plnk", tarfile.DIRTYPE), b""),
                (info(".wh..wh.plnk/1"), b"noted"),
            ]
        )
    )
    implied = Attributes(mode=0o755)
    assert kept.entries["gone/a"] == Whiteout(path="gone/a")
    assert kept.entries["d"] == Directory(path="d", attributes=implied, opaque=True)
    assert isinstance(kept.entries["here"], File)
    assert kept.entries["again"] == Directory(path="again", attributes=Attributes(mode=0o644), opaque=True)
    assert kept.entries["later"] == Directory(path="later", attributes=implied, opaque=True)
    assert kept.entries["linked"] == Whiteout(path="linked")
    assert not any(".wh." in path for path in kept.entries)
    assert [note.path for note in kept.layer.notes] == [".wh..wh.aufs", ".wh..wh.plnk", ".wh..wh.plnk/1"]


@pytest.mark.parametrize(
    "cover",
    [info("d"), info("d", tarfile.SYMTYPE, target="e"), info(".wh.d")],
    ids=["file", "link", "whiteout"],
)
def test_whiteouts_in_what_covers_a_directory_hide_nothing_more(cover: tarfile.TarInfo) -> None:
    plain = taken(archive([(cover, b"")]))
    more = taken(archive([(cover, b""), (info("d/.wh.a"), b""), (info("d/b/.wh.c"), b"")]))
    assert more.manifest == plain.manifest
    assert more.entries.keys() == {"", "d"}


def test_a_root_can_be_opaque() -> None:
    (root,) = taken(archive([(info(".wh..wh..opq"), b"")])).manifest.entries
    assert root == Directory(path="", attributes=Attributes(mode=0o755), opaque=True)


BELOW: dict[str, Entry] = {
    "d": Directory(path="d", attributes=Attributes(mode=0o1777, uid=3)),
    "f": File(
        path="f", attributes=Attributes(mode=0o600), size=4, parts=(Part(chunk=SOME, offset=0, length=4),)
    ),
    "h": Hardlink(path="h", first="f"),
    "link": Symlink(path="link", attributes=Attributes(mode=0o777), target="d"),
}


def test_a_hard_link_into_the_layers_below_is_a_file_with_the_same_chunks() -> None:
    data = archive(
        [
            (info("z/new", tarfile.LNKTYPE, target="h"), b""),
            (info("a", tarfile.LNKTYPE, target="f"), b""),
        ]
    )
    kept = taken(data, lower=BELOW.get)
    below = BELOW["f"]
    assert isinstance(below, File)
    assert kept.entries["a"] == File(path="a", attributes=below.attributes, size=4, parts=below.parts)
    assert kept.entries["z/new"] == Hardlink(path="z/new", first="a")
    with pytest.raises(LayerInvalid, match=r"'a'.*neither before it in this layer nor in those below"):
        taken(archive([(info("a", tarfile.LNKTYPE, target="f"), b"")]))


@pytest.mark.parametrize(
    "members",
    [
        [info("a", tarfile.LNKTYPE, target="d")],
        [info(".wh.f"), info("a", tarfile.LNKTYPE, target="f")],
        [info(".wh..wh..opq"), info("a", tarfile.LNKTYPE, target="f")],
        [info("f/..x"), info("a", tarfile.LNKTYPE, target="f")],
        [info("own"), info("a", tarfile.LNKTYPE, target="own/f")],
        [info("a", tarfile.LNKTYPE, target="../f")],
        [info("a", tarfile.LNKTYPE, target="/f")],
        [info("a", tarfile.LNKTYPE, target="")],
        [info("a", tarfile.LNKTYPE, target="later"), info("later")],
    ],
)
def test_a_hard_link_to_no_file_that_shows_is_refused(members: list[tarfile.TarInfo]) -> None:
    with pytest.raises(LayerInvalid):
        taken(archive([(member, b"") for member in members]), lower=BELOW.get)


def test_a_directory_of_which_nothing_is_told_is_as_below() -> None:
    kept = taken(archive([(info("d/f"), b"")]), lower=BELOW.get)
    assert kept.entries["d"] == BELOW["d"]
    assert kept.layer.notes == ()


def test_a_directory_of_which_nothing_is_told_takes_the_place_of_a_link_below_and_this_is_noted() -> None:
    kept = taken(archive([(info("link/f"), b""), (info("h/f"), b"")]), lower=BELOW.get)
    assert kept.entries.keys() == {"", "link", "link/f", "h", "h/f"}
    assert kept.entries["link"] == Directory(path="link", attributes=Attributes(mode=0o755))
    assert [note.path for note in kept.layer.notes] == ["h", "link"]
    # With an entry of its own, or hidden before, there is nothing to note.
    for first in (info("link", tarfile.DIRTYPE), info(".wh.link")):
        told = taken(archive([(first, b""), (info("link/f"), b"")]), lower=BELOW.get)
        assert isinstance(told.entries["link"], Directory)
        assert told.layer.notes == ()


def test_devices_are_left_out_and_told() -> None:
    data = archive(
        [
            (info("dev/console", tarfile.CHRTYPE), b""),
            (info("again"), b"x"),
            (info("again", tarfile.BLKTYPE), b""),
            (info("named", tarfile.LNKTYPE, target="again"), b""),
            (info("f", tarfile.CHRTYPE), b""),
        ]
    )
    kept = taken(data, lower=BELOW.get)
    # What is below does not show in a device's place.
    assert [*kept.entries] == ["", "dev", "f"]
    assert kept.entries["f"] == Whiteout(path="f")
    assert [note.path for note in kept.layer.notes] == ["dev/console", "again", "f"]
    assert taken(data).manifest.whole


def with_xattrs(name: str, kind: bytes, *names: str) -> tuple[tarfile.TarInfo, bytes]:
    made = info(name, kind, target="t" if kind == tarfile.SYMTYPE else "")
    made.pax_headers = {f"SCHILY.xattr.{xattr}": "y" for xattr in names}
    return made, b""


def test_extended_attributes_of_this_machine_and_of_overlays_are_left_out_and_told() -> None:
    capability = b"\x01\0\0\x02" + bytes(16)
    data = b"".join(
        [
            archive(
                [
                    with_xattrs(
                        "d",
                        tarfile.DIRTYPE,
                        "user.b",
                        "user.a",
                        "trusted.overlay.opaque",
                        "user.overlay.opaque",
                    ),
                    with_xattrs(
                        "f",
                        tarfile.REGTYPE,
                        "security.selinux",
                        "security.capability",
                        "trusted.overlay.redirect",
                    ),
                    with_xattrs("l", tarfile.SYMTYPE, "user.a"),
                    with_xattrs("p", tarfile.FIFOTYPE, "user.a", "system.posix_acl_access"),
                ],
                ends=False,
            ),
            records([(b"SCHILY.xattr.security.capability", capability)]),
            entry(b"program"),
            END,
        ]
    )
    kept = taken(data)
    found = {
        path: one.attributes.xattrs
        for path, one in kept.entries.items()
        if not isinstance(one, Hardlink | Whiteout)
    }
    assert found == {
        "": (),
        "d": (("user.a", b"y"), ("user.b", b"y")),
        "f": (),
        "l": (),
        "p": (),
        "program": (("security.capability", capability),),
    }
    assert not any(isinstance(one, Directory) and one.opaque for one in kept.entries.values())
    assert kept.layer.notes == (
        Note(path="d", what="extended attributes left out: trusted.overlay.opaque, user.overlay.opaque"),
        Note(
            path="f",
            what="extended attributes left out: security.selinux, security.capability, trusted.overlay.redirect",
        ),
        Note(path="l", what="extended attributes left out: user.a"),
        Note(path="p", what="extended attributes left out: user.a, system.posix_acl_access"),
    )


def test_notes_are_counted_beyond_those_that_are_told() -> None:
    data = b"".join(header(b"dev/%d" % number, b"3") for number in range(300)) + END
    layer = taken(data).layer
    assert (len(layer.notes), layer.noted) == (100, 300)


def test_a_time_that_no_file_has_is_refused_by_name() -> None:
    with pytest.raises(LayerInvalid, match="'late' cannot be kept"):
        taken(records([(b"mtime", b"9" * 18)]) + entry(b"late") + END)


def test_small_files_share_chunks_and_equal_archives_have_equal_ones() -> None:
    members = [(info(f"d/{number}"), bytes([number]) * 3000) for number in range(200)]
    one, other = taken(archive(members)), taken(gzip.compress(archive(members)))
    assert one.layer.manifest == other.layer.manifest
    assert 1 <= len(one.manifest.chunks) <= 3
    assert all(one.data(member.name) == data for member, data in members[::20])


sizes = st.one_of(
    st.integers(0, 3000), st.sampled_from([CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES])
)


@given(
    st.lists(sizes, max_size=6),
    st.integers(0, 1 << 30),
    st.sampled_from([777, 100_000, 10_000_000]),
)
@settings(deadline=None, max_examples=40)
def test_every_file_has_its_bytes_in_whatever_parts_they_came(sizes: list[int], seed: int, step: int) -> None:
    dice = random.Random(seed)
    files = {f"{number % 2}/{number}": dice.randbytes(size) for number, size in enumerate(sizes)}
    data = gzip.compress(archive([(info(path), data) for path, data in files.items()]))

    async def run() -> Kept:
        blobs = MemoryBlobs()
        layer = await layer_in(in_parts(data, step), blobs)
        return Kept(layer, decode(await blobs.get(layer.manifest)), blobs)

    kept = asyncio.run(run())
    assert {path: kept.data(path) for path in files} == files


def test_a_chunk_that_was_damaged_on_disk_is_put_again(tmp_path: Path) -> None:
    large = b"l" * CHUNK_BYTES
    data = archive([(info("f"), large)])

    async def run() -> None:
        blobs = await DiskBlobs.open(tmp_path / "blobs")
        first = await layer_in(in_parts(data), blobs)
        chunk = digest_of(large)
        path = tmp_path / "blobs" / chunk[:2] / chunk[2:]
        path.chmod(0o600)
        path.write_bytes(b"x" * CHUNK_BYTES)
        assert await layer_in(in_parts(data), blobs) == first
        assert await blobs.get(chunk) == large
        await blobs.close()

    asyncio.run(run())
