"""Usage: what was taken, by function, app, tag, call or day, and what it costs; and the budgets for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from squall.model.budget import Period, read_budget
from squall.model.errors import InvalidError
from squall.model.ids import CallId, ContainerId
from squall.model.prices import Prices
from squall.model.usage import DAY_S, Bucket, Spend, Spends, add, day_of
from squall.scheduling.budgets import Standing
from squall.server.house import House
from squall.state.records import ContainerRecord
from squall.state.usage_days import CallSpends, by_calls, days_of

MOST_DAYS: Final = 400
MOST_ROWS: Final = 1000
OTHERS: Final = "others"
"""What rows beyond those that are shown are together."""

IDLE: Final = "idle"
"""Of containers, the time in which no call ran."""

Part = tuple[str, Bucket, Spend]
"""To which row a spend counts, and what it is."""


async def report(house: House, head: dict[str, Any]) -> dict[str, Any]:
    """Rows by what `by` says, of the days from `since_s` on; both ends of the rows add up to the total. Raises InvalidError."""
    by, key, now_s = str(head.get("by", "function")), str(head.get("key", "")), time.time()
    since_s, until_s = float(head["since_s"]), min(now_s, float(head.get("until_s", now_s)))
    if not 0 <= now_s - since_s <= MOST_DAYS * DAY_S or until_s < since_s:
        raise InvalidError(
            f"usage is kept for {MOST_DAYS} days",
            remedy=f"ask for a time of at most {MOST_DAYS} days that has begun",
        )
    await house.state.flush()
    if by == "call":
        parts = list(_of_calls(await _call_spends(house, since_s, until_s)))
    elif by in _ROWS:
        found = await _spends(house, day_of(since_s), day_of(until_s))
        parts = [(_ROWS[by](bucket, key), bucket, spend) for bucket, spend in found.items()]
    else:
        known = ", ".join((*_ROWS, "call"))
        raise InvalidError(f"usage is not reported by {by!r}", remedy=f"choose from {known}")
    prices = house.budgets.prices.prices
    rows = grouped(parts, prices, most=min(MOST_ROWS, int(head.get("limit", MOST_ROWS))))
    return {
        "by": by,
        "since_s": since_s,
        "until_s": until_s,
        "rows": rows,
        "total": grouped([("", bucket, spend) for _, bucket, spend in parts], prices, most=1)[:1],
        **_priced(house, (bucket.gpu_type for _, bucket, _ in parts)),
    }


async def summary(house: House, _head: dict[str, Any]) -> dict[str, Any]:
    """What was taken today and this month, the prices, and where each budget stands."""
    await house.state.flush()
    now_s = time.time()
    month_s = Period.MONTH.bounds_s(now_s)[0]
    found = await _spends(house, day_of(month_s), day_of(now_s))
    prices = house.budgets.prices.prices
    today = [("", bucket, spend) for bucket, spend in found.items() if bucket.day == day_of(now_s)]
    house.budgets.look()
    return {
        "today": _one(today, prices),
        "month": _one([("", bucket, spend) for bucket, spend in found.items()], prices),
        "month_from": _date(day_of(month_s)),
        "budgets": [_shown(house, one) for one in house.budgets.standing],
        **_priced(house, (bucket.gpu_type for bucket in found)),
    }


async def budget_list(house: House, _head: dict[str, Any]) -> dict[str, Any]:
    """Every budget, and where it stands."""
    house.budgets.look()
    return {"budgets": [_shown(house, one) for one in house.budgets.standing]}


async def budget_set(house: House, head: dict[str, Any]) -> dict[str, Any]:
    """Sets a budget. Raises BudgetInvalid, PricesMissing, ResourceExhaustedError."""
    budget = read_budget(head["budget"], set_s=time.time())
    return {"budget": _shown(house, await house.budgets.set(budget))}


async def budget_remove(house: House, head: dict[str, Any]) -> dict[str, Any]:
    """Forgets a budget. Raises BudgetInvalid, BudgetNotFound."""
    budget = read_budget({**head["budget"], "amount": 0}, set_s=0.0)
    await house.budgets.remove(budget)
    shown = budget.to_json()
    return {"removed": {name: shown[name] for name in ("environment", "app", "tag", "period", "unit")}}


def grouped(parts: Iterable[Part], prices: Prices | None, *, most: int) -> list[dict[str, Any]]:
    """Rows, the dearest first, or those with the most seconds where nothing has a price; those beyond `most` in one row."""
    sums: dict[str, Spend] = {}
    money: dict[str, float] = {}
    gpus: dict[str, dict[str, float]] = {}
    places: dict[str, Bucket] = {}
    for name, bucket, spend in parts:
        sums[name] = sums.get(name, Spend()).plus(spend)
        money[name] = money.get(name, 0.0) + (
            0.0 if prices is None else prices.amount(spend, bucket.gpu_type)
        )
        places.setdefault(name, bucket)
        if bucket.gpu_type:
            types = gpus.setdefault(name, {})
            types[bucket.gpu_type] = types.get(bucket.gpu_type, 0.0) + spend.gpu_s
    order = sorted(sums, key=lambda name: (-money[name], -sums[name].container_s, name))
    rows = [
        _row(name, sums[name], money[name] if prices is not None else None, gpus.get(name, {}))
        for name in order[: most if len(order) <= most else max(0, most - 1)]
    ]
    rest = order[len(rows) :]
    if rest:
        together, types = Spend(), dict[str, float]()
        for name in rest:
            together = together.plus(sums[name])
            for kind, seconds in gpus.get(name, {}).items():
                types[kind] = types.get(kind, 0.0) + seconds
        amount = sum(money[name] for name in rest) if prices is not None else None
        rows.append({**_row(OTHERS, together, amount, types), "rows": len(rest)})
    return rows


def _row(name: str, spend: Spend, amount: float | None, gpus: dict[str, float]) -> dict[str, Any]:
    return {"name": name, **spend.to_json(), "gpus": dict(sorted(gpus.items())), "amount": amount}


def _one(parts: list[Part], prices: Prices | None) -> dict[str, Any]:
    return (grouped(parts, prices, most=1) or [_row("", Spend(), None if prices is None else 0.0, {})])[0]


def _date(day: int) -> str:
    return f"{datetime.fromtimestamp(day * DAY_S, UTC):%Y-%m-%d}"


def _function(bucket: Bucket, _key: str) -> str:
    labels = bucket.labels
    return f"{labels.app}/{labels.function}" if labels.app else labels.function


def _tag(bucket: Bucket, key: str) -> str:
    return (bucket.labels.tag(key) if key else bucket.labels.tags_in_words) or "-"


_ROWS: Final[dict[str, Callable[[Bucket, str], str]]] = {
    "function": _function,
    "app": lambda bucket, _key: bucket.labels.app or "-",
    "environment": lambda bucket, _key: bucket.labels.environment or "-",
    "tag": _tag,
    "gpu": lambda bucket, _key: bucket.gpu_type or "-",
    "day": lambda bucket, _key: _date(bucket.day),
}


async def _spends(house: House, first_day: int, last_day: int) -> Spends:
    """What containers that have ended took on these days, and those that run."""
    found = dict(await house.state.spends(first_day=first_day, last_day=last_day))
    for record in _running(house):
        for bucket, part in days_of(record):
            if first_day <= bucket.day <= last_day:
                add(found, bucket, part)
    return found


async def _call_spends(house: House, since_s: float, until_s: float) -> CallSpends:
    """The same by calls; a container that runs counts from its start."""
    found = await house.state.call_spends(since_s=since_s, until_s=until_s)
    running = {record.id: record for record in _running(house)}
    busy: dict[ContainerId, list[tuple[str, float]]] = {name: [] for name in running}
    for row in await house.state.busy_in(tuple(running)):
        busy[row.container].append((row.call, row.busy_s))
    for call in house.calls.calls.values():
        for container, seconds in call.busy_s.items():
            if container in busy:
                busy[container].append((call.id, seconds))
    for name, spends in by_calls((running[one], rows) for one, rows in busy.items()).items():
        for bucket, part in spends.items():
            add(found.setdefault(CallId(name), {}), bucket, part)
    return found


def _of_calls(found: CallSpends) -> Iterator[Part]:
    for call, spends in found.items():
        for bucket, spend in spends.items():
            of = _function(bucket, "")
            yield (f"{call} {of}" if call else IDLE), bucket, spend


def _running(house: House) -> list[ContainerRecord]:
    return [house.ledger.so_far(worker) for worker in house.calls.workers.values()]


def _priced(house: House, types: Iterable[str]) -> dict[str, Any]:
    """The prices that hold, and the types of GPUs that have none."""
    file = house.budgets.prices
    without = sorted({kind for kind in types if file.prices is not None and not file.prices.names(kind)})
    return {
        "prices": None if file.prices is None else file.prices.to_json(),
        "price_file": str(file.path),
        "price_trouble": file.trouble,
        "unpriced_gpus": without,
    }


def _shown(house: House, one: Standing) -> dict[str, Any]:
    """One row of `squall budget list`."""
    prices = house.budgets.prices.prices
    return {
        **one.budget.to_json(),
        "spent": one.spent,
        "state": one.level.value,
        "opens_s": one.opens_s,
        "scope": str(one.budget.scope),
        "currency": prices.currency if prices is not None and one.budget.unit.value == "money" else "",
    }


QUESTIONS: Final = {
    "usage.report": report,
    "usage.summary": summary,
    "budget.list": budget_list,
    "budget.set": budget_set,
    "budget.remove": budget_remove,
}
