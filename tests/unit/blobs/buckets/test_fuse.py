"""The kernel's protocol: sizes of what it reads, and what is made of bytes that are no requests."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, strategies as st

from squall.blobs.buckets import fuse
from squall.blobs.buckets.fuse import Attributes, MalformedError, Opcode

ATTRIBUTES = Attributes(node=7, mode=0o100644, size=513, modified_s=1.5, owner=3)
READERS = (
    fuse.transfer,
    fuse.change,
    fuse.stat_handle,
    fuse.handle_of,
    fuse.flags_of,
    fuse.created_name,
    fuse.made_mode,
    fuse.folder_name,
    fuse.move,
    fuse.interrupted,
    lambda request: request.name(),
    lambda request: fuse.greeting(request.body),
)


def test_answers_are_as_long_as_the_kernels_structures() -> None:
    assert len(fuse.packed(1, 2, 3)) == 40
    assert len(fuse.answer(1)) == 16
    assert len(ATTRIBUTES.packed()) == 88
    assert len(fuse.entry(ATTRIBUTES, valid_s=0)) == 128
    assert len(fuse.stat(ATTRIBUTES, valid_s=0)) == 104
    assert len(fuse.opened(1)) == 16
    assert len(fuse.written(1)) == 8
    assert len(fuse.space(1 << 40)) == 80
    assert len(fuse.greeting(fuse.packed_init()) or b"") == 64
    assert len(fuse.packed_change(0)) == 88
    assert len(fuse.packed_transfer(1, 2, 3)) == 40


def test_attributes_lie_where_the_kernel_looks_for_them() -> None:
    fields = struct.unpack("=QQQQQQIIIIIIIIII", ATTRIBUTES.packed())
    assert fields[:6] == (7, 513, 2, 1, 1, 1)
    assert fields[6:10] == (500_000_000, 500_000_000, 500_000_000, 0o100644)
    assert fields[10:13] == (1, 3, 3)


def test_the_smaller_of_two_versions_is_spoken() -> None:
    newer = fuse.greeting(fuse.packed_init(minor=44))
    assert newer is not None
    assert struct.unpack_from("=II", newer) == (fuse.MAJOR, fuse.MINOR)
    assert fuse.greeting(fuse.packed_init(minor=30)) is None
    next_major = fuse.greeting(fuse.packed_init(major=8, minor=0))
    assert next_major is not None
    assert struct.unpack_from("=II", next_major) == (fuse.MAJOR, fuse.MINOR)


def test_nothing_is_agreed_to_that_the_kernel_did_not_offer() -> None:
    answer = fuse.greeting(fuse.packed_init(flags=1))
    assert answer is not None
    assert struct.unpack_from("=I", answer, 12)[0] == 1


@given(
    name=st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name), size=st.integers(0, 200)
)
def test_a_directory_entry_is_padded_and_holds_its_name(name: bytes, size: int) -> None:
    row = fuse.directory_entry(5, size, name, folder=bool(size % 2))
    assert len(row) % 8 == 0
    number, offset, length, kind = struct.unpack_from("=QQII", row)
    assert (number, offset, length, kind) == (5, size, len(name), 4 if size % 2 else 8)
    assert row[24 : 24 + length] == name


@given(opcode=st.integers(0, 60), body=st.binary(max_size=200), unique=st.integers(0, 2**64 - 1))
def test_whatever_a_body_is_it_is_read_or_refused(opcode: int, body: bytes, unique: int) -> None:
    request = fuse.parse(fuse.packed(opcode, unique, 1, body))
    assert (request.opcode, request.unique, request.body) == (opcode, unique, body)
    for read in (*READERS, fuse.forgotten):
        try:
            read(request)
        except MalformedError:
            continue


@given(data=st.binary(max_size=100))
def test_what_is_no_request_is_refused(data: bytes) -> None:
    length = struct.unpack_from("=I", data)[0] if len(data) >= 40 else None
    if length == len(data):
        fuse.parse(data)
        return
    with pytest.raises(MalformedError):
        fuse.parse(data)


@given(error=st.integers(1, 130), unique=st.integers(0, 2**64 - 1))
def test_an_error_is_answered_as_a_negative_number(error: int, unique: int) -> None:
    assert fuse.answered(fuse.answer(unique, error=error)) == (unique, error, b"")


@given(nodes=st.lists(st.tuples(st.integers(1, 2**63), st.integers(1, 2**31)), max_size=20))
def test_nodes_are_forgotten_one_by_one_or_together(nodes: list[tuple[int, int]]) -> None:
    rows = b"".join(struct.pack("=QQ", *row) for row in nodes)
    together = fuse.packed(Opcode.BATCH_FORGET, 0, 0, struct.pack("=II", len(nodes), 0) + rows)
    assert fuse.forgotten(fuse.parse(together)) == nodes
    for node, count in nodes:
        one = fuse.packed(Opcode.FORGET, 0, node, struct.pack("=Q", count))
        assert fuse.forgotten(fuse.parse(one)) == [(node, count)]
