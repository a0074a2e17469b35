"""Any value of Python's own types comes back as it was, however it travels."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import given, strategies as st

from squall.wire.payload import pack, pack_many, pack_to_memfd, split, unpack, unpack_from_memfd, unpack_many

large = st.integers(65_530, 65_545)
blobs = st.one_of(
    st.binary(max_size=20),
    large.map(bytes),
    large.map(bytearray),
    st.tuples(large, st.integers(0, 255)).map(lambda pair: bytes([pair[1]]) * pair[0]),
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


@given(value=values)
def test_a_value_comes_back_over_every_way(value: Any) -> None:
    packed = pack(value)
    assert not packed.by_value
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
        assert back == value
        assert repr(back) == repr(value), "the types are the same, at every depth"


@given(many=st.lists(values, max_size=5))
def test_many_values_come_back_in_their_order(many: list[Any]) -> None:
    lengths, buffer = pack_many(many)
    assert repr(unpack_many(buffer, lengths)) == repr(many)
