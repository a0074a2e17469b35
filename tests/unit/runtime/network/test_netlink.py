"""Attributes, as the kernel reads and writes them."""

from __future__ import annotations

from hypothesis import given, strategies as st

from squall.runtime.network.netlink import attribute, attributes, big, nested, number, text

contents = st.binary(max_size=40)


@given(parts=st.dictionaries(st.integers(0, 0x3FFF), contents, max_size=6))
def test_attributes_come_back_as_they_were(parts: dict[int, bytes]) -> None:
    assert attributes(b"".join(attribute(kind, content) for kind, content in parts.items())) == parts


@given(content=contents)
def test_each_begins_at_a_multiple_of_four(content: bytes) -> None:
    assert len(attribute(1, content)) % 4 == 0


@given(data=st.binary(max_size=100))
def test_whatever_arrives_is_read_without_an_error(data: bytes) -> None:
    attributes(data)


def test_what_is_inside_one_is_marked_as_such() -> None:
    (inside,) = attributes(nested(7, big(1, 5), text(2, "a"))).values()
    assert attributes(inside) == {1: b"\0\0\0\5", 2: b"a\0"}
    assert attribute(7, b"")[2:] == b"\7\0"
    assert nested(7)[2:] == b"\7\x80"


def test_a_number_is_in_the_machines_order_or_in_the_networks() -> None:
    assert attributes(number(1, 1))[1] != attributes(big(1, 1))[1]
