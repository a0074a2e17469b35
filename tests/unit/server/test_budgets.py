"""Budgets at the server: who is refused, what rests and wakes, and what counts, from the first look to the next month."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from squall.blobs.memory_blobs import MemoryBlobs
from squall.model.budget import Budget, Scope, Unit
from squall.model.container import ContainerEnd
from squall.model.errors import BudgetNotFound, BudgetReached, PricesMissing
from squall.model.function import Scaling
from squall.model.ids import CallId, ContainerId, FunctionId
from squall.model.usage import Labels
from squall.scheduling.budgets import Level, Standing
from squall.server.budgets import Budgets
from squall.server.durable import Durable
from squall.server.ledger import Ledger
from squall.server.price_file import PriceFile
from squall.state.memory_state import MemoryState
from squall.state.records import ContainerRecord
from tests.unit.server.stage import Stage, play

PRICES = 'currency = "EUR"\ncore_second = 2.0\n'
SECONDS = Budget(scope=Scope(app="a"), unit=Unit.SECONDS, amount=10.0)


@dataclass
class Scene:
    stage: Stage
    store: MemoryState
    budgets: Budgets
    told: list[tuple[Level, str]]


@asynccontextmanager
async def scene(folder: Path, store: MemoryState | None = None, **fields: Any) -> AsyncIterator[Scene]:
    stage, store = Stage(**fields), store or MemoryState()
    ledger = Ledger(store, Durable(store, MemoryBlobs(), stage.calls), clock=stage.clock)
    stage.containers.lifted = ledger.container_over
    budgets = Budgets(store, stage.calls, ledger, PriceFile(folder / "prices.toml"))
    told: list[tuple[Level, str]] = []
    budgets.tell = lambda standing, line: told.append((standing.level, line))
    for record in stage.calls.functions.values():
        record.labels = Labels(app="a", function="f")
    await budgets.load()
    yield Scene(stage, store, budgets, told)


def refused(standing: Standing | None) -> bool:
    return standing is not None


def level(here: Scene) -> Level:
    return here.budgets.standing[0].level


def test_what_containers_take_counts_while_they_run_and_after_they_ended(tmp_path: Path) -> None:
    async def play_it() -> None:
        async with scene(tmp_path) as here:
            await here.budgets.set(SECONDS)
            (record,) = here.stage.calls.functions.values()
            box = await here.stage.container()
            here.stage.wait(7.9)
            here.budgets.look()
            assert here.budgets.standing[0].level is Level.OPEN
            here.stage.wait(0.2)
            here.budgets.look()
            assert [level for level, _ in here.told] == [Level.WARNING]
            assert "81%" in here.told[0][1]
            here.budgets.admit(record, inputs=1)
            here.stage.wait(2.0)
            here.budgets.look()
            here.budgets.look()
            assert [level for level, _ in here.told] == [Level.WARNING, Level.REACHED]
            with pytest.raises(BudgetReached, match="10 seconds") as caught:
                here.budgets.admit(record, inputs=1)
            assert "squall budget set 20 --per month --app a --unit seconds" in caught.value.remedy
            here.budgets.admit(record, inputs=0)
            here.budgets.admit(record, inputs=1, went=True)
            here.budgets.admit(record, inputs=1, inside=True)
            here.stage.containers.ended(box.id, ContainerEnd(cause="exit", code=0, cpu_s=1.0))
            here.budgets.look()
            assert refused(record.refused)
            assert here.budgets.standing[0].spent == pytest.approx(10.1)
            # The next server begins with what is on record.
            async with scene(tmp_path, here.store) as after:
                (record,) = after.stage.calls.functions.values()
                after.budgets.look()
                assert after.budgets.standing[0].spent == pytest.approx(10.1)
                assert refused(record.refused)
                await after.budgets.set(Budget(scope=Scope(app="a"), unit=Unit.SECONDS, amount=20.0))
                assert not refused(record.refused)

    play(play_it)


def test_no_container_is_kept_while_a_budget_is_used_up(tmp_path: Path) -> None:
    async def play_it() -> None:
        async with scene(tmp_path, scaling=Scaling(min_containers=1, buffer_containers=1)) as here:
            (record,) = here.stage.calls.functions.values()
            await here.budgets.set(Budget(unit=Unit.SECONDS, amount=0.0))
            here.stage.capacity.plan_once()
            assert not record.workers
            await here.budgets.remove(Budget(unit=Unit.SECONDS, amount=0.0))
            here.stage.capacity.plan_once()
            assert len(record.workers) == 1

    play(play_it)


def test_another_app_is_not_held_back(tmp_path: Path) -> None:
    async def play_it() -> None:
        async with scene(tmp_path) as here:
            (record,) = here.stage.calls.functions.values()
            await here.budgets.set(Budget(scope=Scope(app="b"), unit=Unit.SECONDS, amount=0.0))
            here.budgets.admit(record, inputs=1)
            await here.budgets.set(Budget(scope=Scope(), unit=Unit.SECONDS, amount=0.0))
            assert refused(record.refused)
            await here.budgets.remove(Budget(scope=Scope(), unit=Unit.SECONDS, amount=5.0))
            assert not refused(record.refused)
            with pytest.raises(BudgetNotFound, match="app b"):
                await here.budgets.remove(SECONDS)

    play(play_it)


def test_a_durable_call_is_known_by_its_record(tmp_path: Path) -> None:
    async def play_it() -> None:
        async with scene(tmp_path) as here:
            (record,) = here.stage.calls.functions.values()
            await here.budgets.admit_durable(record, CallId("fc-new"))
            await here.budgets.set(Budget(unit=Unit.SECONDS, amount=0.0))
            with pytest.raises(BudgetReached):
                await here.budgets.admit_durable(record, CallId("fc-new"))

    play(play_it)


def test_money_needs_prices_and_those_of_now_hold_for_all(tmp_path: Path) -> None:
    async def play_it() -> None:
        async with scene(tmp_path) as here:
            with pytest.raises(PricesMissing):
                await here.budgets.set(Budget(amount=5.0))
            (tmp_path / "prices.toml").write_text(PRICES)
            await here.budgets.set(Budget(amount=5.0))
            now_s = time.time()
            here.budgets._settle(
                ContainerRecord(
                    id=ContainerId("co-1"),
                    function=FunctionId("x/f"),
                    started_s=now_s,
                    ended_s=now_s + 1.0,
                    cpu_s=2.0,
                )
            )
            here.budgets.look()
            assert here.budgets.standing[0].spent == pytest.approx(4.0)
            assert level(here) is Level.WARNING
            (tmp_path / "prices.toml").write_text(PRICES.replace("2.0", "20.0"))
            here.budgets.look()
            assert level(here) is Level.REACHED
            (tmp_path / "prices.toml").write_text("nonsense")
            here.budgets.look()
            assert here.budgets.prices.trouble is not None
            assert level(here) is Level.REACHED
            (tmp_path / "prices.toml").unlink()
            here.budgets.look()
            assert level(here) is Level.UNPRICED

    play(play_it)
