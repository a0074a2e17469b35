"""The replay bench: its trace, what it tells the simulation, and when two figures agree."""

from __future__ import annotations

import pytest

import replay


def test_the_trace_follows_its_seed_and_holds_bursts_of_short_works() -> None:
    calls = replay.trace_of(30.0, 1)
    assert calls == replay.trace_of(30.0, 1)
    assert calls != replay.trace_of(30.0, 2)
    assert list(calls) == sorted(calls, key=lambda call: call.at_s)
    assert all(0.05 <= call.work_s[0] <= 0.30 for call in calls)
    assert len(calls) > 20


def test_as_many_start_at_once_as_makes_a_dozen_take_as_long_as_they_took() -> None:
    def measured(together_s: float) -> int:
        return replay.Measured(starts_s=(0.1, 0.11, 0.09), together_s=together_s, way_s=0.0).starts.at_once

    assert measured(1.2) == 1
    assert measured(0.6) == 2
    assert measured(0.05) == replay.MOST


def test_figures_agree_within_their_share_and_where_they_are_next_to_nothing() -> None:
    assert replay.off_by(1.0, 1.2) == pytest.approx(0.2)
    assert replay.off_by(0.001, 0.009) == 0.0
    assert replay.off_by(0.0, 0.05) == pytest.approx(5.0)


def test_the_simulation_of_the_trace_gives_waits_of_at_least_the_way() -> None:
    measured = replay.Measured(starts_s=(0.1, 0.1, 0.1), together_s=0.4, way_s=0.002)
    found = replay.simulated(replay.trace_of(20.0, 1), measured)
    assert 0.002 <= found.p50_wait_s <= found.p90_wait_s <= found.p99_wait_s < 1.0
    assert found.container_s > 3.0
