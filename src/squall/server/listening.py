"""Listening: the server's face beyond this machine's socket, over TLS, for who has a token or has joined."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from squall.model.errors import AuthError, FeatureUnavailable, ListenRefused
from squall.server.access import Access
from squall.server.permits import Caller, CallerKind
from squall.settings.listen import ListenAddress, is_loopback, read_listen, write_listen
from squall.settings.paths import StatePaths
from squall.wire.channel import Channel
from squall.wire.tls import server_context
from squall.wire.tls_endpoint import TlsEndpoint, TlsPeer, serve_tls

if TYPE_CHECKING:
    from squall.server.authority import Authority

_log: Final = logging.getLogger("squall.server")
OnCaller = Callable[[Channel, Caller], None]
AGAIN_S: Final = 5.0


class Listening:
    """Where this server listens, and who comes in there: on_caller gets each connection and who it is so far.

    A machine that joined is known by its certificate; everybody else is nobody until a token is shown.
    """

    def __init__(self, paths: StatePaths, access: Access, on_caller: OnCaller) -> None:
        self._paths = paths
        self._access = access
        self._on_caller = on_caller
        self._endpoint: TlsEndpoint | None = None
        self._authority: Authority | None = None
        self._lock = asyncio.Lock()
        self.address: ListenAddress | None = None
        self.trouble: str = ""

    @property
    def authority(self) -> Authority:
        """Who signs the certificates of this server's machines, made at its first use. Raises FeatureUnavailable."""
        if self._authority is None:
            self._authority = self._open_authority(())
        return self._authority

    async def open(self, address: ListenAddress | None, *, remember: bool = True) -> None:
        """Listens there, and nowhere else, from now on and, with `remember`, after each start; None: nowhere.

        Who is connected stays. Raises ListenRefused, and then it is as it was.
        """
        async with self._lock:
            if address is not None:
                _refuse_plain_beyond_loopback(address)
            if address == self.address and self._endpoint is not None:
                return
            same_port = self.address is not None and address is not None and address.port == self.address.port
            if self._endpoint is not None and (address is None or same_port):
                self._close()
            if address is not None:
                endpoint = await self._listen(address)
                self._close()
                self._endpoint = endpoint
                # For port 0 the kernel has chosen one, and after the next start it is to be the same.
                address = replace(address, port=endpoint.address[1])
            self.address, self.trouble = address, ""
            if remember:
                await asyncio.to_thread(write_listen, self._paths.listen, address)

    async def reopen(self) -> None:
        """Listens where an earlier server did; what keeps it from that may pass, and is tried again until then."""
        try:
            address = read_listen(self._paths.listen)
        except ListenRefused as wrong:
            _log.error("%s", wrong)
            self.trouble = wrong.message
            return
        while address is not None:
            try:
                await self.open(address, remember=False)
            except (ListenRefused, FeatureUnavailable) as refused:
                if not self.trouble:
                    _log.error("%s", refused)
                self.trouble = refused.message
                await asyncio.sleep(AGAIN_S)
                if self.address is not None:
                    return  # another one was asked for meanwhile
            else:
                return

    def close(self) -> None:
        """Listens no more; who is connected stays. Where to listen after the next start stays too."""
        self._close()
        self.address = None

    def _close(self) -> None:
        if self._endpoint is not None:
            self._endpoint.close()
            self._endpoint = None

    async def _listen(self, address: ListenAddress) -> TlsEndpoint:
        names = _names_of(address)
        self._authority = authority = await asyncio.to_thread(self._open_authority, names)
        files = (authority.server_certificate_file, authority.server_key_file, authority.certificate_file)
        context = None if address.plain else server_context(*files)
        try:
            return await serve_tls(address.host, address.port, context, self._on_connect)
        except OSError as problem:
            raise ListenRefused(
                f"the server cannot listen on {address}: {problem.strerror or problem}"
            ) from problem

    def _open_authority(self, names: tuple[str, ...]) -> Authority:
        try:
            from squall.server.authority import open_authority
        except ImportError:
            raise FeatureUnavailable(
                "several machines need the package cryptography, which is not installed here",
                remedy="install it with `pip install 'squall[cluster]'`",
                feature="cluster",
            ) from None
        return open_authority(self._paths.access, names, now_s=time.time())

    def _on_connect(self, channel: Channel, peer: TlsPeer) -> None:
        from squall.server.authority import node_of

        caller = Caller(CallerKind.NOBODY, address=peer.address)
        if peer.certificate is not None:
            node = node_of(peer.certificate)
            try:
                caller = self._access.admit_node(node, peer.address) if node is not None else caller
            except AuthError as refused:
                _log.warning("%s: %s", peer.address, refused)
        self._on_caller(channel, caller)


def _refuse_plain_beyond_loopback(address: ListenAddress) -> None:
    if address.plain and not is_loopback(address.host):
        raise ListenRefused(f"{address} is reached from other machines: without TLS it is not listened on")


def _names_of(address: ListenAddress) -> tuple[str, ...]:
    """What the server's certificate is good for beside its own name: for programs that verify the address."""
    names = dict.fromkeys(("localhost", "127.0.0.1", "::1", *address.names))
    if address.host not in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        names[address.host] = None
    with contextlib.suppress(OSError, UnicodeError):
        names[socket.gethostname().encode("ascii").decode()] = None
    return tuple(names)
