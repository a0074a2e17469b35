"""The relay: passes frames between containers and the server, unread.

It looks at a frame's kind, stream and route only. The route says which container: it is set here, from the
connection that a frame came in on, whatever the frame itself says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from squall import faults
from squall.agent.launcher_link import LauncherLink
from squall.agent.output import Output
from squall.model.errors import ChannelClosed, FrameError
from squall.runtime.process_tree import age_seconds
from squall.wire.channel import Channel
from squall.wire.codec import Frame, Kind, write_head

SERVE = 1
RESYNC = Frame(Kind.OPEN, 2, header=write_head({"t": "resync"}))
MOST_BUFFERED = 8 * 1024 * 1024

_COMING = faults.declare("relay.coming", "a frame has come from a container, and was not passed on")
_PASSED = faults.declare("relay.passed", "it was handed to the server's connection")
_GOING = faults.declare("relay.going", "a frame has come for a container, and was not passed on")


@dataclass(slots=True)
class LocalContainer:
    """One container of this node."""

    id: str
    function: str
    launcher: LauncherLink
    route: int
    pid: int
    init_pid: int
    rung: str = ""
    why: str = ""
    level: str = ""
    phases_ms: dict[str, float] = field(default_factory=dict)
    waited_ms: dict[str, float] = field(default_factory=dict)
    gpus: dict[str, Any] = field(default_factory=dict)
    channel: Channel | None = None
    output: Output | None = None
    synced: bool = False
    opening: bool = False
    stopping: bool = False
    killed: bool = False

    def describe(self) -> dict[str, Any]:
        """How the server is told of it."""
        return {
            "container": self.id,
            "function": self.function,
            "route": self.route,
            "pid": self.pid,
            "init_pid": self.init_pid,
            "launcher_pid": self.launcher.pid,
            "rung": self.rung,
            "why": self.why,
            "level": self.level,
            "lived_s": age_seconds(self.pid),
            "phases_ms": self.phases_ms,
            "waited_ms": self.waited_ms,
            **self.gpus,
        }


class Relay:
    """Every container's channel on one side, the server's on the other.

    on_hold: the server does not keep up; once its channel has drained, `release` is to be called. on_gone: a container
    has closed its channel, or broken the protocol (FrameError).
    """

    def __init__(
        self,
        on_hold: Callable[[Channel], None] = lambda _server: None,
        on_gone: Callable[[LocalContainer, Exception | None], None] = lambda _container, _error: None,
    ) -> None:
        self.on_gone = on_gone
        self._on_hold = on_hold
        self._by_route: dict[int, LocalContainer] = {}
        self._left: dict[str, int] = {}
        self._server: Channel | None = None

    def connect(self, server: Channel) -> None:
        """A server is there: containers open their serving streams anew, older frames are dropped."""
        self._server = server
        for container in self._by_route.values():
            container.synced = False
            # Where an opening is on its way already, a second one would be a stream that was opened before.
            if container.channel is not None and not container.opening:
                container.opening = True
                self._send_down(container, RESYNC)

    def disconnect(self) -> None:
        """The server is gone; containers keep what they would have sent."""
        self._server = None

    def add(self, container: LocalContainer, channel: Channel) -> None:
        """Passes frames for this container from now on."""
        self._by_route[container.route] = container
        container.channel = channel
        container.synced = False
        container.opening = True
        channel.start(lambda frame: self._up(container, frame), lambda error: self._gone(container, error))

    def remove(self, container: LocalContainer) -> None:
        """The container has ended."""
        self._by_route.pop(container.route, None)
        self._left[container.id] = container.route
        if container.channel is not None:
            container.channel.close()
            container.channel = None

    def route_left(self, container: str) -> int:
        """The route of a container that has ended, told once; 0 where it had none."""
        return self._left.pop(container, 0)

    def down(self, frame: Frame) -> None:
        """A frame from the server, for the container that its route names; dropped when that is gone."""
        container = self._by_route.get(frame.route)
        if container is not None and container.channel is not None:
            frame.route = 0
            faults.point(_GOING)
            self._send_down(container, frame)

    def _send_down(self, container: LocalContainer, frame: Frame) -> None:
        channel = container.channel
        if channel is None:
            return
        try:
            channel.send(frame)
        except (ChannelClosed, FrameError):
            container.channel = None

    def _up(self, container: LocalContainer, frame: Frame) -> None:
        opens = frame.kind is Kind.OPEN and frame.stream == SERVE
        if opens:
            container.opening = False
        server = self._server
        if server is None:
            return
        if not container.synced:
            if not opens:
                return
            container.synced = True
        if container.output is not None and frame.stream == SERVE:
            container.output.settle()
        frame.route = container.route
        faults.point(_COMING)
        try:
            server.send(frame)
        except ChannelClosed:
            # The container sends it again to the next server.
            return
        faults.point(_PASSED)
        if server.buffered > MOST_BUFFERED:
            self._hold(server)

    def _hold(self, server: Channel) -> None:
        """The server does not keep up: containers wait until it has."""
        for container in self._by_route.values():
            if container.channel is not None:
                container.channel.pause()
        self._on_hold(server)

    def release(self) -> None:
        """The server has caught up."""
        for container in self._by_route.values():
            if container.channel is not None:
                container.channel.resume()

    def _gone(self, container: LocalContainer, error: Exception | None) -> None:
        container.channel = None
        self.on_gone(container, error)
