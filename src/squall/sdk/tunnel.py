"""Tunnel: a way from an address of the machine to a port in this container, for as long as a block runs."""

from __future__ import annotations

import asyncio
import sys
from types import TracebackType
from typing import Any, Final

from squall.context.current import in_container
from squall.model.errors import ConnectionLost, Error, InvalidError, TunnelUnavailable
from squall.sdk.blocking import run_blocking, run_here
from squall.sdk.client import Client
from squall.wire.codec import Frame, Kind
from squall.wire.session import GONE, Session
from squall.wire.stream import Stream

_OPEN_S: Final = 30.0


class Tunnel:
    """Where a port of this container is reached from outside it."""

    def __init__(self, head: dict[str, Any]) -> None:
        self._take(head)

    def _take(self, head: dict[str, Any]) -> None:
        self._host, self._port, self._tls = str(head["host"]), int(head["port"]), bool(head["tls"])

    @property
    def host(self) -> str:
        """The address."""
        return self._host

    @property
    def port(self) -> int:
        """The port at that address."""
        return self._port

    @property
    def url(self) -> str:
        """Both as a URL; https where the tunnel is encrypted."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls else 'http'}://{host}:{self._port}"

    @property
    def tls_socket(self) -> tuple[str, int]:
        """Address and port to speak TLS with. Raises TunnelUnavailable where the tunnel is not encrypted."""
        if not self._tls:
            raise TunnelUnavailable(
                "this tunnel is not encrypted",
                remedy="use `tunnel.tcp_socket`, or `tunnel.url` which says http",
            )
        return self._host, self._port

    @property
    def tcp_socket(self) -> tuple[str, int]:
        """Address and port to speak plain TCP with. Raises TunnelUnavailable where the tunnel is encrypted."""
        if self._tls:
            raise TunnelUnavailable(
                "this tunnel is encrypted", remedy="ask for `squall.forward(port, unencrypted=True)`"
            )
        return self._host, self._port

    def __repr__(self) -> str:
        return f"Tunnel({self.url!r})"


class forward:  # noqa: N801 - users read it as a function, and use it as a block
    """`with squall.forward(port) as tunnel:` opens a tunnel to a port of this container, on which the user's code listens.

    Its address is the loopback of the machine, or what its operator has set; `tunnel.url` says it. It is closed with the block, and
    with the container. unencrypted: plain TCP also where the address is not loopback; there it is encrypted otherwise.

    `async with` does the same. Raises TunnelUnavailable outside a container, InvalidError for what is no port, TunnelRefused,
    TooManyTunnels.
    """

    def __init__(self, port: int, *, unencrypted: bool = False) -> None:
        if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
            raise InvalidError(f"a port is a number from 1 to 65535, not {port!r}")
        self._way = _Way({"port": port, "unencrypted": unencrypted})

    def __enter__(self) -> Tunnel:
        """Opens it, and returns once it can be used."""
        self._check()
        return run_blocking(self._way.open())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes it."""
        run_blocking(self._way.close())

    async def __aenter__(self) -> Tunnel:
        """The same, awaited."""
        self._check()
        return await run_here(self._way.open())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The same, awaited."""
        await run_here(self._way.close())

    def _check(self) -> None:
        if in_container() is None:
            raise TunnelUnavailable("squall.forward opens a way into a container, and this is none")
        if self._way.is_used:
            raise InvalidError("this tunnel was opened before: call `squall.forward` for each block")


class _Way:
    """A tunnel on the client's loop: opened again on each new connection, until it is closed."""

    rank = 0

    def __init__(self, head: dict[str, Any]) -> None:
        self._head = head
        self._stream: Stream | None = None
        self._tunnel: Tunnel | None = None
        self._opened: asyncio.Future[Tunnel] | None = None

    @property
    def is_used(self) -> bool:
        """Whether it was opened."""
        return self._opened is not None

    async def open(self) -> Tunnel:
        """Returns once it is there. Raises what the server and the node answer."""
        self._opened = asyncio.get_running_loop().create_future()
        client = Client.here()
        client.add(self)
        try:
            async with asyncio.timeout(_OPEN_S):
                return await self._opened
        except BaseException:
            client.remove(self)
            raise

    async def close(self) -> None:
        """It is not opened again, and ends."""
        Client.here().remove(self)
        if self._stream is not None and self._stream.live:
            self._stream.cancel()

    def attach(self, session: Session) -> None:
        """See Lasting: after a lost connection it is opened again, at the port that it had if that is free."""
        again = {} if self._tunnel is None else {"again": self._tunnel.port}
        self._stream = session.open("tunnel.open", {**self._head, **again}, on_frame=self._on_frame)

    def give_up(self, error: Error) -> None:
        """See Lasting."""
        self._fail(error)

    def _on_frame(self, frame: Frame) -> None:
        head = frame.head()
        if frame.kind is Kind.DATA and "host" in head:
            if self._tunnel is None:
                self._tunnel = Tunnel(head)
            else:
                self._tunnel._take(head)
            if self._opened is not None and not self._opened.done():
                self._opened.set_result(self._tunnel)
        elif frame.kind is Kind.FAIL:
            error = Error.from_wire(head)
            if not isinstance(error, (ConnectionLost, *GONE)):
                self._fail(error)

    def _fail(self, error: Error) -> None:
        if self._opened is not None and not self._opened.done():
            self._opened.set_exception(error)
        else:
            # Nobody waits for it any more: whoever looks at the logs learns why nobody comes.
            print(f"squall: the tunnel to port {self._head['port']} is closed: {error}", file=sys.stderr)
