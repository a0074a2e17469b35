"""Variants: whatever is changed of a function, the rest stays, and equal changes make one variant."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from squall.model.errors import InvalidError
from squall.model.function import Code, Function, Method, Retries, Scaling
from squall.model.ids import AppId, FunctionId
from squall.model.jsonable import to_json
from squall.model.parameters import Parameter
from squall.model.resources import Resources
from squall.model.variant import MARK, merged, read_changes, split_changes, varied, with_changes
from squall.server.apps import bound_to

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
        "max_inputs": st.integers(4, 9),
        "target_inputs": st.one_of(st.none(), st.integers(1, 4)),
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
    max_inputs=4,
)
JOINED = replace(FUNCTION, max_inputs=1, max_batch=2, batch_wait_s=1.0)


@given(CHANGES)
def test_what_is_changed_is_so_and_the_rest_stays(changes: dict[str, Any]) -> None:
    found = varied(FUNCTION, changes)
    assert found.timeout_s == changes.get("timeout_s", FUNCTION.timeout_s)
    assert (found.max_inputs, found.target_inputs) == (
        changes.get("max_inputs", 4),
        changes.get("target_inputs"),
    )
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
        {"max_inputs": 0},
        {"max_inputs": "4"},
        {"target_inputs": 5},
        {"max_batch": 4, "batch_wait_s": 0.1},
        {"batch_wait_s": 0.1},
    ],
)
def test_values_that_no_function_has_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidError):
        varied(FUNCTION, changes)


@given(st.integers(1, 1000), st.floats(0, 600))
def test_batches_of_another_size_are_those_of_a_function_that_is_given_lists(
    most: int, wait_s: float
) -> None:
    found = varied(JOINED, {"max_batch": most, "batch_wait_s": wait_s})
    assert (found.max_batch, found.batch_wait_s) == (most, wait_s)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"max_batch": 1001, "batch_wait_s": 0.1},
            "with_batching of 'f': max_batch_size is between 1 and 1000",
        ),
        (
            {"max_inputs": 3},
            "with_concurrency of 'f': @squall.batched and @squall.concurrent do not go together",
        ),
        ({"max_batch": 3, "timeout_s": 0.1}, "with_options of 'f': timeout is between"),
    ],
)
def test_what_cannot_be_is_said_of_the_verb_that_was_used(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidError, match=re.escape(why)):
        varied(JOINED, changes)


def test_a_class_with_several_methods_joins_no_calls() -> None:
    with pytest.raises(ValueError, match="one method, and the class has more"):
        replace(JOINED, methods=(Method(name="one"), Method(name="two")))
    with pytest.raises(InvalidError, match="its code takes one input"):
        varied(replace(FUNCTION, methods=(Method(name="one"), Method(name="two"))), {"max_batch": 2})


@given(CHANGES, st.integers(0, 9))
def test_a_class_with_changes_and_parameters_is_neither_of_them_alone(
    changes: dict[str, Any], size: int
) -> None:
    own = replace(
        FUNCTION,
        methods=(Method(name="one"),),
        parameters=(Parameter(name="size", kind="int", default=0),),
        values={"size": 0},
    )
    base = varied(own, changes) if changes else own
    found = bound_to(base, {"size": size})
    assert (found is base) == (size == 0)
    assert found.values == {"size": size}
    assert found.id == f"{found.app}/{found.name}"
    assert found.name.startswith(base.name)
    assert bound_to(base, {"size": size}) == found
