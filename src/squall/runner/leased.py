"""Leased: inputs that the container has in hand, how their arguments are opened, and how they are told as runs."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

from squall.runner.outcomes import Where
from squall.wire import payload
from squall.wire.lent import Borrowed
from squall.wire.rights import close_all
from squall.wire.sealed import read_sealed


@dataclass(slots=True)
class LeasedInput:
    """One input in hand: where it belongs, and its packed arguments."""

    where: Where
    size: Any
    data: Any
    fds: tuple[int, ...]


def given_back(left: list[LeasedInput]) -> list[list[Any]]:
    """Inputs as runs [call, start, stop, attempt]; their descriptors are closed."""
    for item in left:
        close_all(item.fds)
    return runs_of([item.where for item in left])


def runs_of(inputs: list[Where]) -> list[list[Any]]:
    """The same as runs [call, start, stop, attempt]: neighbours together."""
    runs: list[list[Any]] = []
    for call, index, attempt in inputs:
        if runs and runs[-1][0] == call and runs[-1][2] == index and runs[-1][3] == attempt:
            runs[-1][2] = index + 1
        else:
            runs.append([call, index, index + 1, attempt])
    return runs


def arguments(item: LeasedInput, borrowed: Borrowed) -> tuple[Any, Any]:
    """What an input is called with. Raises what user values raise while they are opened."""
    size = item.size
    if type(size) is int:
        loaded = pickle.loads(item.data)  # noqa: S301 - the runner is where user values are opened
    elif type(size) is list:
        loaded = payload.unpack(payload.split(item.data, size))
    else:
        fds, item.fds = item.fds, ()
        try:
            # What may be filled again is only read as such here, where whoever calls decides what code runs.
            read = borrowed.read if "r" in size else read_sealed
            loaded = payload.unpack_from_memfd(fds[0], size["l"], read)
        finally:
            close_all(fds)
    args, kwargs = loaded
    return args, kwargs
