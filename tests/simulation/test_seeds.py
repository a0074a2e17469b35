"""Seeds: made-up runs with faults in which every invariant holds after every event, and in which planted bugs show."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from squall.simulation.faults import Kind
from squall.simulation.many import Count, again, play, play_many
from squall.simulation.sweep import LEAST_EVENTS, Found, run_seed
from tests.simulation.planted import BUGS

SWEEP = Path(__file__).parents[2] / "scripts" / "sweep.py"
BATCH = 700
BATCH_S = 25.0
"""However slow the machine: a batch ends after so long. CI has `scripts/sweep.py` play ten thousand to the end."""
LEAST_OF_A_KIND = 8
"""In a hundred seeds: of a kind of fault that hardly ever finds something to go wrong, seeds say little."""


def found_by(bug: str) -> Found:
    """What the first seed shows in which a planted bug shows."""
    for seed in range(10_000):
        found = run_seed(seed, BUGS[bug].tested).found
        if found is not None:
            return found
    raise AssertionError("not found within 10,000 seeds")


@pytest.mark.parametrize("batch", range(3))
def test_every_invariant_holds_after_every_event(batch: int) -> None:
    began_s = time.monotonic()
    count = Count()
    seeds = range(batch * BATCH, (batch + 1) * BATCH)
    for part in play_many(seeds, jobs=len(os.sched_getaffinity(0))):
        count.add(part)
        for found in part.failed:
            raise AssertionError(f"\n{found}\nagain: {again(found)}")
        if time.monotonic() - began_s > BATCH_S:
            break
    assert count.least >= LEAST_EVENTS
    print(count)


def test_faults_of_every_kind_are_met_often() -> None:
    met = play(range(100)).faults
    assert {kind: met[kind] for kind in Kind if met[kind] < LEAST_OF_A_KIND} == {}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str) -> None:
    found = found_by(bug)
    print(f"{bug}: seed {found.seed}, after {found.events} events: {found.told}")
    assert found.what in BUGS[bug].shows, found


@pytest.mark.parametrize("seed", range(5))
def test_equal_seeds_give_equal_runs(seed: int) -> None:
    assert run_seed(seed) == run_seed(seed)


def test_a_failing_seed_is_told_with_what_happened_before() -> None:
    found = found_by("loses a requeued input")
    told = str(found)
    assert told.startswith(f"seed {found.seed}, after {found.events} events: one place: ")
    assert "Cluster._arrives(" in told, "the events before it"


def test_the_sweep_prints_what_it_has_played_and_how_to_play_a_seed_again() -> None:
    ended = subprocess.run(
        [sys.executable, str(SWEEP), "--first", "3", "--seeds", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    alone = play(range(3, 4))
    assert ended.stdout.startswith(f"{alone}, "), ended.stdout
    found = found_by("acknowledges a call before the commit")
    assert again(found) == f"python3 scripts/sweep.py --first {found.seed} --seeds 1"
