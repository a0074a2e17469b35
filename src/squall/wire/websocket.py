"""The WebSocket: plain bytes to its frames and back (RFC 6455), for either side, without touching a socket.

Bytes go in binary messages whose borders mean nothing here, so what arrives is passed on as it comes and never kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from squall.model.errors import FrameError
from squall.wire.codec import Buffer, length

CONTINUED, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
# What a side may send in one frame.
MAX_FRAME: Final = 16 * 1024 * 1024
# What control frames may carry.
MAX_CONTROL: Final = 125
MASK_SIZE: Final = 4
# Changes nothing. Masks keep a page from making a browser say what a proxy takes for something else; nothing of that kind
# is between our own programs, and within TLS there is nobody to be misled. It is a third of the time of a large value.
NO_MASK: Final = bytes(MASK_SIZE)

NORMAL: Final = 1000
WRONG: Final = 1002
_LONGEST_HEAD: Final = 14


@dataclass(slots=True)
class Received:
    """What some bytes held: data, in pieces; reply, to be sent back; closed: whether the other side has ended it."""

    data: list[Buffer] = field(default_factory=list)
    reply: bytes = b""
    closed: bool = False


class WebSocket:
    """One side of a WebSocket that is open.

    make_mask: four bytes for each frame of a client: such that nobody can foresee, where others see what is sent.
    None for a server, which masks nothing.
    After a FrameError it is of no more use: the connection has to be closed.
    """

    def __init__(self, make_mask: Callable[[], bytes] | None) -> None:
        self._make_mask = make_mask
        self._tail = b""  # of a head that has begun
        self._left = 0  # bytes of the frame that is being received
        self._opcode = BINARY
        self._mask = b""
        self._control = bytearray()
        self._in_frame = self._in_message = self._closed = self._ending = False

    def receive(self, data: bytes) -> Received:
        """What `data` holds. Raises FrameError for what RFC 6455 forbids, and for text."""
        found = Received()
        if self._tail:
            data, self._tail = self._tail + data, b""
        at = 0
        while not self._closed:
            if not self._in_frame:
                head = self._head(data, at)
                if not head:
                    self._tail = data[at:]
                    break
                at += head
            count = min(self._left, len(data) - at)
            if self._left and not count:
                break
            self._take(data[at : at + count], found)
            at += count
        found.closed = self._closed
        return found

    def wrap(self, buffers: Sequence[Buffer]) -> list[Buffer]:
        """What sends `buffers` as one message. They are not copied, unless they are to be masked."""
        size = sum(map(length, buffers))
        if self._make_mask is None:
            return [_head(BINARY, size, masked=False), *buffers]
        mask = self._make_mask()
        head = _head(BINARY, size, masked=True) + mask
        return [head, *buffers] if mask == NO_MASK else [head, apply_mask(b"".join(buffers), mask)]

    def end(self, code: int = NORMAL) -> bytes:
        """What ends it from this side, b"" when that has been said."""
        if self._ending:
            return b""
        self._ending = True
        return self._frame(CLOSE, code.to_bytes(2, "big"))

    # -- receiving

    def _head(self, data: bytes, at: int) -> int:
        """Read the head of a frame; how long it is, 0 when not all of it has come."""
        if len(data) - at < 2:
            return 0
        first, second = data[at], data[at + 1]
        masked, size = second >> 7, second & 0x7F
        extended = {126: 2, 127: 8}.get(size, 0)
        end = at + 2 + extended + masked * MASK_SIZE
        self._judge(first, masked, size)
        if len(data) < end:
            return 0
        if extended:
            size = int.from_bytes(data[at + 2 : at + 2 + extended], "big")
            if size < (126 if extended == 2 else 1 << 16):
                raise FrameError("a WebSocket frame gives its length in more bytes than it needs")
            if size > MAX_FRAME:
                raise FrameError(f"a WebSocket frame of {size} bytes; at most {MAX_FRAME} go into one")
        opcode = first & 0x0F
        if opcode < CLOSE:
            self._in_message = not first & 0x80
        self._in_frame, self._opcode, self._left = True, opcode, size
        self._mask = data[end - MASK_SIZE : end] if masked else b""
        return end - at

    def _judge(self, first: int, masked: int, size: int) -> None:
        opcode, last = first & 0x0F, first & 0x80
        if first & 0x70:
            raise FrameError("a WebSocket frame uses an extension that was not agreed on")
        if masked == (self._make_mask is not None):
            raise FrameError("a WebSocket client has to mask what it sends, and a server must not")
        if opcode in {CLOSE, PING, PONG}:
            if not last or size > MAX_CONTROL:
                raise FrameError("a WebSocket control frame is in one piece and has at most 125 bytes")
        elif opcode == TEXT:
            raise FrameError("a WebSocket message of text; here all are binary")
        elif opcode not in {CONTINUED, BINARY}:
            raise FrameError(f"a WebSocket frame of the unknown kind {opcode}")
        elif (opcode == CONTINUED) != self._in_message:
            raise FrameError("a WebSocket message begins within another, or goes on without a beginning")

    def _take(self, piece: bytes, found: Received) -> None:
        """Take `piece` of the frame that is being received, which may be all that was missing."""
        self._left -= len(piece)
        if piece and self._mask not in {b"", NO_MASK}:
            piece = apply_mask(piece, self._mask)
            turn = len(piece) % MASK_SIZE
            self._mask = self._mask[turn:] + self._mask[:turn]
        if self._opcode < CLOSE:
            if piece:
                found.data.append(piece)
        else:
            self._control += piece
        if not self._left:
            self._in_frame = False
            if self._opcode >= CLOSE:
                said = bytes(self._control)
                self._control.clear()
                self._obey(said, found)

    def _obey(self, said: bytes, found: Received) -> None:
        if self._opcode == PING:
            if not self._ending:
                found.reply += self._frame(PONG, said)
        elif self._opcode == CLOSE:
            if len(said) == 1 or (said and not _is_code(int.from_bytes(said[:2], "big"))):
                raise FrameError("a WebSocket was closed with a code that there is not")
            try:
                said[2:].decode()
            except UnicodeDecodeError:
                raise FrameError("a WebSocket was closed with a reason that is no text") from None
            self._closed = True
            found.reply += self.end()

    # -- sending

    def _frame(self, opcode: int, payload: bytes) -> bytes:
        if self._make_mask is None:
            return _head(opcode, len(payload), masked=False) + payload
        mask = self._make_mask()
        return _head(opcode, len(payload), masked=True) + mask + apply_mask(payload, mask)


def apply_mask(data: bytes, mask: bytes) -> bytes:
    """`data`, each byte changed by that of `mask` whose turn it is; done twice, it is as before."""
    if mask == NO_MASK:
        return data
    size = len(data)
    # As two large numbers: one step for all bytes.
    over = (mask * (size // MASK_SIZE + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(over, "little")).to_bytes(size, "little")


def _head(opcode: int, size: int, *, masked: bool) -> bytes:
    first, bit = 0x80 | opcode, 0x80 if masked else 0
    if size < 126:
        return bytes((first, bit | size))
    if size < 1 << 16:
        return bytes((first, bit | 126)) + size.to_bytes(2, "big")
    return bytes((first, bit | 127)) + size.to_bytes(8, "big")


def _is_code(code: int) -> bool:
    return code in {1000, 1001, 1002, 1003, *range(1007, 1015)} or 3000 <= code < 5000
