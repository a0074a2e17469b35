"""Abreast: many seeds played in several processes at once."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from typing import Final

from squall.simulation.many import Count, play

AT_ONCE: Final = 25
"""Seeds that a process is given at once."""


def play_abreast(seeds: range, *, jobs: int = 0) -> Iterator[Count]:
    """Plays seeds in so many processes, and gives what became of some of them at a time, in no order. jobs: 0 for one a core."""
    wanted = jobs or len(os.sched_getaffinity(0))
    parts = [seeds[at : at + AT_ONCE] for at in range(0, len(seeds), AT_ONCE)]
    if wanted == 1 or len(parts) == 1:
        yield from map(play, parts)
        return
    with multiprocessing.Pool(min(wanted, len(parts))) as pool:
        yield from pool.imap_unordered(play, parts)
