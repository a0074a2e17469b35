"""Seeds: made-up runs with faults in which every invariant holds after every event, and in which planted bugs show."""

from __future__ import annotations

import time

import pytest

from squall.simulation.sweep import LEAST_EVENTS, run_seed
from tests.simulation.planted import BUGS

BATCH = 700
BATCH_S = 25.0
"""However slow the machine: a batch ends after so long, and `scripts/sweep.py` goes on from there."""


@pytest.mark.parametrize("batch", range(3))
def test_every_invariant_holds_after_every_event(batch: int) -> None:
    began_s = time.monotonic()
    events = []
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        ran = run_seed(seed)
        assert ran.found is None, f"\n{ran.found}\nagain: python3 scripts/sweep.py --first {seed} --seeds 1"
        events.append(ran.events)
        if time.monotonic() - began_s > BATCH_S:
            break
    assert min(events) >= LEAST_EVENTS
    print(f"seeds {batch * BATCH} to {batch * BATCH + len(events) - 1}: {sum(events)} events")


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str) -> None:
    planted = BUGS[bug]
    for seed in range(10_000):
        found = run_seed(seed, planner=planted.planner, line=planted.line).found
        if found is not None:
            print(f"{bug}: seed {seed}, after {found.events} events: {found.told}")
            assert found.what in planted.shows, found
            return
    raise AssertionError("not found within 10,000 seeds")


@pytest.mark.parametrize("seed", range(5))
def test_equal_seeds_give_equal_runs(seed: int) -> None:
    assert run_seed(seed) == run_seed(seed)


def test_a_failing_seed_is_told_with_what_happened_before() -> None:
    planted = BUGS["loses a requeued input"]
    found = next(
        found
        for seed in range(100)
        if (found := run_seed(seed, planner=planted.planner, line=planted.line).found) is not None
    )
    told = str(found)
    assert told.startswith(f"seed {found.seed}, after {found.events} events: one place: ")
    assert "Cluster._arrives(" in told, "the events before it"
