"""Frames survive the wire however it cuts them, and what is no frame is refused."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given, settings, strategies as st

from squall.model.errors import FrameError
from squall.wire.codec import (
    MAX_FDS,
    MAX_HEADER,
    MAX_PAYLOAD,
    PREFIX,
    PREFIX_SIZE,
    VERSION,
    Buffer,
    Decoder,
    Frame,
    Kind,
    encode,
    parse_head,
    write_head,
)

numbers = st.integers(0, 2**32 - 1)
# Around the size from which a payload gets memory of its own.
sizes = st.one_of(st.integers(0, 200), st.integers(16_300, 16_500), st.integers(60_000, 70_000))


@dataclass(frozen=True)
class Sent:
    """A frame to be made: hypothesis shows examples, and large payloads are no reading."""

    kind: Kind
    stream: int
    route: int
    header: bytes
    size: int
    fds: int

    def frame(self) -> Frame:
        payload = (bytes(range(251)) * (self.size // 251 + 1))[: self.size]
        return Frame(self.kind, self.stream, self.route, self.header, payload, (0,) * self.fds)


sendings = st.builds(
    Sent,
    st.sampled_from([kind for kind in Kind if kind is not Kind.PIECE]),
    numbers,
    numbers,
    st.binary(max_size=300),
    sizes,
    st.integers(0, MAX_FDS),
)
many = st.lists(sendings, min_size=1, max_size=5)


def joined(sent: list[Frame]) -> bytes:
    return b"".join(bytes(buffer) for frame in sent for buffer in encode(frame))


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def same(got: list[tuple[Frame, int]], sent: list[Frame]) -> None:
    assert [
        (frame.kind, frame.stream, frame.route, frame.header, bytes(frame.payload), fds) for frame, fds in got
    ] == [
        (frame.kind, frame.stream, frame.route, frame.header, bytes(frame.payload), len(frame.fds))
        for frame in sent
    ]


@settings(deadline=None)
@given(sendings=many, cuts=st.lists(st.integers(0, 2**31), max_size=12))
def test_frames_arrive_whole_wherever_the_bytes_are_cut(sendings: list[Sent], cuts: list[int]) -> None:
    sent = [sending.frame() for sending in sendings]
    decoder = Decoder()
    got = [found for piece in pieces(joined(sent), cuts) for found in decoder.feed(piece)]
    same(got, sent)
    assert decoder.idle
    assert decoder.fds_expected == 0


@settings(deadline=None)
@given(sendings=many)
def test_frames_arrive_whole_byte_by_byte(sendings: list[Sent]) -> None:
    sent = [sending.frame() for sending in sendings]
    decoder = Decoder()
    got = []
    for byte in joined([Frame(f.kind, f.stream, f.route, f.header, f.payload[:100], f.fds) for f in sent]):
        got += decoder.feed(bytes([byte]))
    same(got, [Frame(f.kind, f.stream, f.route, f.header, f.payload[:100], f.fds) for f in sent])


@settings(deadline=None)
@given(sendings=many, steps=st.lists(st.integers(1, 20_000), min_size=1))
def test_frames_arrive_whole_when_the_holes_are_filled_in_place(
    sendings: list[Sent], steps: list[int]
) -> None:
    sent = [sending.frame() for sending in sendings]
    data, decoder, got, at, turn = joined(sent), Decoder(), [], 0, 0
    while at < len(data):
        step = steps[turn % len(steps)]
        turn += 1
        hole = decoder.hole()
        if hole is None:
            got += decoder.feed(data[at : at + step])
            at += step
        else:
            count = min(step, len(hole), len(data) - at)
            hole[:count] = data[at : at + count]
            got += decoder.filled(count)
            at += count
    same(got, sent)


@settings(deadline=None)
@given(sendings=many, cut=st.integers(0, 2**31))
def test_a_stream_cut_within_a_frame_is_not_idle(sendings: list[Sent], cut: int) -> None:
    sent = [sending.frame() for sending in sendings]
    data = joined(sent)
    ends = [len(joined(sent[:count])) for count in range(len(sent) + 1)]
    cut %= len(data)
    decoder = Decoder()
    got = decoder.feed(data[:cut])
    same(got, sent[: sum(end <= cut for end in ends) - 1])
    assert decoder.idle == (cut in ends)


@given(
    sending=sendings,
    more=st.lists(st.one_of(st.binary(max_size=50), st.binary(max_size=50).map(bytearray)), max_size=5),
)
def test_a_payload_in_several_buffers_is_one_payload(sending: Sent, more: list[Buffer]) -> None:
    frame = sending.frame()
    data = b"".join(bytes(buffer) for buffer in encode(frame, *more))
    ((got, _),) = Decoder().feed(data)
    assert bytes(got.payload) == b"".join([frame.payload, *more])


@given(data=st.binary(min_size=PREFIX_SIZE, max_size=200))
def test_garbage_is_a_frame_error_or_a_frame_within_the_limits(data: bytes) -> None:
    try:
        got = Decoder().feed(data)
    except FrameError:
        return
    assert data[0] == VERSION
    for frame, fds in got:
        assert frame.kind in set(Kind)
        assert fds <= MAX_FDS


@given(
    kind=st.integers(0, 255),
    version=st.integers(0, 255),
    fds=st.integers(0, 2**16 - 1),
    header=st.integers(0, 2**32 - 1),
    payload=st.integers(0, 2**32 - 1),
)
def test_only_prefixes_within_the_limits_are_taken(
    kind: int, version: int, fds: int, header: int, payload: int
) -> None:
    fits = (
        version == VERSION
        and kind in set(Kind)
        and fds <= MAX_FDS
        and header <= MAX_HEADER
        and payload <= MAX_PAYLOAD
    )
    data = PREFIX.pack(version, kind, fds, 0, 1, header, payload)
    if fits:
        assert len(Decoder().feed(data)) == (header + payload == 0)
    else:
        with pytest.raises(FrameError):
            Decoder().feed(data)


json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=10,
)


@given(head=st.dictionaries(st.text(), json, max_size=5))
def test_a_head_comes_back_as_it_was(head: dict[str, object]) -> None:
    assert parse_head(write_head(head)) == head


@given(data=st.binary(min_size=1, max_size=100))
def test_a_header_that_is_no_object_is_a_frame_error(data: bytes) -> None:
    try:
        head = parse_head(data)
    except FrameError:
        return
    assert type(head) is dict
