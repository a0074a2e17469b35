from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import pytest

from squall.blobs.digest import digest_of
from squall.images.debian.mirror import Announced, Mirrors, is_private
from squall.images.registry.patience import Patience
from squall.model.errors import Error, MirrorAnswerWrong, MirrorUnreachable
from tests.unit.images.registry.hostile import QUICK, Answer, Asked, Wire, serving

DATA = bytes(range(256)) * 64


def fetch(answer: Answer, data: bytes = DATA, patience: Patience = QUICK) -> tuple[bytes | Error, list[str]]:
    """What came of a file, or why it did not, and the ranges that were asked for."""

    async def fetched() -> tuple[bytes | Error, list[str]]:
        async with serving(answer) as server:
            mirrors = Mirrors(patience, {})
            wanted = Announced(at=f"http://{server.address}/f", digest=digest_of(data), size=len(data))
            came: bytes | Error
            try:
                async with contextlib.aclosing(mirrors.file(wanted)) as parts:
                    came = b"".join([part async for part in parts])
                assert mirrors.fetched == len(came)
            except Error as error:
                came = error
            return came, [asked.headers.get("range", "") for asked in server.asked]

    return asyncio.run(fetched())


def document(answer: Answer, most: int = 100) -> bytes | None:
    async def read() -> bytes | None:
        async with serving(answer) as server:
            return await Mirrors(QUICK, {}).document(f"http://{server.address}/f", most)

    return asyncio.run(read())


async def breaks_off(wire: Wire, size: int, data: bytes = DATA) -> None:
    await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data), data[:size])


def test_a_server_that_knows_no_ranges_begins_anew_and_nothing_comes_twice() -> None:
    tries: list[int] = []

    async def answer(asked: Asked, wire: Wire) -> None:
        del asked
        tries.append(0)
        await (breaks_off(wire, 1_000) if len(tries) == 1 else wire.reply(200, DATA))

    came, ranges = fetch(answer)
    assert came == DATA
    assert ranges == ["", f"bytes=1000-{len(DATA) - 1}"]


def test_a_server_that_gives_another_range_is_refused() -> None:
    async def answer(asked: Asked, wire: Wire) -> None:
        if "range" not in asked.headers:
            await breaks_off(wire, 1_000)
        else:
            said = f"bytes 999-{len(DATA) - 1}/{len(DATA)}"
            await wire.reply(206, DATA[1_000:], Content_Range=said)

    came, _ = fetch(answer)
    assert isinstance(came, MirrorAnswerWrong)
    assert "it gives others" in str(came)


def test_what_is_whole_is_not_asked_for_again_though_its_end_was_not_told() -> None:
    async def answer(asked: Asked, wire: Wire) -> None:
        del asked
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(DATA)
        await wire.send(head, DATA, b"\r\n")

    assert fetch(answer) == (DATA, [""])


def test_a_connection_that_brought_much_was_a_good_one() -> None:
    much = bytes(17 << 20)
    data = much * 3

    async def answer(asked: Asked, wire: Wire) -> None:
        start = int(asked.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        head = b"HTTP/1.1 206 Part\r\nContent-Range: bytes %d-%d/%d\r\n" % (start, len(data) - 1, len(data))
        await wire.send(
            head if start else b"HTTP/1.1 200 OK\r\n", b"Content-Length: %d\r\n\r\n" % (len(data) - start)
        )
        await wire.send(much)

    came, ranges = fetch(answer, data, replace(QUICK, tries=2))
    assert came == data
    assert len(ranges) == 3


def test_a_server_is_asked_again_and_not_for_ever() -> None:
    async def answer(asked: Asked, wire: Wire) -> None:
        del asked
        await wire.reply(503)

    came, ranges = fetch(answer)
    assert isinstance(came, MirrorUnreachable)
    assert "503" in str(came)
    assert f"({QUICK.tries} tries)" in str(came)
    assert len(ranges) == QUICK.tries


def test_a_server_that_asks_for_a_long_pause_is_given_up_at_once() -> None:
    async def answer(asked: Asked, wire: Wire) -> None:
        del asked
        await wire.reply(503, Retry_After="3600")

    came, ranges = fetch(answer)
    assert isinstance(came, MirrorUnreachable)
    assert len(ranges) == 1


def test_a_redirect_is_followed() -> None:
    async def answer(asked: Asked, wire: Wire) -> None:
        await (wire.reply(302, Location="/there") if asked.target == "/f" else wire.reply(200, DATA))

    assert fetch(answer)[0] == DATA


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("http://mirror.example.com/f", "plain http"),
        ("ftp://mirror.example.com/f", "it leads to"),
        ("", "does not say where"),
        ("/f", "leads on more than 5 times"),
    ],
)
def test_a_redirect_that_leads_nowhere_good_is_refused(location: str, why: str) -> None:
    asked_for: list[str] = []

    async def answer(asked: Asked, wire: Wire) -> None:
        asked_for.append(asked.target)
        await wire.reply(*((302, b"") if len(asked_for) < 20 else (404, b"")), Location=location)

    came, _ = fetch(answer)
    assert isinstance(came, MirrorAnswerWrong), came
    assert why in str(came)
    assert len(asked_for) <= 6


def test_a_document_with_a_status_that_nobody_knows_is_refused() -> None:
    async def answer(asked: Asked, wire: Wire) -> None:
        del asked
        await wire.reply(299, b"Codename: bookworm")

    with pytest.raises(MirrorAnswerWrong, match="299"):
        document(answer)


def test_a_document_is_as_long_as_it_may_be_and_no_longer() -> None:
    async def answer(asked: Asked, wire: Wire) -> None:
        del asked
        await wire.reply(200, bytes(100))

    assert document(answer, 100) == bytes(100)
    with pytest.raises(MirrorAnswerWrong, match="longer than 99"):
        document(answer, 99)


def test_only_https_and_this_machine_are_private() -> None:
    assert is_private("https://mirror.example.com/debian")
    assert is_private("http://127.0.0.1:8000/debian")
    assert not is_private("http://mirror.example.com/debian")
