"""Exchange: one request to one place, and its answer, with a bound on every byte and every wait."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from squall.images.registry.complaint import NotNow, Unsound
from squall.images.registry.connection import Connection, Dialer
from squall.images.registry.head import Body, Chunked, Head, Sized, body_of, write_head
from squall.images.registry.location import Location, Reach
from squall.images.registry.patience import Pace, Patience

PART_BYTES: Final = 1 << 16
_LONGEST_LINE: Final = 4_096  # of a chunk's size, or of a trailer
_MOST_TRAILERS: Final = 64


@dataclass(frozen=True, slots=True)
class Sent:
    """A body to send: exactly `size` bytes, from a source that can begin anew."""

    size: int
    source: Callable[[], AsyncGenerator[bytes, None]]

    @classmethod
    def whole(cls, data: bytes) -> Sent:
        """These bytes."""

        async def parts() -> AsyncGenerator[bytes, None]:
            for start in range(0, len(data), PART_BYTES):
                yield data[start : start + PART_BYTES]

        return cls(len(data), parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of a place. authorization: for this origin, and never told to another."""

    method: str
    at: Location
    headers: tuple[tuple[str, str], ...] = ()
    authorization: str | None = field(default=None, repr=False)
    body: Sent | None = field(default=None, repr=False)


class Response:
    """An answer whose body is still to come. Used as `async with`, which ends its connection."""

    def __init__(self, head: Head, at: Location, body: _Incoming, patience: Patience) -> None:
        self.head = head
        self.at = at
        self._body = body
        self._patience = patience

    @property
    def status(self) -> int:
        return self.head.status

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection; what was not read is not wanted."""
        self._body.connection.close()

    async def read(self, most: int) -> bytes:
        """The whole body, of at most so many bytes, within `Patience.answer_s`. Raises NotNow, Unsound."""
        got = bytearray()
        try:
            async with asyncio.timeout(self._patience.answer_s):
                while part := await self._body.some():
                    got += part
                    if len(got) > most:
                        raise Unsound(f"it is longer than {most} bytes")
        except TimeoutError:
            raise NotNow(f"its answer took longer than {self._patience.answer_s:g} s") from None
        return bytes(got)

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes, however long it is. Raises NotNow where it breaks off, falls silent or drips; Unsound."""
        pace = Pace(self._patience)
        while True:
            asked_s = time.monotonic()
            try:
                async with asyncio.timeout(self._patience.silence_s):
                    part = await self._body.some()
            except TimeoutError:
                raise NotNow(f"nothing came for {self._patience.silence_s:g} s") from None
            if not part:
                return
            if not pace.took(time.monotonic() - asked_s, len(part)):
                raise NotNow(f"it comes slower than {self._patience.slowest} bytes a second")
            yield part


async def exchange(
    request: Request, dialer: Dialer, patience: Patience, most: Reach | None
) -> tuple[Response, Reach]:
    """The answer to `request`, and who can reach the place that gave it. most: see `Dialer.dial`.

    Raises NotNow, Unsound, InvalidError, and what the source of the request's body raises.
    """
    connection = await dialer.dial(request.at, most)
    try:
        head = await _ask(connection, request, patience)
        try:
            body = _Incoming(connection, body_of(request.method, head))
        except ValueError as error:
            raise Unsound(str(error)) from None
        return Response(head, request.at, body, patience), connection.reach
    except BaseException:
        connection.close()
        raise


async def _ask(connection: Connection, request: Request, patience: Patience) -> Head:
    # Who refuses a request early may no longer read it: its answer is then read although not all was sent.
    unsent = await _send(connection, request, patience)
    try:
        async with asyncio.timeout(patience.answer_s):
            return await connection.head()
    except (NotNow, TimeoutError) as not_now:
        if unsent is not None:
            raise unsent from None
        if isinstance(not_now, NotNow):
            raise
        raise NotNow(f"no answer within {patience.answer_s:g} s") from None


async def _send(connection: Connection, request: Request, patience: Patience) -> NotNow | None:
    """Sends the request; what kept it from being sent whole. What the body's source raises passes."""
    connection.writer.write(_head_of(request, connection))
    failed = await _drained(connection.writer, patience)
    if request.body is None or failed is not None:
        return failed
    async with contextlib.aclosing(request.body.source()) as parts:
        async for part in parts:
            connection.writer.write(part)
            failed = await _drained(connection.writer, patience)
            if failed is not None:
                return failed
    return None


async def _drained(writer: asyncio.StreamWriter, patience: Patience) -> NotNow | None:
    try:
        async with asyncio.timeout(patience.silence_s):
            await writer.drain()
    except TimeoutError:
        return NotNow(f"it took nothing for {patience.silence_s:g} s")
    except OSError as error:
        return NotNow(f"the connection broke while sending: {error.strerror or type(error).__name__}")
    return None


def _head_of(request: Request, connection: Connection) -> bytes:
    at = request.at
    headers = [("Host", at.authority), ("User-Agent", "squall"), ("Accept-Encoding", "identity")]
    headers += [("Connection", "close"), *request.headers]
    if request.authorization is not None:
        headers.append(("Authorization", request.authorization))
    if connection.authorization is not None:
        headers.append(("Proxy-Authorization", connection.authorization))
    if request.body is not None or request.method in {"POST", "PUT", "PATCH"}:
        headers.append(("Content-Length", str(request.body.size if request.body is not None else 0)))
    target = f"{at}{at.target}" if connection.asked_whole else at.target
    try:
        return write_head(request.method, target, headers)
    except ValueError as error:
        raise Unsound(f"it leads to {error}") from None


class _Incoming:
    """The body on a connection, piece by piece."""

    def __init__(self, connection: Connection, body: Body) -> None:
        self.connection = connection
        self._reader = connection.reader
        self._body = body
        self._left = body.size if isinstance(body, Sized) else 0  # of the body, or of its chunk
        self._ended = isinstance(body, Sized) and body.size == 0

    async def some(self) -> bytes:
        """Up to PART_BYTES; nothing at the end. Raises NotNow where the connection ends before the body does."""
        if self._ended:
            return b""
        try:
            if isinstance(self._body, Chunked) and not self._left:
                self._left = await self._chunk_size()
                if not self._left:
                    await self._skip_trailers()
                    self._ended = True
                    return b""
            # What ends with its connection has no size to keep to.
            counted = isinstance(self._body, Sized | Chunked)
            part = await self._reader.read(min(PART_BYTES, self._left) if counted else PART_BYTES)
            if counted:
                await self._count(part)
            self._ended = self._ended or not part
            return part
        except asyncio.IncompleteReadError:
            raise NotNow("the connection ended in the middle") from None
        except asyncio.LimitOverrunError:
            raise Unsound("a chunk of it has no size") from None
        except OSError as error:
            raise NotNow(f"the connection broke: {error.strerror or type(error).__name__}") from None

    async def _count(self, part: bytes) -> None:
        if not part:
            raise NotNow(f"the connection ended {self._left} bytes too early")
        self._left -= len(part)
        if self._left:
            return
        if isinstance(self._body, Sized):
            self._ended = True
        elif await self._reader.readexactly(2) != b"\r\n":
            raise Unsound("a chunk of it is longer than it says")

    async def _chunk_size(self) -> int:
        line = await self._line()
        digits = line.partition(b";")[0].strip()
        if not digits or len(digits) > 15 or not all(digit in b"0123456789abcdefABCDEF" for digit in digits):
            raise Unsound("a chunk of it has no size")
        return int(digits, 16)

    async def _skip_trailers(self) -> None:
        for _ in range(_MOST_TRAILERS):
            if not await self._line():
                return
        raise Unsound(f"more than {_MOST_TRAILERS} lines follow it")

    async def _line(self) -> bytes:
        line = await self._reader.readuntil(b"\r\n")
        if len(line) > _LONGEST_LINE:
            raise Unsound(f"it has a line of more than {_LONGEST_LINE} bytes")
        return line[:-2]
