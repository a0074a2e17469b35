"""Seeds: the pure core through made-up runs, their faults counted apart from those of real processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from squall.simulation.many import Count, again
from squall.testing.abreast import play_abreast
from squall.testing.chaos.report import Report

_TOLD_EVERY_S: Final = 10.0


def sweep_seeds(seeds: range, say: Callable[[str], None] = lambda _line: None) -> Report:
    """The report of these seeds of the simulation. say: told every ten seconds how many have been played."""
    began_s = told_s = time.monotonic()
    count = Count()
    for part in play_abreast(seeds):
        count.add(part)
        if time.monotonic() - told_s > _TOLD_EVERY_S:
            told_s = time.monotonic()
            say(f"{count.seeds} seeds, {count.events} events, {len(count.failed)} failed")
    seconds = time.monotonic() - began_s
    return Report(
        simulated=count.faults.total(),
        figures={"seeds": f"{count}, {seconds:.0f} s"},
        broken=tuple(f"{found}; again: {again(found)}" for found in count.failed),
        seconds=seconds,
    )
