"""The WebSocket, sans socket: what goes in comes out however it is cut, and whatever comes in ends in order."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given, strategies as st

from squall.model.errors import FrameError, UpgradeRefused
from squall.wire.upgrade import (
    Refusal,
    accept,
    accept_key,
    judge_answer,
    judge_request,
    judge_tunnel,
    parse_head,
    parse_url,
    request,
    split_head,
)
from squall.wire.websocket import MAX_FRAME, NO_MASK, Received, WebSocket, apply_mask

masks = st.one_of(st.just(NO_MASK), st.binary(min_size=4, max_size=4))
payloads = st.one_of(
    st.binary(max_size=300), st.integers(65_530, 65_540).map(lambda size: bytes(range(256)) * (size // 256))
)
messages = st.lists(payloads, max_size=5)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def all_of(socket: WebSocket, pieces: list[bytes]) -> Received:
    found = Received()
    for piece in pieces:
        got = socket.receive(piece)
        found.data += got.data
        found.reply += got.reply
        found.closed |= got.closed
    return found


def frame(opcode: int, payload: bytes, *, last: bool = True, mask: bytes | None = None) -> bytes:
    """A frame of fewer than 126 bytes, written by hand."""
    head = bytes((0x80 * last | opcode, len(payload) | (0x80 if mask is not None else 0)))
    return head + (mask + apply_mask(payload, mask) if mask is not None else payload)


@given(sent=messages, mask=masks, cuts=st.lists(st.integers(0, 2**20), max_size=8), client=st.booleans())
def test_what_goes_in_comes_out_however_it_is_cut(
    sent: list[bytes], mask: bytes, cuts: list[int], *, client: bool
) -> None:
    make_mask = (lambda: mask) if client else None
    writing, reading = WebSocket(make_mask), WebSocket(None if client else lambda: mask)
    wire = b"".join(bytes(buffer) for payload in sent for buffer in writing.wrap([payload[:7], payload[7:]]))
    found = all_of(reading, cut(wire + writing.end(), cuts))
    assert b"".join(map(bytes, found.data)) == b"".join(sent)
    assert found.closed
    assert all_of(writing, [found.reply]).closed
    assert writing.end() == b""


@given(
    parts=st.lists(
        st.tuples(st.sampled_from(["piece", "ping", "pong"]), st.binary(max_size=125)), max_size=8
    ),
    mask=masks,
)
def test_a_message_in_pieces_with_pings_between_them_is_one(
    parts: list[tuple[str, bytes]], mask: bytes
) -> None:
    wire, data, pings, begun = b"", b"", b"", False
    for kind, payload in parts:
        if kind == "piece":
            wire += frame(0 if begun else 2, payload, last=False, mask=mask)
            data, begun = data + payload, True
        else:
            wire += frame(9 if kind == "ping" else 10, payload, mask=mask)
            pings += frame(10, payload) if kind == "ping" else b""
    wire += frame(0 if begun else 2, b"end", mask=mask)
    found = WebSocket(None).receive(wire)
    assert b"".join(map(bytes, found.data)) == data + b"end"
    assert found.reply == pings


@given(data=st.binary(max_size=400), mask=masks)
def test_a_mask_done_twice_changes_nothing_and_once_changes_each_byte_by_its_own(
    data: bytes, mask: bytes
) -> None:
    assert apply_mask(apply_mask(data, mask), mask) == data
    assert apply_mask(data, mask) == bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))


@given(pieces=st.lists(st.binary(max_size=60), max_size=6), client=st.booleans())
def test_garbage_is_a_frame_error_or_frames_within_the_limits(pieces: list[bytes], *, client: bool) -> None:
    socket = WebSocket((lambda: NO_MASK) if client else None)
    try:
        found = all_of(socket, pieces)
    except FrameError:
        return
    assert sum(map(len, found.data)) <= sum(map(len, pieces))
    assert len(found.reply) <= 2 * sum(map(len, pieces)) + 8


@pytest.mark.parametrize(
    "wire",
    [
        frame(1, b"text", mask=NO_MASK),
        frame(2, b"not masked"),
        frame(0, b"nothing to go on with", mask=NO_MASK),
        frame(2, b"a", last=False, mask=NO_MASK) + frame(2, b"b", mask=NO_MASK),
        frame(9, b"ping in pieces", last=False, mask=NO_MASK),
        frame(8, b"x", mask=NO_MASK),
        frame(8, (1005).to_bytes(2, "big"), mask=NO_MASK),
        frame(8, b"\x03\xe8\xff\xff", mask=NO_MASK),
        frame(3, b"", mask=NO_MASK),
        bytes((0xC2, 0x80)) + NO_MASK,
        bytes((0x89, 0xFE, 0, 126)) + NO_MASK,
        bytes((0x82, 0xFE, 0, 10)) + NO_MASK,
        bytes((0x82, 0xFF)) + (70).to_bytes(8, "big") + NO_MASK,
        bytes((0x82, 0xFF)) + (MAX_FRAME + 1).to_bytes(8, "big") + NO_MASK,
        bytes((0x82, 0xFF)) + (2**63).to_bytes(8, "big") + NO_MASK,
    ],
)
def test_what_the_rfc_forbids_is_a_frame_error(wire: bytes) -> None:
    with pytest.raises(FrameError):
        WebSocket(None).receive(wire)


def test_a_client_takes_no_masked_frames_and_nothing_comes_after_the_end() -> None:
    with pytest.raises(FrameError, match="mask"):
        WebSocket(lambda: NO_MASK).receive(frame(2, b"x", mask=NO_MASK))
    found = WebSocket(lambda: NO_MASK).receive(frame(8, b"") + frame(2, b"late"))
    assert (found.data, found.closed) == ([], True)


def test_the_key_of_the_rfc_is_accepted_as_the_rfc_says() -> None:
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@given(key=st.binary(min_size=16, max_size=16), token=st.from_regex(r"[!-~]{0,40}", fullmatch=True))
def test_an_upgrade_that_one_side_writes_the_other_understands(key: bytes, token: str) -> None:
    asked = request(parse_url("wss://h.example:1/squall/v1?x=1"), key, {"Authorization": token})
    found = split_head(asked + b"rest")
    assert found is not None
    assert found[1] == b"rest"
    head = parse_head(found[0])
    assert head.fields["authorization"] == token
    answered = judge_request(head)
    assert isinstance(answered, str)
    answer = split_head(accept(answered))
    assert answer is not None
    judge_answer(parse_head(answer[0]), key)
    with pytest.raises(UpgradeRefused):
        judge_answer(parse_head(answer[0]), bytes(16) if key != bytes(16) else b"x" * 16)


lines = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "GET /squall/v1 HTTP/1.1",
                "Upgrade: websocket",
                "Connection: keep-alive, Upgrade",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                "Sec-WebSocket-Key: x",
                "Sec-WebSocket-Protocol: squall.v1",
                "HTTP/1.1 101 Yes",
            ]
        ),
        st.text(st.characters(codec="latin-1"), max_size=20),
    ),
    max_size=8,
)


@given(said=lines)
def test_a_head_is_understood_or_refused_and_nothing_else(said: list[str]) -> None:
    try:
        head = parse_head("\r\n".join(said).encode("latin-1"))
    except ValueError:
        return
    judged = judge_request(head)
    if isinstance(judged, Refusal):
        assert b"Squall" in judged.answer()
    else:
        assert judged == "dGhlIHNhbXBsZSBub25jZQ=="
    with contextlib.suppress(UpgradeRefused):
        judge_answer(head, bytes(16))
    with contextlib.suppress(UpgradeRefused):
        judge_tunnel(head)
