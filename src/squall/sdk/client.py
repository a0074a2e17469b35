"""The client: one connection to the server, made again when it breaks, and what has to live on over that."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from squall.context.current import in_container
from squall.model.call import LARGEST_VALUE
from squall.model.errors import (
    AuthError,
    ConnectionLost,
    Error,
    VersionConflict,
    from_wire,
)
from squall.sdk.blocking import loop_thread, run_blocking
from squall.sdk.direct import DirectLine
from squall.sdk.link_channel import LinkChannel
from squall.wire.address import connect
from squall.wire.channel import Channel
from squall.wire.codec import Buffer, Frame, Kind
from squall.wire.lent import LentFile, LentFiles
from squall.wire.session import GONE, Session
from squall.wire.socket_channel import SocketChannel
from squall.wire.stream import Stream

if TYPE_CHECKING:
    from squall.sdk.home import Home

GIVE_UP_S = 30.0
IDLE_FILES_S = 5.0
"""How long memory of a large argument waits for the next call of its function."""
Progress = Callable[[str], None]
_FINAL = (AuthError, VersionConflict)
"""What no second try changes."""


class Lasting(Protocol):
    """Something that outlives a connection: it is told of each new one, apps before calls."""

    rank: int

    def attach(self, session: Session) -> None:
        """A connection is there: say what is wanted, again if it was said before. May raise what is GONE."""

    def give_up(self, error: Error) -> None:
        """No connection could be made for too long."""


class Client:
    """The connection of this process. Lives on the client's loop; `Client.here()` is the one to use."""

    def __init__(self, home: Home | None) -> None:
        self.home = home
        self._session: Session | None = None
        self._lasting: dict[Lasting, None] = {}
        self._connecting: asyncio.Task[Session] | None = None
        # A container's own calls may go to functions that it shares nothing with.
        pool_bytes = home.pool_bytes if home is not None else None
        self._files = LentFiles(pool_bytes) if pool_bytes is not None else None
        self._dropping = False
        # A container's own calls go over the runner's link, the only way out.
        # One on another machine is spoken to over the loop's connection alone.
        socket = home.socket if home is not None else None
        self._line = DirectLine(lambda: connect(socket)) if socket is not None else None
        self.pid = os.getpid()

    @staticmethod
    def here() -> Client:
        """The client of this process."""
        global _here  # noqa: PLW0603 - one connection a process
        if _here is None or _here.pid != os.getpid():
            home = None if in_container() is not None else importlib.import_module("squall.sdk.home").find()
            _here = Client(home)
        return _here

    def start(self, progress: Progress | None = None) -> None:
        """Makes sure that a server runs and answers; starts one on this machine where none does. Blocks."""
        if self._session is None and self.home is not None:
            self.home.start(progress)
        run_blocking(self.session())

    @property
    def largest_value(self) -> int:
        """Bytes that the arguments of one input may have."""
        return LARGEST_VALUE if self.home is None else self.home.largest_value

    def lend(self, function: str, buffers: Sequence[Buffer]) -> LentFile | None:
        """A file with a large value for one call of a function; None where one that nobody can change has to do."""
        return self._files.lend(function, buffers) if self._files is not None else None

    @property
    def direct(self) -> DirectLine | None:
        """The line for calls that a thread waits for, once the server knows this client's apps; None where there is none."""
        return None if self.is_torn else self._line

    def catch_up(self) -> None:
        """Returns once everything has been shown that the server has passed on by now. Blocks."""
        session = self._session
        if session is not None:
            with contextlib.suppress(OSError, Error):
                run_blocking(session.ask("echo"))

    # -- on the loop

    def give_back(self, function: str, file: LentFile) -> None:
        """Nobody reads the file any more: it waits a while for the function's next call."""
        assert self._files is not None
        loop = asyncio.get_running_loop()
        self._files.give_back(function, file, now_s=loop.time())
        if not self._dropping:
            self._dropping = True
            loop.call_later(IDLE_FILES_S, self._drop_files)

    def add(self, lasting: Lasting) -> None:
        """Attaches something now, and to every later connection until it is removed."""
        self._lasting[lasting] = None
        session = self._session
        if session is not None and not self.is_torn:
            _attach(lasting, session)
        elif self._connecting is None:
            self._connecting = asyncio.ensure_future(self._connect())

    def remove(self, lasting: Lasting) -> None:
        """It is over: later connections need not know of it."""
        self._lasting.pop(lasting, None)

    @property
    def is_torn(self) -> bool:
        """Whether no connection stands on which something could be said."""
        session = self._session
        return session is None or session.error is not None or session.channel.closed

    async def session(self) -> Session:
        """The connection, made if there is none. Raises ConnectionError when it cannot be made."""
        session = self._session
        if session is not None and not session.channel.closed:
            return session
        if self._connecting is None:
            self._connecting = asyncio.ensure_future(self._connect())
        return await asyncio.shield(self._connecting)

    async def ask(
        self, name: str, head: dict[str, Any] | None = None, *payload: Buffer, fds: tuple[int, ...] = ()
    ) -> Any:
        """One question, one answer: the END frame."""
        return await (await self.session()).ask(name, head, *payload, fds=fds)

    async def ask_surely(
        self, name: str, head: dict[str, Any] | None = None, *payload: Buffer, fds: tuple[int, ...] = ()
    ) -> Any:
        """The same for a question that may be asked twice: a connection that breaks is made again, and it is asked anew.

        Raises ConnectionLost when no connection can be made.
        """
        while True:
            session = await self.session()
            try:
                return await session.ask(name, head, *payload, fds=fds)
            except GONE:
                continue

    async def follow(
        self,
        name: str,
        head: dict[str, Any],
        on_data: Callable[[Frame], None],
        payload: Buffer = b"",
        on_open: Callable[[Stream], None] | None = None,
    ) -> dict[str, Any]:
        """The answer's end, its JSON or else its head, once on_data has had every DATA frame; cancelled, it cancels the stream.

        payload: what travels with the question. on_open gets the stream, on which more may be said. on_data owns the frame's descriptors. Raises what the server answers
        with FAIL.
        """
        session = await self.session()
        ended: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()

        def on_frame(frame: Frame) -> None:
            if frame.kind is Kind.DATA:
                on_data(frame)
            elif frame.kind in {Kind.END, Kind.FAIL} and not ended.done():
                ended.set_result(frame)

        stream = session.open(name, head, payload, on_frame=on_frame)
        if on_open is not None:
            on_open(stream)
        try:
            last = await ended
        except asyncio.CancelledError:
            stream.cancel()
            raise
        if last.kind is Kind.FAIL:
            raise from_wire(last.head())
        return _json_of(last)

    async def answer(self, name: str, head: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer's JSON to a question that may be asked twice."""
        return _json_of(await self.ask_surely(name, head))

    def request(self, name: str, head: dict[str, Any] | None = None) -> dict[str, Any]:
        """One question and its answer's JSON, blocking."""
        return _json_of(run_blocking(self.ask(name, head)))

    async def _connect(self) -> Session:
        delay_s, loop = 0.02, asyncio.get_running_loop()
        until_s = loop.time() + GIVE_UP_S
        try:
            while True:
                try:
                    session = await self._session_made()
                    break
                except (OSError, Error) as problem:
                    if loop.time() > until_s or isinstance(problem, _FINAL):
                        error = problem if isinstance(problem, _FINAL) else _unreachable(problem)
                        for lasting in list(self._lasting):
                            lasting.give_up(error)
                        raise error from problem
                    await asyncio.sleep(delay_s * (0.5 + os.urandom(1)[0] / 510))  # which spreads clients
                    delay_s = min(1.0, delay_s * 2)
            self._session = session
            for lasting in sorted(self._lasting, key=lambda item: item.rank):
                _attach(lasting, session)
            return session
        finally:
            self._connecting = None

    async def _session_made(self) -> Session:
        """A connection on which the server knows who we are."""
        channel = await self._dial()
        session = Session(channel, dialer=True, on_close=lambda _error: self._lost(session))
        door = self.home.door if self.home is not None else None
        if door is not None:
            try:
                await door.introduce(session)
            except BaseException:
                session.close()
                raise
        if channel.closed:
            # Nobody is told of its end any more.
            raise ConnectionLost("the connection ended as soon as it was made")
        return session

    async def _dial(self) -> Channel:
        container = in_container()
        if container is not None:
            assert container.link is not None, "a template has no loop to come here on"
            return LinkChannel(container.link)
        assert self.home is not None
        home = self.home
        if home.door is not None:
            return await home.door.dial()
        assert home.socket is not None, "a server is on this machine or behind a door"
        try:
            return SocketChannel(connect(home.socket))
        except OSError:
            if not home.is_ours:
                raise
            await asyncio.to_thread(home.revive)
            return SocketChannel(connect(home.socket))

    def _drop_files(self) -> None:
        assert self._files is not None
        loop = asyncio.get_running_loop()
        self._dropping = self._files.drop_idle(since_s=loop.time() - IDLE_FILES_S)
        if self._dropping:
            loop.call_later(IDLE_FILES_S, self._drop_files)

    def _lost(self, session: Session) -> None:
        if self._session is not session:
            return  # it was never one that anybody used, or there is a later one
        self._session = None
        if self._line is not None:
            self._line.let_go()
        if self._lasting and self._connecting is None:
            self._connecting = asyncio.ensure_future(self._connect())


def _attach(lasting: Lasting, session: Session) -> None:
    """Where the connection has ended already, that is told soon, and the next one has it."""
    with contextlib.suppress(*GONE):
        lasting.attach(session)


def _unreachable(problem: Exception) -> ConnectionLost:
    return ConnectionLost(f"the server cannot be reached: {problem}")


def _json_of(frame: Frame) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bytes(frame.payload)) if len(frame.payload) else frame.head()
    return found


_here: Client | None = None


def post(callback: Callable[..., object], *args: Any) -> None:
    """Calls back on the client's loop."""
    loop_thread().post(callback, *args)
