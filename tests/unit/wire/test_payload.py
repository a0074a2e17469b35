"""Users' values: there and back, uncopied where they are large."""

from __future__ import annotations

import collections
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from squall.model.errors import (
    ArgumentNotSerializable,
    DeserializationError,
    FunctionNotSerializable,
    ResultNotSerializable,
    SerializationError,
)
from squall.wire.payload import (
    OUT_OF_BAND_FROM,
    holds_code,
    pack,
    pack_many,
    pack_to_memfd,
    split,
    unpack,
    unpack_from_memfd,
    unpack_many,
)

LARGE = OUT_OF_BAND_FROM + 1


def over_the_wire(value: Any) -> Any:
    packed = pack(value)
    assert packed.lengths == [memoryview(buffer).nbytes for buffer in packed.buffers]
    return unpack(split(bytearray(b"".join(packed.buffers)), packed.lengths))


def over_memory(value: Any) -> Any:
    packed = pack(value)
    fd = pack_to_memfd(packed)
    try:
        return unpack_from_memfd(fd, packed.lengths)
    finally:
        os.close(fd)


ways = pytest.mark.parametrize("way", [over_the_wire, over_memory])


@ways
@pytest.mark.parametrize("value", [None, 3, "text", (1, [2, {"k": 3.5}]), b"", b"x" * 100, {1, 2}, ((), {})])
def test_plain_values_come_back(way: Any, value: Any) -> None:
    assert way(value) == value


@ways
@pytest.mark.parametrize("data", [b"b" * LARGE, bytearray(b"a" * LARGE)])
def test_large_bytes_travel_beside_the_pickle_and_keep_their_type(way: Any, data: Any) -> None:
    for value in (data, (data,), ((1, data), {"x": data}), (data, data)):
        packed = pack(value)
        assert len(packed.buffers) == 2, "the same bytes twice are one buffer"
        assert len(packed.buffers[0]) < 1000
        assert memoryview(packed.buffers[1]).obj is data
        back = way(value)
        assert back == value
    assert type(back[0]) is type(data)
    assert back[0] is back[1]


@ways
def test_a_memoryview_travels_whatever_its_size(way: Any) -> None:
    for size in (0, 10, LARGE):
        (view,) = way((memoryview(bytes(range(256)) * (size // 256 + 1))[:size],))
        assert type(view) is memoryview
        assert view == (bytes(range(256)) * (size // 256 + 1))[:size]


@ways
def test_arrays_are_not_copied_and_writable_and_aligned(way: Any) -> None:
    odd = np.arange(LARGE, dtype="u1")
    arrays = [
        odd,
        np.arange(LARGE, dtype="f8"),
        odd[:-1],
        np.arange(LARGE, dtype="f4"),
        np.ones((LARGE, 2), "c16"),
    ]
    packed = pack(arrays)
    for array in arrays:
        assert any(np.shares_memory(array, np.frombuffer(buffer, "u1")) for buffer in packed.buffers[1:])
    for got, array in zip(way(arrays), arrays, strict=True):
        assert (got == array).all()
        assert got.dtype == array.dtype
        assert got.flags.aligned
        assert got.flags.writeable
        got[0] = 5


@ways
def test_arrays_that_have_gaps_come_back_too(way: Any) -> None:
    array = np.arange(4 * LARGE).reshape(-1, 4)
    for part in (array[:, 1], array[::-1], np.asfortranarray(array), array.T):
        assert (way((part,))[0] == part).all()


@ways
def test_read_only_memory_comes_back_read_only(way: Any) -> None:
    array = np.arange(LARGE)
    array.flags.writeable = False
    assert not way(array).flags.writeable


def test_small_arrays_stay_in_the_pickle() -> None:
    assert len(pack(np.arange(100)).buffers) == 1


def test_values_that_share_a_part_still_share_it() -> None:
    shared = [1]
    left, right = over_the_wire((shared, {"k": shared}))
    assert left is right["k"]
    dictionary = {"k": b"x" * LARGE}
    first, second = over_the_wire(((dictionary, dictionary), {}))[0]
    assert first is second


def test_what_is_defined_on_the_spot_travels_by_value() -> None:
    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

    offset = 5
    packed = pack(lambda x: Point(x + offset))
    assert packed.by_value
    assert unpack(packed.buffers)(1).x == 6
    for plain in (collections.Counter("abc"), "cloudpickle", b"cloudpickle"):
        assert not pack(plain).by_value


MAIN = """
import sys
from squall.wire.payload import pack
class Point:
    x = 7
    class Inner:
        y = 8
def double(x): return 2 * x
packed = pack((Point(), Point.Inner, double), main=sys.argv[1] or None)
assert packed.by_value == (not sys.argv[1]), packed.by_value
sys.stdout.buffer.write(packed.buffers[0])
"""


@pytest.mark.parametrize("main", ["", "entry"])
def test_what_is_defined_in_main_travels_by_value_or_by_the_name_it_has_there(
    main: str, tmp_path: Path
) -> None:
    (tmp_path / "entry.py").write_text(MAIN)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, tmp_path / "entry.py", main], env=environment, stdout=subprocess.PIPE, check=True
    )
    if main:
        with pytest.raises(DeserializationError, match="'entry', which is missing"):
            unpack([done.stdout])
        (tmp_path / "entry.py").write_text(MAIN.partition("packed =")[0])
        sys.path.insert(0, str(tmp_path))
    try:
        point, inner, double = unpack([done.stdout])
    finally:
        if main:
            sys.path.remove(str(tmp_path))
            del sys.modules["entry"]
    assert (point.x, inner.y, double(4)) == (7, 8, 8)
    assert type(point).__module__ == (main or "__main__")


def test_many_small_values_come_back_one_by_one() -> None:
    values = [((number,), {"k": str(number)}) for number in range(1000)]
    lengths, buffer = pack_many(values)
    assert unpack_many(buffer, lengths) == values
    assert unpack_many(memoryview(bytearray(buffer)), lengths) == values
    middle = sum(lengths[:500])
    assert unpack_many(buffer[middle:], lengths[500:]) == values[500:]
    assert pack_many([]) == ([], b"")
    assert unpack_many(b"", []) == []
    assert not holds_code(buffer)


def test_many_values_may_hold_code() -> None:
    lengths, buffer = pack_many(iter([1, lambda: 2, np.arange(LARGE)]))
    one, two, array = unpack_many(buffer, lengths)
    assert (one, two(), array[-1]) == (1, 2, LARGE - 1)
    assert holds_code(buffer)
    assert holds_code(memoryview(buffer))


class Holder:
    def __init__(self) -> None:
        self.inner = {"deep": [1, threading.Lock()]}


class Slotted:
    __slots__ = ("lock",)

    def __init__(self) -> None:
        self.lock = threading.Lock()


class Refusing:
    def __reduce__(self) -> Any:
        raise OSError("not today")


def closing_over(lock: Any) -> Any:
    return lambda: lock


@pytest.mark.parametrize(
    ("value", "role", "error", "where"),
    [
        (((1, Holder()), {}), "call", ArgumentNotSerializable, "argument 2 at .inner['deep'][1] cannot"),
        (((1,), {"conn": Slotted()}), "call", ArgumentNotSerializable, "argument 'conn' at .lock cannot"),
        ([1, (2, Refusing())], "result", ResultNotSerializable, "the result at [1][1] cannot"),
        (threading.Lock(), "value", SerializationError, "the value cannot"),
        (
            closing_over(threading.Lock()),
            "function",
            FunctionNotSerializable,
            "the variable 'lock' it closes over",
        ),
        ({"k": (n for n in [1])}, "result", ResultNotSerializable, "the result at ['k'] cannot"),
        (Slotted().lock.acquire, "value", SerializationError, "_thread.lock"),
    ],
)
def test_what_cannot_travel_is_named(
    value: Any, role: Any, error: type[SerializationError], where: str
) -> None:
    with pytest.raises(SerializationError) as caught:
        pack(value, role=role)
    assert type(caught.value) is error
    assert where in str(caught.value)
    assert caught.value.where
    assert str(caught.value).startswith(caught.value.where)
    with pytest.raises(error):
        pack_many([value], role=role)


def test_what_is_nested_too_deeply_is_a_clear_error() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(SerializationError, match="nested too deeply"):
        pack(deep)


def test_a_value_that_fails_only_now_and_then_is_still_a_serialization_error() -> None:
    class Moody:
        def __init__(self) -> None:
            self.left = 2

        def __reduce__(self) -> Any:
            self.left -= 1
            if self.left >= 0:
                raise OSError("not now")
            return str, ()

    with pytest.raises(SerializationError, match="not now"):
        pack(((Moody(),), {}), role="call")


def test_bytes_that_are_no_value_are_a_clear_error() -> None:
    for buffers in (
        [b""],
        [b"garbage"],
        [pickle.dumps([1] * 50)[:-3]],
        [pickle.dumps(1), b"x"],
        [b"", b"x" * 10],
    ):
        with pytest.raises(DeserializationError):
            unpack(buffers)
    with pytest.raises(DeserializationError):
        unpack_many(b"xxx", [2, 1])
    for lengths in ([2], [4, -1], [], [3, 1]):
        with pytest.raises(DeserializationError):
            split(b"xxx", lengths)
    for lengths in ([2], [4, -1]):
        with pytest.raises(DeserializationError):
            unpack_many(b"xxx", lengths)


def test_a_missing_module_or_name_is_said() -> None:
    for source, said in (
        (b"cno_such_module\nname\n.", "'no_such_module'"),
        (b"cos\nno_such_name\n.", "no_such_name"),
    ):
        with pytest.raises(DeserializationError, match=said):
            unpack([source])


def test_an_exception_of_a_users_class_while_it_is_rebuilt_is_kept_as_the_cause() -> None:
    stream = pickle.dumps(Picky())
    with pytest.raises(DeserializationError, match="ZeroDivisionError") as caught:
        unpack([stream])
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


class Picky:
    def __reduce__(self) -> Any:
        return divmod, (1, 0)
