"""Connection: one peer of the server, its streams given to the handlers of their messages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from squall.model.errors import Error, FrameError, InvalidError, PermissionDeniedError
from squall.model.ids import CallId
from squall.server.house import House
from squall.server.permits import FROM_ANY_CONTAINER, Caller, CallerKind, refusal
from squall.server.records import AppRecord, Worker
from squall.wire.attachments import MOST_ATTACHED
from squall.wire.channel import Channel
from squall.wire.codec import Frame
from squall.wire.session import Session
from squall.wire.stream import Stream
from squall.wire.transport_channel import TransportChannel

Handler = Callable[["Connection", Stream, dict[str, Any], Frame], None]
_log = logging.getLogger("squall.server")
MOST_STREAMS = 1_000_000
UNKNOWN_S = 10.0
"""How long somebody from the network may take to say who it is."""


class Connection:
    """One connection: a client, or the agent with the containers behind it.

    caller: who it is, as far as that is known. handlers: what hears each message, by its name.
    """

    def __init__(
        self, house: House, channel: Channel, caller: Caller, handlers: Mapping[str, Handler]
    ) -> None:
        self.house = house
        self.caller = caller
        self._handlers = handlers
        self.apps: list[AppRecord] = []
        self.calls: set[CallId] = set()
        self.is_agent = False
        self.session = Session(channel, dialer=False, on_open=self.on_open, on_close=self.on_close)
        self.session.stream_limit = MOST_STREAMS
        self.session.on_route_error = self.on_route_error
        house.connections.add(self)
        house.touch()
        if caller.kind is CallerKind.NOBODY:
            house.later(UNKNOWN_S, self._put_out_unknown)
        else:
            self.let_in(caller)

    def on_open(self, stream: Stream, head: dict[str, Any], frame: Frame) -> None:
        """A stream was opened: to its handler. Containers may only ask for what containers need."""
        name = str(head.get("t"))
        handler = self._handlers.get(name)
        from_container = bool(stream.route)
        wrong = refusal(self.caller, name, routed=from_container, known=self._handlers.keys())
        if wrong is None and from_container and not self.is_agent:
            wrong = PermissionDeniedError("containers speak over their agent's connection, and this is none")
        if wrong is not None:
            stream.fail(wrong)
        elif handler is None:
            stream.fail(InvalidError(f"this server knows no message {name!r}"))
        else:
            try:
                if (
                    from_container
                    and name not in FROM_ANY_CONTAINER
                    and self._waits_to_be_claimed(stream, frame)
                ):
                    return
                handler(self, stream, head, frame)
            except Error as refused:
                stream.fail(refused)
            except (KeyError, TypeError, ValueError) as problem:
                stream.fail(InvalidError(f"the message {name!r} is not as it should be: {problem!r}"))

    def _waits_to_be_claimed(self, stream: Stream, frame: Frame) -> bool:
        """Whether a container asks whose function is not known yet after a restart: it is held until that is told.

        Before, nobody could say in which environment it looks names up, or that it waits and others are to have its inputs.
        """
        house = self.house
        container = house.nodes.container_on(self.session, stream.route)
        if container is None or container not in house.node_events.orphans:
            return False
        house.awaited.keep(container, stream, frame, self.on_open)
        return True

    def let_in(self, caller: Caller) -> None:
        """Who speaks has said who it is: from now on files may come too."""
        self.caller = caller
        if isinstance(self.session.channel, TransportChannel):
            self.session.channel.most_attached = MOST_ATTACHED

    def put_out_unless(self, *, good: bool) -> None:
        """Ends the connection of who may not be here any more."""
        if not good:
            self.session.close()

    def _put_out_unknown(self) -> None:
        """Who has not said who it is has had its time."""
        self.put_out_unless(good=self.caller.kind is not CallerKind.NOBODY)

    def on_close(self, error: Exception | None) -> None:
        """The connection is gone: what lived by it ends, ephemeral apps after a grace."""
        if isinstance(error, FrameError):
            _log.warning("a connection (%s) broke the protocol: %s", self.caller.address or "here", error)
        house = self.house
        house.connections.discard(self)
        for app in self.apps:
            if app.stream is not None and not app.stream.live and app.gone_s is None:
                app.gone_s = house.clock()
                house.later(5.1, house.apps.sweep)
        if self.is_agent:
            house.nodes.left(self.session)
        house.touch()

    def on_route_error(self, route: int, error: FrameError) -> None:
        """A container broke the protocol: it ends, and nobody else."""
        known = self.house.nodes.container_on(self.session, route)
        worker = self.house.calls.workers.get(known) if known is not None else None
        if worker is not None:
            self.house.containers.end_broken(worker, error)

    @property
    def is_gone(self) -> bool:
        """Whether it has ended: what its streams hear then was made here."""
        return self not in self.house.connections or self.session.channel.closed

    def container(self, stream: Stream) -> Worker | None:
        """The container that a routed stream comes from."""
        known = self.house.nodes.container_on(self.session, stream.route)
        return self.house.calls.workers.get(known) if known is not None else None

    def make_way(self, stream: Stream) -> None:
        """A container that waits for others must not keep inputs from them, which may be those that it waits for."""
        worker = self.container(stream) if stream.route else None
        if worker is not None:
            self.house.calls.make_way(worker)
