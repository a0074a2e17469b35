"""Variants: whatever is changed of a function, the rest stays, and equal changes make one variant."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from squall.model.errors import InvalidError
from squall.model.function import Code, Function, Retries, Scaling
from squall.model.ids import AppId, FunctionId
from squall.model.jsonable import to_json
from squall.model.resources import Resources
from squall.model.variant import MARK, merged, read_changes, split_changes, varied, with_changes

TEXT = st.text(max_size=5)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "asks": st.fixed_dictionaries(
            {}, optional={"cpu_milli": st.integers(1, 9), "memory_mib": st.integers(1, 9)}
        ),
        "env": st.dictionaries(TEXT, TEXT, max_size=3),
        "scaling": st.fixed_dictionaries(
            {}, optional={"max_containers": st.integers(5, 9), "buffer_containers": st.integers(0, 3)}
        ),
        "timeout_s": st.floats(1, 100),
        "retries": st.one_of(st.none(), st.fixed_dictionaries({"max_retries": st.integers(0, 10)})),
    },
)
FUNCTION = Function(
    id=FunctionId("ap-1/f"),
    app=AppId("ap-1"),
    name="f",
    code=Code(module="m", qualname="f"),
    env={"KEPT": "yes"},
    asks=Resources(cpu_milli=700, memory_mib=800),
    scaling=Scaling(min_containers=2, max_containers=8, scaledown_window_s=7.0),
)


@given(CHANGES)
def test_what_is_changed_is_so_and_the_rest_stays(changes: dict[str, Any]) -> None:
    found = varied(FUNCTION, changes)
    assert found.timeout_s == changes.get("timeout_s", FUNCTION.timeout_s)
    retries = changes.get("retries")
    assert found.retries == (None if retries is None else Retries(**retries))
    assert found.env == {"KEPT": "yes", **changes.get("env", {})}
    asks = changes.get("asks", {})
    assert found.asks == Resources(
        cpu_milli=asks.get("cpu_milli", 700), memory_mib=asks.get("memory_mib", 800)
    )
    scaling = changes.get("scaling", {})
    assert found.scaling == Scaling(
        min_containers=0,
        max_containers=scaling.get("max_containers", 8),
        buffer_containers=scaling.get("buffer_containers", 0),
        scaledown_window_s=7.0,
    )
    assert (found.code, found.level, found.app) == (FUNCTION.code, FUNCTION.level, FUNCTION.app)
    assert found.id == f"{found.app}/{found.name}"
    assert found.name.startswith(f"f{MARK}")


@given(CHANGES, st.sampled_from(["ap-1/f", "@main/jobs/f", "@main/jobs/f@3"]))
def test_changes_travel_behind_an_address(changes: dict[str, Any], address: str) -> None:
    base, text = split_changes(with_changes(address, changes))
    assert base == address
    assert (read_changes(text) if text else {}) == changes


@given(CHANGES, CHANGES)
def test_equal_changes_make_one_variant_and_others_another(one: dict[str, Any], two: dict[str, Any]) -> None:
    turned = dict(reversed(one.items()))
    assert varied(FUNCTION, turned) == varied(FUNCTION, one)
    assert (varied(FUNCTION, one).id == varied(FUNCTION, two).id) == (one == two)


@given(CHANGES, CHANGES)
def test_changes_of_changes_are_those_of_both(one: dict[str, Any], two: dict[str, Any]) -> None:
    both, after = varied(FUNCTION, merged(one, two)), varied(varied(FUNCTION, one), two)
    assert to_json(both) | {"id": "", "name": ""} == to_json(after) | {"id": "", "name": ""}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nothing",
        "[]",
        '{"level": "process"}',
        '{"code": {}}',
        '{"timeout_s": 1, "image": {}}',
    ],
)
def test_nothing_else_can_be_changed(text: str) -> None:
    with pytest.raises(InvalidError):
        varied(FUNCTION, read_changes(text))


@pytest.mark.parametrize(
    "changes",
    [
        {"timeout_s": 0.5},
        {"timeout_s": "long"},
        {"env": "A=1"},
        {"env": {"A": 1}},
        {"asks": {"disk": 1}},
        {"scaling": {"max_containers": 0}},
        {"scaling": 3},
        {"retries": {"max_retries": 11}},
    ],
)
def test_values_that_no_function_has_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidError):
        varied(FUNCTION, changes)
