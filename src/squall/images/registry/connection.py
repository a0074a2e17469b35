"""Connection: one to the place of a request, through a proxy where the environment wants one."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from squall.images.registry.complaint import NotNow, Unsound
from squall.images.registry.head import LONGEST_HEAD, Head, read_head, write_head
from squall.images.registry.location import IpAddress, Location, Reach, ip_address, widest, within
from squall.images.registry.patience import Patience
from squall.images.registry.proxy import Proxy, proxy_for
from squall.model.errors import InvalidError

_MOST_ADDRESSES: Final = 4
_MOST_INTERIM: Final = 8  # answers of the kind "wait, the real one comes"


@dataclass(slots=True, kw_only=True)
class Connection:
    """An open connection. reach: who can reach its place. asked_whole: a proxy wants whole addresses as targets."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    reach: Reach
    asked_whole: bool = False
    authorization: str | None = None  # for the proxy

    async def head(self) -> Head:
        """The head of the answer. Raises NotNow, Unsound; the time limit is the caller's."""
        for _ in range(_MOST_INTERIM):
            try:
                data = await self.reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                raise NotNow("it closed the connection instead of answering") from None
            except asyncio.LimitOverrunError:
                raise Unsound(f"its head is longer than {LONGEST_HEAD} bytes") from None
            except OSError as error:
                raise NotNow(f"the connection broke: {error.strerror or type(error).__name__}") from None
            try:
                head = read_head(data)
            except ValueError as error:
                raise Unsound(str(error)) from None
            if head.status >= 200:
                return head
        raise Unsound(f"it puts off its answer more than {_MOST_INTERIM} times")

    def close(self) -> None:
        """Ends it at once: nothing that is still under way is wanted."""
        self.writer.transport.abort()


class Dialer:
    """Makes connections. environ: for proxies and SSL_CERT_FILE."""

    def __init__(self, patience: Patience, environ: Mapping[str, str]) -> None:
        self._patience = patience
        self._environ = environ
        self._trust: ssl.SSLContext | None = None

    async def dial(self, to: Location, most: Reach | None = None) -> Connection:
        """A connection to `to`; most: only to addresses of which no fewer people are in reach than this, None for any.

        An address is judged and then connected to, so that a name cannot mean another one in between; behind a proxy
        only an address that stands in `to` itself can be judged. Raises NotNow, Unsound, InvalidError.
        """
        proxy = proxy_for(to, self._environ)
        try:
            async with asyncio.timeout(self._patience.connect_s):
                if proxy is not None:
                    return await self._through(proxy, to, most)
                addresses = await _resolve(to.host, to.port)
                allowed = _judged(addresses, most, to)
                reader, writer = await self._open(allowed, to)
                return Connection(reader=reader, writer=writer, reach=widest(addresses))
        except TimeoutError:
            raise NotNow(f"no connection to {to} within {self._patience.connect_s:g} s") from None

    async def _through(self, proxy: Proxy, to: Location, most: Reach | None) -> Connection:
        literal = ip_address(to.host)
        named = (literal,) if literal is not None else ()
        if named:
            _judged(named, most, to)
        door = Location(scheme="http", host=proxy.host, port=proxy.port, target="/")
        reader, writer = await self._open(await _resolve(proxy.host, proxy.port), door)
        connection = Connection(
            reader=reader, writer=writer, reach=widest(named), authorization=proxy.authorization
        )
        try:
            if to.scheme == "https":
                await self._tunnel(connection, to)
            else:
                connection.asked_whole = True
        except BaseException:
            connection.close()
            raise
        return connection

    async def _tunnel(self, connection: Connection, to: Location) -> None:
        host = f"[{to.host}]" if ":" in to.host else to.host
        place = f"{host}:{to.port}"
        headers = [("Host", place)]
        if connection.authorization is not None:
            headers.append(("Proxy-Authorization", connection.authorization))
            connection.authorization = None  # inside the tunnel it would be told to the registry
        connection.writer.write(write_head("CONNECT", place, headers))
        head = await connection.head()
        if head.status != 200:
            remedy = None if head.status >= 500 else "correct HTTPS_PROXY, or add the host to NO_PROXY"
            raise NotNow(f"the proxy answers {head.status} when asked for {to}", remedy=remedy)
        with _named(to):
            await connection.writer.start_tls(self._trusted(), server_hostname=to.host)

    async def _open(
        self, addresses: Sequence[IpAddress], to: Location
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """To the first of the addresses that answers: each gets its share of the time."""
        tried = addresses[:_MOST_ADDRESSES]
        failed = NotNow(f"{to.host} has no address")
        for address in tried:
            try:
                with _named(to):
                    async with asyncio.timeout(self._patience.connect_s / len(tried)):
                        return await asyncio.open_connection(
                            str(address),
                            to.port,
                            limit=LONGEST_HEAD,
                            ssl=self._trusted() if to.scheme == "https" else None,
                            server_hostname=to.host if to.scheme == "https" else None,
                        )
            except TimeoutError:
                failed = NotNow(f"{to} does not answer")
            except NotNow as not_now:
                failed = not_now
        raise failed

    def _trusted(self) -> ssl.SSLContext:
        if self._trust is None:
            file = self._environ.get("SSL_CERT_FILE") or None
            try:
                self._trust = ssl.create_default_context(cafile=file)
            except OSError as error:
                raise InvalidError(
                    f"the file {file} that SSL_CERT_FILE names holds no certificates that can be read"
                    f" ({error.strerror or type(error).__name__})",
                    remedy="set SSL_CERT_FILE to a file of certificates in PEM, or unset it",
                ) from None
        return self._trust


def _judged(addresses: Sequence[IpAddress], most: Reach | None, to: Location) -> Sequence[IpAddress]:
    allowed = addresses if most is None else within(addresses, most)
    if addresses and not allowed:
        raise Unsound(f"it leads to {to.authority}, an address inside a network that it is not in itself")
    return allowed


async def _resolve(host: str, port: int) -> tuple[IpAddress, ...]:
    literal = ip_address(host)
    if literal is not None:
        return (literal,)
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise NotNow(f"the name {host} has no address that this machine can find") from None
    texts = dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found)
    return tuple(ipaddress.ip_address(text) for text in texts)


@contextlib.contextmanager
def _named(to: Location) -> Iterator[None]:
    """Has what the network and TLS refuse raised as NotNow. A time limit passes: TimeoutError is an OSError too."""
    try:
        yield
    except TimeoutError:
        raise
    except ssl.SSLCertVerificationError as error:
        why = f"the certificate of {to.authority} is not trusted here ({error.verify_message})"
        raise NotNow(why, remedy="name a file with the authorities to trust in SSL_CERT_FILE") from None
    except ssl.SSLError as error:
        reason = str(error.reason or "no reason given").replace("_", " ").lower()
        raise NotNow(
            f"{to.authority} does not speak TLS as it must ({reason})",
            remedy="check host and port; a registry in plain http must be named among the insecure ones",
        ) from None
    except OSError as error:
        raise NotNow(f"no connection to {to}: {error.strerror or type(error).__name__}") from None
