"""The parts of an exception that only pickle can carry, each by itself and each bounded."""

from __future__ import annotations

import pickle
from typing import Any, Final

from squall.model.raised import PARTS_LIMIT_BYTES

_PART_LIMIT_BYTES: Final = 1024 * 1024
_PLAIN_CHARS: Final = 1024
_PLAIN_INT: Final = 2**53
_LEFT_OUT: Final = "[left in the container: {}]"


class Parts:
    """Collects what JSON cannot carry: {node: ({position: pickle}, {attribute: pickle})}.

    A part by itself, so that one that cannot be pickled here, or unpickled there, costs nothing but itself.
    """

    def __init__(self) -> None:
        self._room = PARTS_LIMIT_BYTES
        self._nodes: dict[int, tuple[dict[int, bytes], dict[str, bytes]]] = {}

    def args(self, node: int, args: tuple[Any, ...]) -> list[Any]:
        """The arguments with plain values in place and a word for each that travels pickled or not at all."""
        return [self._value(node, index, value) for index, value in enumerate(args[:64])]

    def state(self, node: int, state: dict[str, Any]) -> dict[str, Any]:
        """The attributes, in the same way."""
        return {name: self._value(node, name, value) for name, value in list(state.items())[:64]}

    def pack(self) -> bytes | None:
        """The payload beside the head; None where the head says everything."""
        return pickle.dumps(self._nodes, protocol=5) if self._nodes else None

    def _value(self, node: int, where: int | str, value: Any) -> Any:
        if is_plain(value):
            return value
        if type(value) is str and len(value) > _PART_LIMIT_BYTES:
            return cut(value, _PLAIN_CHARS)
        try:
            part = _pickled(value, min(self._room, _PART_LIMIT_BYTES))
        except BaseException as refused:  # noqa: BLE001 - foreign __reduce__ and __getstate__ end here, whatever they raise
            return _LEFT_OUT.format(_why(value, refused))
        self._room -= len(part)
        by_position, by_name = self._nodes.setdefault(node, ({}, {}))
        if isinstance(where, int):
            by_position[where] = part
        else:
            by_name[where] = part
        return None


def is_plain(value: Any) -> bool:
    """Whether JSON carries the value there and back unchanged, in little room."""
    if value is None or type(value) is bool:
        return True
    if type(value) is str:
        return len(value) <= _PLAIN_CHARS and _is_utf8(value)
    if type(value) is int:
        return -_PLAIN_INT < value < _PLAIN_INT
    return type(value) is float and value - value == 0


def cut(text: str, limit: int) -> str:
    """The text, or its beginning and how much follows; without lone surrogates, which UTF-8 cannot carry."""
    short = (
        text if len(text) <= limit else f"{text[:limit]}... [{len(text) - limit} more characters left out]"
    )
    return short if _is_utf8(short) else short.encode(errors="backslashreplace").decode()


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _BoundedFile:
    """A file that refuses to grow beyond its limit, so that a huge value stops early."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._pieces: list[bytes] = []

    def write(self, piece: Any) -> int:
        data = bytes(piece) if len(piece) <= self._limit - self._size else None
        if data is None:
            raise OverflowError("too large")
        self._pieces.append(data)
        self._size += len(data)
        return len(data)

    def value(self) -> bytes:
        return b"".join(self._pieces)


def _pickled(value: Any, limit: int) -> bytes:
    if isinstance(value, str | bytes | bytearray) and len(value) > limit:
        raise OverflowError("too large")
    file = _BoundedFile(limit)
    pickle.Pickler(file, protocol=5).dump(value)
    return file.value()


def _why(value: Any, refused: BaseException) -> str:
    kind = type.__dict__["__qualname__"].__get__(type(value))
    reason = type.__dict__["__qualname__"].__get__(type(refused))
    size = f" of {len(value)} bytes" if type(value) in {bytes, bytearray} else ""
    return f"{kind[:100]}{size}, {'too large' if isinstance(refused, OverflowError) else reason[:100]}"
