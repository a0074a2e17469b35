"""The timetable: schedules over a store that outlives servers, and a clock that the test sets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from squall.blobs.memory_blobs import MemoryBlobs
from squall.model.deploy import MAIN_ENVIRONMENT, DeployedName, VersionState
from squall.model.function import Function
from squall.model.ids import AppId, CallId, FunctionId, made_s
from squall.model.schedule import Cron, Period, schedule_of
from squall.server.addressing import Addressing
from squall.server.apps import Apps
from squall.server.durable import Durable
from squall.server.nodes import AgentNodes
from squall.server.records import AppRecord, FunctionRecord
from squall.server.schedules import Schedules
from squall.server.variants import Variants
from squall.server.versions import Version
from squall.state.deploy_records import VersionRecord
from squall.state.memory_state import MemoryState
from squall.state.schedule_records import ScheduleKey, ScheduleRecord, TickRecord
from tests.unit.server.stage import Stage, function

START_S = datetime(2026, 11, 27, 12, 0, 7, tzinfo=UTC).timestamp()
JOBS = DeployedName(MAIN_ENVIRONMENT, "jobs")


class Died(BaseException):
    """The server ends here, as if it was killed."""


class Mortal(MemoryState):
    """A store whose server dies at one of the writes that ticks make; before: whether it is not on record then."""

    def __init__(self) -> None:
        super().__init__()
        self.dies_in: int | None = None
        self.before = False

    async def record_schedule(self, schedule: ScheduleRecord) -> None:
        self._live(first=True)
        await super().record_schedule(schedule)
        self._live(first=False)

    async def record_ticks(self, schedule: ScheduleRecord, ticks: Sequence[TickRecord]) -> tuple[float, ...]:
        self._live(first=True)
        new = await super().record_ticks(schedule, ticks)
        self._live(first=False)
        return new

    async def set_tick(self, tick: TickRecord) -> None:
        self._live(first=True)
        await super().set_tick(tick)
        self._live(first=False)

    def _live(self, *, first: bool) -> None:
        if self.dies_in is None:
            return
        if first:
            self.dies_in -= 1
        if self.dies_in < 0 and first == self.before:
            self.dies_in = None
            raise Died


class Timetable:
    """Made inside a running loop; `restart` is another server over the same store."""

    def __init__(self) -> None:
        self.store = Mortal()
        self.wall_s = START_S
        self.number = 0
        self.warmed: list[tuple[str, float]] = []
        self.declared: dict[DeployedName, list[Function]] = {}
        self.restart()

    def restart(self) -> None:
        self.stage = Stage()
        blobs = MemoryBlobs()
        self.durable = Durable(self.store, blobs, self.stage.calls)
        nodes = AgentNodes(clock=self.stage.clock)
        apps = Apps(self.stage.calls, self.stage.capacity, nodes, blobs, clock=self.stage.clock)
        self.addressing = Addressing(self.stage.calls, Variants(apps, self.store))
        self.schedules = Schedules(self.store, self.durable, self.addressing)
        self.schedules.wall = lambda: self.wall_s
        self.schedules.clock = self.stage.clock
        self.schedules.warm = lambda record, until_s: self.warmed.append((record.function.name, until_s))
        for name, functions in self.declared.items():
            self._serve(name, functions)

    async def deploy(self, *functions: Function, name: DeployedName = JOBS) -> None:
        """A version with these functions takes over."""
        self.declared[name] = list(functions)
        self._serve(name, self.declared[name])
        version = self.addressing.serving[name]
        await self.store.record_version(version.row)
        await self.store.switch_version(version.row.app)
        self.schedules.changed()
        await self.schedules.look()

    async def stop(self, name: DeployedName = JOBS) -> None:
        version = self.addressing.serving.pop(name)
        del self.declared[name]
        await self.store.set_version(version.row.app, VersionState.STOPPED, at_s=self.wall_s)
        self.schedules.changed()
        await self.schedules.look()

    def _serve(self, name: DeployedName, functions: Sequence[Function]) -> None:
        self.number += 1
        app = AppId(f"ap-{self.number}")
        row = VersionRecord(app=app, environment=name.environment, name=name.app, created_s=self.wall_s)
        version = Version(row, AppRecord(app, name.app, 0.0, "deployed"), state=VersionState.SERVING)
        for one in functions:
            own = replace(one, app=app, id=FunctionId(f"{app}/{one.name}"))
            version.app.functions[one.name] = self.stage.calls.functions[own.id] = FunctionRecord(own)
        self.addressing.serving[name] = self.addressing.versions[app] = version

    async def go_on(self, seconds: float) -> None:
        """Time passes, and the server looks whenever it wants to."""
        end_s = self.wall_s + seconds
        while True:
            wait_s = await self.schedules.look()
            await asyncio.sleep(0)
            if self.wall_s >= end_s:
                return
            step_s = end_s - self.wall_s if wait_s is None else min(wait_s, end_s - self.wall_s)
            self.wall_s += step_s
            self.stage.now_s += step_s

    async def ticks(self, name: str = "f", deployed: DeployedName = JOBS) -> list[TickRecord]:
        """Of one function, the first first."""
        return list(reversed(await self.store.ticks(ScheduleKey(deployed, name))))

    async def called(self, name: str = "f") -> list[float]:
        """The instants of a function that have a call, with how often they have one."""
        calls = await self.store.calls(limit=100_000)
        return sorted(made_s(one.id) for one in calls if one.function.partition("/")[2] == name)

    async def end(self, call: CallId) -> None:
        """A call is over."""
        await self.durable.cancel(call)


def scheduled(rule: Cron | Period, name: str = "f") -> Function:
    return function(name, schedule=schedule_of(rule))
