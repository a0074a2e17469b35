"""Budgets: which of them are reached, which are near, and whom that keeps from having new inputs taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from squall.model.budget import WARN_AT, Budget, Unit, counted
from squall.model.prices import Prices
from squall.model.usage import Labels, Spends, day_of


class Level(StrEnum):
    """How far a budget is used up. unpriced: it is in money, and there is no table of prices."""

    OPEN = "open"
    WARNING = "warning"
    REACHED = "reached"
    UNPRICED = "unpriced"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a budget stands. opens_s: when its next period begins, in seconds since 1970."""

    budget: Budget
    spent: float
    level: Level
    opens_s: float


def standings(
    budgets: Sequence[Budget], spends: Spends, prices: Prices | None, *, now_s: float
) -> tuple[Standing, ...]:
    """Where each budget stands, after what was spent up to now. now_s: seconds since 1970."""
    return tuple(_standing(budget, spends, prices, now_s) for budget in budgets)


def refused_by(standing: Sequence[Standing], labels: Labels) -> Standing | None:
    """The budget for which something with these labels takes nothing new: of several the one that opens last."""
    reached = [one for one in standing if one.level is Level.REACHED and one.budget.scope.covers(labels)]
    return max(reached, key=lambda one: one.opens_s, default=None)


def newly(
    before: Mapping[tuple[str, ...], Level], now: Sequence[Standing], level: Level
) -> tuple[Standing, ...]:
    """The budgets that stand at a level where they did not stand before."""
    return tuple(one for one in now if one.level is level and before.get(one.budget.key) is not level)


def _standing(budget: Budget, spends: Spends, prices: Prices | None, now_s: float) -> Standing:
    start_s, opens_s = budget.period.bounds_s(now_s)
    first, after = day_of(start_s), day_of(opens_s)
    spent = 0.0
    for bucket, spend in spends.items():
        if first <= bucket.day < after and budget.scope.covers(bucket.labels):
            money = 0.0 if prices is None else prices.amount(spend, bucket.gpu_type)
            spent += counted(budget, spend, money)
    return Standing(budget=budget, spent=spent, level=_level(budget, spent, prices), opens_s=opens_s)


def _level(budget: Budget, spent: float, prices: Prices | None) -> Level:
    if budget.unit is Unit.MONEY and prices is None:
        return Level.UNPRICED
    if spent >= budget.amount:
        return Level.REACHED
    return Level.WARNING if spent >= budget.amount * WARN_AT else Level.OPEN
