"""Many: seeds played one after another, and what is counted of them together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from squall.simulation.faults import Kind
from squall.simulation.sweep import Found, run_seed


@dataclass(slots=True)
class Count:
    """What became of the seeds so far. least: the events of the seed that had fewest."""

    seeds: int = 0
    events: int = 0
    least: int = 0
    faults: Counter[Kind] = field(default_factory=Counter)
    failed: list[Found] = field(default_factory=list)

    def add(self, other: Count) -> None:
        """Counts these seeds too."""
        self.least = min(self.least, other.least) if self.seeds else other.least
        self.seeds += other.seeds
        self.events += other.events
        self.faults += other.faults
        self.failed += other.failed

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {self.faults[kind]}" for kind in Kind)
        faults = self.faults.total()
        return (
            f"{self.seeds} seeds, {self.events} events, {len(self.failed)} failed, {faults} faults ({kinds})"
        )


def play(seeds: range) -> Count:
    """Plays seeds one after another."""
    count = Count()
    for seed in seeds:
        ran = run_seed(seed)
        found = [ran.found] if ran.found is not None else []
        count.add(Count(1, ran.events, ran.events, Counter(ran.met), found))
    return count


def again(found: Found) -> str:
    """The command that plays a failing seed again, alone."""
    return f"python3 scripts/sweep.py --first {found.seed} --seeds 1"
