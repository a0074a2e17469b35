"""Tunnels: ways from an address of this machine to a port in a container, whose bytes pass here and nowhere else.

Each connection is joined with one end of a socket pair whose other end the container's runner gets: so a container needs no
network for it, and is handed nothing by which it could reach the host's.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from squall.agent.relay import LocalContainer
from squall.model.errors import (
    ChannelClosed,
    FrameError,
    NotFoundError,
    TooManyTunnels,
    TunnelRefused,
    TunnelUnavailable,
)
from squall.settings.options import Options
from squall.wire.codec import Frame, Kind, write_head
from squall.wire.stream import Stream

T = TypeVar("T")

MOST_OF_A_CONTAINER: Final = 16
MOST_CONNECTIONS: Final = 64
"""Connections through one tunnel at once; who comes beyond them is turned away."""

_PIECE: Final = 64 * 1024
_OPEN: Final = 2  # the stream of the agent's own words to a container, as that of `relay.RESYNC`
_log = logging.getLogger("squall.agent")


@dataclass(slots=True, eq=False)
class Tunnel:
    """One tunnel. server: where it listens; its connections live on when it is closed, as those of any server do."""

    container: str
    port: int
    address: tuple[str, int]
    tls: bool
    server: asyncio.Server
    connections: set[asyncio.Task[None]] = field(default_factory=set)


class Tunnels:
    """The tunnels of this machine. find: a container that runs here, by its id. remote: whether the server is elsewhere.

    Listening and passing bytes is done by a thread of its own: a busy tunnel does not hold up calls.
    """

    def __init__(
        self, options: Options, find: Callable[[str], LocalContainer | None], *, remote: bool
    ) -> None:
        self._options = options
        self._find = find
        self._remote = remote
        self._loop = asyncio.get_running_loop()
        self._own: asyncio.AbstractEventLoop | None = None
        self._tunnels: set[Tunnel] = set()
        self._coming = 0

    async def open(self, stream: Stream, head: dict[str, Any]) -> None:
        """Opens a tunnel that lives as long as `stream`, and says where it is.

        Raises NotFoundError, TunnelUnavailable, TunnelRefused, TooManyTunnels.
        """
        local = self._find(str(head["container"]))
        if local is None or local.channel is None:
            raise NotFoundError(f"no container {head['container']!r} runs on this node")
        tls = self._judge(local, plain=bool(head.get("unencrypted")))
        self._coming += 1
        try:
            tunnel = await self._listen(local, int(head["port"]), int(head.get("again", 0)), tls)
        finally:
            self._coming -= 1
        self._tunnels.add(tunnel)
        stream.on_frame = lambda frame: self._on_frame(tunnel, stream, frame)
        if not stream.live or self._find(local.id) is not local:
            self.close(tunnel)
            return
        stream.send({"host": tunnel.address[0], "port": tunnel.address[1], "tls": tls is not None})

    def close(self, tunnel: Tunnel) -> None:
        """Nobody comes through it any more; who has come goes on for as long as the container does."""
        if tunnel in self._tunnels:
            self._tunnels.discard(tunnel)
            self._post(tunnel.server.close)

    def container_gone(self, container: str) -> None:
        """Its tunnels end, and what passes through them."""
        for tunnel in [one for one in self._tunnels if one.container == container]:
            self.close(tunnel)
            for task in list(tunnel.connections):
                self._post(task.cancel)

    def _judge(self, local: LocalContainer, *, plain: bool) -> ssl.SSLContext | None:
        """Whether there may be one more, and with which certificate."""
        options, address = self._options, ipaddress.ip_address(self._options.tunnel_address)
        most = int(options.tunnels)
        if most == 0:
            raise TunnelRefused("this machine opens no tunnels: its option `tunnels` is 0")
        if local.level == "gvisor":
            raise TunnelUnavailable(
                "gVisor takes no connections from outside once a container runs, so there is no tunnel to one at the level `gvisor`",
                remedy="run the function at another level",
            )
        if self._remote and address.is_loopback:
            raise TunnelUnavailable(
                "this container runs on another machine than the server, and a tunnel there would end at that machine's own "
                "loopback, where nobody else comes",
                remedy="set the option `tunnel_address` on that machine to an address of it that others reach",
            )
        mine = sum(one.container == local.id for one in self._tunnels)
        if mine >= MOST_OF_A_CONTAINER or len(self._tunnels) + self._coming >= most:
            whose = (
                f"this container has {mine}" if mine >= MOST_OF_A_CONTAINER else f"this machine has {most}"
            )
            raise TooManyTunnels(f"{whose} tunnels, and may have no more")
        if plain or (address.is_loopback and not options.tunnel_certificate):
            # What stays on this machine is read by nobody else on the way.
            return None
        if not options.tunnel_certificate:
            raise TunnelUnavailable(
                f"a tunnel at {address} needs a certificate, and this machine has none for it",
                remedy="ask for `squall.forward(port, unencrypted=True)`, or have its operator set the options "
                "`tunnel_certificate` and `tunnel_key`",
            )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(options.tunnel_certificate, options.tunnel_key or None)
        except (OSError, ssl.SSLError) as problem:
            raise TunnelRefused(
                f"the certificate for tunnels cannot be read: {problem}",
                remedy="correct the options `tunnel_certificate` and `tunnel_key` of that machine",
            ) from problem
        return context

    async def _listen(
        self, local: LocalContainer, port: int, again: int, tls: ssl.SSLContext | None
    ) -> Tunnel:
        """again: the port that it had before its stream was lost, which it has again if that is free; else 0."""
        host = self._options.tunnel_address

        async def listen() -> Tunnel:
            connections: set[asyncio.Task[None]] = set()

            async def come(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                task = asyncio.current_task()
                if task is None or len(connections) >= MOST_CONNECTIONS:
                    writer.transport.abort()
                    return
                connections.add(task)
                try:
                    # Its container has ended; asyncio's own callback would print a task that ends as cancelled.
                    with contextlib.suppress(asyncio.CancelledError):
                        await self._join(local, port, reader, writer)
                finally:
                    connections.discard(task)

            try:
                server = await asyncio.start_server(come, host, again, ssl=tls, limit=_PIECE)
            except OSError:
                if not again:
                    raise
                server = await asyncio.start_server(come, host, 0, ssl=tls, limit=_PIECE)
            address = server.sockets[0].getsockname()
            return Tunnel(
                container=local.id,
                port=port,
                address=(str(address[0]), int(address[1])),
                tls=tls is not None,
                server=server,
                connections=connections,
            )

        try:
            return await self._there(listen())
        except OSError as problem:
            raise TunnelRefused(f"this machine cannot listen at {host}: {problem}") from problem

    async def _join(
        self, local: LocalContainer, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """In the thread of tunnels: one connection, from its coming to its end."""
        mine, theirs = socket.socketpair()
        self._loop.call_soon_threadsafe(self._hand_over, local, port, theirs.detach())
        inward: asyncio.StreamWriter | None = None
        try:
            outward, inward = await asyncio.open_unix_connection(sock=mine, limit=_PIECE)
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, inward))
                both.create_task(_copy(outward, writer))
        except* (OSError, ssl.SSLError):
            pass
        finally:
            for end in (writer, inward):
                if end is not None:
                    end.close()

    def _hand_over(self, local: LocalContainer, port: int, fd: int) -> None:
        """The container's end goes to it; where it has gone, the connection ends with its descriptor."""
        channel = local.channel
        try:
            if channel is not None:
                header = write_head({"t": "tunnel", "port": port})
                with contextlib.suppress(ChannelClosed, FrameError):
                    channel.send(Frame(Kind.OPEN, _OPEN, header=header, fds=(fd,)))
        finally:
            os.close(fd)

    def _on_frame(self, tunnel: Tunnel, stream: Stream, frame: Frame) -> None:
        if frame.kind in (Kind.END, Kind.CANCEL):
            self.close(tunnel)
            if stream.live:
                stream.end({})

    async def _there(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` gives, done by the thread of tunnels, which the first one starts."""
        if self._own is None:
            self._own = asyncio.new_event_loop()
            threading.Thread(target=self._own.run_forever, name="squall-tunnels", daemon=True).start()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._own))

    def _post(self, callback: Callable[[], object]) -> None:
        if self._own is not None:
            self._own.call_soon_threadsafe(callback)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Passes bytes on until the end, which the other side is told; waits where it does not take them."""
    while data := await reader.read(_PIECE):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
    else:
        writer.close()
