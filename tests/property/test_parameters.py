"""Parameters: every value comes back as it was, under a key of its own, and what is no value is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from squall.model.errors import ParameterInvalid
from squall.model.parameters import (
    KINDS,
    MOST_BITS,
    MOST_BYTES,
    Parameter,
    bound,
    checked,
    defaults,
    key_of,
    to_plain,
    to_value,
)

texts = st.text("aZ0 \n\x00'\"\\é😀\ud800", max_size=20)
OF_KIND: dict[str, st.SearchStrategy[Any]] = {
    "str": texts,
    "int": st.integers(-(2**MOST_BITS) + 1, 2**MOST_BITS - 1),
    "bool": st.booleans(),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "bytes": st.binary(max_size=20),
}
names = st.lists(st.text("abcxyz", min_size=1, max_size=3), unique=True, max_size=4)


@st.composite
def made(draw: st.DrawFn) -> tuple[tuple[Parameter, ...], dict[str, Any]]:
    """Parameters that are required, and a value for each."""
    found = tuple(
        Parameter(name=name, kind=draw(st.sampled_from(sorted(KINDS))), required=True) for name in draw(names)
    )
    return found, {one.name: draw(OF_KIND[one.kind]) for one in found}


@given(made())
def test_values_come_back_as_they_were_over_any_number_of_borders(
    one: tuple[tuple[Parameter, ...], dict[str, Any]],
) -> None:
    parameters, values = one
    plain = bound(parameters, (), values, of="it")
    travelled = checked(parameters, json.loads(json.dumps(plain)), of="it")
    assert travelled == plain
    assert key_of(travelled) == key_of(plain)
    opened = {name: to_value(value) for name, value in travelled.items()}
    assert opened == values
    assert [type(value) for value in opened.values()] == [type(values[name]) for name in opened]


@given(made(), st.data())
def test_the_key_is_the_same_for_the_same_values_however_they_are_given_and_for_no_others(
    one: tuple[tuple[Parameter, ...], dict[str, Any]], data: st.DataObject
) -> None:
    parameters, values = one
    by_name = bound(parameters, (), dict(reversed(values.items())), of="it")
    cut = data.draw(st.integers(0, len(parameters)))
    ordered = [values[parameter.name] for parameter in parameters]
    rest = {parameter.name: values[parameter.name] for parameter in parameters[cut:]}
    assert key_of(bound(parameters, tuple(ordered[:cut]), rest, of="it")) == key_of(by_name)
    others = {parameter.name: data.draw(OF_KIND[parameter.kind]) for parameter in parameters}
    other = bound(parameters, (), others, of="it")
    assert (key_of(other) == key_of(by_name)) == (json.dumps(other) == json.dumps(dict(by_name)))


@given(
    st.sampled_from(sorted(KINDS)),
    st.none() | st.lists(st.integers()) | st.floats() | texts | st.binary() | st.booleans() | st.integers(),
)
def test_a_value_of_another_type_is_refused_by_name(kind: str, value: Any) -> None:
    one = Parameter(name="size", kind=kind, required=True)
    fits = type(value) is KINDS[kind] or (kind == "float" and type(value) is int)
    if fits and (not isinstance(value, int | float) or abs(value) < 2**MOST_BITS):
        assert to_value(to_plain(one, value, of="it")) == value
    elif not fits:
        with pytest.raises(ParameterInvalid, match="'size' of it is"):
            to_plain(one, value, of="it")


@pytest.mark.parametrize("value", [2**MOST_BITS, -(2**MOST_BITS), 10**6000], ids=["most", "least", "long"])
def test_a_number_that_is_too_long_is_refused_by_name(value: int) -> None:
    with pytest.raises(ParameterInvalid, match="has more than 63 bits"):
        to_plain(Parameter(name="size", kind="int"), value, of="it")
    with pytest.raises(ParameterInvalid, match="is float, not int"):
        to_plain(Parameter(name="size", kind="float"), value, of="it")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | texts,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(texts | st.just("base64"), inner, max_size=3)
        ),
        max_leaves=5,
    )
)
def test_whatever_somebody_sends_is_values_or_refused_by_name(sent: Any) -> None:
    parameters = (
        Parameter(name="size", kind="int", default=1),
        Parameter(name="data", kind="bytes", default={"base64": ""}),
    )
    try:
        found = checked(parameters, sent, of="it")
    except ParameterInvalid:
        return
    assert found.keys() == {"size", "data"}
    assert checked(parameters, found, of="it") == found


def test_what_is_missing_unknown_twice_or_too_much_is_named() -> None:
    parameters = (
        Parameter(name="size", kind="str", required=True),
        Parameter(name="step", kind="int", default=1),
    )
    for args, given_by_name, said in (
        ((), {}, "it needs the parameter 'size': str"),
        (("a",), {"size": "b"}, "got the parameter 'size' twice"),
        (("a", 1, 2), {}, "takes 2 parameters, and 3 were given"),
        ((), {"siez": "a"}, "no parameter 'siez'; it has: size, step"),
        (("a" * MOST_BYTES,), {}, f"more than {MOST_BYTES} bytes together"),
    ):
        with pytest.raises(ParameterInvalid, match=said):
            bound(parameters, args, given_by_name, of="it")
    assert defaults(parameters) is None
    assert defaults(parameters[1:]) == {"step": 1}
