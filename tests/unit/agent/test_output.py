"""Output: in order, within its rate, nothing lost when the container has gone."""

from __future__ import annotations

import asyncio
import os
import socket

from squall.agent.output import Output, Rows


class Printed:
    """A container's three ends, and what was passed on."""

    def __init__(self, *, rate: float = 1e9) -> None:
        log, self.log = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        out, self.out = os.pipe()
        err, self.err = os.pipe()
        self.said: list[tuple[str, str]] = []
        self.batches = 0
        self.output = Output((log.detach(), out, err), self.take, rate=rate)

    def take(self, rows: Rows, texts: list[bytes]) -> None:
        self.batches += 1
        data, at = b"".join(texts), 0
        for stream, size, _when in rows:
            self.said.append((stream, data[at : at + size].decode()))
            at += size
        assert at == len(data), "rows and texts do not agree"

    def text(self, stream: str = "") -> str:
        return "".join(text for tag, text in self.said if stream in ("", tag))

    def close(self) -> None:
        self.log.close()
        os.close(self.out)
        os.close(self.err)


def test_what_is_printed_comes_in_its_order_with_its_stream() -> None:
    async def scene() -> None:
        one = Printed()
        for number in range(20):
            one.log.send((b"o" if number % 2 else b"e") + b"%d\n" % number)
        one.output.drain()
        assert one.text() == "".join(f"{number}\n" for number in range(20))
        assert one.text("o") == "".join(f"{number}\n" for number in range(1, 20, 2))
        os.write(one.out, b"raw")
        os.write(one.err, b"raw too")
        one.output.drain()
        assert one.said[-2:] == [("o", "raw"), ("e", "raw too")]
        one.close()
        one.output.close()

    asyncio.run(scene())


def test_what_is_beyond_the_rate_is_dropped_and_counted_where_it_was() -> None:
    async def scene() -> None:
        one = Printed(rate=1000.0)
        for _ in range(10):
            one.log.send(b"o" + b"x" * 999 + b"\n")
        one.output.drain()
        one.close()
        one.output.close()
        kept = one.text("o").count("\n")
        assert 4 <= kept <= 5
        assert f"[{(10 - kept) * 1000} bytes of output were dropped" in one.text("e")

    asyncio.run(scene())


def test_what_was_printed_before_the_end_is_passed_on_and_nothing_stays_open() -> None:
    async def scene() -> None:
        before = len(os.listdir("/proc/self/fd"))
        one = Printed()
        one.log.send(b"olast words\n")
        os.write(one.err, b"core dumped\n")
        one.close()
        one.output.close()
        assert one.text() == "last words\ncore dumped\n"
        assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(scene())


def test_nobody_has_to_ask_for_it() -> None:
    async def scene() -> None:
        one = Printed()
        one.log.send(b"ohello\n")
        async with asyncio.timeout(5):
            while not one.said:
                await asyncio.sleep(0.001)
        assert one.said == [("o", "hello\n")]
        one.close()
        one.output.close()

    asyncio.run(scene())
