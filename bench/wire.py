"""The wire alone: what a call over one hop and over a relay costs, beside two processes that only pass bytes."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import os
import resource
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from measure import (
    Samples,
    Turn,
    arguments,
    report_rounds,
    report_turn,
    seconds,
)
from squall.wire.codec import Decoder, Frame, Kind, encode, parse_head, write_head
from squall.wire.session import Session
from squall.wire.socket_channel import SocketChannel
from squall.wire.stream import Stream

CONTENDERS = ("squall_uvloop", "squall_asyncio", "bare_socket")
UNITS = {
    "call_us": "us",
    "call_cpu_us": "us",
    "calls_64_per_s": "1/s",
    "calls_64_cpu_us": "us",
    "relayed_call_us": "us",
    "relayed_call_cpu_us": "us",
    "relayed_64_per_s": "1/s",
    "relayed_64_cpu_us": "us",
    "send_1mb_us": "us",
    "encode_us": "us",
    "decode_us": "us",
    "write_head_us": "us",
    "parse_head_us": "us",
}
PAYLOAD = b"x" * 100
MEGABYTE = bytes(1_000_000)
HEAD = {"n": 7, "call": "0190a7c0-1234-7000-8000-000000000001"}

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def run_on(loop: str) -> Run:
    """What runs a coroutine on `loop`: asyncio, or the package of that name."""
    factory = asyncio.new_event_loop if loop == "asyncio" else importlib.import_module(loop).new_event_loop

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main)

    return run


def cpu_s() -> float:
    """Seconds of CPU that this process and its ended children have used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


@contextlib.contextmanager
def children(*works: Callable[[], None]) -> Iterator[None]:
    """Processes that do `works` while the block runs; they end when their sockets do."""
    pids = []
    for work in works:
        pid = os.fork()
        if not pid:
            try:
                work()
            finally:
                os._exit(0)
        pids.append(pid)
    try:
        yield
    finally:
        for pid in pids:
            os.waitpid(pid, 0)


async def answer(sock: socket.socket) -> None:
    """A server that sends each payload back, but for the large ones."""
    ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def on_open(stream: Stream, _: dict[str, Any], frame: Frame) -> None:
        stream.end(HEAD, frame.payload if len(frame.payload) < 1000 else b"")

    Session(SocketChannel(sock), dialer=False, on_open=on_open, on_close=ended.set_result)
    await ended


async def relay(left: socket.socket, right: socket.socket) -> None:
    """What an agent does with a frame: sets its route and passes it on."""
    ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    here, there = SocketChannel(left), SocketChannel(right)

    def to(other: SocketChannel) -> Callable[[Frame], None]:
        def on_frame(frame: Frame) -> None:
            frame.route = 0
            other.send(frame)

        return on_frame

    here.start(to(there), lambda _: there.close())
    there.start(to(here), ended.set_result)
    await ended


async def ask(sock: socket.socket, count: int, in_flight: int, payload: bytes) -> list[float]:
    """Seconds of each of `count` calls, `in_flight` open at any time."""
    session, left, took = Session(SocketChannel(sock), dialer=True), count, []

    async def one_by_one() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            started = time.perf_counter()
            await session.ask("echo", HEAD, payload)
            took.append(time.perf_counter() - started)

    await asyncio.gather(*(one_by_one() for _ in range(in_flight)))
    session.close()
    return took


def calls(
    run: Run, *, relayed: bool, count: int, in_flight: int, payload: bytes = PAYLOAD
) -> tuple[list[float], float, float]:
    """Seconds of each call, of all of them, and of CPU in all processes per call."""
    near, far = socket.socketpair()
    held, works = [near, far], []
    if relayed:
        beyond, last = socket.socketpair()
        held += [beyond, last]
        works = [child(run, held, (far, beyond), relay), child(run, held, (last,), answer)]
    else:
        works = [child(run, held, (far,), answer)]
    before = cpu_s()
    with children(*works):
        only(held, near)
        started = time.perf_counter()
        took = run(ask(near, count, in_flight, payload))
        total = time.perf_counter() - started
    return took, total, (cpu_s() - before) / count


def child(
    run: Run,
    held: list[socket.socket],
    own: tuple[socket.socket, ...],
    main: Callable[..., Coroutine[Any, Any, None]],
) -> Callable[[], None]:
    """What a child does: give up the sockets that are not its own, and run `main` over those that are."""

    def work() -> None:
        only(held, *own)
        run(main(*own))

    return work


def only(held: list[socket.socket], *kept: socket.socket) -> None:
    """Close those of `held` that belong to the other processes."""
    for sock in held:
        if sock not in kept:
            sock.close()


def bare(count: int) -> tuple[list[float], float]:
    """Seconds of each exchange of as many bytes over a socket, without any frame, and of CPU per exchange."""
    near, far = socket.socketpair()
    message = b"".join(encode(Frame(Kind.OPEN, 1, 0, write_head({"t": "echo", **HEAD})), PAYLOAD))

    def echo() -> None:
        near.close()
        while data := far.recv(65536):
            far.send(data)

    before, took = cpu_s(), []
    with children(echo):
        far.close()
        for _ in range(count):
            started = time.perf_counter()
            near.send(message)
            near.recv(65536)
            took.append(time.perf_counter() - started)
        near.close()
    return took, (cpu_s() - before) / count


def parts() -> Samples:
    """Microseconds of CPU that the pieces of a hop take, each in a loop of its own."""
    frame = Frame(Kind.OPEN, 1, 0, write_head({"t": "echo", **HEAD}))
    wire, decoder = b"".join(encode(frame, PAYLOAD)), Decoder()
    pieces: dict[str, Callable[[], object]] = {
        "encode_us": lambda: encode(frame, PAYLOAD),
        "decode_us": lambda: decoder.feed(wire),
        "write_head_us": lambda: write_head(HEAD),
        "parse_head_us": lambda: parse_head(frame.header),
    }
    return {name: [min(timed_us(piece) for _ in range(5))] for name, piece in pieces.items()}


def timed_us(piece: Callable[[], object]) -> float:
    """Microseconds of one `piece`, over many."""
    rounds = range(4_000)

    def work() -> None:
        for _ in rounds:
            piece()

    return seconds(work) / len(rounds) * 1e6


def turn_of(who: str, *, quick: bool) -> Turn:
    """One contender's figures."""
    count = 2_000 if quick else 20_000
    kind, _, loop = who.partition("_")
    if kind == "bare":
        took, cpu = bare(count)
        return Turn(samples={"call_us": [s * 1e6 for s in took], "call_cpu_us": [cpu * 1e6]})
    if importlib.util.find_spec(loop) is None:
        return Turn(skipped=f"{loop} is not installed")
    run, samples = run_on(loop), parts()
    for name, relayed in (("call", False), ("relayed_call", True)):
        took, _, cpu = calls(run, relayed=relayed, count=count, in_flight=1)
        samples[f"{name}_us"] = [s * 1e6 for s in took]
        samples[f"{name}_cpu_us"] = [cpu * 1e6]
    for name, relayed in (("calls", False), ("relayed", True)):
        _, total, cpu = calls(run, relayed=relayed, count=2 * count, in_flight=64)
        samples[f"{name}_64_per_s"] = [2 * count / total]
        samples[f"{name}_64_cpu_us"] = [cpu * 1e6]
    took, _, _ = calls(run, relayed=False, count=count // 20, in_flight=1, payload=MEGABYTE)
    samples["send_1mb_us"] = [s * 1e6 for s in took]
    return Turn(samples=samples)


def main() -> None:
    """Runs the rounds and prints the figures."""
    options = arguments(__doc__ or "", list(CONTENDERS))
    if options.turn:
        report_turn(turn_of(options.turn, quick=options.quick))
        return
    report_rounds(__file__, options, UNITS, reference="squall_uvloop")


if __name__ == "__main__":
    main()
