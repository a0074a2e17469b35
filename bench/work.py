"""Work: what the benches run on the far side, the same lines for every contender."""

from __future__ import annotations

import functools
import os
import time
from typing import Any

PAGE = 4096


@functools.cache
def worker() -> int:
    """A number of this process alone, drawn at its first use (a fork of a process that never used it draws its own)."""
    return int.from_bytes(os.urandom(4), "big")


def tag(value: int) -> tuple[int, int]:
    """The value, and the process that saw it: the smallest real work, which also proves who took part."""
    return value, worker()


def tag_all(values: list[int]) -> list[tuple[int, int]]:
    """`tag` of each, for those who chunk by hand."""
    return [tag(value) for value in values]


def nap(seconds: float) -> float:
    """Sleeps, so that the makespan of a map shows the spreading and not the number of cores."""
    time.sleep(seconds)
    return seconds


def nap_all(seconds: list[float]) -> list[float]:
    """`nap` for each, for those who chunk by hand."""
    return [nap(one) for one in seconds]


def weigh(data: Any) -> int:
    """The sum of one byte of every page: whoever only maps an argument has to read it too."""
    return sum(memoryview(data).cast("B")[::PAGE].tolist())
