"""Schedule store: the part of a state store that remembers schedules and their ticks, in a database or in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from squall.state import schedule_rows
from squall.state.group_commit import GroupCommit
from squall.state.readers import Readers
from squall.state.schedule_records import MOST_TICKS, ScheduleKey, ScheduleRecord, TickRecord, TickState


class ScheduleStore(Protocol):
    """See `squall.state.state_store.StateStore`, whose promises hold here too."""

    async def record_schedule(self, schedule: ScheduleRecord) -> None:
        """Records a schedule in the place of the one that its function had; ticks stay as they are."""
        ...

    async def drop_schedule(self, key: ScheduleKey) -> bool:
        """Forgets a schedule and keeps its ticks; whether it was there."""
        ...

    async def record_ticks(self, schedule: ScheduleRecord, ticks: Sequence[TickRecord]) -> tuple[float, ...]:
        """Records ticks, with what the schedule has seen and missed by then: both, or neither.

        The instants of those that are new: what is on record stays as it is. Of those that nothing is to be done for, the oldest
        beyond MOST_TICKS are forgotten, and the schedule's floor is raised to the last of these.
        """
        ...

    async def set_tick(self, tick: TickRecord) -> None:
        """Records what became of a tick: its state, and why."""
        ...

    async def schedules(self) -> tuple[ScheduleRecord, ...]:
        """Every schedule, by environment, app and function."""
        ...

    async def ticks(self, key: ScheduleKey | None = None) -> tuple[TickRecord, ...]:
        """The ticks of a function, or of each, the last first."""
        ...


class RowSchedules:
    """A ScheduleStore in a database, whose writer and readers whoever inherits it has made."""

    _writer: GroupCommit
    _readers: Readers

    async def record_schedule(self, schedule: ScheduleRecord) -> None:
        await self._writer.send(lambda db: schedule_rows.put_schedule(db, schedule))

    async def drop_schedule(self, key: ScheduleKey) -> bool:
        return await self._writer.send(lambda db: schedule_rows.drop_schedule(db, key))

    async def record_ticks(self, schedule: ScheduleRecord, ticks: Sequence[TickRecord]) -> tuple[float, ...]:
        return await self._writer.send(
            lambda db: schedule_rows.put_ticks(db, schedule, ticks), rows=1 + len(ticks)
        )

    async def set_tick(self, tick: TickRecord) -> None:
        await self._writer.send(lambda db: schedule_rows.put_tick_state(db, tick))

    async def schedules(self) -> tuple[ScheduleRecord, ...]:
        return await self._readers.read(schedule_rows.list_schedules)

    async def ticks(self, key: ScheduleKey | None = None) -> tuple[TickRecord, ...]:
        return await self._readers.read(lambda db: schedule_rows.list_ticks(db, key))


class MemorySchedules:
    """A ScheduleStore in dicts."""

    def __init__(self) -> None:
        super().__init__()
        self._schedules: dict[ScheduleKey, ScheduleRecord] = {}
        self._ticks: dict[ScheduleKey, dict[float, TickRecord]] = {}

    def forget_schedules(self, environment: str) -> None:
        """Forgets all of an environment."""
        for kept in (self._schedules, self._ticks):
            for key in [key for key in kept if key.deployed.environment == environment]:
                del kept[key]

    def move_schedules(self, name: str, new: str) -> None:
        """Has what is in one environment be in another."""
        moved = {
            key: replace(key, deployed=replace(key.deployed, environment=new))
            for key in (*self._schedules, *self._ticks)
            if key.deployed.environment == name
        }
        for old, key in moved.items():
            if old in self._schedules:
                self._schedules[key] = replace(self._schedules.pop(old), key=key)
            if old in self._ticks:
                ticks = self._ticks.pop(old)
                self._ticks[key] = {at_s: replace(tick, key=key) for at_s, tick in ticks.items()}

    async def record_schedule(self, schedule: ScheduleRecord) -> None:
        self._open()
        self._schedules[schedule.key] = schedule

    async def drop_schedule(self, key: ScheduleKey) -> bool:
        self._open()
        return self._schedules.pop(key, None) is not None

    async def record_ticks(self, schedule: ScheduleRecord, ticks: Sequence[TickRecord]) -> tuple[float, ...]:
        self._open()
        kept = self._ticks.setdefault(schedule.key, {})
        new = []
        for one in ticks:
            if one.at_s not in kept:
                kept[one.at_s] = one
                new.append(one.at_s)
        old = sorted(kept, reverse=True)[MOST_TICKS:]
        floor_s = max((at_s for at_s in old if kept[at_s].state is not TickState.TAKEN), default=0.0)
        for at_s in [at_s for at_s in kept if at_s <= floor_s and kept[at_s].state is not TickState.TAKEN]:
            del kept[at_s]
        known = self._schedules.get(schedule.key)
        if known is not None:
            self._schedules[schedule.key] = replace(
                known,
                seen_s=schedule.seen_s,
                missed=schedule.missed,
                missed_s=schedule.missed_s,
                floor_s=max(known.floor_s, floor_s),
            )
        return tuple(new)

    async def set_tick(self, tick: TickRecord) -> None:
        self._open()
        kept = self._ticks.get(tick.key, {})
        if tick.at_s in kept:
            kept[tick.at_s] = replace(kept[tick.at_s], state=tick.state, why=tick.why)

    async def schedules(self) -> tuple[ScheduleRecord, ...]:
        self._open()
        return tuple(self._schedules[key] for key in sorted(self._schedules))

    async def ticks(self, key: ScheduleKey | None = None) -> tuple[TickRecord, ...]:
        self._open()
        keys = sorted(self._ticks) if key is None else [key]
        return tuple(
            self._ticks[one][at_s] for one in keys for at_s in sorted(self._ticks.get(one, ()), reverse=True)
        )

    def _open(self) -> None:
        """Raises StoreClosed; see `MemoryState`."""
        raise NotImplementedError
