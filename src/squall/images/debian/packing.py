"""Packing: bytes of a member or an index, unpacked in parts of a bounded size. Pure."""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from typing import Final, Protocol

from squall.images.oci.compression import PART_BYTES, Unpacker
from squall.images.oci.limits import LIMITS, Limits
from squall.model.errors import LayerInvalid, LayerTooLarge

# Preset 9 of xz, the largest that its own program has, takes 65 MiB to read.
_XZ_MEMORY_BYTES: Final = 80 << 20
_XZ: Final = ".xz"
_READ_BY_THEMSELVES: Final = frozenset({"", ".gz", ".zst"})


class Unpacking(Protocol):
    """What unpacks bytes as they come; raises LayerInvalid, LayerTooLarge, FeatureUnavailable."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What these bytes unpack to."""
        ...

    def end(self) -> Iterator[bytes]:
        """Nothing more comes: what was held back."""
        ...


def unpacking_of(suffix: str, limits: Limits = LIMITS) -> Unpacking:
    """What unpacks a file whose name ends so: ".xz", ".gz", ".zst" or nothing. Raises ValueError for another one."""
    if suffix == _XZ:
        return _Xz(limits)
    if suffix not in _READ_BY_THEMSELVES:
        raise ValueError(f"it is packed in a way that is not known here: {suffix[:20]!r}")
    return Unpacker(limits)


class _Xz:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._stream: lzma.LZMADecompressor | None = None
        self._packed = 0
        self._unpacked = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._packed += len(data)
        while data:
            if self._stream is None or self._stream.eof:
                # Streams may follow each other, with zeros between them.
                data = data.lstrip(b"\0") if self._stream is not None else data
                if not data:
                    return
                self._stream = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)
            yield from self._parts(self._stream, data)
            data = self._stream.unused_data if self._stream.eof else b""

    def end(self) -> Iterator[bytes]:
        if self._stream is None or not self._stream.eof:
            raise LayerInvalid("the bytes that xz packed are cut off")
        yield from ()

    def _parts(self, stream: lzma.LZMADecompressor, data: bytes) -> Iterator[bytes]:
        while True:
            try:
                part = stream.decompress(data, PART_BYTES)
            except lzma.LZMAError as error:
                raise LayerInvalid(f"the bytes that xz packed are damaged: {error}") from error
            data = b""
            self._unpacked += len(part)
            limits = self._limits
            if self._unpacked > max(limits.ratio_from_bytes, self._packed * limits.ratio):
                raise LayerTooLarge(
                    f"it unpacks to more than {limits.ratio} times its size: {self._packed} bytes to "
                    f"{self._unpacked} so far",
                    limit=limits.ratio,
                )
            if part:
                yield part
            if stream.eof or (stream.needs_input and len(part) < PART_BYTES):
                return
