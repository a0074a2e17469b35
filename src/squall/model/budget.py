"""Budget: how much may be spent in a day or a month, by whom, and what becomes of those who have spent it."""

from __future__ import annotations

import math
from calendar import timegm
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from squall.model.errors import BudgetInvalid
from squall.model.usage import DAY_S, Labels, Spend, day_of

WARN_AT: Final = 0.8
"""The part of a budget from which on it is warned of."""

MOST_BUDGETS: Final = 1000
MOST_AMOUNT: Final = 1e15


class Period(StrEnum):
    """For how long a budget is, by the calendar, in UTC."""

    DAY = "day"
    MONTH = "month"

    def bounds_s(self, now_s: float) -> tuple[float, float]:
        """When the period began that now is in, and when the next one begins; seconds since 1970."""
        if self is Period.DAY:
            start_s = day_of(now_s) * DAY_S
            return start_s, start_s + DAY_S
        now = datetime.fromtimestamp(now_s, UTC)
        after = (now.year + 1, 1) if now.month == 12 else (now.year, now.month + 1)
        return float(timegm((now.year, now.month, 1, 0, 0, 0))), float(timegm((*after, 1, 0, 0, 0)))


class Unit(StrEnum):
    """What a budget counts: money, by the table of prices; seconds of containers; seconds of GPUs."""

    MONEY = "money"
    SECONDS = "seconds"
    GPU_SECONDS = "gpu_seconds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Whose spending counts: of an environment, of apps of a name, of apps with a tag, of all three, or everybody's.

    tag: as `team=vision`; empty for any.
    """

    environment: str = ""
    app: str = ""
    tag: str = ""

    def __post_init__(self) -> None:
        key, sign, value = self.tag.partition("=")
        if self.tag and not (key and sign and value):
            raise BudgetInvalid(f"{self.tag!r} is no tag", remedy="write --tag KEY=VALUE, as the app has it")

    def covers(self, labels: Labels) -> bool:
        """Whether something with these labels counts."""
        key, _, value = self.tag.partition("=")
        return (
            self.environment in ("", labels.environment)
            and self.app in ("", labels.app)
            and (not self.tag or labels.tag(key) == value)
        )

    def __str__(self) -> str:
        parts = [
            f"app {self.app}" if self.app else "",
            f"apps tagged {self.tag}" if self.tag else "",
            f"environment {self.environment}" if self.environment else "",
        ]
        return ", ".join(part for part in parts if part) or "everything here"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """At most `amount` in each period. One of each scope, period and unit. set_s: seconds since 1970."""

    scope: Scope = Scope()
    period: Period = Period.MONTH
    unit: Unit = Unit.MONEY
    amount: float
    set_s: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.amount) or not 0 <= self.amount <= MOST_AMOUNT:
            raise BudgetInvalid(f"a budget is an amount from 0 on, not {self.amount!r}")

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """What tells it from others."""
        return (self.scope.environment, self.scope.app, self.scope.tag, self.period.value, self.unit.value)

    def flags(self) -> str:
        """The flags of `squall budget` that mean this one."""
        parts = [f"--per {self.period}"]
        for flag, value in (
            ("--env", self.scope.environment),
            ("--app", self.scope.app),
            ("--tag", self.scope.tag),
        ):
            parts += [f"{flag} {value}"] if value else []
        if self.unit is not Unit.MONEY:
            parts.append(f"--unit {self.unit.value.replace('_', '-')}")
        return " ".join(parts)

    def in_words(self, amount: float, currency: str) -> str:
        """An amount of its unit, for people."""
        if self.unit is Unit.MONEY:
            return f"{amount:,.2f} {currency}"
        return f"{amount:,.0f} {'GPU-seconds' if self.unit is Unit.GPU_SECONDS else 'seconds of containers'}"

    def to_json(self) -> dict[str, Any]:
        """What people and programs are told of it."""
        return {
            "environment": self.scope.environment,
            "app": self.scope.app,
            "tag": self.scope.tag,
            "period": self.period.value,
            "unit": self.unit.value,
            "amount": self.amount,
            "set_s": self.set_s,
        }


def read_budget(plain: dict[str, Any], *, set_s: float) -> Budget:
    """The budget that a message describes. Raises BudgetInvalid."""
    try:
        amount = plain["amount"]
        if isinstance(amount, bool) or not isinstance(amount, int | float):
            raise BudgetInvalid(f"a budget is an amount from 0 on, not {amount!r}")
        return Budget(
            scope=Scope(**{name: str(plain.get(name, "")) for name in ("environment", "app", "tag")}),
            period=Period(plain.get("period", "month")),
            unit=Unit(plain.get("unit", "money")),
            amount=float(amount),
            set_s=set_s,
        )
    except (KeyError, ValueError) as wrong:
        raise BudgetInvalid(f"that is no budget: {wrong}") from None


def counted(budget: Budget, spend: Spend, money: float) -> float:
    """How much of a budget a spend is; money: what it costs."""
    match budget.unit:
        case Unit.SECONDS:
            return spend.container_s
        case Unit.GPU_SECONDS:
            return spend.gpu_s
        case _:
            return money
