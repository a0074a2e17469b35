"""Schedules over kills, restarts, new versions and a clock that jumps: each instant at most once, and none forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from squall.model.ids import made_s
from squall.model.schedule import Cron, Period
from squall.scheduling.instants import last_until
from squall.scheduling.ticks import MISSED_S
from squall.server.schedules import LOOK_S
from squall.state.schedule_records import MOST_TICKS, TickState
from tests.unit.server.timetable import Died, Timetable, scheduled

T = TypeVar("T")

RULES: tuple[Cron | Period, ...] = (
    Cron("* * * * *", overlap="run"),
    Cron("*/7 * * * *", timezone="Europe/Berlin", overlap="run"),
    Period(seconds=45, overlap="run"),
    Period(minutes=3, missed="all", overlap="run"),
)


class SchedulesUnderFaults(RuleBasedStateMachine):
    """One function that always has a schedule; beside it what must have been called, and what must not be called again."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.here = self.run(self._made())
        self.rule = RULES[0]
        self.must: set[float] = set()
        self.run(self.here.deploy(scheduled(self.rule)))

    async def _made(self) -> Timetable:
        return Timetable()

    def run(self, doing: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(doing)

    def teardown(self) -> None:
        self.runner.close()

    @rule(seconds=st.integers(1, 400) | st.just(4800))
    def time_passes(self, seconds: int) -> None:
        before_s, decided = self.here.wall_s, self._decided()
        self.run(self.here.go_on(float(seconds)))
        self.must.update(self._instants(before_s, self.here.wall_s) - decided)

    @rule(rule=st.sampled_from(RULES))
    def a_version_takes_over(self, rule: Cron | Period) -> None:
        self.rule = rule
        self.run(self.here.deploy(scheduled(rule)))

    @rule()
    def the_app_is_stopped_and_deployed_again(self) -> None:
        self.run(self.here.stop())
        self.run(self.here.deploy(scheduled(self.rule)))

    @rule(away_s=st.integers(0, 3 * 3600))
    def the_server_is_away(self, away_s: int) -> None:
        self.run(self.here.schedules.look())
        before_s, decided = self._seen_s(), self._decided()
        self.here.wall_s += away_s
        self.run(self._restarted())
        passed = sorted(self._instants(before_s, self.here.wall_s) - decided)
        self.must.update(passed[-MOST_TICKS:] if self.rule.missed == "all" else passed[-1:])

    @rule(hours=st.sampled_from((2, -2, 26, -30)))
    def the_clock_is_set(self, hours: int) -> None:
        self.here.wall_s += 3600 * hours
        self.run(self.here.schedules.look())

    @rule(dies_in=st.integers(0, 4), before=st.booleans(), seconds=st.integers(30, 600))
    def the_server_is_killed_meanwhile(self, dies_in: int, before: bool, seconds: int) -> None:
        self.here.store.dies_in, self.here.store.before = dies_in, before
        try:
            self.run(self.here.go_on(float(seconds)))
        except Died:
            pass
        self.here.store.dies_in = None
        self.run(self._restarted())

    async def _restarted(self) -> None:
        self.here.restart()
        await self.here.schedules.look()

    def _known(self) -> Any:
        (known,) = self.here.schedules._known.values()
        return known

    def _seen_s(self) -> float:
        record = self._known().record
        return max(float(record.seen_s), float(record.floor_s))

    def _decided(self) -> set[float]:
        """What is not called for again: it is on record; what is older than that lies below the floor."""
        return set(self._known().taken)

    def _instants(self, after_s: float, until_s: float) -> set[float]:
        known = self._known()
        after_s = max(after_s, known.record.floor_s)
        found = last_until(known.schedule, known.record.anchor_s, until_s, 2000)
        return {at_s for at_s in found if at_s > after_s and until_s - at_s <= MISSED_S}

    @invariant()
    def no_instant_has_two_calls(self) -> None:
        called = self.run(self.here.called())
        assert len(called) == len(set(called))

    @invariant()
    def whatever_was_due_is_called(self) -> None:
        assert {round(at_s, 3) for at_s in self.must} <= {
            round(at_s, 3) for at_s in self.run(self.here.called())
        }

    @invariant()
    def whatever_was_taken_is_called(self) -> None:
        ticks = self.run(self.here.ticks())
        assert {tick.state for tick in ticks} <= {TickState.CALLED}
        assert {made_s(tick.call) for tick in ticks} <= set(self.run(self.here.called()))

    @invariant()
    def it_looks_again_in_time(self) -> None:
        wait_s = self.run(self.here.schedules.look())
        assert wait_s is not None
        assert 0 < wait_s <= LOOK_S


TestSchedulesUnderFaults = SchedulesUnderFaults.TestCase
TestSchedulesUnderFaults.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
