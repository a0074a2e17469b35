"""Names of deployed apps: an address is read as it was written, and what is no name is refused with the rule."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, strategies as st

from squall.model.deploy import LONGEST_NAME, Address, check_name, check_tag
from squall.model.errors import InvalidError, NameInvalid

LETTERS = string.ascii_letters + string.digits
NAMES = st.builds(
    lambda first, rest: first + rest,
    st.sampled_from(LETTERS),
    st.text(LETTERS + "-_.", max_size=LONGEST_NAME - 1),
).filter(lambda name: not name.startswith("ap-"))
FUNCTIONS = st.text(LETTERS + "-_.~é", min_size=1, max_size=20)


@given(st.one_of(st.just(""), NAMES), NAMES, FUNCTIONS, st.one_of(st.none(), st.integers(0, 10**9 - 1)))
def test_an_address_is_read_as_it_was_written(
    environment: str, app: str, function: str, version: int | None
) -> None:
    address = Address(environment, app, function, version)
    assert Address.read(str(address)) == address


@given(st.text(max_size=30))
def test_whatever_is_sent_as_an_address_is_one_or_is_refused_by_name(text: str) -> None:
    try:
        found = Address.read(f"@{text}")
    except InvalidError:
        return
    assert found is not None
    assert Address.read(str(found)) == found


@given(FUNCTIONS, FUNCTIONS)
def test_the_id_of_a_function_is_no_address(app: str, function: str) -> None:
    assert Address.read(f"{app}/{function}") is None


@given(NAMES)
def test_a_name_may_be_of_an_app_an_environment_and_a_tag(name: str) -> None:
    assert check_name("an app", name) == check_name("an environment", name) == check_tag(name) == name


@given(st.one_of(st.text(max_size=100), st.none(), st.integers(), st.binary(max_size=3)))
def test_what_is_taken_as_a_name_is_short_and_plain(name: object) -> None:
    try:
        taken = check_name("an app", name)
    except NameInvalid:
        return
    assert 0 < len(taken) <= LONGEST_NAME
    assert set(taken) <= set(LETTERS + "-_.")
    assert taken[0] in LETTERS


@pytest.mark.parametrize(
    "name", ["", "-a", ".", "a b", "ä", "a/b", "a@b", "a?", "a~b", "ap-" + "0" * 32, "a\n"]
)
def test_a_name_that_would_be_mistaken_for_something_else_is_refused(name: str) -> None:
    with pytest.raises(NameInvalid):
        check_name("an app", name)
