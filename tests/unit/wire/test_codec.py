"""The bytes on the wire, exactly."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from squall.model.errors import FrameError
from squall.wire.codec import (
    PREFIX,
    VIEW_FROM,
    Decoder,
    Frame,
    Kind,
    encode,
    parse_head,
    prefix,
    write_head,
)


def test_the_prefix_is_what_the_specification_says() -> None:
    frame = Frame(Kind.DATA, stream=0x01020304, route=0x0A0B0C0D, header=b"{}", fds=(5, 6))
    assert prefix(frame, 3).hex(" ") == "01 02 00 02 0a 0b 0c 0d 01 02 03 04 00 00 00 02 00 00 00 03"


def test_the_kinds_have_the_numbers_of_the_specification() -> None:
    assert {kind.name: kind.value for kind in Kind} == {
        "OPEN": 1,
        "DATA": 2,
        "END": 3,
        "FAIL": 4,
        "CANCEL": 5,
        "CREDIT": 6,
        "PING": 7,
        "PONG": 8,
        "PIECE": 9,
    }


def test_a_small_frame_is_one_buffer_and_a_large_payload_is_not_copied() -> None:
    assert encode(Frame(Kind.PING)) == [prefix(Frame(Kind.PING), 0)]
    assert len(encode(Frame(Kind.DATA, 1, 0, b"{}", b"small"))) == 1
    large = bytearray(VIEW_FROM)
    assert encode(Frame(Kind.DATA, 1, payload=large))[1] is large


def test_a_small_payload_arrives_as_bytes_and_a_large_one_as_writable_memory() -> None:
    for size in (0, 1, VIEW_FROM - 1, VIEW_FROM, VIEW_FROM + 100_000):
        data = b"".join(bytes(buffer) for buffer in encode(Frame(Kind.DATA, 1, payload=bytes(size))))
        for cut in (0, 30, len(data)):
            decoder = Decoder()
            ((frame, _),) = decoder.feed(data[:cut]) + decoder.feed(data[cut:])
            payload = frame.payload
            if size < VIEW_FROM:
                assert type(payload) is bytes
            else:
                assert isinstance(payload, memoryview)
                assert not payload.readonly


@pytest.mark.parametrize(
    "header", [b"[]", b"1", b'"x"', b"null", b"{", b"{}x", b"{} ", b"\xff", b'{"x":NaN}', b" {}"]
)
def test_what_is_no_object_is_refused(header: bytes) -> None:
    with pytest.raises(FrameError):
        Frame(Kind.DATA, 1, header=header).head()


@pytest.mark.parametrize(
    ("field", "most"),
    [("version", 1), ("kind", 8), ("fds", 8), ("header", 64 * 1024), ("payload", 4 * 1024 * 1024)],
)
def test_each_field_of_the_prefix_has_its_bound(field: str, most: int) -> None:
    prefixes = []
    for value in (most, most + 1):
        fields = {
            "version": 1,
            "kind": 2,
            "fds": 0,
            "route": 0,
            "stream": 1,
            "header": 0,
            "payload": 0,
            field: value,
        }
        prefixes.append(PREFIX.pack(*fields.values()))
    Decoder().feed(prefixes[0])
    with pytest.raises(FrameError, match=str(most)):
        Decoder().feed(prefixes[1])


def test_deep_nesting_is_refused_and_not_followed() -> None:
    with pytest.raises(FrameError):
        parse_head(b'{"x":' + b"[" * 30_000)


def test_a_number_too_long_to_convert_is_refused() -> None:
    with pytest.raises(FrameError):
        parse_head(b'{"x":' + b"1" * 20_000 + b"}")


def test_an_empty_header_is_an_empty_head() -> None:
    assert Frame(Kind.END, 1).head() == {}
    assert write_head({}) == write_head(None) == b""


def test_what_json_cannot_carry_is_refused_before_it_is_sent() -> None:
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="JSON"):
            write_head({"x": value})
    with pytest.raises(TypeError):
        write_head({"x": b"bytes"})


def test_taken_descriptors_leave_the_frame() -> None:
    frame = Frame(Kind.DATA, 1, fds=(3, 4))
    assert frame.take_fds() == (3, 4)
    assert frame.fds == frame.take_fds() == ()


def test_heads_are_written_as_the_standard_library_writes_them() -> None:
    head: dict[str, Any] = {
        "t": "x",
        "n": 1,
        "f": 0.5,
        "b": True,
        "z": None,
        "l": [1, {"k": 'ü\n"'}],
        "e": Kind.DATA,
    }
    assert write_head(head) == json.dumps(head, separators=(",", ":")).encode()


def test_a_head_that_holds_itself_is_refused() -> None:
    head: dict[str, Any] = {}
    head["self"] = head
    with pytest.raises(RecursionError):
        write_head(head)
