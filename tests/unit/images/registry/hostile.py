"""Hostile: a server on loopback that answers as a test wants it to, byte by byte, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace

from squall.blobs.digest import digest_of
from squall.images.registry.client import RegistryClient
from squall.images.registry.credentials import Credentials, Keychain
from squall.images.registry.nouns import RemoteBlob
from squall.images.registry.patience import Patience
from squall.images.registry.reference import Reference, parse_reference
from squall.images.registry.settings import RegistrySettings

# Pauses are short; a busy machine still has time to answer.
QUICK = Patience(tries=3, connect_s=10.0, answer_s=20.0, first_pause_s=0.001, longest_pause_s=1.0)
# For servers that do not answer: each try ends soon.
IMPATIENT = replace(QUICK, answer_s=0.6, silence_s=0.4, slowest=4_096, window_s=0.3)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came; names of headers in small letters."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Wire:
    """The server's end of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
        await self.writer.drain()

    async def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        await self.send(reply(status, body, **headers))


Answer = Callable[[Asked, Wire], Awaitable[None]]


@dataclass
class Server:
    """What was asked of a server, where it is, and how many connections it has now."""

    address: str = ""
    asked: list[Asked] = field(default_factory=list)
    open_now: int = 0

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def targets(self) -> list[str]:
        return [f"{asked.method} {asked.target}" for asked in self.asked]


def reply(status: int, body: bytes = b"", **headers: str) -> bytes:
    """A whole answer; www_authenticate="..." is a header WWW-Authenticate."""
    lines = [f"HTTP/1.1 {status} Said"]
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named.setdefault("Content-Length", str(len(body)))
    lines += [f"{name}: {value}" for name, value in named.items() if value]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@contextlib.asynccontextmanager
async def serving(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A server that has each request answered by `answer`, which may write whatever it likes."""
    server = Server()
    tasks: set[asyncio.Task[None]] = set()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        server.open_now += 1
        try:
            asked = await read_request(reader)
            if asked is not None:
                server.asked.append(asked)
                await answer(asked, Wire(reader, writer))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the test is over
        finally:
            server.open_now -= 1
            tasks.discard(task)
            writer.close()

    listening = await asyncio.start_server(meet, "127.0.0.1", 0, ssl=tls)
    server.address = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, OSError):
        return None
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, target, headers, body)


def client(
    *,
    login: Credentials | None = None,
    at: str = "",
    settings: RegistrySettings | None = None,
    environ: dict[str, str] | None = None,
) -> RegistryClient:
    """A client with nothing of this machine's; login: for the registry `at`."""
    environ = environ or {}
    keys = Keychain(environ, {at: login} if login is not None else {})
    return RegistryClient(settings or RegistrySettings(patience=QUICK), keys, environ)


def image(address: str, name: str = "team/app:v1") -> Reference:
    return parse_reference(f"{address}/{name}")


def blob_of(data: bytes) -> RemoteBlob:
    return RemoteBlob(digest_of(data), len(data))
