"""The wire between machines: what a call and a large value cost over TLS and over a WebSocket, beside a UNIX socket."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import os
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

from measure import Samples, Turn, arguments, report_rounds, report_turn
from squall.wire import tls
from squall.wire.attachments import MOST_ATTACHED
from squall.wire.channel import Channel
from squall.wire.codec import Frame
from squall.wire.dialing import dial_tls, dial_websocket
from squall.wire.sealed import seal
from squall.wire.session import Session
from squall.wire.socket_channel import dial, serve
from squall.wire.stream import Stream
from squall.wire.tls_endpoint import serve_tls
from squall.wire.transport_channel import TransportChannel

CONTENDERS = ("unix", "tls", "websocket")
UNITS = {
    "call_us": "us",
    "calls_64_per_s": "1/s",
    "send_1mb_us": "us",
    "value_100mb_s": "s",
    "small_beside_value_us": "us",
    "dial_ms": "ms",
}
PAYLOAD = b"x" * 100
MEGABYTE = bytes(1_000_000)
VALUE_SIZE = 100_000_000
HEAD = {"n": 7, "call": "0190a7c0-1234-7000-8000-000000000001"}

Main = Coroutine[Any, Any, Any]


def run(main: Main) -> Any:
    """Runs `main` on the loop that a server has."""
    factory = importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


async def answer(kind: str, folder: Path, ready: int) -> None:
    """A server that answers each question with its small payload; `ready` is told its port."""
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_open(stream: Stream, head: dict[str, Any], frame: Frame) -> None:
        if head["t"] == "end":
            ended.set_result(None)
        stream.end(HEAD, frame.payload if len(frame.payload) < 1000 else b"")

    def on_connect(channel: Channel, _: object) -> None:
        if isinstance(channel, TransportChannel):
            channel.most_attached = MOST_ATTACHED
        Session(channel, dialer=False, on_open=on_open)

    if kind == "unix":
        unix = serve(folder / "bench.sock", on_connect)
        os.write(ready, b"0\n")
        await ended
        unix.close()
        return
    context = tls.server_context(folder / "server.pem", folder / "server.key", folder / "server.pem")
    endpoint = await serve_tls("127.0.0.1", 0, context, on_connect)
    os.write(ready, b"%d\n" % endpoint.address[1])
    await ended
    endpoint.close()


def make_certificate(folder: Path) -> None:
    """One that signs itself, for a server on loopback: who is asked trusts it as its own authority."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", str(folder / "server.key"), "-out", str(folder / "server.pem"), "-days", "2"),
            *("-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )


async def connect(kind: str, folder: Path, port: int) -> Channel:
    """A channel to the server."""
    if kind == "unix":
        return await dial(folder / "bench.sock")
    context = tls.client_context(folder / "server.pem")
    if kind == "tls":
        return await dial_tls("127.0.0.1", port, context)
    return await dial_websocket(f"wss://127.0.0.1:{port}/squall/v1", context)


@contextlib.asynccontextmanager
async def asking(kind: str, folder: Path, port: int) -> AsyncIterator[Session]:
    """A session with the server."""
    session = Session(await connect(kind, folder, port), dialer=True)
    try:
        yield session
    finally:
        session.close()


async def calls(session: Session, *, count: int, in_flight: int, payload: bytes = PAYLOAD) -> list[float]:
    """Seconds of each of `count` calls, `in_flight` open at any time."""
    left, took = count, []

    async def one_by_one() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            took.append(await timed(session.ask("echo", HEAD, payload)))

    await asyncio.gather(*(one_by_one() for _ in range(in_flight)))
    return took


async def timed(main: Main) -> float:
    """Seconds that `main` takes."""
    started = time.perf_counter()
    await main
    return time.perf_counter() - started


async def values(session: Session, *, count: int) -> tuple[list[float], list[float]]:
    """Seconds of each large value there, and of the small calls that were made meanwhile."""
    fd = seal([bytes(VALUE_SIZE)])
    took, beside = [], []
    try:
        for _ in range(count):
            sending = asyncio.ensure_future(timed(session.ask("take", HEAD, fds=(fd,))))
            while not sending.done():
                beside.append(await timed(session.ask("echo", HEAD, PAYLOAD)))
            took.append(sending.result())
    finally:
        os.close(fd)
    return took, beside


async def ask(kind: str, folder: Path, port: int, *, quick: bool) -> Samples:
    """All figures of one way."""
    count = 1_000 if quick else 3_000
    samples: Samples = {"dial_ms": []}
    for _ in range(20):
        started = time.perf_counter()
        async with asking(kind, folder, port) as session:
            await session.ask("echo", HEAD, PAYLOAD)
            samples["dial_ms"].append((time.perf_counter() - started) * 1e3)
    async with asking(kind, folder, port) as session:
        samples["call_us"] = [s * 1e6 for s in await calls(session, count=count, in_flight=1)]
        total = await timed(calls(session, count=2 * count, in_flight=64))
        samples["calls_64_per_s"] = [2 * count / total]
        took = await calls(session, count=count // 20, in_flight=1, payload=MEGABYTE)
        samples["send_1mb_us"] = [s * 1e6 for s in took]
        took, beside = await values(session, count=3 if quick else 10)
        samples["value_100mb_s"] = took
        samples["small_beside_value_us"] = [s * 1e6 for s in beside[:1_000]]
        await session.ask("end")
    return samples


def turn_of(who: str, *, quick: bool) -> Turn:
    """One contender's figures."""
    if importlib.util.find_spec("uvloop") is None:
        return Turn(skipped="uvloop is not installed")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_certificate(folder)
        ready, told = os.pipe()
        with children(lambda: run(answer(who, folder, told))):
            os.close(told)
            with open(ready) as file:
                port = int(file.readline())
            return Turn(samples=run(ask(who, folder, port, quick=quick)))


@contextlib.contextmanager
def children(work: Callable[[], None]) -> Any:
    """A process that does `work` while the block runs, and is waited for behind it."""
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(0)
    try:
        yield
    finally:
        os.waitpid(pid, 0)


def main() -> None:
    """Runs the rounds and prints the figures."""
    options = arguments(__doc__ or "", list(CONTENDERS))
    if options.turn:
        report_turn(turn_of(options.turn, quick=options.quick))
        return
    report_rounds(__file__, options, UNITS, reference="unix")


if __name__ == "__main__":
    main()
