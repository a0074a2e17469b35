"""Schedules: functions of deployed apps that are called by themselves, each instant once, and made ready for it beforehand."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from squall import faults
from squall.context.fresh import fresh_id
from squall.model.call import CallState, Verb
from squall.model.deploy import DeployedName, VersionState
from squall.model.errors import (
    DiskFull,
    Error,
    InvalidError,
    NotFoundError,
    ResourceExhaustedError,
    ScheduleNotFound,
    StoreClosed,
    TooManyInputs,
)
from squall.model.ids import CALL, CallId, make_id
from squall.model.jsonable import from_json, to_json
from squall.model.schedule import NO_ARGUMENTS, Schedule
from squall.model.variant import MARK
from squall.scheduling.ticks import Due, Timetable, lead_s, next_tick, plan_ticks, same_times
from squall.server.addressing import Addressing
from squall.server.durable import Durable
from squall.server.records import CallRecord, FunctionRecord
from squall.state.schedule_records import MOST_TICKS, ScheduleKey, ScheduleRecord, TickRecord, TickState
from squall.state.state_store import StateStore
from squall.wire.codec import Frame, Kind

_log = logging.getLogger("squall.server")

LOOK_S = 20.0
"""After how long the clock is looked at again, however far the next instant is: nobody tells of one that was set."""
SOON_S = 0.05
AGAIN_S = 2.0
HOLD_S = 5.0
"""For how long after an instant a container is kept that was started for it and has got nothing."""
AT_ONCE = 64

_TAKEN = faults.declare("tick.taken", "a tick is on record, and its call is not")
_CALLED = faults.declare("tick.called", "the call of a tick is on record, and the tick does not say so")
_SETTLED = faults.declare("tick.settled", "what became of a tick is on record")
_CHANGED = faults.declare("schedule.changed", "a version serves, and its schedules are not on record")


@dataclass(slots=True)
class _Known:
    """A schedule in memory. taken: the instants that are on record; last: the call that was made last; warmed_s: the instant
    that was prepared for.
    """

    record: ScheduleRecord
    schedule: Schedule
    taken: set[float] = field(default_factory=set)
    last: CallId | None = None
    warmed_s: float = 0.0

    @property
    def table(self) -> Timetable:
        record = self.record
        return Timetable(
            schedule=self.schedule,
            anchor_s=record.anchor_s,
            seen_s=record.seen_s,
            floor_s=record.floor_s,
            taken=frozenset(self.taken),
        )

    def took(self, instants: Iterable[float]) -> None:
        """Remembers as many as the record does."""
        self.taken.update(instants)
        old = sorted(self.taken, reverse=True)[MOST_TICKS:]
        self.taken.difference_update(old)
        self.record = replace(self.record, floor_s=max([self.record.floor_s, *old]))


class Schedules:
    """Every schedule. They run only where a deployed app serves; `changed` is called when another version does.

    admit: asked before a tick is called for; what it raises is why it is refused. warm: called with a function that a container
    is wanted for by an instant of `clock`. wall: the time of day in seconds since 1970, which may be set; clock: the one that is not.
    """

    def __init__(self, state: StateStore, durable: Durable, addressing: Addressing) -> None:
        self.admit: Callable[[FunctionRecord, CallId], Awaitable[None]] = _admitted
        self.warm: Callable[[FunctionRecord, float], None] = lambda _function, _until_s: None
        self.wall: Callable[[], float] = time.time
        self.clock: Callable[[], float] = time.monotonic
        self._state = state
        self._durable = durable
        self._addressing = addressing
        self._known: dict[ScheduleKey, _Known] = {}
        self._woken = asyncio.Event()
        self._loaded = False
        self._stale = self._unsent = True

    def changed(self) -> None:
        """Another version serves, or none."""
        self._stale = True
        self._woken.set()

    def reread(self) -> None:
        """An environment has another name: what is on record is read again."""
        self._known.clear()
        self._loaded = False
        self.changed()

    async def run(self) -> None:
        """Calls what is due, for ever. Waits for the next instant, and looks at the clock every LOOK_S on the way there."""
        while True:
            try:
                wait_s = await self.look()
            except StoreClosed:
                raise
            except Error as problem:
                _log.error("schedules wait: %s", problem)
                self._unsent, wait_s = True, AGAIN_S
            try:
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._woken.clear()

    async def look(self) -> float | None:
        """Look, plan, call. Seconds until it has to look again; None: not before something is deployed."""
        if not self._loaded:
            await self._load()
            self._loaded = True
        if self._stale:
            self._stale = False
            try:
                await self._take_over()
            except BaseException:
                self._stale = True
                raise
        if self._unsent:
            await self._go_on()
            self._unsent = False
        now_s = self.wall()
        due = [(known, plan_ticks(known.table, now_s)) for known in self._known.values()]
        work = [
            self._take(known, one, now_s)
            for known, one in due
            if one.run or one.missed or one.seen_s < known.record.seen_s
        ]
        for start in range(0, len(work), AT_ONCE):
            told = await asyncio.gather(*work[start : start + AT_ONCE], return_exceptions=True)
            # Not before all are over: what is gone on with is not to meet what still goes on.
            for problem in filter(None, told):
                raise problem
        return self._prepare(self.wall())

    # -- what there is

    async def _load(self) -> None:
        """What an earlier server has left."""
        ticks = _by_key(await self._state.ticks())
        for record in await self._state.schedules():
            schedule = from_json(Schedule, json.loads(record.rule))
            taken = {tick.at_s for tick in ticks.get(record.key, ())}
            self._known[record.key] = _Known(record, schedule, taken)

    async def _take_over(self) -> None:
        """Schedules are those of the versions that serve; what stays the same goes on where it was."""
        faults.point(_CHANGED)
        serving = dict(self._addressing.serving)
        wanted = {
            ScheduleKey(name, function): one.function.schedule
            for name, version in serving.items()
            for function, one in version.app.functions.items()
            if one.function.schedule is not None and MARK not in function
        }
        for key, schedule in wanted.items():
            if schedule is not None:
                await self._set(key, schedule)
        for key in [key for key in self._known if key not in wanted]:
            if key.deployed in serving or not await self._serves(key.deployed):
                await self._state.drop_schedule(key)
                del self._known[key]

    async def _set(self, key: ScheduleKey, schedule: Schedule) -> None:
        rule = json.dumps(to_json(schedule), sort_keys=True)
        known = self._known.get(key)
        if known is not None and known.record.rule == rule:
            return
        now_s = round(self.wall(), 3)
        if known is None:
            record = await self._new(key, rule, now_s)
        elif same_times(known.schedule, schedule):
            record = replace(known.record, rule=rule)
        else:
            record = replace(known.record, rule=rule, anchor_s=now_s, seen_s=now_s)
        await self._state.record_schedule(record)
        ticks = await self._state.ticks(key)
        self._known[key] = _Known(record, schedule, {tick.at_s for tick in ticks}, _last(ticks))

    async def _new(self, key: ScheduleKey, rule: str, now_s: float) -> ScheduleRecord:
        """A schedule that begins now. Ticks may be left of one that the function had before its app was stopped."""
        ticks = await self._state.ticks(key)
        return ScheduleRecord(
            key=key,
            rule=rule,
            salt=os.urandom(16).hex(),
            anchor_s=now_s,
            seen_s=now_s,
            floor_s=ticks[-1].at_s if len(ticks) >= MOST_TICKS else 0.0,
        )

    async def _serves(self, name: DeployedName) -> bool:
        """Whether a version of it is to serve, though this server could not take it up."""
        rows = await self._state.versions(environment=name.environment, name=name.app)
        return any(row.state is VersionState.SERVING for row in rows)

    def function_of(self, key: ScheduleKey) -> FunctionRecord | None:
        """The function as it serves; None where it does not."""
        version = self._addressing.serving.get(key.deployed)
        return None if version is None else version.app.functions.get(key.function)

    # -- what is due

    async def _take(self, known: _Known, due: Due, now_s: float) -> None:
        """Has ticks on record, and then calls for them: one that another server, or an earlier look, has taken is left to it."""
        key, salt = known.record.key, known.record.salt
        ticks = [
            TickRecord(key=key, at_s=at_s, call=call_of(key, at_s, salt), taken_s=now_s) for at_s in due.run
        ]
        record = replace(
            known.record,
            seen_s=due.seen_s,
            missed=known.record.missed + due.missed,
            missed_s=due.missed_s or known.record.missed_s,
        )
        new = await self._state.record_ticks(record, ticks)
        known.record = record
        known.took(due.run)
        for tick in ticks:
            if tick.at_s in new:
                faults.point(_TAKEN)
                await self._call(known, tick)

    async def _go_on(self) -> None:
        """Calls for ticks that are on record, and of which nobody knows what became: the server ended, or the disk was full."""
        ticks = await self._state.ticks()
        by_key = _by_key(ticks)
        for key, known in self._known.items():
            known.last = _last(by_key.get(key, ()))
        for tick in reversed(ticks):
            if tick.state is TickState.TAKEN:
                await self._call(self._known.get(tick.key), tick)

    async def _call(self, known: _Known | None, tick: TickRecord) -> None:
        called = await self._state.call(tick.call) is not None
        if not called:
            why = await self._why_not(known, tick)
            if why is None:
                why = await self._submit(tick)
            if why is not None:
                await self._state.set_tick(why)
                faults.point(_SETTLED)
                return
            faults.point(_CALLED)
        if known is not None:
            known.last = tick.call
        await self._state.set_tick(replace(tick, state=TickState.CALLED))
        faults.point(_SETTLED)

    async def _why_not(self, known: _Known | None, tick: TickRecord) -> TickRecord | None:
        """What a tick comes to that is not called for; None: it is."""
        if known is None or self.function_of(tick.key) is None:
            return replace(tick, state=TickState.REFUSED, why=f"{tick.key} is not deployed any more")
        if known.schedule.rule.overlap == "skip" and known.last is not None:
            earlier = await self._state.call(known.last)
            if earlier is not None and earlier.state is CallState.OPEN:
                return replace(tick, state=TickState.SKIPPED, why=f"{known.last} still runs")
        return None

    async def _submit(self, tick: TickRecord) -> TickRecord | None:
        """Has the call of a tick on record, and lets it run; None, or how it was refused."""
        function = self.function_of(tick.key)
        try:
            if function is None:
                raise ScheduleNotFound(f"{tick.key} is not deployed any more")
            await self._submit_to(function, tick.call)
        except DiskFull:
            raise
        except (TooManyInputs, ResourceExhaustedError, NotFoundError, InvalidError) as refused:
            _log.warning("%s was not called at its time: %s", tick.key, refused.message)
            return replace(tick, state=TickState.REFUSED, why=refused.message)
        return None

    async def _submit_to(self, function: FunctionRecord, call: CallId) -> None:
        await self.admit(function, call)
        record = CallRecord(call, function.function.id, Verb.SPAWN, created_s=self.clock())
        frame = Frame(Kind.DATA, payload=NO_ARGUMENTS)
        function.entering += 1
        try:
            await self._durable.submit(
                record, None, {"start": 0, "d": [len(NO_ARGUMENTS)], "total": 1}, frame
            )
        finally:
            function.entering -= 1

    async def call_now(self, key: ScheduleKey) -> CallId:
        """Calls a scheduled function beside its schedule. Raises ScheduleNotFound, and what calls raise."""
        function = self.function_of(key)
        if function is None or function.function.schedule is None:
            there = ", ".join(sorted(one.function for one in self._known if one.deployed == key.deployed))
            raise ScheduleNotFound(f"{key} has no schedule; of that app have one: {there or 'none'}")
        call = CallId(fresh_id(CALL))
        await self._submit_to(function, call)
        return call

    # -- what comes next

    def _prepare(self, now_s: float) -> float | None:
        """Asks for containers of what is soon due; seconds until the next look."""
        if not self._known:
            return None
        soonest_s = now_s + LOOK_S
        for key, known in self._known.items():
            at_s, function = next_tick(known.table, now_s), self.function_of(key)
            if at_s is None:
                continue
            if function is not None and known.warmed_s != at_s:
                early_s = at_s - lead_s(function.starts.wall_s)
                if early_s > now_s:
                    soonest_s = min(soonest_s, early_s)
                    continue
                known.warmed_s = at_s
                self.warm(function, self.clock() + at_s - now_s + HOLD_S)
            soonest_s = min(soonest_s, at_s)
        return max(SOON_S, soonest_s - now_s)

    # -- what is told

    async def rows(self) -> list[dict[str, Any]]:
        """Every schedule, its next instant and its last ticks, for people and programs."""
        ticks = _by_key(await self._state.ticks())
        now_s = self.wall()
        return [
            self._row(key, known, ticks.get(key, []), now_s) for key, known in sorted(self._known.items())
        ]

    def _row(self, key: ScheduleKey, known: _Known, ticks: list[TickRecord], now_s: float) -> dict[str, Any]:
        version = self._addressing.serving.get(key.deployed)
        return {
            "function": key.function,
            "app": key.deployed.app,
            "environment": key.deployed.environment,
            "version": version.row.number if version is not None else None,
            "schedule": str(known.schedule),
            "rule": to_json(known.schedule),
            "next_s": next_tick(known.table, now_s),
            "missed": known.record.missed,
            "missed_s": known.record.missed_s,
            "ticks": [
                {
                    "at_s": tick.at_s,
                    "state": str(tick.state),
                    "taken_s": tick.taken_s,
                    "call": tick.call,
                    "why": tick.why,
                }
                for tick in ticks
            ],
        }


def call_of(key: ScheduleKey, at_s: float, salt: str) -> CallId:
    """The id of the call of a tick: the same one whoever works it out, and known to nobody else."""
    text = f"{salt} {key.deployed.environment} {key.deployed.app} {key.function} {at_s.hex()}"
    drawn = hashlib.sha256(text.encode()).digest()[:10]
    return CallId(make_id(CALL, now_ms=int(at_s * 1000), randomness=drawn))


def _by_key(ticks: Iterable[TickRecord]) -> dict[ScheduleKey, list[TickRecord]]:
    found: dict[ScheduleKey, list[TickRecord]] = {}
    for tick in ticks:
        found.setdefault(tick.key, []).append(tick)
    return found


def _last(ticks: Iterable[TickRecord]) -> CallId | None:
    """The call that was made last."""
    called = [tick for tick in ticks if tick.state is TickState.CALLED]
    return max(called, key=lambda tick: tick.taken_s).call if called else None


async def _admitted(_function: FunctionRecord, _call: CallId) -> None:
    """There are no budgets."""
