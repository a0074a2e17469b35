"""Errors of budgets and prices."""

# ruff: noqa: N818 - the names are those that users of this field know, most of them without a suffix

from __future__ import annotations

from squall.model.errors.asked import InvalidError, NotFoundError
from squall.model.errors.containers import ResourceExhaustedError


class PricesInvalid(InvalidError):
    """The table of prices says something that is no price."""

    code = "SQ-1045"
    remedy = "correct the file; `squall usage summary` shows the prices that hold"


class PricesMissing(InvalidError):
    """There is no table of prices, so nothing has an amount of money."""

    code = "SQ-1046"
    remedy = "write `prices.toml` in the state directory, or give the budget in seconds: `--unit seconds`"


class BudgetInvalid(InvalidError):
    """What was asked for is no budget."""

    code = "SQ-1047"
    remedy = "see `squall budget set --help`"


class BudgetNotFound(NotFoundError):
    """No such budget is set."""

    code = "SQ-1048"
    remedy = "`squall budget list` shows those that are"


class BudgetReached(ResourceExhaustedError):
    """A budget is used up, so nothing new is taken until its next period begins or it is raised."""

    code, status = "SQ-1049", 429
    remedy = "wait until it opens again, or raise it with `squall budget set`"
    spent: float | None = None
    amount: float | None = None
    opens_s: float | None = None
