"""Ids: a name per noun, each a pure function of an instant and random bytes."""

from __future__ import annotations

from typing import NewType

AppId = NewType("AppId", str)
FunctionId = NewType("FunctionId", str)
CallId = NewType("CallId", str)
ContainerId = NewType("ContainerId", str)
NodeId = NewType("NodeId", str)
NamingId = NewType("NamingId", str)
TokenId = NewType("TokenId", str)
SharedId = NewType("SharedId", str)
LaneId = NewType("LaneId", str)
VolumeId = NewType("VolumeId", str)
CommitId = NewType("CommitId", str)

APP, FUNCTION, CALL, CONTAINER, NODE, BUILD, NAMING, TOKEN = "ap", "fu", "fc", "co", "no", "bu", "na", "to"
DICT, QUEUE, LANE = "di", "qu", "la"
VOLUME, COMMIT = "vo", "cm"
_HEX = frozenset("0123456789abcdef")
_PREFIXES = frozenset(
    {APP, FUNCTION, CALL, CONTAINER, NODE, BUILD, NAMING, TOKEN, DICT, QUEUE, LANE, VOLUME, COMMIT}
)


def make_id(prefix: str, *, now_ms: int, randomness: bytes) -> str:
    """An id that sorts by time: the prefix, a dash and 32 hexadecimal digits of a version 7 UUID (RFC 9562).

    now_ms: milliseconds since 1970, below 2**48. randomness: exactly 10 bytes.
    """
    if prefix not in _PREFIXES:
        raise ValueError(f"{prefix!r} names no kind of id; the kinds are {sorted(_PREFIXES)}")
    if len(randomness) != 10 or not 0 <= now_ms < 2**48:
        raise ValueError("an id is made of 10 random bytes and an instant below 2**48 ms")
    drawn = int.from_bytes(randomness, "big")
    high = 0x7000 | (drawn >> 68) & 0x0FFF
    low = 0x8000_0000_0000_0000 | drawn & 0x3FFF_FFFF_FFFF_FFFF
    return f"{prefix}-{now_ms:012x}{high:04x}{low:016x}"


def is_id(text: str, prefix: str) -> bool:
    """Whether `text` has the shape of an id of this kind: what comes from outside is checked before it names a path."""
    return (
        text.startswith(f"{prefix}-")
        and len(text) == len(prefix) + 33
        and _HEX.issuperset(text[len(prefix) + 1 :])
    )


def input_id(call: CallId, index: int) -> str:
    """The id of one input: its call and its place in it, counted from 0."""
    return f"{call}:{index}"


def call_of_input(name: str) -> CallId:
    """The call that an input's id names."""
    return CallId(name.partition(":")[0])


def is_input_id(text: str) -> bool:
    """Whether `text` has the shape of an input's id."""
    call, _, index = text.partition(":")
    return is_id(call, CALL) and index.isascii() and index.isdecimal()


def made_s(name: str) -> float:
    """When an id was made, in seconds since 1970."""
    return int(name.partition("-")[2][:12], 16) / 1e3
