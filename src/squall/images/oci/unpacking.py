"""Unpacking: bytes that a program of Unix has packed, unpacked in parts of a bounded size. Pure."""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from squall.images.oci.compression import PART_BYTES, Unpacker
from squall.images.oci.limits import LIMITS, Limits
from squall.model.errors import LayerInvalid, LayerTooLarge

# Preset 9 of xz, the largest that its own program has, takes 65 MiB to read.
_XZ_MEMORY_BYTES: Final = 80 << 20
_READ_BY_THEMSELVES: Final = frozenset({"", ".gz", ".zst"})
_BEGINS: Final = {b"BZh": ".bz2", b"\xfd7zXZ\x00": ".xz"}


class Unpacking(Protocol):
    """What unpacks bytes as they come; raises LayerInvalid, LayerTooLarge, FeatureUnavailable."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What these bytes unpack to."""
        ...

    def end(self) -> Iterator[bytes]:
        """Nothing more comes: what was held back."""
        ...


def unpacking_of(suffix: str, limits: Limits = LIMITS) -> Unpacking:
    """What unpacks a file whose name ends so: ".xz", ".bz2", ".gz", ".zst" or nothing. Raises ValueError for another one."""
    if suffix == ".xz":
        return _Streams("xz", _xz, limits)
    if suffix == ".bz2":
        return _Streams("bzip2", bz2.BZ2Decompressor, limits)
    if suffix not in _READ_BY_THEMSELVES:
        raise ValueError(f"it is packed in a way that is not known here: {suffix[:20]!r}")
    return Unpacker(limits)


def unpacking_by(start: bytes, limits: Limits = LIMITS) -> Unpacking:
    """What unpacks bytes that begin so, by what they say of themselves; what is not packed comes out as it is."""
    suffix = next((suffix for begin, suffix in _BEGINS.items() if start.startswith(begin)), "")
    return unpacking_of(suffix, limits)


class _Stream(Protocol):
    """A decompressor of the standard library."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _xz() -> _Stream:
    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)


class _Streams:
    """Streams that one program has packed, one after the other. name: of that program."""

    def __init__(self, name: str, begin: Callable[[], _Stream], limits: Limits) -> None:
        self._name = name
        self._begin = begin
        self._limits = limits
        self._stream: _Stream | None = None
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
                self._stream = self._begin()
            yield from self._parts(self._stream, data)
            data = self._stream.unused_data if self._stream.eof else b""

    def end(self) -> Iterator[bytes]:
        if self._stream is None or not self._stream.eof:
            raise LayerInvalid(f"the bytes that {self._name} packed are cut off")
        yield from ()

    def _parts(self, stream: _Stream, data: bytes) -> Iterator[bytes]:
        while True:
            try:
                part = stream.decompress(data, PART_BYTES)
            except (lzma.LZMAError, OSError, ValueError) as error:
                raise LayerInvalid(f"the bytes that {self._name} packed are damaged: {error}") from error
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
