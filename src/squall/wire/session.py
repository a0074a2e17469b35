"""The session: many streams over one channel, each opened by either side and ended by the side that answers."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from squall.model.errors import (
    ChannelClosed,
    ConnectionLost,
    FrameError,
    InternalFailure,
    SquallError,
    from_wire,
)
from squall.wire.channel import Channel, OnFrame
from squall.wire.codec import Buffer, Frame, Kind, write_head
from squall.wire.missed import Missed
from squall.wire.rights import close_all
from squall.wire.stream import Head, Stream, write_error

OnOpen: TypeAlias = Callable[[Stream, dict[str, Any], Frame], None]
OnClose: TypeAlias = Callable[[Exception | None], None]

GONE: Final = (ConnectionLost, ChannelClosed)
"""What is raised where a connection has ended: another one is made, or found, and all is said again there."""
STREAM_LIMIT: Final = 4096
_log: Final = logging.getLogger(__name__)
_OPEN, _PING, _PONG, _FAIL, _CANCEL = Kind.OPEN, Kind.PING, Kind.PONG, Kind.FAIL, Kind.CANCEL
# A peer that pings and does not read gets no answer beyond this many bytes.
_ANSWER_PINGS_BELOW: Final = 1024 * 1024


class Session:
    """Streams over `channel`, which it starts and closes; on one event loop and from its thread only.

    dialer: whether this side made the connection (it gives its streams odd ids, the acceptor even ones).
    on_open gets the streams that the peer opens: the stream, its parsed header ("t" names what is asked) and the OPEN
    frame; without it, every OPEN is answered by FAIL. on_close comes once, after every stream has been told.

    A stream whose connection is gone gets a last frame made here: FAIL (ConnectionLost) if this side opened it,
    CANCEL if the peer did. A callback that raises fails its own stream; a FrameError closes the connection. What a
    peer does wrong on a route other than 0 closes that route alone: on_route_error then says which and why.

    Set these right after the constructor where they are needed:
    on_relay: gets every frame of a route other than 0 unread, in place of this session's own streams.
    on_route_error: told of a route on which the peer broke the protocol; its frames are ignored until `close_route`.
    stream_limit: streams that may live at once on a route, for each side.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        dialer: bool,
        on_open: OnOpen | None = None,
        on_close: OnClose | None = None,
    ) -> None:
        self.channel = channel
        self.on_relay: OnFrame | None = None
        self.on_route_error: Callable[[int, FrameError], None] | None = None
        self.stream_limit = STREAM_LIMIT
        self._on_open, self._on_close = on_open, on_close
        self._parity = 1 if dialer else 0
        self._last_id = -1 if dialer else 0
        self._streams: dict[tuple[int, int], Stream] = {}
        self._routes: dict[int, _Route] = {}
        self._pongs: deque[asyncio.Future[None]] = deque()
        self.error: Exception | None = None
        channel.start(self._receive, self._lost)

    # -- opening

    def open(
        self,
        name: str,
        head: Mapping[str, Any] | None = None,
        *payload: Buffer,
        fds: Sequence[int] = (),
        route: int = 0,
        on_frame: OnFrame | None = None,
    ) -> Stream:
        """A new stream, its OPEN sent; on_frame gets what the peer answers (DATA, CREDIT, then END or FAIL).

        name goes into the header as "t". Raises ChannelClosed, FrameError beyond the limits of a frame or when
        stream_limit streams of this route are open.
        """
        state = self._routes.get(route) or self._routes.setdefault(route, _Route())
        if state.opened >= self.stream_limit:
            raise FrameError(f"{state.opened} streams are open on this connection, which is its limit")
        stream_id = self._last_id + 2
        stream = Stream(self, route, stream_id, opener=True)
        if on_frame is not None:
            stream.on_frame = on_frame
        header = write_head({"t": name, **head} if head else {"t": name})
        self.channel.send(Frame(_OPEN, stream_id, route, header, b"", tuple(fds)), *payload)
        self._last_id = stream_id
        state.opened += 1
        self._streams[route, stream_id] = stream
        return stream

    async def ask(
        self,
        name: str,
        head: Mapping[str, Any] | None = None,
        *payload: Buffer,
        fds: Sequence[int] = (),
        route: int = 0,
    ) -> Frame:
        """The END frame that answers; the caller owns (and closes) the descriptors in it.

        Waits while stream_limit streams are open. Raises the peer's error, rebuilt from its code; ConnectionLost when
        the connection goes; what `open` raises. Cancelled, it sends CANCEL.
        """
        state = self._routes.get(route) or self._routes.setdefault(route, _Route())
        if state.opened >= self.stream_limit:
            await self._turn(state)
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()

        def on_frame(frame: Frame) -> None:
            if stream.live or answer.done():
                return  # DATA and CREDIT are no answer
            if frame.fds:
                frame = Frame(
                    frame.kind, frame.stream, frame.route, frame.header, frame.payload, frame.take_fds()
                )
            answer.set_result(frame)

        try:
            stream = self.open(name, head, *payload, fds=fds, route=route, on_frame=on_frame)
        except BaseException:
            state.let_in(self.stream_limit)
            raise
        try:
            frame = await answer
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled():
                close_all(answer.result().take_fds())
            stream.cancel()
            raise
        if frame.kind is _FAIL:
            close_all(frame.take_fds())
            raise from_wire(frame.head())
        return frame

    async def ping(self) -> None:
        """Wait until the peer's event loop has answered. Raises ConnectionLost when the connection goes."""
        pong = asyncio.get_running_loop().create_future()
        self._pongs.append(pong)
        self.channel.send(Frame(_PING))
        await pong

    def close_route(self, route: int, error: SquallError | None = None) -> None:
        """End every stream of `route` here, telling them `error`, and forget it; nothing is sent.

        For a container that is gone, and for one whose route broke the protocol.
        """
        self._end_streams(route, error or ConnectionLost("the container went away"))
        self._routes.pop(route, None)

    def close(self) -> None:
        """End the connection: every stream of it is told, then on_close comes."""
        self.channel.close()

    @property
    def streams(self) -> int:
        """How many streams live, of both sides."""
        return len(self._streams)

    # -- receiving

    def _receive(self, frame: Frame) -> None:
        route = frame.route
        if route:
            if self.on_relay is not None:
                self.on_relay(frame)
                return
            self._receive_routed(frame)
        else:
            self._take(frame)

    def _receive_routed(self, frame: Frame) -> None:
        """A frame that somebody else passed on: what is wrong with it is not the passer's doing."""
        state = self._routes.get(frame.route)
        if state is not None and state.broken:
            return
        try:
            self._take(frame)
        except FrameError as error:
            self._end_streams(frame.route, error)
            self._routes.setdefault(frame.route, _Route()).broken = True
            if self.on_route_error is not None:
                self.on_route_error(frame.route, error)

    def _take(self, frame: Frame) -> None:
        kind = frame.kind
        if kind is _OPEN:
            self._accept(frame)
            return
        stream = self._streams.get((frame.route, frame.stream))
        if stream is not None:
            stream.admit(frame)
            try:
                stream.on_frame(frame)
            except FrameError:
                raise
            except Exception:  # noqa: BLE001 - whatever a callback does wrong is the end of its stream, not of the others
                self._report(stream, "a frame")
        elif kind is _PING:
            if self.channel.buffered < _ANSWER_PINGS_BELOW:
                self.channel.send(Frame(_PONG, frame.stream, frame.route, frame.header, frame.payload))
        elif kind is _PONG:
            if self._pongs:
                _set(self._pongs.popleft())
        else:
            self._judge_unknown(frame)

    def _accept(self, frame: Frame) -> None:
        route, stream_id = frame.route, frame.stream
        if stream_id & 1 == self._parity or not stream_id:
            raise FrameError(f"the other side may not open a stream with the id {stream_id}")
        state = self._routes.get(route) or self._routes.setdefault(route, _Route())
        if stream_id <= state.last_accepted and stream_id not in state.missed:
            raise FrameError(f"stream {stream_id} was opened before")
        if state.accepted >= self.stream_limit:
            raise FrameError(f"more than {self.stream_limit} streams were opened at once")
        head = frame.head()
        state.note(stream_id)
        state.accepted += 1
        stream = self._streams[route, stream_id] = Stream(self, route, stream_id, opener=False)
        if self._on_open is None:
            stream.fail(FrameError("this side of the connection answers no questions"))
            return
        try:
            self._on_open(stream, head, frame)
        except FrameError:
            raise
        except Exception:  # noqa: BLE001 - the same as for a frame: foreign code ends here
            self._report(stream, f"the opening frame ({head.get('t')!r})")

    def _judge_unknown(self, frame: Frame) -> None:
        """Only what crossed our END on its way may still come for a stream that is over."""
        state = self._routes.get(frame.route)
        if frame.stream & 1 != self._parity and state is not None and 0 < frame.stream <= state.last_accepted:
            return
        raise FrameError(f"a {frame.kind.name} arrived for stream {frame.stream}, which is not open")

    def _report(self, stream: Stream, what: str) -> None:
        _log.exception("the code that takes %s of stream %d failed", what, stream.id)
        if stream.opener:
            stream.cancel()
        else:
            stream.fail(InternalFailure("the code that takes this message failed; its log has the traceback"))

    async def _turn(self, state: _Route) -> None:
        """Wait until a stream may be opened on this route."""
        while state.opened >= self.stream_limit:
            turn = asyncio.get_running_loop().create_future()
            state.waiters.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    state.let_in(self.stream_limit)  # the turn was ours already: the next one has it
                raise
            if self.error is not None:
                raise ConnectionLost("the connection ended before there was a stream for the question")

    # -- ending

    def forget(self, stream: Stream) -> None:
        """Called by a stream that is over."""
        if self._streams.pop((stream.route, stream.id), None) is None:
            return
        state = self._routes.get(stream.route)
        if state is None:
            return
        if not stream.opener:
            state.accepted -= 1
            return
        state.opened -= 1
        if state.waiters:
            state.let_in(self.stream_limit)

    def _end_streams(self, route: int | None, error: SquallError) -> None:
        for stream in list(self._streams.values()):
            if route is not None and stream.route != route:
                continue
            last = (
                Frame(_FAIL, stream.id, stream.route, write_error(error))
                if stream.opener
                else Frame(_CANCEL, stream.id, stream.route)
            )
            stream.over()
            try:
                stream.on_frame(last)
            except Exception:  # noqa: BLE001 - the others must be told too
                _log.exception("the code that takes the last frame of stream %d failed", stream.id)

    def _lost(self, error: Exception | None) -> None:
        reason = (
            error
            if isinstance(error, SquallError)
            else ConnectionLost("the other side closed the connection")
        )
        self.error = reason
        if not isinstance(reason, ConnectionLost):
            reason = ConnectionLost(f"the connection was closed: {reason}")
        self._end_streams(None, reason)
        for state in self._routes.values():
            for turn in state.waiters:
                _set(turn)
        while self._pongs:
            pong = self._pongs.popleft()
            if not pong.done():
                pong.set_exception(reason)
        if self._on_close is not None:
            self._on_close(error)


class _Route:
    """What is known of one route: how many streams live on it, and the last id that its peer opened."""

    __slots__ = ("accepted", "broken", "last_accepted", "missed", "opened", "waiters")

    def __init__(self) -> None:
        self.accepted = self.opened = self.last_accepted = 0
        self.broken = False
        self.missed = Missed()
        self.waiters: deque[asyncio.Future[None]] = deque()

    def note(self, stream_id: int) -> None:
        """The peer has opened this stream, mostly the next one. One whose OPEN waits for large values comes later."""
        if stream_id < self.last_accepted:
            self.missed.come(stream_id)
            return
        first = self.last_accepted + 2 if self.last_accepted else 2 - (stream_id & 1)
        if first < stream_id:
            self.missed.pass_over(first, stream_id - 2)
        self.last_accepted = stream_id

    def let_in(self, limit: int) -> None:
        """Give the first who still waits its turn, if there is room below `limit`."""
        while self.waiters and self.opened < limit:
            turn = self.waiters.popleft()
            if not turn.done():
                turn.set_result(None)
                return


def _set(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


__all__ = ["STREAM_LIMIT", "ChannelClosed", "Head", "Session", "Stream"]
