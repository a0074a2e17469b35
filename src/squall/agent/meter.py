"""Meter: what the containers of a node take of it over their lives, sampled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from squall.runtime.process_tree import cpu_seconds, descendants, resident_bytes

SAMPLE_S = 5.0


@dataclass(frozen=True, slots=True)
class Taken:
    """What one look finds: core-seconds so far, and bytes in memory now."""

    cpu_s: float
    used_bytes: int


@dataclass(slots=True)
class _Sum:
    since_s: float
    at_s: float
    used_bytes: int = 0
    byte_s: float = 0.0
    cpu_s: float = 0.0
    looks: int = 0


class Meter:
    """Sums samples: between two looks memory counts as it was at the later one. clock: seconds, monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._sums: dict[str, _Sum] = {}

    def begin(self, container: str) -> None:
        """A container is there, or an agent before this one had started it."""
        now_s = self._clock()
        self._sums.setdefault(container, _Sum(now_s, now_s))

    def note(self, found: Mapping[str, Taken]) -> None:
        """A look at some containers; those that are gone meanwhile are passed over."""
        now_s = self._clock()
        for container, taken in found.items():
            held = self._sums.get(container)
            if held is not None:
                held.byte_s += taken.used_bytes * (now_s - held.at_s)
                held.used_bytes, held.at_s = taken.used_bytes, now_s
                held.cpu_s = max(held.cpu_s, taken.cpu_s)
                held.looks += 1

    def rows(self) -> list[tuple[str, float, float]]:
        """(container, core-seconds, byte-seconds) of each that was looked at, for the server."""
        return [(name, held.cpu_s, held.byte_s) for name, held in self._sums.items() if held.looks]

    def end(self, container: str, peak_bytes: int | None) -> float | None:
        """Byte-seconds of a container that has ended; its peak counts for one that ended before the first look."""
        held = self._sums.pop(container, None)
        if held is None:
            return None
        last = held.used_bytes if held.looks else peak_bytes
        return held.byte_s + (last or 0) * (self._clock() - held.at_s)


def look(roots: Mapping[str, tuple[int, ...]]) -> dict[str, Taken]:
    """What containers take now; roots: the processes that all of theirs descend from. Some tenths of a millisecond each."""
    found: dict[str, Taken] = {}
    for container, own in roots.items():
        pids = {pid for root in own if root for pid in descendants(root)}
        found[container] = Taken(sum(map(cpu_seconds, pids)), sum(map(resident_bytes, pids)))
    return found
