"""Traffic: when calls come and how long their inputs take; made from a seed, or read from a trace."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from random import Random

KINDS = ("steady", "bursty", "on-off", "rare", "timer", "diurnal", "burst-map")

BURSTY_CV = 4.0
ON_S, OFF_S = 60.0, 180.0
RARE_S = 420.0
TIMER_S = 300.0
MAP_EVERY_S = 600.0
MAP_INPUTS = 1000
WORK_SPREAD = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One call: the instant at which it comes, and the seconds that each of its inputs takes; durable: it goes on record."""

    at_s: float
    work_s: tuple[float, ...]
    durable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How much traffic there is: for how many seconds, how long an input takes on average, and how many inputs are
    worked on at any time on average (of the kinds that have a rate).
    """

    length_s: float = 3600.0
    work_s: float = 0.3
    busy: float = 1.0


def arrivals(kind: str, load: Load, *, seed: int) -> tuple[Arrival, ...]:
    """The calls of one kind of traffic, in order. Raises KeyError for what is none of KINDS."""
    dice = Random(f"traffic/{kind}/{seed}")  # noqa: S311 - made-up traffic keeps no secret
    every = _INSTANTS[kind]
    inputs = MAP_INPUTS if kind == "burst-map" else 1
    return tuple(
        Arrival(at_s=instant, work_s=tuple(_work(dice, load.work_s) for _ in range(inputs)))
        for instant in every(dice, load)
    )


def read_trace(lines: Iterable[str]) -> tuple[Arrival, ...]:
    """The calls of a trace: CSV lines of an arrival instant and a duration, in seconds, in any order.

    A first line of names is passed over, and further columns are. Instants are counted from the earliest one. Raises
    ValueError that names the line which is no pair of numbers, or holds a negative duration; and for no line at all.
    """
    pairs: list[tuple[float, float]] = []
    for number, row in enumerate(csv.reader(lines), 1):
        if not row or (number == 1 and not _is_number(row[0])):
            continue
        try:
            instant, seconds = float(row[0]), float(row[1])
        except (ValueError, IndexError):
            raise ValueError(f"line {number} of the trace is no arrival and duration: {row}") from None
        if not (math.isfinite(instant) and math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"line {number} of the trace holds no instant and duration: {row}")
        pairs.append((instant, seconds))
    if not pairs:
        raise ValueError("the trace holds no arrival")
    pairs.sort()
    return tuple(Arrival(at_s=instant - pairs[0][0], work_s=(seconds,)) for instant, seconds in pairs)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _work(dice: Random, mean_s: float) -> float:
    """A duration with this mean; most are a little shorter, some a lot longer."""
    return mean_s * dice.lognormvariate(-(WORK_SPREAD**2) / 2, WORK_SPREAD)


def _gaps(load: Load, gap: Callable[[], float]) -> Iterator[float]:
    instant = gap()
    while instant < load.length_s:
        yield instant
        instant += gap()


def _steady(dice: Random, load: Load) -> Iterator[float]:
    return _gaps(load, lambda: dice.expovariate(load.busy / load.work_s))


def _bursty(dice: Random, load: Load) -> Iterator[float]:
    """Gaps are Gamma distributed: many tiny ones and a few long ones, with BURSTY_CV as their spread over their mean."""
    shape = 1 / BURSTY_CV**2
    mean_s = load.work_s / load.busy
    return _gaps(load, lambda: dice.gammavariate(shape, mean_s / shape))


def _on_off(dice: Random, load: Load) -> Iterator[float]:
    """ON_S of four times the rate, then OFF_S of nothing."""
    for start in range(0, math.ceil(load.length_s), int(ON_S + OFF_S)):
        for instant in _gaps(
            Load(length_s=ON_S), lambda: dice.expovariate((ON_S + OFF_S) / ON_S * load.busy / load.work_s)
        ):
            if start + instant < load.length_s:
                yield start + instant


def _rare(dice: Random, load: Load) -> Iterator[float]:
    return _gaps(load, lambda: dice.expovariate(1 / RARE_S))


def _timer(_dice: Random, load: Load) -> Iterator[float]:
    return _gaps(load, lambda: TIMER_S)


def _diurnal(dice: Random, load: Load) -> Iterator[float]:
    """The run is one day: nothing at its ends, twice the rate in its middle."""
    rate = load.busy / load.work_s
    for instant in _gaps(load, lambda: dice.expovariate(2 * rate)):
        if dice.random() < (1 - math.cos(2 * math.pi * instant / load.length_s)) / 2:
            yield instant


def _burst_map(_dice: Random, load: Load) -> Iterator[float]:
    """A map of MAP_INPUTS inputs every MAP_EVERY_S, the first after a tenth of it."""
    instant = MAP_EVERY_S / 10
    while instant < load.length_s:
        yield instant
        instant += MAP_EVERY_S


_INSTANTS: dict[str, Callable[[Random, Load], Iterator[float]]] = {
    "steady": _steady,
    "bursty": _bursty,
    "on-off": _on_off,
    "rare": _rare,
    "timer": _timer,
    "diurnal": _diurnal,
    "burst-map": _burst_map,
}
