"""The codec: frames to bytes and bytes to frames, without touching a socket."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NoReturn, TypeAlias

from squall.model.errors import FrameError

VERSION: Final = 1
PREFIX: Final = struct.Struct("!BBHIIII")
PREFIX_SIZE: Final = PREFIX.size
MAX_HEADER: Final = 64 * 1024
MAX_PAYLOAD: Final = 4 * 1024 * 1024
MAX_FDS: Final = 8

Buffer: TypeAlias = bytes | bytearray | memoryview

# A payload from this size on is handed out as a view of the memory it was received into, below it as bytes.
VIEW_FROM: Final = 16 * 1024
_NO_FDS: Final[tuple[int, ...]] = ()


class Kind(IntEnum):
    """What a frame is for. A number is never given a second meaning."""

    OPEN = 1
    DATA = 2
    END = 3
    FAIL = 4
    CANCEL = 5
    CREDIT = 6
    PING = 7
    PONG = 8
    PIECE = 9


# Looking a member up by value through the enum costs more than the rest of the prefix.
# 0 is no kind; whoever indexes has refused it.
_KINDS: Final = (Kind.OPEN, *Kind)


@dataclass(slots=True)
class Frame:
    """One frame: what it is for, the stream and route it belongs to, and what it carries.

    header is JSON in bytes, payload is opaque, fds are open descriptors. A received payload is bytes, or from 16 KiB
    on a writable view of memory that nobody else uses; either stays valid for as long as it is kept.
    """

    kind: Kind
    stream: int = 0
    route: int = 0
    header: bytes = b""
    payload: Buffer = b""
    fds: tuple[int, ...] = _NO_FDS

    def head(self) -> dict[str, Any]:
        """The header as a dict, {} when it is empty. Raises FrameError when it is no JSON object."""
        return parse_head(self.header)

    def take_fds(self) -> tuple[int, ...]:
        """The descriptors, which the caller now owns and has to close; the frame has none left."""
        taken, self.fds = self.fds, _NO_FDS
        return taken


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _make_write() -> Callable[[Any], str]:
    """The JSON encoder, made once: the standard library's makes its inner one anew for each object, half the cost."""
    encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False)
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    try:
        inner = make(
            None, encoder.default, json.encoder.encode_basestring_ascii, None, ":", ",", False, False, False
        )
        inner({"x": [1, "y"]}, 0)
    except (TypeError, ValueError):
        return encoder.encode  # another interpreter, or a version that makes it otherwise
    return lambda value: "".join(inner(value, 0))


_parse: Final = json.JSONDecoder(parse_constant=_refuse_constant).raw_decode
_write: Final = _make_write()


def parse_head(header: bytes) -> dict[str, Any]:
    """The JSON object in `header`, {} when it is empty. Raises FrameError when it is none."""
    if not header:
        return {}
    try:
        text = str(header, "utf-8")
        head, end = _parse(text)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"a header is no JSON: {error}") from None
    if type(head) is not dict or end != len(text):
        raise FrameError("a header is no JSON object, or bytes follow it")
    return head


def write_head(head: Mapping[str, Any] | None) -> bytes:
    """`head` as header bytes, b"" when it is empty or None.

    Raises TypeError, ValueError or RecursionError when it holds what JSON cannot carry (NaN and infinities included).
    """
    return _write(head).encode() if head else b""


def length(buffer: Buffer) -> int:
    """The bytes in `buffer`, whatever the size of its items."""
    return len(buffer) if type(buffer) is not memoryview else buffer.nbytes


def prefix(frame: Frame, payload_len: int) -> bytes:
    """The 20 bytes before the header of `frame`, whose payload is payload_len bytes long.

    Raises FrameError when something in it is beyond the limits of the protocol.
    """
    header_len = len(frame.header)
    if header_len > MAX_HEADER:
        raise FrameError(f"a header of {header_len} bytes; at most {MAX_HEADER} go into a frame")
    if payload_len > MAX_PAYLOAD:
        raise FrameError(f"a payload of {payload_len} bytes; at most {MAX_PAYLOAD} go into a frame")
    if len(frame.fds) > MAX_FDS:
        raise FrameError(f"{len(frame.fds)} descriptors; at most {MAX_FDS} go with a frame")
    try:
        return PREFIX.pack(
            VERSION, frame.kind, len(frame.fds), frame.route, frame.stream, header_len, payload_len
        )
    except struct.error as error:
        raise FrameError(
            f"route {frame.route} or stream {frame.stream} is no 32-bit number: {error}"
        ) from None


def encode(frame: Frame, *more: Buffer) -> list[Buffer]:
    """The buffers that are `frame` on the wire, its payload continued by `more`; payload buffers are not copied.

    Raises FrameError like `prefix`.
    """
    payload = frame.payload
    if len(more) == 1 and not len(payload):
        payload, more = more[0], ()
    size = length(payload)
    for buffer in more:
        size += length(buffer)
    if size < VIEW_FROM:
        # One copy of little costs less than two buffers do in the kernel.
        return [b"".join((prefix(frame, size), frame.header, payload, *more))]
    return [
        prefix(frame, size) + frame.header,
        *(octets(buffer) for buffer in (payload, *more) if length(buffer)),
    ]


def octets(buffer: Buffer) -> Buffer:
    """`buffer` with items of one byte, as sockets and slices want it. Raises TypeError when it has gaps."""
    return (
        buffer.cast("B")
        if type(buffer) is memoryview and (buffer.ndim, buffer.itemsize) != (1, 1)
        else buffer
    )


class Decoder:
    """Bytes in, frames out, at whatever points the bytes were cut.

    pieces: whether open files arrive by value here, in frames of the kind PIECE; elsewhere there is no such kind.
    After a FrameError it is of no more use: the connection has to be closed.
    """

    __slots__ = ("_body", "_filled", "_last_kind", "_prefix", "_tail")

    def __init__(self, *, pieces: bool = False) -> None:
        self._last_kind = int(Kind.PIECE if pieces else Kind.PONG)
        self._tail = b""  # fewer than PREFIX_SIZE bytes of a frame that has begun
        self._prefix: tuple[int, ...] = ()  # of a frame whose body is being filled
        self._body = memoryview(b"")
        self._filled = 0

    def feed(self, data: bytes) -> list[tuple[Frame, int]]:
        """The frames that `data` completes, each without descriptors and with how many belong to it.

        Raises FrameError for what is no frame of this protocol.
        """
        done: list[tuple[Frame, int]] = []
        at = 0
        if self._prefix:
            at = min(len(data), len(self._body) - self._filled)
            self._body[self._filled : self._filled + at] = data[:at]
            done = self.filled(at)
            if self._prefix:
                return done
        elif self._tail:
            data = self._tail + data
            self._tail = b""
        self._split(data, at, done)
        return done

    def hole(self) -> memoryview | None:
        """Where the next bytes go when a large frame is being filled, else None; tell `filled` how many were put there."""
        return self._body[self._filled :] if self._prefix else None

    def filled(self, count: int) -> list[tuple[Frame, int]]:
        """The frame that `count` more bytes in the hole complete, if they do."""
        self._filled += count
        if self._filled < len(self._body):
            return []
        _, kind, fds, route, stream, header_len, payload_len = self._prefix
        body = self._body
        payload: Buffer = body[header_len:] if payload_len >= VIEW_FROM else bytes(body[header_len:])
        frame = Frame(_KINDS[kind], stream, route, bytes(body[:header_len]), payload)
        self._prefix, self._body, self._filled = (), memoryview(b""), 0
        return [(frame, fds)]

    @property
    def idle(self) -> bool:
        """Whether every frame that has begun is complete, so that the connection may end here."""
        return not self._prefix and not self._tail

    @property
    def fds_expected(self) -> int:
        """How many descriptors the frame being received has at most announced."""
        if self._prefix:
            return self._prefix[2]
        return MAX_FDS if self._tail else 0

    def _split(self, data: bytes, at: int, done: list[tuple[Frame, int]]) -> None:
        unpack, size, last_kind = PREFIX.unpack_from, len(data), self._last_kind
        while size - at >= PREFIX_SIZE:
            found = unpack(data, at)
            version, kind, fds, route, stream, header_len, payload_len = found
            if (
                version != VERSION
                or not 0 < kind <= last_kind
                or fds > MAX_FDS
                or header_len > MAX_HEADER
                or payload_len > MAX_PAYLOAD
            ):
                raise FrameError(_fault(found, last_kind))
            head_at = at + PREFIX_SIZE
            body_at = head_at + header_len
            end = body_at + payload_len
            if end > size or payload_len >= VIEW_FROM:
                # Its own memory: filled at the pace of the bytes, with no second look at those that are there.
                at = min(size, end)
                self._prefix, self._body = found, _room(header_len, payload_len)
                self._body[: at - head_at] = data[head_at:at]
                done += self.filled(at - head_at)
                if self._prefix:
                    return
                continue
            done.append(
                (
                    Frame(_KINDS[kind], stream, route, data[head_at:body_at], data[body_at:end]),
                    fds,
                )
            )
            at = end
        if at < size:
            self._tail = data[at:]


def _room(header_len: int, payload_len: int) -> memoryview:
    """Memory for a header and a payload, the payload beginning as aligned as fresh memory is (16 bytes)."""
    padding = -header_len % 16
    return memoryview(bytearray(padding + header_len + payload_len))[padding:]


def _fault(found: tuple[int, ...], last_kind: int) -> str:
    version, kind, fds, _, _, header_len, payload_len = found
    if version != VERSION:
        return f"a frame of version {version} arrived; this side speaks version {VERSION}"
    if not 0 < kind <= last_kind:
        return f"a frame of the kind {kind} arrived; there are 1 to {last_kind} here"
    if fds > MAX_FDS:
        return f"a frame claims {fds} descriptors; at most {MAX_FDS} go with one"
    if header_len > MAX_HEADER:
        return f"a frame claims a header of {header_len} bytes; at most {MAX_HEADER} go into one"
    return f"a frame claims a payload of {payload_len} bytes; at most {MAX_PAYLOAD} go into one"
