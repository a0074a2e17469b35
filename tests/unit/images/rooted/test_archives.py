from __future__ import annotations

import asyncio
import bz2
import gzip
import lzma
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zstandard

from squall.blobs.manifest import Attributes, Directory, Entry, Fifo, File, Hardlink, Manifest, Symlink
from squall.blobs.manifest_bytes import decode, encode
from squall.blobs.memory_blobs import MemoryBlobs
from squall.images.dockerfile.nouns import Copy
from squall.images.download import Fetched
from squall.images.rooted.copying import Sources, copied
from squall.images.rooted.laying import Blob, lay
from squall.model.errors import ImageBuildError, LayerInvalid
from tests.local_trees import keep_tree, local_tree
from tests.unit.images.oci.archives import END, archive, bytes_of, entry, info
from tests.unit.images.oci.test_layer_hostile import REFUSED
from tests.unit.images.rooted.test_copying import GROUP, PASSWD, USERS
from tests.unit.images.rooted.test_laying import folder, image, link

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}
STICKY = Attributes(mode=0o1777)
IMAGE = image(
    folder("etc"),
    folder("srv"),
    folder("tmp", STICKY),
    folder("usr"),
    folder("usr/lib"),
    link("lib", "usr/lib"),
    File(path="etc/motd", attributes=Attributes(mode=0o600, uid=9)),
)
PLAIN = archive([(info("a"), b"first"), (info("d", tarfile.DIRTYPE, mode=0o750), b""), (info("d/b"), b"b")])


class Added:
    """What ADD has made: the manifest of its layer, and what was said."""

    def __init__(self, manifest: Manifest, blobs: MemoryBlobs, said: list[str]) -> None:
        self.entries: dict[str, Entry] = {one.path: one for one in manifest.entries}
        self.said = said
        self._blobs = blobs

    @property
    def paths(self) -> set[str]:
        return self.entries.keys() - {""}

    def attributes(self, path: str) -> Attributes:
        found = self.entries[path]
        assert isinstance(found, File | Directory | Symlink | Fifo)
        return found.attributes

    def text(self, path: str) -> bytes:
        found = self.entries[path]
        assert isinstance(found, File)
        return asyncio.run(bytes_of(found, self._blobs))


def add(*data: bytes, below: dict[str, Entry] = IMAGE, dest: str = "/srv/", **more: Any) -> Added:
    """`ADD 0 1 ... dest`, each file with these bytes."""

    async def work() -> Added:
        blobs = MemoryBlobs()
        files = {str(number): one for number, one in enumerate(data)}
        tree = local_tree(files, {"link": "0"})
        await keep_tree(blobs, tree, files)
        sources = Sources(tree=encode(tree))
        for one in (PASSWD, GROUP):
            await blobs.put(one)
        names = more.pop("sources", " ".join(files)).split()
        copy = Copy(sources=tuple(names), dest=dest, unpack=True, line=7, **more)
        said: list[str] = []
        laid = await copied(copy, sources, below.get, blobs, said.append)
        taken = await lay(laid, blobs, below.get)
        return Added(decode(await blobs.get(taken.manifest)), blobs, said)

    return asyncio.run(work())


@pytest.mark.parametrize("packer", PACKERS)
def test_an_archive_is_unpacked_however_it_is_packed(packer: str) -> None:
    added = add(PACKERS[packer](PLAIN))
    assert added.paths == {"srv", "srv/a", "srv/d", "srv/d/b"}
    assert (added.text("srv/a"), added.text("srv/d/b")) == (b"first", b"b")
    assert added.attributes("srv/d").mode == 0o750
    assert added.said == []


def test_what_is_in_several_streams_is_one_archive() -> None:
    big = archive([(info("big"), os.urandom(3 << 20)), (info("last"), b"last")])
    for pack in (PACKERS["gzip"], PACKERS["bzip2"], PACKERS["xz"], PACKERS["zstd"]):
        packed = pack(big[: 2 << 20]) + pack(big[2 << 20 :])
        added = add(packed)
        assert added.text("srv/big") == big[512 : 512 + (3 << 20)]
        assert added.text("srv/last") == b"last"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"some text",
        bytes(10_240),
        gzip.compress(b"one file, packed", mtime=0),
        bz2.compress(b"one file, packed"),
        lzma.compress(b"one file, packed"),
        zstandard.ZstdCompressor().compress(b"one file, packed"),
        b"\x1f\x8b and then no gzip",
        b"\xfd7zXZ\x00 and then no xz" * 100,
        PLAIN[:400],
        b"\0" + PLAIN,
    ],
    ids=lambda data: repr(data[:12]),
)
def test_what_is_no_archive_is_added_as_it_is(data: bytes) -> None:
    added = add(data)
    assert added.paths == {"srv", "srv/0"}
    assert added.text("srv/0") == data


def test_a_name_says_nothing_and_a_link_is_followed_and_copy_unpacks_nothing() -> None:
    assert add(PLAIN, sources="link").paths >= {"srv/a"}
    assert add(PLAIN, b"plain").paths == {"srv", "srv/a", "srv/d", "srv/d/b", "srv/1"}

    async def copy() -> set[str]:
        blobs = MemoryBlobs()
        files = {"x.tar": PLAIN}
        tree = local_tree(files)
        await keep_tree(blobs, tree, files)
        sources = Sources(tree=encode(tree))
        laid = await copied(Copy(sources=("x.tar",), dest="/srv/"), sources, IMAGE.get, blobs, print)
        return {one.path for one in laid}

    assert asyncio.run(copy()) == {"srv/x.tar"}


def test_an_archive_in_a_directory_that_is_added_stays_packed() -> None:
    async def work() -> set[str]:
        blobs = MemoryBlobs()
        files = {"dir/x.tar": PLAIN}
        tree = local_tree(files)
        await keep_tree(blobs, tree, files)
        copy = Copy(sources=("dir",), dest="/srv/", unpack=True)
        laid = await copied(copy, Sources(tree=encode(tree)), IMAGE.get, blobs, print)
        return {one.path for one in laid}

    assert asyncio.run(work()) == {"srv/x.tar"}


def test_owners_modes_times_links_and_attributes_are_the_archives() -> None:
    file, sym = info("f", mode=0o4755), info("s", tarfile.SYMTYPE, target="/etc/../f")
    file.uid, file.gid, file.mtime = 1000, 50, 1_234_567_890
    file.pax_headers = {"SCHILY.xattr.user.k": "v", "SCHILY.xattr.trusted.overlay.opaque": "y"}
    hard, fifo = info("h", tarfile.LNKTYPE, target="f"), info("p", tarfile.FIFOTYPE)
    added = add(archive([(file, b"x"), (sym, b""), (hard, b""), (fifo, b"")]))
    one = added.attributes("srv/f")
    assert (one.mode, one.uid, one.gid, one.mtime_ns) == (0o4755, 1000, 50, 1_234_567_890 * 10**9)
    assert one.xattrs == (("user.k", b"v"),)
    assert added.entries["srv/h"] == Hardlink(path="srv/h", first="srv/f")
    found = added.entries["srv/s"]
    assert isinstance(found, Symlink)
    assert found.target == "/etc/../f"
    assert isinstance(added.entries["srv/p"], Fifo)
    assert added.said == ["  extended attributes of 'f' left out: trusted.overlay.opaque"]


def test_chown_is_for_all_of_it_and_chmod_for_what_is_not_unpacked() -> None:
    users = {**IMAGE, **{path: USERS[path] for path in ("etc/passwd", "etc/group")}}
    added = add(PLAIN, b"plain", below=users, dest="/srv/new/", chown="web:staff", chmod="700")
    for path in ("srv/new", "srv/new/a", "srv/new/d", "srv/new/d/b", "srv/new/1"):
        assert (added.attributes(path).uid, added.attributes(path).gid) == (33, 50), path
    modes = {path: added.attributes(path).mode for path in ("srv/new", "srv/new/a", "srv/new/d", "srv/new/1")}
    assert modes == {"srv/new": 0o755, "srv/new/a": 0o644, "srv/new/d": 0o750, "srv/new/1": 0o700}


def test_directories_of_the_image_of_which_an_archive_tells_nothing_stay_as_they_are() -> None:
    told = archive(
        [(info("./", tarfile.DIRTYPE, mode=0o700), b""), (info("etc", tarfile.DIRTYPE, mode=0o711), b"")]
    )
    added = add(archive([(info("tmp/x"), b"x"), (info("etc/motd"), b"new")]), told, dest="/")
    assert added.attributes("tmp") == STICKY
    assert added.attributes("etc").mode == 0o711
    assert added.attributes("").mode == 0o755
    assert added.text("etc/motd") == b"new"
    assert added.attributes("etc/motd") == Attributes(mode=0o644)


def test_the_links_of_an_image_are_followed_within_it_and_nowhere_else() -> None:
    library = archive(
        [(info("lib", tarfile.DIRTYPE), b""), (info("lib/x"), b"x"), (info("lib/deep/y"), b"y")]
    )
    added = add(library, dest="/")
    assert added.paths == {"usr", "usr/lib", "usr/lib/x", "usr/lib/deep", "usr/lib/deep/y"}
    hostile = image(
        link("etc", "../../../../../../outside"),
        link("dev", "/proc/1/root/dev"),
        folder("proc"),
        folder("outside", STICKY),
    )
    added = add(archive([(info("etc/passwd"), b"x")]), below=hostile, dest="/")
    assert added.paths == {"outside", "outside/passwd"}, "`..` ends at the root of the image"
    assert added.attributes("outside") == STICKY
    with pytest.raises(ImageBuildError, match="/proc/1/root/dev is a file in the image"):
        add(archive([(info("dev/sda"), b"x")]), below=hostile, dest="/")
    circle = image(link("a", "b"), link("b", "a"))
    with pytest.raises(ImageBuildError, match="links in the image"):
        add(archive([(info("a/x"), b"x")]), below=circle, dest="/")


def test_names_of_one_file_stay_that_wherever_the_links_of_the_image_lead() -> None:
    moved = image(folder("z"), link("a", "z"), folder("m"))
    members = [(info("a/one"), b"x"), (info("m/two", tarfile.LNKTYPE, target="a/one"), b"")]
    added = add(archive(members), below=moved, dest="/")
    assert added.entries["z/one"] == Hardlink(path="z/one", first="m/two")
    assert added.text("m/two") == b"x"
    # Of the image's own files it has the bytes, and is another file.
    added = add(archive([(info("h", tarfile.LNKTYPE, target="etc/motd"), b"")]), dest="/")
    assert isinstance(added.entries["h"], File)
    assert added.paths == {"h"}


def test_a_directory_and_a_file_never_take_the_place_of_each_other() -> None:
    for data, dest in (
        (archive([(info("etc"), b"x")]), "/"),
        (archive([(info("motd/x"), b"x")]), "/etc"),
        (archive([(info("motd", tarfile.DIRTYPE), b"")]), "/etc/"),
        (PLAIN, "/etc/motd"),
    ):
        with pytest.raises(ImageBuildError, match="in the image"):
            add(data, dest=dest)


def test_of_two_archives_the_later_one_counts_and_goes_through_no_link_of_the_first() -> None:
    assert add(PLAIN, archive([(info("a"), b"second")])).text("srv/a") == b"second"
    first = archive([(info("out", tarfile.SYMTYPE, target="/etc"), b"")])
    with pytest.raises(LayerInvalid, match="ADD cannot unpack 1 \\(line 7\\)") as refused:
        add(first, archive([(info("out/passwd"), b"x")]))
    assert refused.value.entry == "out/passwd"


def test_devices_are_left_out_and_named() -> None:
    made = archive(
        [(info("dev/null", tarfile.CHRTYPE), b""), (info("dev/x", tarfile.BLKTYPE), b""), (info("f"), b"f")]
    )
    added = add(made)
    assert added.paths == {"srv", "srv/dev", "srv/f"}
    assert [line.split(" is ")[0] for line in added.said] == ["  'dev/null'", "  'dev/x'"]


@pytest.mark.parametrize("attack", REFUSED)
def test_an_archive_that_leads_out_is_refused_with_its_line(attack: str) -> None:
    with pytest.raises(LayerInvalid, match="ADD cannot unpack 0 \\(line 7\\)") as refused:
        add(archive([(info("first"), b"")], ends=False) + REFUSED[attack] + END)
    assert "COPY" in refused.value.remedy


@pytest.mark.parametrize("packer", PACKERS)
def test_what_is_cut_off_or_damaged_is_refused(packer: str) -> None:
    big = archive([(info("a"), b"a" * 5000), (info("b"), os.urandom(3 << 20))])
    packed = PACKERS[packer](big)
    with pytest.raises(LayerInvalid):
        add(packed[: len(packed) * 2 // 3])
    if packer != "tar":
        half = len(packed) // 2
        with pytest.raises(LayerInvalid):
            add(
                packed[:half]
                + bytes(byte ^ 0xFF for byte in packed[half : half + 200])
                + packed[half + 200 :]
            )


def test_a_whiteout_of_a_layer_is_no_file_that_anybody_adds() -> None:
    with pytest.raises(LayerInvalid, match=r"'d/\.wh\.x' is named as only"):
        add(archive([(info("d/.wh.x"), b"")]))


_BOMB = """
import asyncio, bz2, gzip, io, lzma, sys
from squall.blobs.chunks import CHUNK_BYTES
from squall.blobs.manifest import Attributes, File, Part
from squall.blobs.memory_blobs import MemoryBlobs
from squall.images.rooted.archives import Archives
from squall.model.errors import LayerTooLarge
from tests.unit.images.oci.archives import header, records
from tests.unit.images.rooted.test_archives import IMAGE, bomb

class Nowhere(MemoryBlobs):
    # The chunks of a bomb, in their order.
    coming, rest = bomb(sys.argv[1]), b""
    async def get(self, digest, *, start=0, stop=None):
        while len(self.rest) < CHUNK_BYTES:
            self.rest += next(self.coming)
        chunk, self.rest = self.rest[:CHUNK_BYTES], self.rest[CHUNK_BYTES:]
        return chunk
    async def put(self, data, *, announced=None, forced=True):
        return announced
    async def has_many(self, digests, *, renew=False):
        return frozenset(digests)
    async def force(self, digests):
        pass

async def work():
    archives = Archives("/srv", None, IMAGE.get, Nowhere(), print)
    parts = tuple(Part(chunk=f"{n:064x}", offset=0, length=CHUNK_BYTES) for n in range(100_000))
    file = File(path="bomb", attributes=Attributes(mode=0o644), size=100_000 * CHUNK_BYTES, parts=parts)
    try:
        await archives.add(file, "bomb")
    finally:
        await archives.close()

try:
    asyncio.run(work())
except LayerTooLarge as error:
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
    print(peak.split()[1], error)
"""


def bomb(kind: str) -> Iterator[bytes]:
    """An archive that unpacks to far too much, or has far too many entries."""
    from tests.unit.images.oci.archives import header, records

    head = records([(b"size", b"%d" % (100 << 30))]) + header(b"zeros")
    if kind in PACKERS:
        pack = PACKERS[kind]
        yield pack(head)
        again = pack(bytes(32 << 20))
        while True:
            yield again
    for start in range(0, 10_000_000, 1000):
        yield b"".join(entry(b"%d/d/d" % number) for number in range(start, start + 1000))


@pytest.mark.timeout(200)
@pytest.mark.needs("linux")
@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "zstd", "entries"])
def test_a_bomb_is_stopped_below_256_mib(kind: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _BOMB, kind],
        capture_output=True,
        text=True,
        check=False,
        timeout=190,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout.split()[0]) < 256 << 10, ended.stdout


def test_what_is_downloaded_is_roots_alone_and_stays_packed() -> None:
    async def work(dest: str, **more: str) -> dict[str, Attributes]:
        blobs = MemoryBlobs()
        address = "https://example.org/a%20b.tar?signed=1"
        sources = Sources(fetched={address: Fetched(await blobs.put(PLAIN), len(PLAIN))})
        copy = Copy(addresses=(address,), dest=dest, unpack=True, **more)  # type: ignore[arg-type]
        laid = await copied(copy, sources, IMAGE.get, blobs, print)
        return {one.path: one.attributes for one in laid if isinstance(one, Blob)}

    assert asyncio.run(work("/srv/")) == {"srv/a b.tar": Attributes(mode=0o600)}
    told = asyncio.run(work("/opt/x", chmod="755", chown="7:8"))
    assert told == {"opt/x": Attributes(mode=0o755, uid=7, gid=8)}
    with pytest.raises(ImageBuildError, match="/srv is a directory in the image"):
        asyncio.run(work("/srv"))
