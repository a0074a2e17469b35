"""Map progress: how far the maps of this program have come, in words and as a bar, for whoever shows it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from squall.sdk.outcome import Failure

EVERY_S: Final = 0.1
"""How often a bar is drawn anew at most."""

LINE_EVERY_S: Final = 5.0
"""The same of lines, where there is no terminal; a map that is over before is not worth one."""

_WIDEST_BAR: Final = 40
_NARROWEST_BAR: Final = 10
_LONGEST_NAME: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSeen:
    """One map as it stands. sent: inputs that were taken up; total: how many there are, None while that is not known.

    done: those that have ended, failed: those of them that raised. took_s: since it began.
    """

    name: str
    total: int | None
    sent: int
    done: int
    failed: int
    took_s: float

    @property
    def part(self) -> float | None:
        """How much of it is done, from 0 to 1."""
        if self.total is None:
            return None
        return 1.0 if self.total == 0 else min(1.0, self.done / self.total)

    @property
    def left_s(self) -> float | None:
        """Seconds that it will take yet, if the rest goes as the part before."""
        if self.total is None or not self.done or self.took_s <= 0:
            return None
        return (self.total - self.done) * self.took_s / self.done


class ShowsMaps(Protocol):
    """Is told of maps, from the threads that consume them."""

    def maps(self, running: Sequence[MapSeen], ended: MapSeen | None) -> None:
        """Those that run now, the first that began first; ended: one that was among them and is over."""


def in_words(seen: MapSeen) -> str:
    """How far a map is: "squares: 412 of 1,000 (41 %), 38/s, 16 s left"."""
    if seen.total is None:
        text = f"{seen.name}: {seen.done:,} done of {seen.sent:,} so far"
    else:
        part = 100 if seen.part is None else int(seen.part * 100)
        text = f"{seen.name}: {seen.done:,} of {seen.total:,} ({part} %)"
    if seen.failed:
        text += f", {seen.failed:,} failed"
    if seen.done and seen.took_s > 0:
        text += f", {_rate(seen.done / seen.took_s)}"
    if seen.left_s is not None and seen.total != seen.done:
        text += f", {duration(seen.left_s)} left"
    return text


def ended_in_words(seen: MapSeen) -> str:
    """What became of a map: "squares: 1,000 in 24.1 s, 3 failed"."""
    whole = seen.total is not None and seen.done >= seen.total
    count = f"{seen.done:,}" if whole or seen.total is None else f"{seen.done:,} of {seen.total:,}"
    failed = f", {seen.failed:,} failed" if seen.failed else ""
    return f"{seen.name}: {count} in {duration(seen.took_s)}{failed}{'' if whole else ', not ended'}"


def bar_line(seen: MapSeen, *, width: int) -> str:
    """A map as one line of at most so many columns: its name, a bar, and how far it is."""
    name = seen.name if len(seen.name) <= _LONGEST_NAME else seen.name[: _LONGEST_NAME - 1] + "…"
    if seen.part is None:
        text = f"{name}  {seen.done:,} done of {seen.sent:,} so far  {duration(seen.took_s)}"
    else:
        knows = seen.left_s is not None and seen.done != seen.total
        lasts = (
            f"{duration(seen.left_s)} left" if knows and seen.left_s is not None else duration(seen.took_s)
        )
        text = f"{seen.done:,}/{seen.total:,}  {int(seen.part * 100)} %  {lasts}"
    failed = f"  {seen.failed:,} failed" if seen.failed else ""
    if seen.part is None:
        return (text + failed)[:width]
    room = width - len(name) - len(text) - len(failed) - 4
    if room < _NARROWEST_BAR:
        return f"{name}  {text}{failed}"[:width]
    return f"{name}  {bar(seen.part, min(room, _WIDEST_BAR))}  {text}{failed}"


def bar(part: float, columns: int) -> str:
    """A bar of so many columns, filled to a part."""
    halves = round(part * columns * 2)
    full = "━" * (halves // 2) + ("╸" if halves % 2 else "")
    return full + "─" * (columns - len(full))


def duration(seconds: float) -> str:
    """Seconds for people who wait: 0.4 s, 24 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def begin_showing(shower: ShowsMaps) -> None:
    """Maps are shown there from now on."""
    _showers.append(shower)


def end_showing(shower: ShowsMaps) -> None:
    """Not any more."""
    if shower in _showers:
        _showers.remove(shower)


def is_showing() -> bool:
    """Whether maps are shown already: by `squall run`, or by a block around this one."""
    return bool(_showers)


class MapBar:
    """One map while it runs, told to the shower that came last."""

    __slots__ = ("_call", "_failed", "_told_s", "began_s", "name")

    def __init__(self, call: Any, function: str) -> None:
        self.name = function
        self.began_s = time.monotonic()
        self._call = call
        self._failed = 0
        self._told_s = 0.0
        with _lock:
            _running.append(self)

    def moved(self, found: Sequence[tuple[int, Any]]) -> None:
        """Outcomes have come in."""
        self._failed += sum(type(value) is Failure for _, value in found)
        now_s = time.monotonic()
        if now_s - self._told_s >= EVERY_S:
            self._told_s = now_s
            _tell(None)

    def over(self) -> None:
        """The map has ended, or nobody takes its values any more."""
        ended = self.seen(time.monotonic())
        with _lock:
            if self in _running:
                _running.remove(self)
        _tell(ended)

    def seen(self, now_s: float) -> MapSeen:
        """How it stands."""
        sent, done = self._call.progress
        return MapSeen(
            name=self.name,
            total=self._call.total,
            sent=sent,
            done=done,
            failed=self._failed,
            took_s=now_s - self.began_s,
        )


def begin_map(call: Any, function: str) -> MapBar | None:
    """A map begins; None where nobody shows any. function: its id or address."""
    return MapBar(call, shown_name(function)) if _showers else None


def shown_name(function: str) -> str:
    """What people call a function, of its id or address."""
    name = function.partition("?")[0].rpartition("/")[2]
    for mark in "@~":
        name = name.partition(mark)[0]
    return name


_showers: list[ShowsMaps] = []
_running: list[MapBar] = []
_lock = threading.Lock()


def _tell(ended: MapSeen | None) -> None:
    showers = _showers[-1:]
    if showers:
        now_s = time.monotonic()
        with _lock:
            running = tuple(_running)
        showers[0].maps([one.seen(now_s) for one in running], ended)


def _rate(per_s: float) -> str:
    return f"{per_s:,.0f}/s" if per_s >= 10 else f"{per_s:.1f}/s" if per_s >= 0.1 else f"{per_s * 60:.1f}/min"
