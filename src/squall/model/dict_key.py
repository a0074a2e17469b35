"""Dict key: a value as the bytes that are the same for all that equal it, and back."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

from squall.model.errors import DeserializationError, DictKeyInvalid
from squall.model.shared import MOST_KEY_BYTES

Key = str | bytes | int | float | bool | None | tuple[Any, ...]

_DEEPEST: Final = 16
_LENGTH: Final = struct.Struct("!I")
_FLOAT: Final = struct.Struct("!d")


def key_bytes(key: Any) -> bytes:
    """A key as bytes: equal keys have equal bytes, others have others. Raises DictKeyInvalid.

    As in a dict, 1, 1.0 and True are one key. What inherits from a string or a number counts as that.
    """
    data = _written(key, _DEEPEST)
    if len(data) > MOST_KEY_BYTES:
        raise DictKeyInvalid(f"a key of {len(data)} bytes, and at most {MOST_KEY_BYTES} may be")
    return data


def key_of(data: bytes) -> Any:
    """The key that these bytes are; numbers come back in their plainest form. Raises DeserializationError."""
    try:
        return _read(bytes(data), _DEEPEST)
    except (ValueError, IndexError, struct.error, UnicodeDecodeError) as wrong:
        raise DeserializationError(f"these bytes are no key of a Dict: {wrong}") from None


def _written(key: Any, deepest: int) -> bytes:
    if key is None:
        return b"n"
    if isinstance(key, str):
        return b"s" + str.encode(key, "utf-8", "surrogatepass")
    if isinstance(key, bytes):
        return b"b" + bytes(key)
    if isinstance(key, int):
        if key.bit_length() > 4 * MOST_KEY_BYTES:
            raise DictKeyInvalid(f"a number of {key.bit_length()} bits is too large for a key")
        return b"i" + format(int(key), "x").encode()
    if isinstance(key, float):
        return _written_float(float(key))
    if isinstance(key, tuple) and deepest:
        parts = [_written(part, deepest - 1) for part in key]
        return b"t" + b"".join(_LENGTH.pack(len(part)) + part for part in parts)
    what = "a tuple nested so deep" if isinstance(key, tuple) else f"a {type(key).__qualname__}"
    raise DictKeyInvalid(f"{what} cannot be a key of a Dict")


def _written_float(key: float) -> bytes:
    if key != key:  # noqa: PLR0124 - true of NaN alone
        raise DictKeyInvalid("NaN does not equal itself, so nobody would find it again")
    if key.is_integer():
        return _written(int(key), 0)
    return b"f" + _FLOAT.pack(key)


def _read(data: bytes, deepest: int) -> Any:
    kind, rest = data[:1], data[1:]
    if kind == b"n" and not rest:
        return None
    if kind == b"s":
        return rest.decode("utf-8", "surrogatepass")
    if kind == b"b":
        return rest
    if kind == b"i":
        return int(rest, 16)
    if kind == b"f":
        return _FLOAT.unpack(rest)[0]
    if kind == b"t" and deepest:
        return tuple(_read(part, deepest - 1) for part in _parts(rest))
    raise ValueError(f"they begin with {kind!r}")


def _parts(rest: bytes) -> Iterator[bytes]:
    while rest:
        (size,) = _LENGTH.unpack_from(rest)
        part, rest = rest[4 : 4 + size], rest[4 + size :]
        if len(part) < size:
            raise ValueError("a part is missing")
        yield part
