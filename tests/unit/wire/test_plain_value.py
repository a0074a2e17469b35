"""A packed value is shown as far as it is Python's own data; nothing that travels in it is run."""

from __future__ import annotations

import datetime
import decimal
import fractions
import pickle
from typing import Any

import pytest
from hypothesis import given, strategies as st

from squall.wire.payload import pack_many
from squall.wire.plain_value import Foreign, plain_value

RAN: list[str] = []


def run(what: str) -> str:
    RAN.append(what)
    return what


class Hostile:
    """What runs something where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return run, ("it ran",)


def packed(value: Any) -> bytes:
    return pack_many([value]).buffer


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(values)
def test_data_is_what_it_was(value: Any) -> None:
    assert plain_value(packed(value)) == value


@pytest.mark.parametrize(
    "value",
    [{1, 2}, frozenset("a"), bytearray(b"x"), 1j, datetime.date(2026, 1, 31), datetime.timedelta(seconds=1),
     datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC), decimal.Decimal("1.5")],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_so_are_the_usual_types_of_the_standard_library(value: Any) -> None:
    assert plain_value(packed(value)) == value


def test_what_would_run_code_is_named_and_does_not_run() -> None:
    assert pickle.loads(packed(Hostile())) == "it ran"
    RAN.clear()
    found = plain_value(packed([Hostile()]))
    assert isinstance(found, Foreign)
    assert repr(found).endswith(f"bytes, holds {__name__}.run>")
    assert RAN == []
    assert repr(plain_value(packed(fractions.Fraction(1, 3)))).endswith("holds fractions.Fraction>")


@given(st.binary(max_size=60))
def test_any_bytes_give_something_to_show(data: bytes) -> None:
    assert repr(plain_value(data))
