"""Outcomes: how inputs ended, gathered into frames."""

from __future__ import annotations

import json
import pickle
import threading
from typing import Any

from squall.model.call import LARGEST_VALUE, OutcomeKind
from squall.model.errors import Error, ResultNotSerializable, ResultTooLarge
from squall.runner.link import RunnerLink
from squall.wire import payload

FRAME_BYTES = 1024 * 1024
_PLAIN = frozenset({int, float, bool, type(None), str, bytes})
_FLAT = frozenset({int, float, bool, type(None), str})
_FLAT_ITEMS = 16
_PLAIN_BYTES = 16 * 1024
_FDS = 6

Where = tuple[str, int, int]
"""A call, the index of an input in it, and the attempt."""


class Outcomes:
    """Gathers the outcomes of consecutive inputs, and posts them as one frame.

    The frame's "L" is a list of runs [call, start, attempt, sizes, kinds, seconds]; sizes has a number, or a list of
    numbers, an input, kinds is 0 when all of them returned; a 1 behind them says that the run's one input was lent and
    is not read any more. The main thread adds; the link's thread may post too.
    """

    def __init__(self, link: RunnerLink) -> None:
        self._link = link
        self.largest = LARGEST_VALUE
        self._lock = threading.Lock()
        self._runs: list[list[Any]] = []
        self._buffers: list[Any] = []
        self._fds: list[int] = []
        self._size = 0

    @property
    def full(self) -> bool:
        """Whether what has been gathered should leave before more is added."""
        return self._size > FRAME_BYTES or len(self._fds) >= _FDS

    def returned(self, where: Where, value: Any, seconds: float) -> None:
        """An input returned this value. Raises SerializationError when it cannot travel."""
        if type(value) in _PLAIN or _is_flat(value):
            data = pickle.dumps(value, 5)
            if len(data) <= _PLAIN_BYTES:
                with self._lock:
                    self._add(where, OutcomeKind.RETURNED, len(data), seconds)
                    self._buffers.append(data)
                    self._size += len(data)
                return
        size, buffers, fd = _carried(value, self.largest)
        with self._lock:
            if fd is not None:
                size["f"] = len(self._fds)
                self._fds.append(fd)
            self._add(where, OutcomeKind.RETURNED, size, seconds)
            self._buffers += buffers
            self._size += sum(map(len, buffers))

    def raised(self, where: Where, head: dict[str, Any], pickled: bytes | None, seconds: float) -> None:
        """An input's function raised; head and pickled are what `raised.describe` gave."""
        parts = [json.dumps(head).encode(), pickled or b""]
        with self._lock:
            self._add(where, OutcomeKind.RAISED, [len(part) for part in parts], seconds)
            self._buffers += parts
            self._size += sum(map(len, parts))

    def failed(self, where: Where, error: Error, seconds: float) -> None:
        """An input ended with an error of ours."""
        text = json.dumps(error.to_wire()).encode()
        with self._lock:
            self._add(where, OutcomeKind.FAILED, len(text), seconds)
            self._buffers.append(text)
            self._size += len(text)

    def let_go(self, where: Where) -> None:
        """What was lent for this input, the last that returned, is not read any more. Said of first attempts alone."""
        with self._lock:
            last = self._runs[-1] if self._runs else None
            # An earlier attempt may still read it, somewhere else.
            if last is not None and (last[0], last[1], last[2]) == where and where[2] == 1 == len(last[3]):
                last.append(1)

    def post(self, *, back: list[list[Any]] | None = None, made_way: bool = False) -> None:
        """Sends what has been gathered.

        back: runs [call, start, stop, attempt] that were not started. made_way: an input still runs.
        """
        with self._lock:
            if self._runs or back:
                head: dict[str, Any] = {"t": "out", "L": self._runs}
                if back:
                    head["B"] = back
                if made_way:
                    head["y"] = 1
                self._link.post(head, *self._buffers, fds=tuple(self._fds))
            self._runs, self._buffers, self._fds, self._size = [], [], [], 0

    def gathered(self) -> list[Where]:
        """The inputs whose outcomes have not been posted yet; those being posted just now may be among them.

        Without the lock: whoever posts holds it while the link, whose thread asks this, lets nobody in.
        """
        return [
            (call, index, attempt)
            for call, start, attempt, sizes, *_rest in tuple(self._runs)
            for index in range(start, start + len(sizes))
        ]

    def item(self, where: Where, number: int, value: Any) -> None:
        """Sends one value that a generator yielded; number counts from 0."""
        size, buffers, fd = _carried(value, self.largest)
        if fd is not None:
            size["f"] = 0
        call, index, attempt = where
        head = {"t": "item", "call": call, "index": index, "attempt": attempt, "item": number, "d": size}
        self._link.post(head, *buffers, fds=() if fd is None else (fd,))

    def _add(self, where: Where, kind: OutcomeKind, size: Any, seconds: float) -> None:
        call, index, attempt = where
        if self._runs:
            last = self._runs[-1]
            if last[0] == call and last[2] == attempt and last[1] + len(last[3]) == index:
                del last[6:]
                last[3].append(size)
                last[5] += seconds
                if kind or last[4]:
                    last[4] = (last[4] or [0] * (len(last[3]) - 1)) + [int(kind)]
                return
        self._runs.append([call, index, attempt, [size], [int(kind)] if kind else 0, seconds])


def _carried(value: Any, largest: int) -> tuple[Any, list[Any], int | None]:
    """A value's size as the header says it, and its bytes: as buffers, or in the sealed memory of a descriptor."""
    try:
        packed = payload.pack(value, role="result")
    except Error as error:
        raise ResultNotSerializable(str(error)) from error
    if packed.size > largest:
        raise ResultTooLarge(f"the result has {packed.size} bytes, and at most {largest} travel")
    if packed.size > payload.MEMFD_FROM:
        return {"l": packed.lengths}, [], payload.pack_to_memfd(packed)
    # Copies: the value's own memory may change before it leaves, by the function's next input.
    buffers = [
        part if type(part) is bytes or (type(part) is memoryview and type(part.obj) is bytes) else bytes(part)
        for part in packed.buffers
    ]
    return (packed.lengths if len(packed.lengths) > 1 else packed.lengths[0]), buffers, None


def _is_flat(value: Any) -> bool:
    """Whether it is a short tuple or list of what pickles the same everywhere: looking costs less than `pack` does."""
    return type(value) in (tuple, list) and len(value) <= _FLAT_ITEMS and _FLAT.issuperset(map(type, value))
