"""Keys of Dicts: equal ones have equal bytes, others have others, and each comes back as what it equals."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from squall.model.dict_key import key_bytes, key_of
from squall.model.errors import DeserializationError, DictKeyInvalid

plain = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False)
    | st.sampled_from([0.0, -0.0, 1.0, 2.0**70])
    | st.text(max_size=20)
    | st.binary(max_size=20)
)
keys = st.recursive(plain, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=6)


@given(keys, keys)
def test_two_keys_are_one_where_a_dict_says_so(one: object, other: object) -> None:
    assert (key_bytes(one) == key_bytes(other)) == (len({one, other}) == 1)


@given(keys)
def test_a_key_comes_back_as_what_it_equals(key: object) -> None:
    assert key_of(key_bytes(key)) == key


@given(st.binary(max_size=40))
def test_bytes_that_are_no_key_have_a_named_error(data: bytes) -> None:
    try:
        key_of(data)
    except DeserializationError:
        pass


class Name(str):
    """A string of a class of its own."""

    __slots__ = ()


def test_what_inherits_from_a_plain_type_counts_as_that() -> None:
    assert key_bytes(Name("a")) == key_bytes("a")
    assert type(key_of(key_bytes(Name("a")))) is str


@pytest.mark.parametrize(
    "key",
    [float("nan"), [1], {}, object(), ("a", [1]), "x" * 1024, 1 << 100_000, ((((1, float("nan")),),),)],
    ids=["nan", "list", "dict", "object", "list-inside", "long", "large", "nan-inside"],
)
def test_what_cannot_be_a_key_has_a_named_error(key: object) -> None:
    with pytest.raises(DictKeyInvalid):
        key_bytes(key)


def test_a_tuple_that_is_nested_without_end_has_a_named_error() -> None:
    key: object = ()
    for _ in range(10_000):
        key = (key,)
    with pytest.raises(DictKeyInvalid):
        key_bytes(key)
