"""What was spent adds up however it is looked at, and a budget shuts exactly those that it is for, for as long as it says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from math import isclose

import pytest
from hypothesis import given, strategies as st

from squall.model.budget import WARN_AT, Budget, Period, Scope, Unit, counted
from squall.model.errors import BudgetInvalid, PricesInvalid
from squall.model.ids import ContainerId, FunctionId
from squall.model.prices import Prices, read_prices
from squall.model.usage import DAY_S, Bucket, Labels, Spend, Spends, add, by_day, day_of, shares
from squall.scheduling.budgets import Level, newly, refused_by, standings
from squall.server.usage import OTHERS, grouped
from squall.state.records import ContainerRecord
from squall.state.usage_days import by_calls, days_of, spend_of

seconds = st.floats(0.0, 1e6)
instants = st.floats(0.0, 4e9)
labels = st.builds(
    Labels,
    environment=st.sampled_from(["main", "test"]),
    app=st.sampled_from(["a", "b"]),
    function=st.sampled_from(["f", "g"]),
    tags=st.sampled_from([(), (("team", "x"),), (("stage", "y"), ("team", "z"))]),
)
types = st.sampled_from(["", "H100", "L4"])
spends = st.builds(
    Spend,
    containers=st.integers(0, 9),
    container_s=seconds,
    cpu_s=seconds,
    cpu_kept_s=seconds,
    cpu_paid_s=seconds,
    memory_byte_s=seconds,
    memory_kept_byte_s=seconds,
    memory_paid_byte_s=seconds,
    gpu_s=seconds,
)
prices = st.builds(
    Prices,
    core_second=st.floats(0, 10),
    gib_second=st.floats(0, 10),
    gpu_second=st.dictionaries(st.sampled_from(["H100", "other"]), st.floats(0, 10)),
)
scopes = st.builds(
    Scope,
    environment=st.sampled_from(["", "main", "test"]),
    app=st.sampled_from(["", "a", "b"]),
    tag=st.sampled_from(["", "team=x", "team=z"]),
)
budgets = st.builds(
    Budget, scope=scopes, period=st.sampled_from(Period), unit=st.sampled_from(Unit), amount=st.floats(0, 1e6)
)
records = st.builds(
    ContainerRecord,
    id=st.sampled_from([ContainerId("co-1"), ContainerId("co-2")]),
    function=st.just(FunctionId("ap-1/f")),
    started_s=st.floats(0.0, 1e6),
    ended_s=st.floats(1e6, 3e6),
    cpu_s=seconds,
    cpu_kept_s=seconds,
    memory_byte_s=seconds,
    memory_kept_byte_s=seconds,
    gpu_s=seconds,
    gpu_type=types,
    labels=labels,
)


def total(parts: list[Spend]) -> Spend:
    found = Spend()
    for part in parts:
        found = found.plus(part)
    return found


def alike(one: Spend, other: Spend) -> bool:
    pairs = zip(one.to_json().values(), other.to_json().values(), strict=True)
    return all(isclose(left, right, rel_tol=1e-9, abs_tol=1e-3) for left, right in pairs)


# -- what was spent


@given(spend=spends, started_s=instants, lasted_s=st.floats(0.0, 40 * DAY_S))
def test_days_add_up_to_the_whole_and_lie_in_its_time(
    spend: Spend, started_s: float, lasted_s: float
) -> None:
    ended_s = started_s + lasted_s
    parts = list(by_day(spend, started_s=started_s, ended_s=ended_s))
    assert alike(total([part for _, part in parts]), spend)
    days = [day for day, _ in parts]
    assert days == sorted(set(days))
    assert day_of(started_s) <= days[0]
    assert days[-1] <= day_of(ended_s)
    assert sum(part.containers for _, part in parts) == spend.containers == parts[-1][1].containers
    assert all(part.container_s >= -1e-3 for _, part in parts)


@given(busy=st.dictionaries(st.sampled_from("abcd"), seconds), container_s=seconds)
def test_calls_have_no_more_of_a_container_than_there_is(busy: dict[str, float], container_s: float) -> None:
    found = shares(busy, container_s)
    assert found.keys() == busy.keys()
    assert all(0.0 <= share <= 1.0 for share in found.values())
    assert sum(found.values()) <= 1.0 + 1e-9


@given(found=st.lists(st.tuples(records, st.lists(st.tuples(st.sampled_from(["fc-1", "fc-2"]), seconds)))))
def test_what_calls_took_and_what_none_had_is_what_containers_took(
    found: list[tuple[ContainerRecord, list[tuple[str, float]]]],
) -> None:
    parts = [spend for each in by_calls(found).values() for spend in each.values()]
    assert alike(total(parts), total([spend_of(record) for record, _ in found]))
    days = [part for record, _ in found for _, part in days_of(record)]
    assert alike(total(days), total(parts))


@given(
    parts=st.lists(
        st.tuples(st.sampled_from("abcdef"), st.builds(Bucket, st.just(0), labels, types), spends)
    ),
    most=st.integers(1, 4),
    table=st.none() | prices,
)
def test_rows_add_up_to_their_total_however_few_are_shown(
    parts: list[tuple[str, Bucket, Spend]], most: int, table: Prices | None
) -> None:
    rows = grouped(parts, table, most=most)
    assert len(rows) <= most
    assert alike(
        total([Spend(**{name: row[name] for name in Spend().to_json()}) for row in rows]),
        total([spend for _, _, spend in parts]),
    )
    if table is None:
        assert all(row["amount"] is None for row in rows)
    else:
        amount = sum(table.amount(spend, bucket.gpu_type) for _, bucket, spend in parts)
        assert isclose(sum(row["amount"] for row in rows), amount, rel_tol=1e-9, abs_tol=1e-3)
    names = {name for name, _, _ in parts}
    assert (OTHERS in [row["name"] for row in rows]) == (len(names) > most)


# -- budgets


@given(at_s=st.floats(0.0, 4e9))
def test_a_period_is_the_day_or_the_month_that_an_instant_is_in(at_s: float) -> None:
    for period in Period:
        start_s, end_s = period.bounds_s(at_s)
        assert start_s <= at_s < end_s
        assert period.bounds_s(end_s)[0] == end_s
        assert period.bounds_s(start_s) == (start_s, end_s)
        now, start = datetime.fromtimestamp(at_s, UTC), datetime.fromtimestamp(start_s, UTC)
        assert (start.year, start.month) == (now.year, now.month)
        assert start.day == (now.day if period is Period.DAY else 1)


@given(
    each=st.lists(budgets, max_size=5),
    parts=st.lists(st.tuples(st.integers(-40, 40), labels, types, spends), max_size=8),
    table=st.none() | prices,
    whose=labels,
    now_s=st.floats(50 * DAY_S, 1e9),
)
def test_a_budget_refuses_whom_it_is_for_once_as_much_was_spent_in_its_period(
    each: list[Budget],
    parts: list[tuple[int, Labels, str, Spend]],
    table: Prices | None,
    whose: Labels,
    now_s: float,
) -> None:
    spent: Spends = {}
    for day, of, kind, spend in parts:
        add(spent, Bucket(day_of(now_s) + day, of, kind), spend)
    found = standings(each, spent, table, now_s=now_s)
    assert [one.budget for one in found] == each
    for one in found:
        start_s, end_s = one.budget.period.bounds_s(now_s)
        assert one.opens_s == end_s
        mine = sum(
            counted(one.budget, spend, 0.0 if table is None else table.amount(spend, bucket.gpu_type))
            for bucket, spend in spent.items()
            if start_s <= bucket.day * DAY_S < end_s and one.budget.scope.covers(bucket.labels)
        )
        assert isclose(one.spent, mine)
        if one.budget.unit is Unit.MONEY and table is None:
            assert one.level is Level.UNPRICED
        else:
            assert (one.level is Level.REACHED) == (one.spent >= one.budget.amount)
            if one.level is Level.WARNING:
                assert one.spent >= WARN_AT * one.budget.amount
    reached = [one for one in found if one.level is Level.REACHED and one.budget.scope.covers(whose)]
    refused = refused_by(found, whose)
    assert (refused is None) == (not reached)
    if refused is not None:
        assert refused.opens_s == max(one.opens_s for one in reached)
    # In the next period nothing is spent yet: it opens by itself.
    for one in reached:
        assert (
            standings([one.budget], {}, table, now_s=one.opens_s)[0].level is Level.OPEN
            or one.budget.amount == 0
        )


@given(budget=budgets.filter(lambda one: one.amount > 0), whose=labels)
def test_a_level_is_told_once(budget: Budget, whose: Labels) -> None:
    budget = replace(budget, unit=Unit.SECONDS, scope=Scope())
    spent = {Bucket(0, whose): Spend(container_s=budget.amount)}
    now = standings([budget], spent, None, now_s=10.0)
    assert newly({}, now, Level.REACHED) == now
    assert newly({budget.key: Level.REACHED}, now, Level.REACHED) == ()
    assert newly({budget.key: Level.WARNING}, now, Level.REACHED) == now


@pytest.mark.parametrize("amount", [-1.0, float("nan"), float("inf"), 1e16])
def test_an_amount_that_is_none_is_refused(amount: float) -> None:
    with pytest.raises(BudgetInvalid):
        Budget(amount=amount)


@pytest.mark.parametrize("tag", ["team", "=x", "team="])
def test_a_tag_has_a_key_and_a_value(tag: str) -> None:
    with pytest.raises(BudgetInvalid, match="no tag"):
        Scope(tag=tag)


# -- prices


@given(
    st.dictionaries(
        st.sampled_from(["currency", "core_second", "gib_second", "gpu_second", "core"]),
        st.none()
        | st.booleans()
        | st.floats()
        | st.text(max_size=20)
        | st.dictionaries(st.text(max_size=5), st.floats()),
    )
)
def test_a_table_of_prices_is_read_or_refused_by_name(plain: dict[str, object]) -> None:
    try:
        found = read_prices(plain, where="prices.toml")
    except PricesInvalid:
        return
    assert read_prices(found.to_json(), where="again") == found
    assert found.amount(Spend(cpu_paid_s=1.0, gpu_s=1.0), "B200") >= 0


def test_gpus_without_a_price_of_their_own_have_that_of_others() -> None:
    table = read_prices(
        {"currency": "EUR", "core_second": 1, "gpu_second": {"H100": 3.0, "other": 2}}, where="here"
    )
    spend = Spend(cpu_paid_s=1.0, memory_paid_byte_s=5.0, gpu_s=2.0)
    assert table.amount(spend, "H100") == 7.0
    assert table.amount(spend, "L4") == 5.0
    assert table.names("L4")
    assert not Prices(gpu_second={"H100": 1.0}).names("L4")
