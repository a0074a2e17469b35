"""Usage: what containers took of their machines, whose that was, and on which day."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from math import ceil, floor
from typing import Any, Final

DAY_S: Final = 86_400.0
_GIB: Final = 2**30
# What stands in a function's own name before it is one of several: with parameters of a class, with other options.
_MARKS: Final = ("@", "~")


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Whose something is. app, function: the names that people gave. tags: of the app, by key."""

    environment: str = ""
    app: str = ""
    function: str = ""
    tags: tuple[tuple[str, str], ...] = field(default=())

    @staticmethod
    def of(environment: str, app: str, function: str, tags: dict[str, str]) -> Labels:
        """Those of a function; of one that is made of another by parameters or options, those of the other."""
        for mark in _MARKS:
            function = function.partition(mark)[0]
        pairs = tuple(sorted((str(key), str(value)) for key, value in tags.items()))
        return Labels(environment=environment, app=app, function=function, tags=pairs)

    def tag(self, key: str) -> str | None:
        """The value of a tag, if there is one."""
        return dict(self.tags).get(key)

    @property
    def tags_in_words(self) -> str:
        """All tags, as `team=a, stage=test`."""
        return ", ".join(f"{key}={value}" for key, value in self.tags)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """What containers took. containers: how many have ended.

    cpu_s: core-seconds used; cpu_kept_s: those that were kept; cpu_paid_s: of each container the larger of both, which is what
    it costs. The same of memory, in bytes times seconds. gpu_s: devices times seconds.
    """

    containers: int = 0
    container_s: float = 0.0
    cpu_s: float = 0.0
    cpu_kept_s: float = 0.0
    cpu_paid_s: float = 0.0
    memory_byte_s: float = 0.0
    memory_kept_byte_s: float = 0.0
    memory_paid_byte_s: float = 0.0
    gpu_s: float = 0.0

    def plus(self, other: Spend) -> Spend:
        """Both together."""
        return Spend(**{name: getattr(self, name) + getattr(other, name) for name in _FIELDS})

    def times(self, share: float) -> Spend:
        """A share of it; a container is in none of its shares."""
        return Spend(**{name: getattr(self, name) * share for name in _FIELDS if name != "containers"})

    def minus(self, other: Spend) -> Spend:
        """What it is more than another."""
        return Spend(**{name: getattr(self, name) - getattr(other, name) for name in _FIELDS})

    @property
    def gib_paid_s(self) -> float:
        """GiB-seconds that it costs."""
        return self.memory_paid_byte_s / _GIB

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return {name: getattr(self, name) for name in _FIELDS}


_FIELDS: Final = tuple(known.name for known in fields(Spend))
NOTHING: Final = Spend()


@dataclass(frozen=True, slots=True)
class Bucket:
    """To what a spend counts: a day (since 1970, UTC), whose it was, and the type of its GPUs."""

    day: int
    labels: Labels = Labels()
    gpu_type: str = ""


Spends = dict[Bucket, Spend]


def add(spends: Spends, bucket: Bucket, spend: Spend) -> None:
    """Adds to what is there."""
    known = spends.get(bucket)
    spends[bucket] = spend if known is None else known.plus(spend)


def day_of(at_s: float) -> int:
    """The day of an instant, both since 1970, in UTC."""
    return floor(at_s / DAY_S)


def by_day(spend: Spend, *, started_s: float, ended_s: float) -> Iterator[tuple[int, Spend]]:
    """A spend on the days on which it was made, evenly over its time. What is counted in pieces counts on the last day."""
    first, last = day_of(started_s), max(day_of(started_s), ceil(ended_s / DAY_S) - 1)
    whole_s = ended_s - started_s
    if first == last or whole_s <= 0:
        yield last, spend
        return
    left = spend
    for day in range(first, last):
        share_s = min(ended_s, (day + 1) * DAY_S) - max(started_s, day * DAY_S)
        part = spend.times(share_s / whole_s)
        left = left.minus(part)
        yield day, part
    # What is left, so that the days add up to all of it whatever was rounded.
    yield last, replace(left, containers=spend.containers)


def shares(busy_s: dict[str, float], container_s: float) -> dict[str, float]:
    """Which part of a container each call had: by its time, of the container's, or of all their times where they overlapped."""
    whole_s = max(container_s, sum(busy_s.values()))
    return (
        {call: one / whole_s for call, one in busy_s.items()} if whole_s > 0 else dict.fromkeys(busy_s, 0.0)
    )
