"""Span: a run [start, stop) of a call's inputs, and the arithmetic of runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Span = tuple[int, int]


def runs(indexes: Iterable[int]) -> Iterator[Span]:
    """The runs that these ascending indexes make."""
    start = stop = -1
    for index in indexes:
        if index != stop:
            if start >= 0:
                yield start, stop
            start = index
        stop = index + 1
    if start >= 0:
        yield start, stop


def joined(spans: Iterable[Span]) -> Iterator[Span]:
    """Ascending runs that do not overlap, those that touch made one."""
    held: Span | None = None
    for start, stop in spans:
        if held is not None and held[1] == start:
            held = (held[0], stop)
            continue
        if held is not None:
            yield held
        held = (start, stop)
    if held is not None:
        yield held


def without(whole: Iterable[Span], taken: Iterable[Span]) -> Iterator[Span]:
    """What is in `whole` and not in `taken`; both ascending, each without overlaps."""
    rest = iter(taken)
    cut = next(rest, None)
    for start, stop in whole:
        low = start
        while cut is not None and cut[0] < stop:
            if cut[1] > low:
                if cut[0] > low:
                    yield low, cut[0]
                low = cut[1]
            if cut[1] > stop:
                break
            cut = next(rest, None)
        if low < stop:
            yield low, stop


def holds(spans: Iterable[Span], index: int) -> bool:
    """Whether `index` is in one of the runs."""
    return any(start <= index < stop for start, stop in spans)
