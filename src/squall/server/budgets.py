"""Budgets: what is spent against them, and for whom nothing new is taken until one opens again."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from squall.model.budget import MOST_BUDGETS, Budget, Period, Unit
from squall.model.errors import BudgetNotFound, BudgetReached, Error, PricesMissing, ResourceExhaustedError
from squall.model.ids import CallId
from squall.model.usage import Labels, Spends, add, day_of
from squall.scheduling.budgets import Level, Standing, newly, refused_by, standings
from squall.scheduling.inputs import Segment
from squall.server.calls import NOBODY, Calls
from squall.server.ledger import Ledger
from squall.server.price_file import PriceFile
from squall.server.records import CallRecord, FunctionRecord
from squall.state.records import ContainerRecord
from squall.state.state_store import StateStore
from squall.state.usage_days import days_of
from squall.wire.codec import Frame

LOOK_S: Final = 1.0
"""How often what was spent is compared with what may be: as long may more be spent than that."""
_SHARE: Final = 0.02  # of the server's time that looks may take
_log = logging.getLogger("squall.server")


class Budgets:
    """All budgets, and the one place that is asked before something new is taken: `admit`, and `admit_durable`.

    Neither reads the store for a call while no budget of it is reached. tell: says a line to the clients of a scope's apps. wake:
    called when more or fewer containers may be wanted.
    """

    def __init__(self, store: StateStore, calls: Calls, ledger: Ledger, prices: PriceFile) -> None:
        self._store = store
        self._calls = calls
        self._ledger = ledger
        self.prices = prices
        self.budgets: dict[tuple[str, ...], Budget] = {}
        self.standing: tuple[Standing, ...] = ()
        self.tell: Callable[[Standing, str], None] = lambda _standing, _line: None
        self.wake: Callable[[], None] = lambda: None
        self._settled: Spends = {}
        self._settled_from = 0
        self._levels: dict[tuple[str, ...], Level] = {}
        ledger.on_record = self._settle

    async def load(self) -> None:
        """Reads what is on record: the budgets, and what this month's containers took. Raises what the store raises."""
        now_s = time.time()
        self.budgets = {one.key: one for one in await self._store.budgets()}
        self._settled_from = day_of(Period.MONTH.bounds_s(now_s)[0])
        self._settled = await self._store.spends(first_day=self._settled_from, last_day=day_of(now_s) + 1)
        self.look()

    async def run(self) -> None:
        """Looks for ever."""
        while True:
            began_s = time.monotonic()
            self.look()
            took_s = time.monotonic() - began_s
            await asyncio.sleep(max(LOOK_S, took_s / _SHARE))

    # -- asked before something is taken

    def admit(self, record: FunctionRecord, *, inputs: int, went: bool = False, inside: bool = False) -> None:
        """Whether new inputs are taken. went: they were sent before, so that they may be taken already; inside: a running input
        of a container makes them and waits for them: it is finished with all that it needs. Raises BudgetReached.
        """
        if record.refused is not None and inputs and not went and not inside:
            raise self.error(record.refused)

    async def admit_durable(self, record: FunctionRecord, call: CallId) -> None:
        """The same of a call that outlives who makes it: inputs of one that is on record are taken, and wait. Raises
        BudgetReached.
        """
        if record.refused is None or call in self._calls.calls:
            return
        if await self._store.call(call) is None:
            raise self.error(record.refused)

    def refuse(self, call: CallRecord, head: dict[str, Any], frame: Frame, why: Error) -> None:
        """Ends further inputs of a call in hand, each with this error; those that were taken before go on."""
        for fd in frame.take_fds():
            os.close(fd)
        record = self._calls.functions.get(call.function)
        if record is None or call.id not in record.line.calls:
            return
        line, sizes = record.line, head.get("d", ())
        span = {"start": head.get("start", 0), "count": len(sizes), "total": head.get("total")}
        fresh = line.submit(call.id, **span)
        known = line.calls[call.id]
        if fresh:
            line.adopt(NOBODY, Segment(call.id, known.submitted - fresh, known.submitted, known.first))
            for part in line.held(NOBODY):
                self._calls.end_input(record, NOBODY, part, why)
            line.leave(NOBODY)

    # -- changed

    async def set(self, budget: Budget) -> Standing:
        """Sets a budget, in place of one for the same. Raises PricesMissing, ResourceExhaustedError, and what the store raises."""
        self.prices.look()
        if budget.unit is Unit.MONEY and self.prices.prices is None:
            raise PricesMissing(
                f"there is no table of prices at {self.prices.path}, so nothing has an amount of money"
                + (f": {self.prices.trouble}" if self.prices.trouble else "")
            )
        if budget.key not in self.budgets and len(self.budgets) >= MOST_BUDGETS:
            raise ResourceExhaustedError(
                f"{MOST_BUDGETS} budgets are set, and there may be no more",
                remedy="remove some with `squall budget remove`",
            )
        await self._store.record_budget(budget)
        self.budgets[budget.key] = budget
        self.look()
        return next(one for one in self.standing if one.budget.key == budget.key)

    async def remove(self, budget: Budget) -> None:
        """Forgets the budget that is for the same. Raises BudgetNotFound, and what the store raises."""
        if not await self._store.drop_budget(budget):
            there = "; ".join(sorted(f"{one.scope} ({one.flags()})" for one in self.budgets.values())[:5])
            raise BudgetNotFound(f"no budget is set with {budget.flags()}; set are: {there or 'none'}")
        self.budgets.pop(budget.key, None)
        self.look()

    # -- looked at

    def look(self) -> None:
        """Compares what was spent with what may be, and opens and shuts functions."""
        self.prices.look()
        if not self.budgets:
            self.standing = ()
        else:
            now_s = time.time()
            self._forget_before(now_s)
            self.standing = standings(
                [self.budgets[key] for key in sorted(self.budgets)],
                self.spent(),
                self.prices.prices,
                now_s=now_s,
            )
        for record in self._calls.functions.values():
            self.note(record)
        self._say()

    def note(self, record: FunctionRecord) -> None:
        """Opens or shuts one function, as its budgets stand."""
        refused = refused_by(self.standing, record.labels) if self.standing else None
        before, record.refused = record.refused, refused
        if (before is None) is not (refused is None):
            self.wake()  # how many containers are kept is another matter now
        if refused is not None:
            for call in list(record.line.calls):
                known = self._calls.calls.get(call)
                if known is not None and known.durable:
                    record.line.rest(call)
        elif before is not None:
            record.line.wake()
            if record.line.waiting:
                record.waiting_since_s = self._calls.clock()
            self._calls.feed(record)
            self._calls.on_low()

    def spent(self) -> Spends:
        """What was taken this month, with what containers that run have taken so far."""
        found = dict(self._settled)
        for worker in self._calls.workers.values():
            for bucket, part in days_of(self._ledger.so_far(worker)):
                add(found, bucket, part)
        return found

    def error(self, standing: Standing) -> BudgetReached:
        """What somebody is told whose input is not taken."""
        budget = standing.budget
        opens = datetime.fromtimestamp(standing.opens_s, UTC)
        raised = f"{max(1.0, budget.amount * 2):g}"
        return BudgetReached(
            f"the budget of {self._amount(budget)} a {budget.period} for {budget.scope} is used up: "
            f"{self.words(standing)}. Nothing new is taken until {opens:%Y-%m-%d %H:%M} UTC",
            remedy=f"wait until then, or raise it: `squall budget set {raised} {budget.flags()}`; what runs is finished",
            spent=standing.spent,
            amount=budget.amount,
            opens_s=standing.opens_s,
        )

    def words(self, standing: Standing) -> str:
        """How much of a budget was spent, for people."""
        return f"{standing.budget.in_words(standing.spent, self._currency)} were spent"

    def waits_in_words(self, standing: Standing) -> str:
        """Why inputs on record wait, for people."""
        budget, opens = standing.budget, datetime.fromtimestamp(standing.opens_s, UTC)
        return (
            f"the budget of {self._amount(budget)} a {budget.period} for {budget.scope} is used up; it opens at "
            f"{opens:%Y-%m-%d %H:%M} UTC, or when it is raised"
        )

    def warning_for(self, labels: Labels) -> str | None:
        """What the client of an app is told as it opens it, if a budget of it is nearly used up, or is."""
        for one in self.standing:
            if one.level in (Level.WARNING, Level.REACHED) and one.budget.scope.covers(labels):
                return self._line(one)
        return None

    @property
    def _currency(self) -> str:
        return "" if self.prices.prices is None else self.prices.prices.currency

    def _amount(self, budget: Budget) -> str:
        return budget.in_words(budget.amount, self._currency)

    def _line(self, standing: Standing) -> str:
        budget = standing.budget
        if standing.level is Level.REACHED:
            return self.waits_in_words(standing)
        part = standing.spent / budget.amount if budget.amount else 1.0
        return f"{part:.0%} of the budget of {self._amount(budget)} a {budget.period} for {budget.scope} is used up"

    def _say(self) -> None:
        """In the log and to clients, once for each budget and level."""
        for level in (Level.WARNING, Level.REACHED):
            for one in newly(self._levels, self.standing, level):
                _log.warning("%s", self._line(one))
                self.tell(one, self._line(one))
        self._levels = {one.budget.key: one.level for one in self.standing}

    def _settle(self, record: ContainerRecord) -> None:
        """A container has ended: what it took counts, on its days."""
        for bucket, part in days_of(record):
            if bucket.day >= self._settled_from:
                add(self._settled, bucket, part)

    def _forget_before(self, now_s: float) -> None:
        """A month is over: what was taken in it is on record."""
        first = day_of(Period.MONTH.bounds_s(now_s)[0])
        if first > self._settled_from:
            self._settled_from = first
            self._settled = {bucket: part for bucket, part in self._settled.items() if bucket.day >= first}
