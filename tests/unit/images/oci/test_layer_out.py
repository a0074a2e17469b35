from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import tarfile
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from squall.blobs.chunks import CHUNK_BYTES
from squall.blobs.digest import Digest
from squall.blobs.manifest import (
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
    key,
)
from squall.blobs.manifest_bytes import encode
from squall.blobs.memory_blobs import MemoryBlobs
from squall.images.oci.compression import Compression
from squall.images.oci.layer_in import layer_in
from squall.images.oci.layer_out import LayerOut, Written
from squall.images.oci.layer_tree import Place
from squall.images.oci.packing import Packing
from squall.model.errors import BlobCorrupt, BlobMissing, FeatureUnavailable, LayerInvalid, TreeInvalid
from tests.property.manifests import layers

PLAIN = Attributes(mode=0o644)
ROOT = Directory(path="", attributes=Attributes(mode=0o755))


async def written(
    manifest: Digest, blobs: MemoryBlobs, compression: Compression = Compression.NONE
) -> tuple[bytes, Written]:
    out = LayerOut(manifest, blobs, compression=compression)
    data = b"".join([part async for part in out.parts()])
    return data, out.written


def out_of(*entries: Entry, blobs: MemoryBlobs | None = None) -> bytes:
    async def run() -> bytes:
        store = blobs or MemoryBlobs()
        return (await written(await store.put(encode(Manifest((ROOT, *entries)))), store))[0]

    return asyncio.run(run())


def opened(data: bytes) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape")


async def again(data: bytes) -> AsyncIterator[bytes]:
    yield data


_sizes = st.sampled_from([0, 1, 500, 3000, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES])
_longs = st.sampled_from(["", "n" * 99, "n" * 101, "é" * 60, "\udcff" * 102])


async def with_bytes(manifest: Manifest, sizes: list[int], long: str, blobs: MemoryBlobs) -> Manifest:
    """The same paths, with bytes that are in the store, one long name more, and what every archive keeps."""
    drawn = [*manifest.entries]
    if long:
        strange = Attributes(mode=0o600, uid=1 << 22, mtime_ns=-(10**18) - 5)
        drawn.append(File(path="x" + long, attributes=strange))
        link = Attributes(mode=0o777, mtime_ns=10**19 // 2)
        drawn.append(Symlink(path="y", attributes=link, target="t/" + long))
    packing = Packing()
    places: dict[str, Place] = {}
    for number, entry in enumerate(sorted(drawn, key=key)):
        if isinstance(entry, File):
            size = sizes[number % len(sizes)]
            places[entry.path] = packing.begin(entry.path, size)
            packing.add(bytes([number % 251 + 1]) * size)
    packing.end()
    chunks = {number: await blobs.put(data) for number, data in packing.chunks}
    entries = [filled(entry, places, chunks) for entry in sorted(drawn, key=key)]
    return Manifest(tuple(entries))


def filled(entry: Entry, places: dict[str, Place], chunks: dict[int, Digest]) -> Entry:
    if not isinstance(entry, File | Directory | Fifo):
        return entry
    prefix = "user." if not isinstance(entry, Fifo) else "none"
    xattrs = tuple(pair for pair in entry.attributes.xattrs if pair[0].startswith(prefix))
    kept = replace(entry.attributes, xattrs=xattrs)
    if not isinstance(entry, File):
        return replace(entry, attributes=kept)
    place = places[entry.path]
    parts = tuple(
        Part(
            chunk=chunks[place.chunk + turn], offset=place.offset, length=min(CHUNK_BYTES, place.size - start)
        )
        for turn, start in enumerate(range(0, place.size, CHUNK_BYTES))
    )
    return replace(entry, attributes=kept, size=place.size, parts=parts)


@given(
    layers,
    st.lists(_sizes, min_size=1, max_size=4),
    _longs,
    st.sampled_from([Compression.NONE, Compression.GZIP]),
)
@settings(deadline=None, max_examples=150)
def test_a_manifest_comes_back_from_its_archive_as_it_was(
    drawn: Manifest, sizes: list[int], long: str, compression: Compression
) -> None:
    async def run() -> None:
        blobs = MemoryBlobs()
        manifest = await with_bytes(drawn, sizes, long, blobs)
        name = await blobs.put(encode(manifest))
        data, told = await written(name, blobs, compression)
        plain = gzip.decompress(data) if compression is Compression.GZIP else data
        assert (told.digest, told.size) == (hashlib.sha256(data).hexdigest(), len(data))
        assert (told.diff_id, told.unpacked_bytes) == (hashlib.sha256(plain).hexdigest(), len(plain))
        # The chunks too: an archive in our order is cut as the directory was.
        layer = await layer_in(again(data), blobs)
        assert layer.manifest == name
        assert (layer.diff_id, layer.digest, layer.noted) == (told.diff_id, told.digest, 0)
        assert (await written(name, blobs, compression))[0] == data
        check_against_the_standard_library(plain, manifest)

    asyncio.run(run())


def check_against_the_standard_library(data: bytes, manifest: Manifest) -> None:
    with opened(data) as tar:
        found = {member.name.removeprefix("./").rstrip("/"): member for member in tar}
    for entry in manifest.entries:
        above, slash, last = entry.path.rpartition("/")
        if isinstance(entry, Whiteout):
            assert found[f"{above}{slash}.wh.{last}"].isreg()
            continue
        member = found[entry.path or "."]
        match entry:
            case Hardlink():
                assert (member.type, member.linkname) == (tarfile.LNKTYPE, entry.first)
                continue
            case Symlink():
                assert (member.type, member.linkname) == (tarfile.SYMTYPE, entry.target)
            case Directory():
                assert member.isdir()
                assert ((f"{entry.path}/" if entry.path else "") + ".wh..wh..opq" in found) == entry.opaque
            case File():
                assert (member.type, member.size) == (tarfile.REGTYPE, entry.size)
            case Fifo():
                assert member.type == tarfile.FIFOTYPE
        kept = entry.attributes
        assert (member.mode, member.uid, member.gid) == (kept.mode, kept.uid, kept.gid)
        for name, value in kept.xattrs:
            told = member.pax_headers[f"SCHILY.xattr.{name}"]
            assert told.encode("utf-8", "surrogateescape") == value


def test_whole_seconds_are_in_the_header_and_the_rest_in_records() -> None:
    times = (0, 5_000_000_000, 5_000_000_001, -1, -1_500_000_000, 1 << 62, (1 << 33) * 1_000_000_000)
    files = [
        File(path=f"{number}", attributes=Attributes(mode=0o644, mtime_ns=ns))
        for number, ns in enumerate(times)
    ]
    with opened(out_of(*files)) as tar:
        said = [member.pax_headers.get("mtime", member.mtime) for member in tar][1:]
    assert said == [0, 5, "5.000000001", "-0.000000001", "-1.5", "4611686018.427387904", "8589934592"]


def test_a_name_that_others_read_as_a_whiteout_is_refused() -> None:
    for path in (".wh.a", "d/.wh.a", ".wh..wh..opq"):
        above = [Directory(path="d", attributes=PLAIN)] if "/" in path else []
        with pytest.raises(LayerInvalid, match="read such names as whiteouts"):
            out_of(*above, File(path=path, attributes=PLAIN))


def test_an_attribute_that_no_archive_can_say_is_refused() -> None:
    with pytest.raises(LayerInvalid, match="'='"):
        out_of(File(path="f", attributes=Attributes(mode=0o644, xattrs=(("user.a=b", b""),))))


def test_a_chunk_that_is_missing_or_too_short_is_refused() -> None:
    blobs = MemoryBlobs()
    short = asyncio.run(blobs.put(b"short"))
    with pytest.raises(BlobCorrupt):
        out_of(
            File(path="f", attributes=PLAIN, size=9, parts=(Part(chunk=short, offset=0, length=9),)),
            blobs=blobs,
        )
    with pytest.raises(BlobMissing):
        out_of(File(path="f", attributes=PLAIN, size=5, parts=(Part(chunk=short, offset=0, length=5),)))


def test_a_hard_link_to_what_is_no_file_is_refused() -> None:
    async def run() -> None:
        blobs = MemoryBlobs()
        whole = encode(Manifest((ROOT, File(path="a", attributes=PLAIN), Hardlink(path="b", first="a"))))
        with pytest.raises(TreeInvalid):
            await written(
                await blobs.put(whole.replace(b'["f","a",420,0,0,0,[],0,[]]\n', b'["w","a"]\n')), blobs
            )

    asyncio.run(run())


def test_what_was_written_is_told_at_the_end_only() -> None:
    async def run() -> None:
        blobs = MemoryBlobs()
        out = LayerOut(await blobs.put(encode(Manifest((ROOT,)))), blobs)
        with pytest.raises(ValueError, match="not written"):
            _ = out.written
        data = b"".join([part async for part in out.parts()])
        assert out.written.size == len(data)
        assert data[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
        assert len(gzip.decompress(data)) == out.written.unpacked_bytes == 512 + 1024
        with pytest.raises(FeatureUnavailable):
            LayerOut(out.written.digest, blobs, compression=Compression.ZSTD)

    asyncio.run(run())
