"""The chaos proxy: connections through it are slow, torn, silent, and frames in them repeat, are lost and change places."""

from __future__ import annotations

import asyncio
import heapq
import random
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from squall.model.errors import FrameError
from squall.wire.accepting import Acceptor
from squall.wire.address import address_of
from squall.wire.codec import Frame, encode
from squall.wire.rights import ANCILLARY_SIZE, READ_FLAGS, Arrivals, close_all, duplicates, rights

_READ_SIZE: Final = 64 * 1024
# What waits in the proxy for one direction; beyond it, whoever sends has to wait.
_MOST_WAITING: Final = 1024 * 1024
# How much longer a frame takes that others pass.
_PASSED_S: Final = 0.02
_RESET: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """What happens to the bytes of one direction.

    latency_s, jitter_s: each piece takes so long, and up to so much more. bytes_per_s: 0 for as fast as it goes.
    reset_after_bytes: a connection is torn when it has carried so many, 0 for never. reset_every_s: a connection is torn
    at a time of its own, on average so long after it began. stalled: nothing comes through, and nobody is told.
    Of frames (UNIX sockets alone), shares from 0 to 1: duplicate, drop, reorder.
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: int = 0
    reset_after_bytes: int = 0
    reset_every_s: float = 0.0
    stalled: bool = False
    duplicate: float = 0.0
    drop: float = 0.0
    reorder: float = 0.0


FAIR: Final = Weather()


class ChaosProxy:
    """Leads connections from an address to another; `up` is the weather towards that other one, `down` that back.

    seed: decides all dice. Connection for connection and direction for direction the same ones fall.
    counts: what was done so far, by kind: delayed, throttled, stalled, reset, duplicated, dropped, reordered.
    """

    def __init__(self, *, seed: int, up: Weather = FAIR, down: Weather = FAIR) -> None:
        self.counts: Counter[str] = Counter()
        self._seed = seed
        self._up, self._down = up, down
        self._changed = asyncio.Event()
        self._acceptors: list[Acceptor] = []
        self._connections: dict[asyncio.Task[None], _Connection] = {}
        self._number = 0

    @property
    def up(self) -> Weather:
        """The weather from who dials to who listens; it may be set at any time."""
        return self._up

    @up.setter
    def up(self, weather: Weather) -> None:
        self._up = weather
        self._change()

    @property
    def down(self) -> Weather:
        """The weather from who listens to who dials; it may be set at any time."""
        return self._down

    @down.setter
    def down(self, weather: Weather) -> None:
        self._down = weather
        self._change()

    @property
    def connections(self) -> int:
        """How many connections go through it now."""
        return len(self._connections)

    def listen_tcp(self, to: tuple[str, int], host: str = "127.0.0.1", port: int = 0) -> tuple[str, int]:
        """Lead what comes to `host` and `port` to the address `to`; where it listens. Raises OSError."""
        sock = socket.create_server((host, port))
        sock.setblocking(False)
        self._acceptors.append(
            Acceptor(sock, lambda near: self._begin(near, lambda: _dial_tcp(to), frames=False))
        )
        found_host, found_port = sock.getsockname()[:2]
        return found_host, found_port

    def listen_unix(self, path: str | Path, to: str | Path) -> None:
        """Lead what comes to the socket at `path`, which is made, to the one at `to`, with descriptors. Raises OSError."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        with address_of(path) as address:
            sock.bind(address)
        sock.listen(128)
        self._acceptors.append(
            Acceptor(sock, lambda near: self._begin(near, lambda: _dial_unix(to), frames=True))
        )

    def reset(self) -> None:
        """Tear every connection that there is now."""
        for connection in self._connections.values():
            connection.tear()

    async def close(self) -> None:
        """Listen no more, and end every connection."""
        for acceptor in self._acceptors:
            acceptor.close()
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(
        self, near: socket.socket, dial: Callable[[], Awaitable[socket.socket]], *, frames: bool
    ) -> None:
        near.setblocking(False)
        self._number += 1
        connection = _Connection(self, near, f"{self._seed} {self._number}", frames=frames)
        task = asyncio.get_running_loop().create_task(connection.run(dial))
        self._connections[task] = connection
        task.add_done_callback(self._connections.pop)

    def _change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self) -> None:
        """Wait until the weather changes."""
        await self._changed.wait()


class _Connection:
    """One connection through the proxy: two sockets, and a stream for each direction."""

    def __init__(self, proxy: ChaosProxy, near: socket.socket, seed: str, *, frames: bool) -> None:
        self._proxy, self._near, self._seed, self._frames = proxy, near, seed, frames
        self._torn = asyncio.get_running_loop().create_future()
        # It may be torn before anybody waits for that.
        self._torn.add_done_callback(lambda torn: torn.cancelled() or torn.exception())

    async def run(self, dial: Callable[[], Awaitable[socket.socket]]) -> None:
        """Carry bytes until both sides have ended, or it is torn."""
        socks = [self._near]
        try:
            far = await dial()
            socks.append(far)
            up = _Stream(self, self._near, far, lambda: self._proxy.up, f"{self._seed} up")
            down = _Stream(self, far, self._near, lambda: self._proxy.down, f"{self._seed} down")
            works = [
                work for stream in (up, down) for work in (stream.read(), stream.write(), stream.tear_later())
            ]
            await _first_failure_or_all(works, self._torn)
        except (OSError, FrameError):
            # One side is gone, or speaks no frames: so is the connection.
            for sock in socks:
                _set_to_reset(sock)
        finally:
            for sock in socks:
                sock.close()

    def tear(self) -> None:
        """End it the hard way, as a router that was started anew does."""
        if not self._torn.done():
            self._proxy.counts["reset"] += 1
            self._torn.set_exception(ConnectionResetError())

    @property
    def counts(self) -> Counter[str]:
        """Where what is done is counted."""
        return self._proxy.counts

    @property
    def in_frames(self) -> bool:
        """Whether it is taken apart into frames."""
        return self._frames

    async def weather_changes(self) -> None:
        """Wait until the weather changes."""
        await self._proxy.changed()


@dataclass(order=True, slots=True)
class _Piece:
    """Bytes, and descriptors that go with the first of them, that go on at due_s; the last has none."""

    due_s: float
    number: int
    data: bytes = field(compare=False)
    fds: tuple[int, ...] = field(compare=False, default=())


class _Stream:
    """One direction of a connection."""

    def __init__(
        self,
        connection: _Connection,
        source: socket.socket,
        target: socket.socket,
        weather: Callable[[], Weather],
        seed: str,
    ) -> None:
        self._connection, self._source, self._target, self._weather = connection, source, target, weather
        self._dice = random.Random(seed)  # noqa: S311 - dice that must fall again as they fell
        self._loop = asyncio.get_running_loop()
        self._arrivals = Arrivals()
        self._waiting: list[_Piece] = []
        self._size = self._number = self._carried = 0
        self._last_due_s = 0.0
        self._moved = asyncio.Event()

    async def read(self) -> None:
        """Take in what comes, up to the end."""
        try:
            while True:
                await _ready(self._loop.add_reader, self._loop.remove_reader, self._source)
                try:
                    data, ancillary, flags, _ = self._source.recvmsg(_READ_SIZE, ANCILLARY_SIZE, READ_FLAGS)
                except BlockingIOError:
                    continue
                self._arrivals.note(ancillary, flags)
                if not data:
                    break
                if self._connection.in_frames:
                    self._take_frames(self._arrivals.sort(self._arrivals.decoder.feed(data)))
                else:
                    self._put(data)
                while self._size > _MOST_WAITING:
                    await self._wait_for_move()
            self._put(b"")
        finally:
            self._arrivals.close()

    async def write(self) -> None:
        """Give out what is due, up to the end."""
        try:
            while True:
                while not self._waiting:
                    await self._wait_for_move()
                await self._pause()
                piece = heapq.heappop(self._waiting)
                self._size -= len(piece.data)
                self._move()
                if not piece.data:
                    self._target.shutdown(socket.SHUT_WR)
                    return
                await self._send(piece)
        finally:
            for piece in self._waiting:
                close_all(piece.fds)

    async def tear_later(self) -> None:
        """Tear the connection when its time has come, if the weather is such."""
        while not (every_s := self._weather().reset_every_s):
            await self._connection.weather_changes()
        await asyncio.sleep(self._dice.expovariate(1 / every_s))
        self._connection.tear()

    def _take_frames(self, frames: Iterable[Frame]) -> None:
        weather, counts = self._weather(), self._connection.counts
        for frame in frames:
            data, fds = b"".join(encode(frame)), frame.take_fds()
            if self._dice.random() < weather.drop:
                counts["dropped"] += 1
                close_all(fds)
                continue
            if self._dice.random() < weather.duplicate:
                counts["duplicated"] += 1
                self._put(data, duplicates(fds))
            if self._dice.random() < weather.reorder:
                counts["reordered"] += 1
                self._put(data, fds, later_s=_PASSED_S)
            else:
                self._put(data, fds)

    def _put(self, data: bytes, fds: tuple[int, ...] = (), *, later_s: float = 0.0) -> None:
        weather = self._weather()
        delay_s = weather.latency_s + weather.jitter_s * self._dice.random()
        if delay_s and data:
            self._connection.counts["delayed"] += 1
        # Bytes keep their order: what is late makes those behind it late.
        self._last_due_s = max(self._last_due_s, self._loop.time() + delay_s)
        self._number += 1
        # The end comes behind everything, also behind frames that others have passed.
        due_s = self._last_due_s + (later_s if data else 2 * _PASSED_S)
        heapq.heappush(self._waiting, _Piece(due_s, self._number, data, fds))
        self._size += len(data)
        self._move()

    async def _pause(self) -> None:
        """Wait until the first piece is due and the way is free."""
        while True:
            if self._weather().stalled:
                self._connection.counts["stalled"] += 1
                await self._connection.weather_changes()
            elif (left_s := self._waiting[0].due_s - self._loop.time()) > 0:
                await self._wait_for_move(left_s)
            else:
                return

    async def _send(self, piece: _Piece) -> None:
        weather, data, fds = self._weather(), memoryview(piece.data), piece.fds
        left = weather.reset_after_bytes - self._carried if weather.reset_after_bytes else len(data) + 1
        self._carried += len(data)
        torn, data = left <= len(data), data[: max(left, 0)]
        try:
            while data:
                try:
                    sent = self._target.sendmsg([data[:_READ_SIZE]], rights(fds))
                except BlockingIOError:
                    await _ready(self._loop.add_writer, self._loop.remove_writer, self._target)
                    continue
                data = data[sent:]
                close_all(fds)
                fds = ()
                if weather.bytes_per_s:
                    self._connection.counts["throttled"] += 1
                    await asyncio.sleep(sent / weather.bytes_per_s)
        finally:
            close_all(fds)
        if torn:
            self._connection.tear()

    def _move(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def _wait_for_move(self, most_s: float | None = None) -> None:
        try:
            async with asyncio.timeout(most_s):
                await self._moved.wait()
        except TimeoutError:
            return


async def _first_failure_or_all(
    works: Sequence[Coroutine[Any, Any, None]], torn: asyncio.Future[None]
) -> None:
    """Do `works` until those that carry are done, one fails, or `torn` does."""
    tasks = [asyncio.ensure_future(work) for work in works]
    carrying = [task for place, task in enumerate(tasks) if place % 3 != 2]
    try:
        done = asyncio.gather(*carrying)
        torn.add_done_callback(lambda _: done.cancel())
        try:
            await done
        except asyncio.CancelledError:
            if torn.done():
                torn.result()
            raise
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _ready(
    add: Callable[..., None], remove: Callable[[socket.socket], object], sock: socket.socket
) -> None:
    ready = asyncio.get_running_loop().create_future()

    def on_ready() -> None:
        if not ready.done():
            ready.set_result(None)

    add(sock, on_ready)
    try:
        await ready
    finally:
        remove(sock)


async def _dial_tcp(to: tuple[str, int]) -> socket.socket:
    return await _connected(socket.socket(socket.AF_INET, socket.SOCK_STREAM), to)


async def _dial_unix(to: str | Path) -> socket.socket:
    with address_of(to) as address:
        return await _connected(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), address)


async def _connected(sock: socket.socket, address: tuple[str, int] | str) -> socket.socket:
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _set_to_reset(sock: socket.socket) -> None:
    """Closing `sock` says no proper end: what waits in the kernel is dropped, and the other side gets an error."""
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
