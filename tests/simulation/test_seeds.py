"""Seeds: made-up runs with faults in which every invariant holds after every event, and in which planted bugs show."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from squall.simulation.faults import Kind
from squall.simulation.many import again, play
from squall.simulation.sweep import LEAST_EVENTS, Found, run_seed
from tests.simulation.planted import BUGS

SWEEP = Path(__file__).parents[2] / "scripts" / "sweep.py"
SEEDS = 2_100
WITHIN_S = 60.0
"""However slow the machine: no seed begins later. CI has ten thousand played to the end."""
LEAST_OF_A_KIND = 8
"""In a hundred seeds: of a kind of fault that hardly ever finds something to go wrong, seeds say little."""


def found_by(bug: str) -> Found:
    """What the first seed shows in which a planted bug shows."""
    for seed in range(10_000):
        found = run_seed(seed, BUGS[bug].tested).found
        if found is not None:
            return found
    raise AssertionError("not found within 10,000 seeds")


def sweep(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SWEEP), *options], capture_output=True, text=True, check=False)


def test_every_invariant_holds_after_every_event() -> None:
    ended = sweep("--seeds", str(SEEDS), "--within", str(WITHIN_S))
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    print(ended.stdout)


def test_seeds_are_long_enough_and_meet_faults_of_every_kind() -> None:
    count = play(range(100))
    assert count.least >= LEAST_EVENTS
    assert {kind: count.faults[kind] for kind in Kind if count.faults[kind] < LEAST_OF_A_KIND} == {}


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
    ended = sweep("--first", "3", "--seeds", "1")
    assert ended.returncode == 0, ended.stderr
    alone = play(range(3, 4))
    assert ended.stdout.startswith(f"{alone}, "), ended.stdout
    found = found_by("acknowledges a call before the commit")
    assert again(found) == f"python3 scripts/sweep.py --first {found.seed} --seeds 1"
