"""What one container prints: order, rate, and what is said of what was dropped."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

from squall.agent.output import Output


def passed_on(act: Callable[[socket.socket, Output], None], *, rate: float = 1e9) -> list[tuple[str, bytes]]:
    """The text of each row that is passed on while `act` prints, and drains."""
    rows_seen: list[tuple[str, bytes]] = []

    def pass_on(rows: list[list[Any]], texts: list[bytes]) -> None:
        data = b"".join(texts)
        for tag, size, _when in rows:
            rows_seen.append((tag, data[:size]))
            data = data[size:]
        assert not data

    async def work() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        out, out_writer = os.pipe()
        err, err_writer = os.pipe()
        output = Output((theirs.detach(), out, err), pass_on, rate=rate)
        act(ours, output)
        ours.close()
        os.close(out_writer)
        os.close(err_writer)
        output.close()

    asyncio.run(work())
    return rows_seen


def test_records_keep_their_order_and_neighbours_of_a_stream_are_one_row() -> None:
    def act(log: socket.socket, output: Output) -> None:
        for record in (b"oa\n", b"ob\n", b"ec\n", b"od\n"):
            log.send(record)
        output.settle()

    assert passed_on(act) == [("o", b"a\nb\n"), ("e", b"c\n"), ("o", b"d\n")]


def test_all_that_waits_leaves_before_an_outcome() -> None:
    sent: list[bytes] = []

    def act(log: socket.socket, output: Output) -> None:
        log.setblocking(False)
        try:
            for number in range(100_000):
                log.send(b"o%d\n" % number)
                sent.append(b"%d\n" % number)
        except BlockingIOError:
            pass
        output.settle()

    rows = passed_on(act)
    assert b"".join(text for _, text in rows) == b"".join(sent)
    assert len(sent) > 64


def test_what_is_dropped_is_counted_before_the_outcome() -> None:
    def act(log: socket.socket, output: Output) -> None:
        log.send(b"o" + b"x" * 300)
        log.send(b"o" + b"y" * 300)
        output.settle()

    first, note = passed_on(act, rate=100)
    assert first == ("o", b"x" * 300)
    assert note[0] == "e"
    assert b"300 bytes of output were dropped" in note[1]
