"""The payload: users' values as bytes, for the two ends of a call alone; what lies between passes them on unread."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from squall.model.errors import DeserializationError
from squall.wire.by_value import dumps_by_value
from squall.wire.codec import Buffer, length, octets
from squall.wire.culprit import Role, not_serializable
from squall.wire.sealed import read_piece, read_sealed, seal

OUT_OF_BAND_FROM: Final = 64 * 1024
MEMFD_FROM: Final = 2 * 1024 * 1024

_PROTOCOL: Final = 5
_ALIGNED: Final = 64
_AS_BYTES: Final = 1 << 31
_MAIN: Final = b"__main__"
# A map that was read before is copied from faster than its file is read; the copy holds up all other threads.
_COPIED: Final = 256 * 1024 * 1024
# How a pickle first names the module that rebuilds code.
_CODE: Final = b"\x8c\x17cloudpickle.cloudpickle"


class Packed(NamedTuple):
    """A value as buffers: the first is a pickle, the others are memory that it refers to and that was not copied.

    lengths: of each buffer in bytes; a receiver that gets them joined cuts them apart by it (`split`).
    by_value: whether code travels in it, which needs the same minor version of Python on the other side.
    The memory is the value's own: it must not change until the buffers have been sent.
    """

    buffers: list[Buffer]
    lengths: list[int]
    by_value: bool

    @property
    def size(self) -> int:
        """Bytes in all buffers together."""
        return sum(self.lengths)


class Many(NamedTuple):
    """Values packed one by one: the bytes of each, and all of them joined."""

    lengths: list[int]
    buffer: bytes


def pack(value: Any, *, role: Role = "value", main: str | None = None) -> Packed:
    """`value` as buffers that `unpack` makes the value of again.

    Arrays and the like above 64 KiB stay where they are, as does bytes, bytearray or memoryview above 64 KiB that is
    the value, an item of it (a tuple) or an item of args or kwargs in it (role "call": the value is (args, kwargs)).
    main: the name under which the other side imports what is `__main__` here; without it, what is defined there
    travels by value, and then is a class of its own there.
    Raises SerializationError, by role ArgumentNotSerializable, ResultNotSerializable or FunctionNotSerializable,
    saying where in the value the cause is.
    """
    lifted = _lift(value)
    views: list[memoryview] = []

    def keep_in(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < OUT_OF_BAND_FROM:
            return True
        views.append(view)
        return False

    try:
        stream = pickle.dumps(lifted, _PROTOCOL, buffer_callback=keep_in)
        plain = _MAIN not in stream
    except Exception:  # noqa: BLE001 - users' classes take part in this, and raise whatever they like
        plain = False
    if not plain:
        views.clear()
        try:
            stream = dumps_by_value(lifted, keep_in, main)
        except Exception as error:  # noqa: BLE001 - the same
            raise not_serializable(value, error, role) from None
    return _arrange(stream, views)


def unpack(buffers: Sequence[Buffer]) -> Any:
    """The value in `buffers`, as they were packed. Its arrays are views of them, writable if the buffers are.

    Raises DeserializationError when a module is missing here or the bytes are none of `pack`'s.
    """
    return _load(buffers[0], _in_order(buffers))


def split(payload: Buffer, lengths: Sequence[int]) -> list[Buffer]:
    """The buffers of a Packed that arrived as one. Raises DeserializationError when the lengths do not fit."""
    if len(lengths) == 1 and lengths[0] == length(payload):
        return [payload]
    view = memoryview(payload).cast("B") if length(payload) else memoryview(b"")
    if sum(lengths) != view.nbytes or (lengths and min(lengths) < 0) or not lengths:
        raise DeserializationError(f"a value of {sum(lengths)} bytes arrived as {view.nbytes}")
    cut: list[Buffer] = []
    at = 0
    for size in lengths:
        cut.append(view[at : at + size])
        at += size
    return cut


def pack_to_memfd(packed: Packed) -> int:
    """A descriptor, the caller's, of a sealed file with the buffers of `packed`; send it with `packed.lengths`.

    Raises SharedMemoryTooSmall when there is no room.
    """
    return seal(packed.buffers)


def unpack_from_memfd(
    fd: int, lengths: Sequence[int], read: Callable[[int, int], memoryview] = read_sealed
) -> Any:
    """The value in the file behind `fd`, which stays the caller's to close; read: what maps so many bytes of it.

    Arrays are views of the file mapped copy-on-write: writable, not copied, unmapped when the last of them dies.
    Raises DeserializationError like `unpack`, and when the file is not what `lengths` says.
    """
    buffers = split(read(fd, sum(lengths)), lengths)
    pieces: list[Buffer | None] = [None] * len(buffers)
    at = lengths[0]
    for place, code in enumerate(_codes(buffers[0], len(buffers) - 1), start=1):
        if code & _AS_BYTES and (read is read_sealed or lengths[place] > _COPIED):
            # Read straight into the object that the value will hold, in place of a copy out of the mapping.
            pieces[place] = read_piece(fd, at, lengths[place])
        at += lengths[place]
    return unpack([piece if piece is not None else view for piece, view in zip(pieces, buffers, strict=True)])


def pack_many(values: Iterable[Any], *, role: Role = "value", main: str | None = None) -> Many:
    """Many small values, each packed on its own, in one buffer. Raises like `pack`, saying which value.

    Large memory in them is copied: values above some 100 KiB are better packed one by one.
    """
    values = values if isinstance(values, (list, tuple)) else list(values)
    dumps = pickle.dumps
    try:
        parts = [dumps(value, _PROTOCOL) for value in values]
        joined = b"".join(parts)
        plain = _MAIN not in joined
    except Exception:  # noqa: BLE001 - users' classes take part in this, and raise whatever they like
        plain = False
    if not plain:
        parts = [_pack_alone(value, role, main) for value in values]
        joined = b"".join(parts)
    return Many(list(map(len, parts)), joined)


def unpack_many(buffer: Buffer, lengths: Sequence[int]) -> list[Any]:
    """The values of `pack_many`. Raises like `unpack`."""
    loads, at, values = pickle.loads, 0, []
    data = buffer if type(buffer) is bytes else memoryview(buffer)
    if sum(lengths) != length(buffer) or (lengths and min(lengths) < 0):
        raise DeserializationError(f"values of {sum(lengths)} bytes arrived as {length(buffer)}")
    try:
        for size in lengths:
            end = at + size
            values.append(loads(data[at:end]))
            at = end
    except Exception as error:
        raise _not_deserializable(error) from error
    return values


def holds_code(data: Buffer) -> bool:
    """Whether code may travel in `data`, packed bytes: then the other side needs the same minor version of Python."""
    return _CODE in (data if type(data) is not memoryview else bytes(data))


# -- packing

_LIFTED_TYPES: Final = frozenset({bytes, bytearray, memoryview})


class _Lifted:
    """Bytes that travel beside the pickle, and come back as the type they were."""

    __slots__ = ("data",)

    def __init__(self, data: Buffer) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # Built-in types by their own name: the other side needs nothing of ours to read it.
        return type(self.data), (pickle.PickleBuffer(self.data),)


def _lift(value: Any) -> Any:
    """`value` with large bytes at its top wrapped; the same object when there are none."""
    kind = type(value)
    if kind in _LIFTED_TYPES:
        return _wrapped(value, {})
    if kind is not tuple:
        return value
    seen: dict[int, _Lifted] = {}
    outer = None
    for index, item in enumerate(value):
        inner = type(item)
        if inner in _LIFTED_TYPES:
            new = _wrapped(item, seen)
        elif inner is tuple:
            new = _wrapped_tuple(item, seen)
        elif inner is dict and len(value) == 2 and index == 1:
            new = _wrapped_dict(item, seen)
        else:
            continue
        if new is not item:
            outer = outer or list(value)
            outer[index] = new
    return value if outer is None else tuple(outer)


def _wrapped(item: Any, seen: dict[int, _Lifted]) -> Any:
    if type(item) is memoryview:
        liftable = item.ndim == 1 and item.format in {"B", "b", "c"} and item.c_contiguous
    else:
        liftable = len(item) >= OUT_OF_BAND_FROM
    return (seen.get(id(item)) or seen.setdefault(id(item), _Lifted(item))) if liftable else item


def _wrapped_tuple(items: tuple[Any, ...], seen: dict[int, _Lifted]) -> tuple[Any, ...]:
    for item in items:
        if type(item) in _LIFTED_TYPES:
            return tuple(_wrapped(item, seen) if type(item) in _LIFTED_TYPES else item for item in items)
    return items


def _wrapped_dict(items: dict[Any, Any], seen: dict[int, _Lifted]) -> dict[Any, Any]:
    for item in items.values():
        if type(item) in _LIFTED_TYPES:
            return {
                key: _wrapped(item, seen) if type(item) in _LIFTED_TYPES else item
                for key, item in items.items()
            }
    return items


def _arrange(stream: bytes, views: list[memoryview]) -> Packed:
    """The buffers in an order in which each begins at a multiple of what its own length is a multiple of.

    So an array of any item size is aligned at the other side, with no padding between the buffers. The order is
    written behind the pickle, whose reader ignores what follows it.
    """
    if not views:
        return Packed(buffers=[stream], lengths=[len(stream)], by_value=holds_code(stream))
    order = sorted(
        range(len(views)), key=lambda index: -min(views[index].nbytes & -views[index].nbytes, _ALIGNED)
    )
    codes = [index | (_AS_BYTES if type(views[index].obj) is bytes else 0) for index in order]
    footer = struct.pack(f"<{len(codes)}I", *codes)
    padding = bytes(-(len(stream) + len(footer)) % _ALIGNED)
    first = b"".join((stream, padding, footer))
    buffers: list[Buffer] = [first, *(views[index] for index in order)]
    return Packed(buffers=buffers, lengths=list(map(length, buffers)), by_value=holds_code(stream))


def _pack_alone(value: Any, role: Role, main: str | None) -> bytes:
    try:
        stream = pickle.dumps(value, _PROTOCOL)
        if _MAIN not in stream:
            return stream
    except Exception:  # noqa: BLE001, S110 - as in pack; the way below says what is wrong
        pass
    try:
        return dumps_by_value(value, None, main)
    except Exception as error:  # noqa: BLE001 - as in pack
        raise not_serializable(value, error, role) from None


# -- unpacking


def _codes(first: Buffer, count: int) -> tuple[int, ...]:
    """Which of the pickle's buffers each of the `count` others is. Raises DeserializationError for nonsense."""
    start = length(first) - 4 * count
    codes = struct.unpack_from(f"<{count}I", first, start) if start >= 0 else ()
    if sorted(code & ~_AS_BYTES for code in codes) != list(range(count)):
        raise DeserializationError("the buffers of a value do not say what they are")
    return codes


def _in_order(buffers: Sequence[Buffer]) -> list[Buffer]:
    count = len(buffers) - 1
    if not count:
        return []
    ordered: list[Buffer] = [b""] * count
    for buffer, code in zip(buffers[1:], _codes(buffers[0], count), strict=True):
        if code & _AS_BYTES:
            ordered[code & ~_AS_BYTES] = buffer if type(buffer) is bytes else bytes(buffer)
        else:
            ordered[code] = octets(buffer)
    return ordered


def _load(stream: Buffer, buffers: list[Buffer]) -> Any:
    try:
        # Only ends of a call come here: a client reads what its own functions gave, a runner what its caller sent.
        return pickle.loads(stream, buffers=buffers)  # noqa: S301 - see above
    except Exception as error:
        raise _not_deserializable(error) from error


def _not_deserializable(error: Exception) -> DeserializationError:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return DeserializationError(f"a value needs the module {error.name!r}, which is missing here")
    if isinstance(error, ImportError | AttributeError):
        return DeserializationError(
            f"a value needs something that is missing here: {error}",
            remedy="use the same version of the code and its packages on both sides",
        )
    return DeserializationError(f"the value cannot be rebuilt: {type(error).__name__}: {error}")
