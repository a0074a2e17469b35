"""Compression: a layer's bytes as they came, unpacked in parts of a bounded size."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from enum import Enum
from typing import Any, Final, Protocol

from squall.images.oci.limits import LIMITS, Limits
from squall.model.errors import FeatureUnavailable, LayerInvalid, LayerTooLarge

PART_BYTES: Final = 1 << 20

_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_SKIPPED_MAGIC: Final = (
    b"\x2a\x4d\x18"  # after one byte from 0x50 to 0x5f: a frame of zstd with nothing of the layer
)
_MAGIC_BYTES: Final = 4

# What is taken at once: a stream may be made of thousands of tiny pieces, each of which leaves the rest as a copy.
_SLICE_BYTES: Final = 16 << 10

_GZIP_WITH_HEADER: Final = 16 + zlib.MAX_WBITS
# The window that the format asks every reader to have is 8 MiB; the strongest levels of some writers use four times that.
_ZSTD_WINDOW_LOG: Final = 25
# The third-party library gives all that its input unpacks to at once, and 4 bytes may unpack to 128 KiB.
_ZSTD_SLICE_BYTES: Final = 1 << 10


class Compression(Enum):
    """How a layer is packed."""

    NONE = "tar"
    GZIP = "gzip"
    ZSTD = "zstd"


class _Frame(Protocol):
    """One of the compressed pieces that a stream is made of."""

    def unpack(self, data: bytes) -> Iterator[bytes]:
        """What these bytes unpack to, in parts."""
        ...

    @property
    def over(self) -> bool: ...

    @property
    def unused(self) -> bytes:
        """What came after its end."""
        ...


def compression_of(start: bytes) -> Compression:
    """How bytes that begin so are packed: what they say of themselves, not what was said of them."""
    if start.startswith(_GZIP_MAGIC):
        return Compression.GZIP
    if start.startswith(_ZSTD_MAGIC) or (start[1:4] == _SKIPPED_MAGIC and 0x50 <= start[0] <= 0x5F):
        return Compression.ZSTD
    return Compression.NONE


class Unpacker:
    """Unpacks a layer, however it is packed; it holds a few MiB, and for zstd up to 32.

    compression: what it was found to be, once its first bytes came. Raises LayerInvalid for damaged bytes, LayerTooLarge
    where a little unpacks to far too much, FeatureUnavailable where nothing here reads zstd.
    """

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.compression: Compression | None = None
        self._limits = limits
        self._start = b""
        self._frame: _Frame | None = None
        self._packed = 0
        self._unpacked = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What these bytes unpack to, in parts that are small enough to hold."""
        self._packed += len(data)
        if self.compression is None:
            self._start += data
            if len(self._start) < _MAGIC_BYTES:
                return
            data, self._start = self._start, b""
            self.compression = compression_of(data)
        for at in range(0, len(data), _SLICE_BYTES):
            yield from self._counted(self._unpack(data[at : at + _SLICE_BYTES]))

    def end(self) -> Iterator[bytes]:
        """Nothing more comes: what was held back. Raises LayerInvalid where something is missing."""
        if self.compression is None:
            self.compression = Compression.NONE
            yield from self._counted(self._unpack(self._start))
        if self._frame is not None and not self._frame.over:
            raise LayerInvalid("the compressed bytes of the layer are cut off")

    def _unpack(self, data: bytes) -> Iterator[bytes]:
        if self.compression is Compression.NONE:
            if data:
                yield data
            return
        while data:
            if self._frame is None or self._frame.over:
                # Padding to the end of some device's block, as the program gzip takes it.
                if self._frame is not None and self.compression is Compression.GZIP:
                    data = data.lstrip(b"\0")
                    if not data:
                        return
                self._frame = _GzipMember() if self.compression is Compression.GZIP else _zstd_frame()
            yield from self._frame.unpack(data)
            data = self._frame.unused

    def _counted(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        for part in parts:
            self._unpacked += len(part)
            limits = self._limits
            if self._unpacked > max(limits.ratio_from_bytes, self._packed * limits.ratio):
                raise LayerTooLarge(
                    f"the layer unpacks to more than {limits.ratio} times its size: {self._packed} bytes to "
                    f"{self._unpacked} so far",
                    limit=limits.ratio,
                )
            yield part


class _GzipMember:
    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(_GZIP_WITH_HEADER)

    @property
    def over(self) -> bool:
        return self._inflater.eof

    @property
    def unused(self) -> bytes:
        return self._inflater.unused_data

    def unpack(self, data: bytes) -> Iterator[bytes]:
        while True:
            try:
                part = self._inflater.decompress(data, PART_BYTES)
            except zlib.error as error:
                raise LayerInvalid(f"the gzip of the layer is damaged: {error}") from error
            data = self._inflater.unconsumed_tail
            if part:
                yield part
            # A full part may leave more inside, with all input taken.
            if self.over or (not data and len(part) < PART_BYTES):
                return


class _ZstdFrame:
    """A frame read with the standard library of Python 3.14 and later."""

    def __init__(self, decompressor: Any, error: type[Exception]) -> None:
        self._decompressor = decompressor
        self._error = error

    @property
    def over(self) -> bool:
        return bool(self._decompressor.eof)

    @property
    def unused(self) -> bytes:
        return bytes(self._decompressor.unused_data) if self.over else b""

    def unpack(self, data: bytes) -> Iterator[bytes]:
        while True:
            try:
                part = self._decompressor.decompress(data, PART_BYTES)
            except self._error as error:
                raise LayerInvalid(f"the zstd of the layer is damaged: {error}") from error
            data = b""
            if part:
                yield part
            if self.over or self._decompressor.needs_input:
                return


class _ZstandardFrame:
    """A frame read with the library `zstandard`."""

    def __init__(self, decompressor: Any, error: type[Exception]) -> None:
        self._decompressor = decompressor
        self._error = error
        self.unused = b""

    @property
    def over(self) -> bool:
        return bool(self._decompressor.eof)

    def unpack(self, data: bytes) -> Iterator[bytes]:
        self.unused = b""
        for at in range(0, len(data), _ZSTD_SLICE_BYTES):
            try:
                part = self._decompressor.decompress(data[at : at + _ZSTD_SLICE_BYTES])
            except self._error as error:
                raise LayerInvalid(f"the zstd of the layer is damaged: {error}") from error
            for start in range(0, len(part), PART_BYTES):
                yield part[start : start + PART_BYTES]
            if self.over:
                self.unused = self._decompressor.unused_data + data[at + _ZSTD_SLICE_BYTES :]
                return


def _zstd_frame() -> _Frame:
    try:
        from compression import zstd
    except ImportError:
        return _zstandard_frame()
    window = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
    return _ZstdFrame(zstd.ZstdDecompressor(options=window), zstd.ZstdError)


def _zstandard_frame() -> _Frame:
    try:
        import zstandard
    except ImportError as error:
        raise FeatureUnavailable(
            "the layer is packed with zstd, and nothing on this machine reads that",
            remedy="install the library: `pip install 'squall[zstd]'`, or run Squall on Python 3.14 or later",
            feature="zstd",
        ) from error
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << _ZSTD_WINDOW_LOG)
    return _ZstandardFrame(decompressor.decompressobj(), zstandard.ZstdError)
