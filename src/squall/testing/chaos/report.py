"""The report of a fault suite: what was done to the processes, what became of the work, and what was left."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

KINDS_LEFT = ("procs", "cgroups", "mounts", "netns", "fds", "tmp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One fault that was really there. kind: its number in the catalogue, and what it is. breaks: see `Fault`. at_s: monotonic."""

    kind: str
    what: str
    at_s: float = 0.0
    breaks: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One run of the suite, or several together.

    faults: how often each kind was there. killed: processes ended by a signal of the suite or at a crash point; points: the
    latter alone. frames: those that were disturbed on their way. simulated: faults of the simulation. left: what was left
    behind, a line each, by its kind. recoveries_s: from each fault to the next outcome at a client. broken: promises that did
    not hold, in words.
    """

    faults: Mapping[str, int] = field(default_factory=dict)
    accepted: int = 0
    lost: int = 0
    doubled: int = 0
    again: int = 0
    stuck: int = 0
    named: int = 0
    killed: int = 0
    points: int = 0
    frames: int = 0
    simulated: int = 0
    recoveries_s: tuple[float, ...] = ()
    left: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    broken: tuple[str, ...] = ()
    figures: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether nothing was lost, doubled, stuck or left, and every promise held."""
        return not (self.lost or self.doubled or self.stuck or self.broken or any(self.left.values()))

    @property
    def injected(self) -> int:
        """How many faults there were."""
        return sum(self.faults.values())

    def lines(self) -> list[str]:
        """The report in words; the first line is the one to quote."""
        left = sum(map(len, self.left.values()))
        p50, p99 = (quantile(self.recoveries_s, share) for share in (0.5, 0.99))
        recovery = "none needed" if not self.recoveries_s else f"p50/p99 {p50:.2f}/{p99:.2f} s"
        work = (
            f"{self.injected} faults injected ({len(self.faults)} kinds), {self.accepted} accepted, {self.lost} lost, "
            f"{self.doubled} duplicated results, {self.again} duplicate executions (allowed), {self.stuck} stuck, "
            f"recovery {recovery}, {left} leaked ({_left_words(self.left)})"
        )
        apart = (
            f"{self.killed} processes killed and crash points really hit ({self.points} of them crash points); "
            f"{self.frames} frames disturbed; {self.simulated} simulated faults"
        )
        return [
            work,
            apart,
            *(f"{name}: {figure}" for name, figure in sorted(self.figures.items())),
            *(f"left: {kind}: {line}" for kind, lines in sorted(self.left.items()) for line in lines),
            *(f"broken: {line}" for line in self.broken),
        ]

    def as_json(self) -> dict[str, Any]:
        """The same for programs, with the verdict."""
        plain = {**asdict(self), "recoveries_s": [round(one, 3) for one in self.recoveries_s]}
        return {"holds": self.holds, "line": self.lines()[0], **plain}


def together(reports: Sequence[Report]) -> Report:
    """Several runs as one."""
    faults: dict[str, int] = {}
    left: dict[str, tuple[str, ...]] = {}
    figures: dict[str, str] = {}
    for one in reports:
        for kind, often in one.faults.items():
            faults[kind] = faults.get(kind, 0) + often
        for kind, lines in one.left.items():
            left[kind] = (*left.get(kind, ()), *lines)
        figures |= one.figures
    return Report(
        faults=dict(sorted(faults.items())),
        accepted=sum(one.accepted for one in reports),
        lost=sum(one.lost for one in reports),
        doubled=sum(one.doubled for one in reports),
        again=sum(one.again for one in reports),
        stuck=sum(one.stuck for one in reports),
        named=sum(one.named for one in reports),
        killed=sum(one.killed for one in reports),
        points=sum(one.points for one in reports),
        frames=sum(one.frames for one in reports),
        simulated=sum(one.simulated for one in reports),
        recoveries_s=tuple(recovery for one in reports for recovery in one.recoveries_s),
        left=left,
        broken=tuple(line for one in reports for line in one.broken),
        figures=figures,
        seconds=sum(one.seconds for one in reports),
    )


def recoveries(
    faults_s: Sequence[float], outcomes_s: Sequence[float], *, begins_s: float = 0.5
) -> tuple[float, ...]:
    """For each fault the seconds until outcomes came again.

    An outcome may have been on its way already when the fault came. So what is taken is the longest silence that the fault can
    have begun: one that is under way when it comes, or begins up to `begins_s` later; from the fault on, to its end. A fault
    after which no outcome was due any more has none.
    """
    times = sorted(outcomes_s)
    found: list[float] = []
    for fault_s in sorted(faults_s):
        silences = [
            after - max(before, fault_s)
            for before, after in itertools.pairwise(times)
            if before <= fault_s + begins_s and after >= fault_s
        ]
        if silences:
            found.append(max(silences))
    return tuple(found)


def slowest(hits: Sequence[Hit], outcomes_s: Sequence[float], *, most: int = 3) -> str:
    """The longest recoveries, each with the fault that it was from: of faults within one silence, each has its own."""
    breaking = [hit for hit in hits if hit.breaks]
    found = [(one, hit.kind) for hit in breaking for one in recoveries([hit.at_s], outcomes_s)]
    return (
        ", ".join(f"{one:.2f} s from {kind}" for one, kind in sorted(found, reverse=True)[:most])
        or "none needed"
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The value that so great a share of the values does not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def _left_words(left: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{len(left[kind])} {kind}" if left.get(kind) else kind for kind in KINDS_LEFT)
