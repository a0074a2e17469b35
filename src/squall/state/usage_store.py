"""Usage store: what containers took by day and by whose they were, and the budgets for it; the part of `StateStore` that is theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from squall.model.budget import Budget
from squall.model.ids import CallId, ContainerId
from squall.model.usage import Spend, Spends, add
from squall.state import budget_rows, usage_rows
from squall.state.group_commit import GroupCommit
from squall.state.readers import Readers
from squall.state.records import BusyRecord, ContainerRecord
from squall.state.usage_days import CallSpends, by_calls, days_of


class UsageStore(Protocol):
    """What is kept of usage and budgets. What `StateStore` promises holds here too."""

    async def spends(self, *, first_day: int, last_day: int) -> Spends:
        """What containers that have ended took on these days (since 1970, both included), by whose they were.

        Kept for `usage_days.KEEP_S`, longer than the containers themselves. Adds up to what each of them took, however often its
        end was recorded.
        """
        ...

    async def call_spends(self, *, since_s: float, until_s: float) -> CallSpends:
        """What containers that ended in that time took, by the call that they worked on, "" for none."""
        ...

    async def busy_in(self, containers: Sequence[ContainerId]) -> tuple[BusyRecord, ...]:
        """For which calls these containers were busy, as far as the calls are over."""
        ...

    async def record_budget(self, budget: Budget) -> None:
        """Records a budget, in place of one that is for the same."""
        ...

    async def drop_budget(self, budget: Budget) -> bool:
        """Forgets the budget that is for the same, whatever its amount; whether there was one."""
        ...

    async def budgets(self) -> tuple[Budget, ...]:
        """Every budget, by what it is for."""
        ...


class RowUsage:
    """A UsageStore in a database, whose writer and readers whoever inherits it has made."""

    _writer: GroupCommit
    _readers: Readers

    async def spends(self, *, first_day: int, last_day: int) -> Spends:
        return await self._readers.read(lambda db: usage_rows.list_days(db, first_day, last_day))

    async def call_spends(self, *, since_s: float, until_s: float) -> CallSpends:
        return await self._readers.read(lambda db: usage_rows.list_call_spends(db, since_s, until_s))

    async def busy_in(self, containers: Sequence[ContainerId]) -> tuple[BusyRecord, ...]:
        return await self._readers.read(lambda db: usage_rows.list_busy_in(db, containers))

    async def record_budget(self, budget: Budget) -> None:
        await self._writer.send(lambda db: budget_rows.put_budget(db, budget))

    async def drop_budget(self, budget: Budget) -> bool:
        return await self._writer.send(lambda db: budget_rows.drop_budget(db, budget))

    async def budgets(self) -> tuple[Budget, ...]:
        return await self._readers.read(budget_rows.list_budgets)


class MemoryUsage:
    """A UsageStore in dicts."""

    _containers: dict[ContainerId, ContainerRecord]
    _busy: dict[tuple[ContainerId, CallId, float], BusyRecord]

    def __init__(self) -> None:
        super().__init__()
        self._days: Spends = {}
        self._budgets: dict[tuple[str, ...], Budget] = {}

    async def spends(self, *, first_day: int, last_day: int) -> Spends:
        self._open()
        return {bucket: spend for bucket, spend in self._days.items() if first_day <= bucket.day <= last_day}

    async def call_spends(self, *, since_s: float, until_s: float) -> CallSpends:
        self._open()
        ended = {
            one.id: one
            for one in self._containers.values()
            if one.ended_s is not None and since_s <= one.ended_s < until_s
        }
        busy: dict[ContainerId, list[tuple[str, float]]] = {name: [] for name in ended}
        for one in self._busy.values():
            if one.container in ended:
                busy[one.container].append((one.call, one.busy_s))
        return by_calls((ended[name], rows) for name, rows in busy.items())

    async def busy_in(self, containers: Sequence[ContainerId]) -> tuple[BusyRecord, ...]:
        self._open()
        asked = set(containers)
        return tuple(one for _, one in sorted(self._busy.items()) if one.container in asked)

    def forget_budgets(self, environment: str) -> None:
        """Forgets all of an environment."""
        for key in [key for key, one in self._budgets.items() if one.scope.environment == environment]:
            del self._budgets[key]

    def move_budgets(self, name: str, new: str) -> None:
        """Has what is in one environment be in another."""
        for one in [one for one in self._budgets.values() if one.scope.environment == name]:
            del self._budgets[one.key]
            moved = replace(one, scope=replace(one.scope, environment=new))
            self._budgets[moved.key] = moved

    async def record_budget(self, budget: Budget) -> None:
        self._open()
        self._budgets[budget.key] = budget

    async def drop_budget(self, budget: Budget) -> bool:
        self._open()
        return self._budgets.pop(budget.key, None) is not None

    async def budgets(self) -> tuple[Budget, ...]:
        self._open()
        return tuple(self._budgets[key] for key in sorted(self._budgets))

    def _count_days(self, record: ContainerRecord) -> None:
        """A container is recorded, the first time or again: the days have what it took once."""
        known = self._containers.get(record.id)
        for bucket, spend in days_of(record):
            add(self._days, bucket, spend)
        for bucket, spend in () if known is None else days_of(known):
            add(self._days, bucket, Spend().minus(spend))

    def _forget_days(self, before_day: int) -> None:
        self._days = {bucket: spend for bucket, spend in self._days.items() if bucket.day >= before_day}

    def _open(self) -> None:
        """Raises StoreClosed; see `MemoryState`."""
        raise NotImplementedError
