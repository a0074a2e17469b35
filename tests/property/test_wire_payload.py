"""Any value of Python's own types comes back as it was, however it travels."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings, strategies as st

from squall.wire.payload import pack, pack_many, pack_to_memfd, split, unpack, unpack_from_memfd, unpack_many


@dataclass(frozen=True)
class Large:
    """Large bytes to be made: hypothesis shows examples, and these are no reading."""

    kind: type[bytes | bytearray]
    size: int

    def made(self) -> Any:
        return self.kind(b"l" * self.size)


blobs = st.one_of(
    st.binary(max_size=20), st.builds(Large, st.sampled_from([bytes, bytearray]), st.integers(65_530, 65_545))
)
values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=10), blobs
    ),
    lambda children: st.one_of(
        st.lists(children, max_size=3),
        st.lists(children, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=5), children, max_size=3),
    ),
    max_leaves=8,
)


def made(value: Any) -> Any:
    """`value` with its large parts."""
    if isinstance(value, Large):
        return value.made()
    if isinstance(value, list | tuple):
        return type(value)(map(made, value))
    return {key: made(part) for key, part in value.items()} if isinstance(value, dict) else value


@settings(deadline=None)
@given(value=values)
def test_a_value_comes_back_over_every_way(value: Any) -> None:
    value = made(value)
    packed = pack(value)
    joined = bytearray(b"".join(packed.buffers))
    assert packed.size == len(joined)
    fd = pack_to_memfd(packed)
    try:
        ways = [
            unpack(packed.buffers),
            unpack(split(joined, packed.lengths)),
            unpack_from_memfd(fd, packed.lengths),
        ]
    finally:
        os.close(fd)
    for back in ways:
        # By their text: its types are the same too, at every depth.
        assert repr(back) == repr(value)


@settings(deadline=None)
@given(many=st.lists(values, max_size=5))
def test_many_values_come_back_in_their_order(many: list[Any]) -> None:
    many = made(many)
    lengths, buffer = pack_many(many)
    assert repr(unpack_many(buffer, lengths)) == repr(many)
