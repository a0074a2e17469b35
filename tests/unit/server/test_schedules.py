"""Schedules: what is due is called once, what was missed as its policy says, and containers are there beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from squall.model.deploy import MAIN_ENVIRONMENT, DeployedName
from squall.model.errors import DiskFull, ResourceExhaustedError, ScheduleInvalid, ScheduleNotFound
from squall.model.ids import CallId
from squall.model.jsonable import to_json
from squall.model.schedule import NO_ARGUMENTS, Cron, Period
from squall.model.variant import MARK
from squall.server.records import FunctionRecord
from squall.server.schedule_streams import check_schedules
from squall.server.schedules import HOLD_S, LOOK_S, SOON_S
from squall.state.records import CallRecord, InputChunk
from squall.state.schedule_records import MOST_TICKS, ScheduleKey, TickState
from squall.wire.payload import unpack
from tests.unit.server.stage import Stage, play
from tests.unit.server.timetable import JOBS, START_S, Mortal, Timetable, scheduled

HOUR_S = 3600.0
EACH_MINUTE = Cron("* * * * *", overlap="run")


def test_what_is_due_is_called_once_without_arguments() -> None:
    async def scene() -> None:
        here = Timetable()
        await here.deploy(scheduled(EACH_MINUTE))
        assert await here.called() == []
        await here.go_on(120.0)
        assert await here.called() == [START_S + 53.0, START_S + 113.0]
        first, second = await here.ticks()
        assert (first.state, second.state) == (TickState.CALLED, TickState.CALLED)
        (kept,) = await here.store.inputs(first.call, start=0, stop=1)
        assert unpack([kept.payload]) == ((), {})
        assert kept.payload == NO_ARGUMENTS

    play(scene)


def test_the_call_of_a_tick_outlives_the_server_that_took_it() -> None:
    async def scene() -> None:
        here = Timetable()
        await here.deploy(scheduled(EACH_MINUTE))
        await here.go_on(60.0)
        here.restart()
        await here.schedules.look()
        await here.go_on(60.0)
        assert await here.called() == [START_S + 53.0, START_S + 113.0]

    play(scene)


def test_a_tick_is_left_out_while_the_call_of_an_earlier_one_still_runs() -> None:
    async def scene() -> None:
        here = Timetable()
        await here.deploy(scheduled(Cron("* * * * *")))
        await here.go_on(180.0)
        first, *others = await here.ticks()
        assert first.state is TickState.CALLED
        assert [(one.state, one.why) for one in others] == [
            (TickState.SKIPPED, f"{first.call} still runs")
        ] * 2
        here.restart()
        await here.schedules.look()
        await here.go_on(60.0)
        assert len(await here.called()) == 1
        await here.end(first.call)
        await here.go_on(60.0)
        assert len(await here.called()) == 2

    play(scene)


@pytest.mark.parametrize(
    ("missed", "called", "left_out"), [("latest", 1, 89), ("all", 90, 0), ("skip", 1, 89)]
)
def test_what_was_missed_is_made_up_for_as_its_policy_says(missed: str, called: int, left_out: int) -> None:
    async def scene() -> None:
        here = Timetable()
        await here.deploy(scheduled(Cron("* * * * *", missed=missed, overlap="run")))
        here.wall_s += 1.5 * HOUR_S
        here.restart()
        await here.schedules.look()
        assert len(await here.called()) == called
        (row,) = await here.schedules.rows()
        assert row["missed"] == left_out
        assert row["next_s"] == START_S + 1.5 * HOUR_S + 53.0

    play(scene)


def test_what_is_too_late_is_not_made_up_for() -> None:
    async def scene() -> None:
        here = Timetable()
        rules = {"skip": Cron("0 * * * *", missed="skip"), "week": Cron("0 0 1 1 *")}
        await here.deploy(*(scheduled(rule, name) for name, rule in rules.items()))
        here.wall_s += 43 * 24 * HOUR_S + 120.0
        here.restart()
        await here.schedules.look()
        assert await here.called("skip") == []
        assert await here.called("week") == []
        rows = {row["function"]: row for row in await here.schedules.rows()}
        assert rows["skip"]["missed"] == MOST_TICKS
        assert rows["week"]["missed"] == 1

    play(scene)


@pytest.mark.parametrize("hours", [2, -2, 26, -30])
def test_a_clock_that_jumps_and_comes_back_calls_nothing_twice(hours: int) -> None:
    async def scene() -> None:
        here = Timetable()
        await here.deploy(scheduled(EACH_MINUTE))
        await here.go_on(300.0)
        here.wall_s += hours * HOUR_S
        await here.go_on(300.0)
        here.wall_s -= hours * HOUR_S
        await here.go_on(300.0)
        called = await here.called()
        assert len(called) == len(set(called))
        there = [at_s for at_s in called if START_S <= at_s <= START_S + 900.0]
        # What passed while the clock was wrong is over; put forward to where it should be, it makes up for the last of these.
        made_up = [9] if hours < 0 else []
        assert there == [START_S + 53.0 + 60 * number for number in (*range(5), *made_up, *range(10, 15))]

    play(scene)


def test_what_is_no_longer_on_record_is_not_called_again_by_a_clock_that_was_put_back() -> None:
    async def scene() -> None:
        here = Timetable()
        await here.deploy(scheduled(EACH_MINUTE))
        await here.go_on(4 * HOUR_S)
        assert len(await here.ticks()) == MOST_TICKS
        here.wall_s -= 4 * HOUR_S
        await here.go_on(HOUR_S)
        await here.stop()
        await here.deploy(scheduled(EACH_MINUTE))
        await here.go_on(2.5 * HOUR_S)
        called = await here.called()
        assert len(called) == len(set(called)) == 240
        await here.go_on(HOUR_S)
        assert len(await here.called()) == 270

    play(scene)


def test_a_clock_that_stands_still_is_looked_at_now_and_then() -> None:
    async def scene() -> None:
        here = Timetable()
        await here.deploy(scheduled(EACH_MINUTE))
        waits = [await here.schedules.look() for _ in range(10)]
        assert waits == [LOOK_S] * 10
        here.wall_s += 52.999
        assert await here.schedules.look() == SOON_S

    play(scene)


def test_a_new_version_goes_on_with_what_it_has_not_changed() -> None:
    async def scene() -> None:
        here = Timetable()
        await here.deploy(scheduled(Period(minutes=10, overlap="run")))
        await here.go_on(540.0)
        await here.deploy(
            scheduled(Period(minutes=10, overlap="run", missed="skip")), scheduled(EACH_MINUTE, "g")
        )
        await here.go_on(60.0)
        assert await here.called() == [START_S + 600.0]
        await here.deploy(scheduled(Period(minutes=9, overlap="run")))
        await here.go_on(539.0)
        assert await here.called() == [START_S + 600.0]
        await here.go_on(1.0)
        assert await here.called() == [START_S + 600.0, START_S + 1140.0]
        assert [row["function"] for row in await here.schedules.rows()] == ["f"]

    play(scene)


def test_a_stopped_app_is_called_no_more_and_begins_anew() -> None:
    async def scene() -> None:
        here = Timetable()
        await here.deploy(scheduled(Period(minutes=10, overlap="run")))
        await here.go_on(300.0)
        await here.stop()
        assert await here.schedules.look() is None
        assert await here.schedules.rows() == []
        here.wall_s += HOUR_S
        await here.deploy(scheduled(Period(minutes=10, overlap="run")))
        await here.go_on(600.0)
        assert await here.called() == [START_S + 300.0 + HOUR_S + 600.0]

    play(scene)


def test_a_tick_whose_app_is_stopped_before_its_call_is_refused() -> None:
    async def scene() -> None:
        here = Timetable()
        await here.deploy(scheduled(EACH_MINUTE))
        here.store.dies_in, here.store.before = 0, False
        with pytest.raises(BaseException, match=r"^$"):
            await here.go_on(60.0)
        here.restart()
        await here.stop()
        (tick,) = await here.ticks()
        assert (tick.state, tick.why) == (TickState.REFUSED, "f of jobs is not deployed any more")
        assert await here.called() == []

    play(scene)


def test_environments_have_schedules_of_their_own() -> None:
    async def scene() -> None:
        here, staging = Timetable(), DeployedName("staging", "jobs")
        await here.deploy(scheduled(EACH_MINUTE))
        await here.deploy(scheduled(EACH_MINUTE), name=staging)
        await here.go_on(60.0)
        assert await here.called() == [START_S + 53.0] * 2
        await here.stop(staging)
        await here.go_on(60.0)
        assert await here.called() == [START_S + 53.0, START_S + 53.0, START_S + 113.0]
        assert (await here.ticks(deployed=staging))[0].call != (await here.ticks())[0].call

    play(scene)


def test_variants_of_a_function_have_no_schedule() -> None:
    async def scene() -> None:
        here = Timetable()
        await here.deploy(scheduled(EACH_MINUTE), scheduled(EACH_MINUTE, f"f{MARK}12345678"))
        await here.go_on(60.0)
        assert [row["function"] for row in await here.schedules.rows()] == ["f"]

    play(scene)


def test_what_may_not_be_called_is_refused_and_says_why() -> None:
    async def scene() -> None:
        here = Timetable()
        spent = True

        async def admit(_function: FunctionRecord, _call: CallId) -> None:
            if spent:
                raise ResourceExhaustedError("the budget of this month is spent")

        here.schedules.admit = admit
        await here.deploy(scheduled(EACH_MINUTE))
        await here.go_on(60.0)
        spent = False
        await here.go_on(60.0)
        first, second = await here.ticks()
        assert (first.state, first.why) == (TickState.REFUSED, "the budget of this month is spent")
        assert second.state is TickState.CALLED

    play(scene)


def test_a_disk_that_is_full_keeps_a_tick_waiting_and_not_others() -> None:
    async def scene() -> None:
        here = Timetable()
        here.store = _Full()
        here.restart()
        await here.deploy(scheduled(EACH_MINUTE))
        here.wall_s += 60.0
        with pytest.raises(DiskFull):
            await here.schedules.look()
        assert [one.state for one in await here.ticks()] == [TickState.TAKEN]
        here.store.full = False
        here.restart()
        await here.schedules.look()
        assert await here.called() == [START_S + 53.0]

    play(scene)


class _Full(Mortal):
    """A store that has no room for calls."""

    full = True

    async def record_call(self, call: CallRecord, chunks: Sequence[InputChunk] = ()) -> None:
        if self.full:
            raise DiskFull("the disk is full")
        await super().record_call(call, chunks)


def test_a_container_is_asked_for_before_the_time_comes() -> None:
    async def scene() -> None:
        here = Timetable()
        await here.deploy(scheduled(Cron("0 * * * *")))
        key = ScheduleKey(JOBS, "f")
        function = here.schedules.function_of(key)
        assert function is not None
        function.starts = function.starts.seen(seconds=20.0, beside=1, cores=1)
        due_s = HOUR_S - 7.0
        await here.go_on(due_s - 30.6)
        assert here.warmed == []
        await here.go_on(0.2)
        ((name, until_s),) = here.warmed
        assert name == "f"
        assert until_s == pytest.approx(here.stage.now_s + 30.4 + HOLD_S, abs=0.2)
        await here.go_on(40.0)
        assert len(here.warmed) == 1
        assert len(await here.called()) == 1

    play(scene)


def test_a_container_that_is_expected_to_be_needed_starts_and_goes_when_it_was_not() -> None:
    async def scene() -> None:
        stage = Stage()
        assert stage.capacity.plan_once() is None
        stage.capacity.expect(stage.record, stage.now_s + 30.0)
        stage.capacity.plan_once()
        assert len(stage.calls.workers) == 1
        stage.wait(31.0)
        stage.capacity.plan_once()
        assert stage.record.expected_until_s < stage.now_s
        stage.capacity.plan_once()
        assert len(stage.calls.workers) == 1

    play(scene)


def test_a_thousand_schedules_of_the_same_minute_are_all_called() -> None:
    async def scene() -> None:
        here = Timetable()
        await here.deploy(*(scheduled(Cron("* * * * *"), f"f{number}") for number in range(1000)))
        await here.go_on(60.0)
        calls = await here.store.calls(limit=2000)
        assert len({one.function for one in calls}) == len(calls) == 1000

    play(scene)


def test_a_scheduled_function_is_called_now_beside_its_schedule() -> None:
    async def scene() -> None:
        here = Timetable()
        await here.deploy(scheduled(Cron("0 * * * *")), replace(scheduled(EACH_MINUTE, "g"), schedule=None))
        call = await here.schedules.call_now(ScheduleKey(JOBS, "f"))
        assert await here.store.call(call) is not None
        assert await here.ticks() == []
        for missing in ("g", "h"):
            with pytest.raises(
                ScheduleNotFound, match=f"{missing} of jobs has no schedule; of that app have one: f"
            ):
                await here.schedules.call_now(ScheduleKey(DeployedName(MAIN_ENVIRONMENT, "jobs"), missing))

    play(scene)


def test_a_version_whose_schedule_cannot_be_is_refused_before_it_is_taken() -> None:
    good = scheduled(Cron("0 2 * * *", timezone="Europe/Berlin"))
    check_schedules([to_json(good), {"name": "g"}])
    with pytest.raises(ScheduleInvalid, match=r"^f: the server knows no time zone 'Europe/Berlln'"):
        check_schedules([to_json(scheduled(Cron("0 2 * * *", timezone="Europe/Berlln")))])
    with pytest.raises(ScheduleInvalid, match=r"^f: .*names no time"):
        check_schedules([to_json(scheduled(Cron("0 0 */30 2 MON#5")))])
