from __future__ import annotations

import gzip
import random
import sys
import zlib

import pytest
import zstandard
from hypothesis import given, settings, strategies as st

from squall.images.oci.compression import PART_BYTES, Compression, Unpacker
from squall.images.oci.limits import Limits
from squall.model.errors import FeatureUnavailable, LayerInvalid, LayerTooLarge

NOISE = random.Random(1).randbytes(300_000)
SKIPPED = b"\x5a\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"


def unpacked(
    data: bytes, *, step: int = 50_000, limits: Limits | None = None
) -> tuple[bytes, Compression | None]:
    unpacker = Unpacker(limits) if limits else Unpacker()
    parts: list[bytes] = []
    for at in range(0, len(data), step):
        parts += unpacker.feed(data[at : at + step])
    parts += unpacker.end()
    assert all(0 < len(part) <= PART_BYTES for part in parts)
    return b"".join(parts), unpacker.compression


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


@pytest.mark.parametrize("step", [1, 7, 50_000, 10_000_000])
@pytest.mark.parametrize("data", [b"", b"x", b"some bytes", NOISE[:20_000]])
def test_each_kind_is_known_by_its_first_bytes(data: bytes, step: int) -> None:
    assert unpacked(data, step=step) == (data, Compression.NONE)
    assert unpacked(gzip.compress(data, mtime=0), step=step) == (data, Compression.GZIP)
    assert unpacked(zstd(data), step=step) == (data, Compression.ZSTD)


@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=4), st.integers(1, 4000))
@settings(deadline=None, max_examples=60)
def test_pieces_one_after_the_other_are_one_stream(pieces: list[bytes], step: int) -> None:
    whole = b"".join(pieces)
    assert unpacked(b"".join(map(gzip.compress, pieces)), step=step)[0] == whole
    assert unpacked(SKIPPED + b"".join(map(zstd, pieces)) + SKIPPED, step=step)[0] == whole


def test_parts_are_small_whatever_comes_out_of_them() -> None:
    zeros = bytes(40 << 20)
    assert unpacked(gzip.compress(zeros, mtime=0))[0] == zeros
    assert unpacked(zstd(zeros))[0] == zeros
    assert unpacked(gzip.compress(NOISE * 10, mtime=0), step=1 << 20)[0] == NOISE * 10


def test_zeros_behind_a_gzip_are_padding() -> None:
    assert unpacked(gzip.compress(b"x", mtime=0) + bytes(1000), step=13)[0] == b"x"


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(NOISE, mtime=0)[:-1],
        gzip.compress(NOISE, mtime=0)[:1000],
        gzip.compress(b"x", mtime=0) + b"garbage",
        gzip.compress(b"x", mtime=0)[:-8] + b"\0" * 8,
        gzip.compress(b"x", mtime=0) + gzip.compress(b"y", mtime=0)[:5],
        zstd(NOISE)[:-1],
        zstd(NOISE)[:1000],
        zstd(b"x") + b"garbage",
        b"\x28\xb5\x2f\xfd" + b"\xff" * 20,
    ],
)
def test_what_is_damaged_or_cut_off_is_refused(data: bytes) -> None:
    with pytest.raises(LayerInvalid):
        unpacked(data)


def test_a_window_larger_than_what_writers_use_is_refused() -> None:
    asked = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)
    packed = zstandard.ZstdCompressor(compression_params=asked).compressobj()
    with pytest.raises(LayerInvalid, match="zstd"):
        unpacked(packed.compress(NOISE) + packed.flush())


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_what_unpacks_to_far_too_much_is_stopped(pack: object) -> None:
    assert callable(pack)
    bomb = pack(bytes(64 << 20))
    limits = Limits(ratio=100, ratio_from_bytes=2 << 20)
    with pytest.raises(LayerTooLarge, match="more than 100 times"):
        unpacked(bomb, limits=limits)
    assert len(unpacked(bomb, limits=Limits(ratio=100, ratio_from_bytes=64 << 20))[0]) == 64 << 20
    # A tenfold is nothing to be stopped for, however much it is.
    text = b"".join(b"%d\n" % number for number in range(900_000))
    assert unpacked(zlib.compress(text, wbits=31), limits=limits)[0] == text


def test_without_a_library_for_zstd_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setitem(sys.modules, "compression", None)
    with pytest.raises(FeatureUnavailable) as refused:
        unpacked(zstd(b"x"))
    assert "squall[zstd]" in refused.value.remedy
    assert unpacked(gzip.compress(b"x", mtime=0))[0] == b"x"
