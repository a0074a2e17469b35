"""Outcomes: how inputs ended, gathered into frames."""

from __future__ import annotations

import json
import os
import pickle
from typing import Any

from squall.model.call import OutcomeKind
from squall.model.errors import Error, ResultNotSerializable
from squall.runner.link import RunnerLink
from squall.wire import payload

FRAME_BYTES = 1024 * 1024
_PLAIN = frozenset({int, float, bool, type(None), str, bytes})
_PLAIN_BYTES = 16 * 1024
_FDS = 6

Where = tuple[str, int, int]
"""A call, the index of an input in it, and the attempt."""


class Outcomes:
    """Gathers the outcomes of consecutive inputs, and posts them as one frame.

    The frame's "L" is a list of runs [call, start, attempt, sizes, kinds, seconds]; sizes has a number, or a list of
    numbers, an input, kinds is 0 when all of them returned.
    """

    def __init__(self, link: RunnerLink) -> None:
        self._link = link
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
        if type(value) in _PLAIN:
            data = pickle.dumps(value, 5)
            if len(data) <= _PLAIN_BYTES:
                self._add(where, OutcomeKind.RETURNED, len(data), seconds)
                self._buffers.append(data)
                self._size += len(data)
                return
        self._add(where, OutcomeKind.RETURNED, self._carry(value), seconds)

    def raised(self, where: Where, head: dict[str, Any], pickled: bytes | None, seconds: float) -> None:
        """An input's function raised; head and pickled are what `raised.describe` gave."""
        text = json.dumps(head).encode()
        parts = [text, pickled or b""]
        self._add(where, OutcomeKind.RAISED, [len(part) for part in parts], seconds)
        self._buffers += parts
        self._size += sum(map(len, parts))

    def failed(self, where: Where, error: Error, seconds: float) -> None:
        """An input ended with an error of ours."""
        text = json.dumps(error.to_wire()).encode()
        self._add(where, OutcomeKind.FAILED, len(text), seconds)
        self._buffers.append(text)
        self._size += len(text)

    def post(self, *, back: list[list[Any]] | None = None) -> None:
        """Sends what has been gathered; back: runs [call, start, stop, attempt] that were not started."""
        if self._runs or back:
            head: dict[str, Any] = {"t": "out", "L": self._runs}
            if back:
                head["B"] = back
            self._link.post(head, *self._buffers, fds=tuple(self._fds))
        self._runs, self._buffers, self._fds, self._size = [], [], [], 0

    def item(self, where: Where, number: int, value: Any) -> None:
        """Sends one value that a generator yielded; number counts from 0."""
        size = self._carry(value)
        call, index, attempt = where
        head = {"t": "item", "call": call, "index": index, "attempt": attempt, "item": number, "d": size}
        self._link.post(head, *self._buffers, fds=tuple(self._fds))
        self._buffers, self._fds, self._size = [], [], 0

    def _carry(self, value: Any) -> Any:
        """Puts a value's bytes with the rest, or into sealed memory; its size as the header says it."""
        try:
            packed = payload.pack(value, role="result")
        except Error as error:
            raise ResultNotSerializable(str(error)) from error
        total = sum(packed.lengths)
        if total <= payload.MEMFD_FROM:
            self._buffers += packed.buffers
            self._size += total
            return packed.lengths if len(packed.lengths) > 1 else packed.lengths[0]
        fd = payload.pack_to_memfd(packed)
        self._fds.append(fd)
        return {"f": len(self._fds) - 1, "l": packed.lengths}

    def _add(self, where: Where, kind: OutcomeKind, size: Any, seconds: float) -> None:
        call, index, attempt = where
        if self._runs:
            last = self._runs[-1]
            if last[0] == call and last[2] == attempt and last[1] + len(last[3]) == index:
                last[3].append(size)
                last[5] += seconds
                if kind or last[4]:
                    last[4] = (last[4] or [0] * (len(last[3]) - 1)) + [int(kind)]
                return
        self._runs.append([call, index, attempt, [size], [int(kind)] if kind else 0, seconds])


def close_all(fds: tuple[int, ...]) -> None:
    """Closes descriptors that came with a frame."""
    for fd in fds:
        os.close(fd)
