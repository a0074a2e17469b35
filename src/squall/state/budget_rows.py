"""Budget rows: budgets as rows of the database, written and read."""

from __future__ import annotations

from squall.model.budget import Budget, Period, Scope, Unit
from squall.state.connection import Connection


def put_budget(db: Connection, budget: Budget) -> None:
    """Adds a budget, or replaces the one that is for the same."""
    db.execute(
        "INSERT INTO budgets (environment, app, tag, period, unit, amount, set_s) VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (environment, app, tag, period, unit) DO UPDATE SET amount = excluded.amount, set_s = excluded.set_s",
        (*budget.key, budget.amount, budget.set_s),
    )


def drop_budget(db: Connection, budget: Budget) -> bool:
    """Removes the budget that is for the same; whether there was one."""
    gone = db.execute(
        "DELETE FROM budgets WHERE environment = ? AND app = ? AND tag = ? AND period = ? AND unit = ?",
        budget.key,
    )
    return gone.rowcount == 1


def list_budgets(db: Connection) -> tuple[Budget, ...]:
    """All of them, by what they are for."""
    rows = db.execute(
        "SELECT environment, app, tag, period, unit, amount, set_s FROM budgets"
        " ORDER BY environment, app, tag, period, unit"
    )
    return tuple(
        Budget(
            scope=Scope(environment=environment, app=app, tag=tag),
            period=Period(period),
            unit=Unit(unit),
            amount=amount,
            set_s=set_s,
        )
        for environment, app, tag, period, unit, amount, set_s in rows
    )
