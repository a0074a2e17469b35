from __future__ import annotations

import asyncio
import gzip
import os
import subprocess
import sys
import tarfile
import tracemalloc
from collections.abc import AsyncIterable, Iterator
from pathlib import Path

import pytest
import zstandard

from squall.blobs.digest import Bytes, Digest
from squall.blobs.directory_renderer import DirectoryRenderer
from squall.blobs.manifest import Attributes, Hardlink
from squall.blobs.memory_blobs import MemoryBlobs
from squall.images.oci.layer_in import layer_in
from squall.images.oci.layer_tree import LayerTree, Place
from squall.images.oci.limits import Limits
from squall.model.errors import LayerInvalid, LayerTooLarge
from tests.unit.images.oci.archives import (
    END,
    archive,
    entry,
    header,
    in_parts,
    info,
    records,
    taken,
)

pytestmark = pytest.mark.needs("linux")

LONG = b"n" * 255
DEEP = b"/".join([b"d"] * 129)

# Each is an archive that would write, or read, outside of where it is unpacked.
REFUSED = {
    "absolute": entry(b"/etc/passwd", b"x"),
    "absolute in records": records([(b"path", b"/etc/passwd")]) + entry(b"f"),
    "up": entry(b"../f", b"x"),
    "up in the middle": entry(b"a/../../f", b"x"),
    "up that stays within": entry(b"a/../f", b"x"),
    "up alone": entry(b".."),
    "nul in records": records([(b"path", b"f\0/../../g")]) + entry(b"f"),
    "nul in a long name": entry(b"L", b"f\0g\0", b"L") + entry(b"f"),
    "overlong name": records([(b"path", LONG + b"n")]) + entry(b"f"),
    "overlong path": records([(b"path", b"/".join([LONG] * 16))]) + entry(b"f"),
    "deep": records([(b"path", DEEP)]) + entry(b"f"),
    "no name": entry(b""),
    "root as a link": entry(b"./", letter=b"2", target=b"/etc"),
    "root as a file": entry(b".", b"x"),
    "through a link": entry(b"l", letter=b"2", target=b"/etc") + entry(b"l/passwd", b"x"),
    "through two links": entry(b"a", letter=b"2", target=b"..")
    + entry(b"b", letter=b"2", target=b"a/..")
    + entry(b"b/f", b"x"),
    "through a link that a directory was": entry(b"d/", letter=b"5")
    + entry(b"d", letter=b"2", target=b"/etc")
    + entry(b"d/passwd", b"x"),
    "through a hard link to a link": entry(b"l", letter=b"2", target=b"/etc")
    + entry(b"h", letter=b"1", target=b"l")
    + entry(b"h/passwd", b"x"),
    "through a device": entry(b"dev", letter=b"3") + entry(b"dev/f", b"x"),
    "through a file": entry(b"f", b"x") + entry(b"f/g", b"x"),
    "opaque through a link": entry(b"l", letter=b"2", target=b"/etc") + entry(b"l/.wh..wh..opq"),
    "hard link out": entry(b"h", letter=b"1", target=b"../../etc/shadow"),
    "hard link to the root of the machine": entry(b"h", letter=b"1", target=b"/etc/shadow"),
    "hard link through a link": entry(b"l", letter=b"2", target=b"/etc")
    + entry(b"h", letter=b"1", target=b"l/shadow"),
    "hard link to nothing": entry(b"h", letter=b"1", target=b"etc/shadow"),
    "hard link to a directory": entry(b"d/", letter=b"5") + entry(b"h", letter=b"1", target=b"d"),
    "hard link to the root": entry(b"h", letter=b"1", target=b"./"),
    "link to nothing": entry(b"l", letter=b"2", target=b""),
    "link with a nul": records([(b"linkpath", b"a\0b")]) + entry(b"l", letter=b"2"),
    "link too long": records([(b"linkpath", b"t" * 4001)]) + entry(b"l", letter=b"2"),
    "whiteout of the directory itself": entry(b"d/.wh.."),
    "whiteout of the directory above": entry(b"d/.wh..."),
    "whiteout of nothing": entry(b"d/.wh."),
    "whiteout with something in it": entry(b".wh.d/f"),
    "whiteout that is a directory": entry(b".wh.d/", letter=b"5"),
    "whiteout that is a link": entry(b".wh..wh..opq", letter=b"2", target=b"/etc"),
    "owner below zero": records([(b"uid", b"-1")]) + entry(b"f"),
    "owner that nobody is": records([(b"gid", b"4294967295")]) + entry(b"f"),
    "attributes too large": b"".join(
        records([(b"SCHILY.xattr.user.%d" % n, bytes(60_000)) for n in range(3)]) for _ in range(1)
    )
    + entry(b"f"),
    "sparse of a tebibyte": header(b"huge", b"S", size=0o77777777777) + bytes(512),
}


def test_a_whiteout_through_a_link_hides_nothing_where_the_link_leads() -> None:
    # It is accepted: umoci writes such ones when a link takes the place of a directory.
    link = entry(b"l", letter=b"2", target=b"/etc")
    kept = taken(link + entry(b"l/.wh.passwd") + entry(b"l/deep/.wh.passwd") + END)
    assert kept.manifest == taken(link + END).manifest
    assert kept.entries.keys() == {"", "l"}


@pytest.mark.parametrize("attack", REFUSED)
def test_an_archive_that_leads_out_is_refused_and_keeps_nothing_that_is_named(attack: str) -> None:
    blobs = MemoryBlobs()
    with pytest.raises(LayerInvalid):
        taken(REFUSED[attack] + END, blobs=blobs)

    async def left() -> list[str]:
        return [blob.digest async for blob in blobs.blobs()]

    assert asyncio.run(left()) == []


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        ("up in the middle", "'a/../../f'"),
        ("through a link", "'l/passwd'"),
        ("hard link out", "'../../etc/shadow'"),
        ("overlong name", "'nnn"),
        ("whiteout of the directory above", "'d/.wh...'"),
    ],
)
def test_the_refusal_names_the_entry(attack: str, said: str) -> None:
    with pytest.raises(LayerInvalid) as refused:
        taken(REFUSED[attack] + END)
    assert said in refused.value.message
    assert refused.value.entry
    assert len(refused.value.message) < 800


def test_a_name_in_a_refusal_moves_no_terminal() -> None:
    with pytest.raises(LayerInvalid) as refused:
        taken(entry(b"/\x1b[2J\n\x07") + END)
    assert "\x1b" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_links_and_odd_names_are_data_and_nothing_is_written_outside(tmp_path: Path) -> None:
    """What may lead anywhere is kept as it is, and rendered below one directory only."""
    outside = tmp_path / "outside"
    outside.mkdir()
    data = archive(
        [
            (info("link", tarfile.SYMTYPE, target=str(outside)), b""),
            (info("up", tarfile.SYMTYPE, target="../../../.."), b""),
            (info("loop", tarfile.SYMTYPE, target="loop"), b""),
            (info("link", tarfile.DIRTYPE, mode=0o755), b""),
            (info("link/f"), b"inside"),
            (info("a\\..\\b"), b""),
            (info("trailing."), b""),
            (info("\udcff\u202e"), b""),
            (info("dev/sda", tarfile.BLKTYPE), b""),
            (info("su", mode=0o6755), b""),
        ]
    )

    async def run() -> None:
        blobs = MemoryBlobs()
        layer = await layer_in(in_parts(data), blobs)
        await DirectoryRenderer(blobs).render(layer.manifest, tmp_path / "into")

    asyncio.run(run())
    assert list(outside.iterdir()) == []
    assert (tmp_path / "into" / "link" / "f").read_bytes() == b"inside"
    assert os.readlink(tmp_path / "into" / "up") == "../../../.."
    assert sorted(path.name for path in tmp_path.iterdir()) == ["into", "outside"]
    assert not (tmp_path / "into" / "dev" / "sda").exists()


def test_a_layer_packed_twice_is_not_opened_again() -> None:
    with pytest.raises(LayerInvalid, match="no tar archive"):
        taken(gzip.compress(gzip.compress(archive([(info("f"), os.urandom(2000))]))))


def test_an_archive_in_an_archive_is_a_file() -> None:
    bomb = gzip.compress(bytes(1 << 20))
    assert taken(archive([(info("bomb.gz"), bomb)])).data("bomb.gz") == bomb


def test_a_size_that_brings_nothing_costs_nothing() -> None:
    huge = records([(b"size", b"%d" % (1 << 49))]) + header(b"huge")
    with pytest.raises(LayerTooLarge, match="'huge' has"):
        taken(huge)
    # Within the limit, the archive is only cut off.
    with pytest.raises(LayerInvalid, match="cut off"):
        taken(records([(b"size", b"%d" % (200 << 30))]) + header(b"huge"))


def test_names_are_held_in_so_much_memory_and_no_more() -> None:
    def named(number: int) -> bytes:
        return records([(b"path", b"/".join([b"%07d" % number + b"n" * 200] * 15))]) + entry(b"f")

    with pytest.raises(LayerTooLarge, match="names of the layer"):
        taken(b"".join(map(named, range(1000))) + END, limits=Limits(held_bytes=1 << 20))


def test_the_first_names_of_links_cost_little_however_long_they_are() -> None:
    above = (LONG,) * 15
    tree = LayerTree()
    for number in range(4000):
        tree.add_file((*above, b"a%d" % number), Attributes(mode=0o644), Place(0, 0, 0))
        tree.add_name((*above, b"z%d" % number), (*above, b"a%d" % number))
    tracemalloc.start()
    try:
        assert sum(isinstance(one, Hardlink) for one in tree.entries(b"")) == 4000
        # The paths themselves would be 16 MB.
        assert tracemalloc.get_traced_memory()[1] < 3 << 20
    finally:
        tracemalloc.stop()


def test_a_manifest_is_written_in_small_parts_whatever_attributes_its_paths_have() -> None:
    sizes: list[int] = []

    class Measured(MemoryBlobs):
        async def put(
            self, data: Bytes | AsyncIterable[Bytes], *, announced: Digest | None = None, forced: bool = True
        ) -> Digest:
            if isinstance(data, AsyncIterable):
                parts = [bytes(part) async for part in data]
                sizes.extend(map(len, parts))
                data = b"".join(parts)
            return await super().put(data, announced=announced, forced=forced)

    one = records([(b"SCHILY.xattr.user.a", bytes(60_000)), (b"SCHILY.xattr.user.b", bytes(60_000))])
    data = b"".join(one + entry(b"%d" % number) for number in range(30)) + END
    assert taken(data, blobs=Measured()).layer.entries == 31
    assert max(sizes) < 1 << 20


_BOMB = """
import asyncio, gzip, sys, zlib
import zstandard
from squall.blobs.manifest import Attributes, Hardlink
from squall.blobs.memory_blobs import MemoryBlobs
from squall.images.oci.layer_in import layer_in
from squall.model.errors import LayerTooLarge
from tests.unit.images.oci.test_layer_hostile import bombs
from tests.unit.images.oci.archives import of_parts

class Nowhere(MemoryBlobs):
    async def put(self, data, *, announced=None, forced=True):
        return announced
    async def has_many(self, digests, *, renew=False):
        return frozenset(digests)
    async def force(self, digests):
        pass

try:
    asyncio.run(layer_in(of_parts(bombs(sys.argv[1])), Nowhere()))
except LayerTooLarge as error:
    # Not ru_maxrss: that of the process that started this one counts there too.
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
    print(peak.split()[1], error)
"""


def bombs(kind: str) -> Iterator[bytes]:
    """Archives without end."""
    match kind:
        case "gzip" | "zstd":
            head = records([(b"size", b"%d" % (100 << 30))]) + header(b"zeros")
            if kind == "gzip":
                yield gzip.compress(head)
                again = gzip.compress(bytes(64 << 20))
            else:
                packer = zstandard.ZstdCompressor()
                yield packer.compress(head)
                again = packer.compress(bytes(64 << 20))
            while True:
                yield again
        case "zeros":
            yield records([(b"size", b"%d" % (100 << 30))]) + header(b"zeros")
            while True:
                yield bytes(1 << 20)
        case "files":
            for start in range(0, 10_000_000, 1000):
                yield b"".join(header(b"%d" % number) for number in range(start, start + 1000))
        case "directories":
            for start in range(0, 10_000_000, 1000):
                yield b"".join(header(b"%d/d/d/" % number, b"5") for number in range(start, start + 1000))
        case _:
            for start in range(0, 10_000_000, 100):
                yield b"".join(
                    records([(b"path", b"/".join([b"%07d" % number + LONG[:200]] * 15))]) + header(b"f")
                    for number in range(start, start + 100)
                )


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", ["gzip", "zstd", "files", "directories", "names"])
def test_a_bomb_is_stopped_at_the_cap_below_256_mib(kind: str) -> None:
    """Each alone in a process: what counts is the most that it ever held."""
    ended = subprocess.run(
        [sys.executable, "-c", _BOMB, kind],
        capture_output=True,
        text=True,
        check=False,
        timeout=390,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ended.returncode == 0, ended.stderr
    peak_kib = int(ended.stdout.split()[0])
    assert peak_kib < 256 << 10, ended.stdout
