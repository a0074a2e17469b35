from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator

import pytest

from squall.blobs.digest import digest_of
from squall.images.registry.nouns import RemoteBlob
from squall.images.registry.patience import Patience
from squall.images.registry.reference import wire_form
from squall.images.registry.settings import RegistrySettings
from squall.model.errors import (
    Error,
    RegistryAccessDenied,
    RegistryAnswerWrong,
    RegistryNotFound,
    RegistryRateLimited,
    RegistryUnreachable,
)
from tests.unit.images.registry.hostile import (
    IMPATIENT,
    QUICK,
    Answer,
    Asked,
    Wire,
    blob_of,
    client,
    image,
    reply,
    serving,
)

DATA = random.Random(7).randbytes(300_000)
BLOB = blob_of(DATA)


async def fetched(address: str, blob: RemoteBlob = BLOB) -> bytes:
    return b"".join([part async for part in client().blob(image(address), blob)])


async def fails_with(kind: type[Error], answer: Answer, patience: Patience = QUICK) -> tuple[int, int, Error]:
    """How often the server was asked, and how many bytes were given before the error."""
    given = 0
    async with serving(answer) as server:
        with pytest.raises(kind) as caught:
            settings = RegistrySettings(patience=patience)
            async for part in client(settings=settings).blob(image(server.address), BLOB):
                given += len(part)
        assert caught.value.details["host"] == server.address
        assert caught.value.details["repository"] == "team/app"
        return len(server.asked), given, caught.value


def test_a_blob_comes_whole_and_is_asked_for_by_its_digest() -> None:
    async def main() -> None:
        async def answer(asked: Asked, wire: Wire) -> None:
            await wire.reply(200, DATA)

        async with serving(answer) as server:
            assert await fetched(server.address) == DATA
            assert server.targets() == [f"GET /v2/team/app/blobs/sha256:{BLOB.digest}"]
            assert "authorization" not in server.asked[0].headers

    asyncio.run(main())


@pytest.mark.parametrize("data", [b"", b"x"])
def test_the_smallest_blobs_come_too(data: bytes) -> None:
    async def main() -> None:
        async def answer(asked: Asked, wire: Wire) -> None:
            await wire.reply(200, data)

        async with serving(answer) as server:
            assert await fetched(server.address, blob_of(data)) == data

    asyncio.run(main())


def test_a_blob_in_chunks_or_until_the_connection_ends_comes_too() -> None:
    async def main() -> None:
        async def chunked(asked: Asked, wire: Wire) -> None:
            await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for start in range(0, len(DATA), 70_001):
                part = DATA[start : start + 70_001]
                await wire.send(b"%x;why=not\r\n" % len(part), part, b"\r\n")
            await wire.send(b"0\r\nTrailer: x\r\n\r\n")

        async def until_closed(asked: Asked, wire: Wire) -> None:
            await wire.send(b"HTTP/1.0 200 OK\r\n\r\n", DATA)

        for answer in (chunked, until_closed):
            async with serving(answer) as server:
                assert await fetched(server.address) == DATA

    asyncio.run(main())


def test_other_bytes_than_the_digest_names_are_never_given_to_their_end() -> None:
    async def main() -> None:
        async def answer(asked: Asked, wire: Wire) -> None:
            await wire.reply(200, DATA[:-1] + bytes([DATA[-1] ^ 1]))

        asked, given, _ = await fails_with(RegistryAnswerWrong, answer)
        assert asked == 1
        assert given < len(DATA)

    asyncio.run(main())


@pytest.mark.parametrize("length", [0, 1, len(DATA) - 1, len(DATA) + 1, 10**15])
def test_another_length_than_the_manifest_says_is_refused_before_the_first_byte(length: int) -> None:
    async def main() -> None:
        async def answer(asked: Asked, wire: Wire) -> None:
            await wire.send(reply(200, Content_Length=str(length)), DATA)

        asked, given, _ = await fails_with(RegistryAnswerWrong, answer)
        assert (asked, given) == (1, 0)

    asyncio.run(main())


@pytest.mark.parametrize("chunked", [True, False])
def test_an_endless_body_is_cut_at_the_size(chunked: bool) -> None:
    async def main() -> None:
        sent = 0

        async def answer(asked: Asked, wire: Wire) -> None:
            nonlocal sent
            coding = b"Transfer-Encoding: chunked\r\n" if chunked else b""
            await wire.send(b"HTTP/1.1 200 OK\r\n" + coding + b"\r\n")
            while True:
                await wire.send(b"10000\r\n" + bytes(65_536) + b"\r\n" if chunked else bytes(65_536))
                sent += 65_536

        asked, given, _ = await fails_with(RegistryAnswerWrong, answer)
        assert asked == 1
        assert given <= len(DATA)
        assert sent < 32 << 20  # what buffers of the kernel hold, and no more

    asyncio.run(main())


def test_a_broken_connection_is_taken_up_where_it_broke() -> None:
    async def main() -> None:
        async def answer(asked: Asked, wire: Wire) -> None:
            wanted = asked.headers.get("range")
            if wanted is None:
                await wire.send(reply(200, Content_Length=str(len(DATA))), DATA[:100_000])
                return
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            cut = start + 100_000
            place = f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"
            head = reply(206, Content_Length=str(len(DATA) - start), Content_Range=place)
            await wire.send(head, DATA[start:cut])

        async with serving(answer) as server:
            assert await fetched(server.address) == DATA
            ranges = [asked.headers.get("range") for asked in server.asked]
            assert ranges == [None, "bytes=100000-299999", "bytes=200000-299999"]

    asyncio.run(main())


def test_a_registry_without_ranges_begins_anew_and_nothing_is_given_twice() -> None:
    async def main() -> None:
        async def answer(asked: Asked, wire: Wire) -> None:
            cut = len(DATA) if "range" in asked.headers else 123_457
            await wire.send(reply(200, Content_Length=str(len(DATA))), DATA[:cut])

        async with serving(answer) as server:
            assert await fetched(server.address) == DATA
            assert len(server.asked) == 2

    asyncio.run(main())


def test_another_range_than_was_asked_for_is_refused() -> None:
    async def main() -> None:
        async def answer(asked: Asked, wire: Wire) -> None:
            if "range" not in asked.headers:
                await wire.send(reply(200, Content_Length=str(len(DATA))), DATA[:1000])
            else:
                # As long as what was asked for: only its place tells.
                place = f"bytes 999-{len(DATA) - 2}/{len(DATA)}"
                await wire.reply(206, DATA[999:-1], Content_Range=place)

        asked, _, error = await fails_with(RegistryAnswerWrong, answer)
        assert asked == 2
        assert "asked for the bytes from 1000" in str(error)

    asyncio.run(main())


def test_a_connection_that_always_breaks_is_given_up_after_so_many_tries() -> None:
    async def main() -> None:
        async def answer(asked: Asked, wire: Wire) -> None:
            pass

        assert (await fails_with(RegistryUnreachable, answer))[0] == QUICK.tries

    asyncio.run(main())


def test_nobody_there_is_told_after_so_many_tries() -> None:
    async def main() -> None:
        async with serving(_silent) as server:
            address = server.address
        with pytest.raises(RegistryUnreachable, match=f"{address}.*3 tries"):
            await fetched(address)

    asyncio.run(main())


async def _silent(asked: Asked, wire: Wire) -> None:
    await asyncio.sleep(60)


async def _silent_body(asked: Asked, wire: Wire) -> None:
    await wire.send(reply(200, Content_Length=str(len(DATA))))
    await asyncio.sleep(60)


async def _dripping_head(asked: Asked, wire: Wire) -> None:
    await wire.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await wire.send(b"X: y\r\n")
        await asyncio.sleep(0.05)


async def _dripping_body(asked: Asked, wire: Wire) -> None:
    start = asked.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0]
    place = f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"
    await wire.send(reply(206 if int(start) else 200, Content_Length="", Content_Range=place))
    while True:
        await wire.send(b"x")
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("answer", [_silent, _silent_body, _dripping_head, _dripping_body])
def test_silence_and_slow_drips_end_within_a_bound(answer: Answer) -> None:
    async def main() -> None:
        began = time.monotonic()
        asked, _, _ = await fails_with(RegistryUnreachable, answer, IMPATIENT)
        assert asked == IMPATIENT.tries
        assert time.monotonic() - began < 10

    asyncio.run(main())


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\n folded\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 300000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot a number\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 70_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 200,
        b"HTTP/1.1 103 Early\r\n\r\n" * 20,
    ],
    ids=lambda head: ascii(head[-40:]),
)
def test_what_is_no_http_is_refused_at_once(head: bytes) -> None:
    async def main() -> None:
        async def answer(asked: Asked, wire: Wire) -> None:
            await wire.send(head)

        assert (await fails_with(RegistryAnswerWrong, answer))[0] == 1

    asyncio.run(main())


def test_an_endless_head_is_cut() -> None:
    async def main() -> None:
        sent = 0

        async def answer(asked: Asked, wire: Wire) -> None:
            nonlocal sent
            await wire.send(b"HTTP/1.1 200 OK\r\n")
            while True:
                await wire.send(b"X: y\r\n" * 1000)
                sent += 6000

        await fails_with(RegistryAnswerWrong, answer)
        assert sent < 32 << 20

    asyncio.run(main())


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (403, RegistryAccessDenied),
        (404, RegistryNotFound),
        (401, RegistryAccessDenied),
        (301, RegistryAnswerWrong),
    ],
)
def test_each_refusal_has_its_error(status: int, kind: type[Error]) -> None:
    async def main() -> None:
        async def answer(asked: Asked, wire: Wire) -> None:
            await wire.reply(status, b'{"errors":[{"code":"DENIED","message":"\x1b[31mhunter22"}]}')

        asked, _, error = await fails_with(kind, answer)
        assert asked == 1
        assert "hunter22" not in str(error)

    asyncio.run(main())


def test_a_registry_that_is_busy_is_asked_again_after_the_pause_that_it_wants() -> None:
    async def main() -> None:
        times: list[float] = []

        async def answer(asked: Asked, wire: Wire) -> None:
            times.append(time.monotonic())
            if len(times) == 1:
                await wire.reply(429, Retry_After="1")
            elif len(times) == 2:
                await wire.reply(503)
            else:
                await wire.reply(200, DATA)

        async with serving(answer) as server:
            assert await fetched(server.address) == DATA
        assert times[1] - times[0] >= 1.0
        assert times[2] - times[1] < 1.0

    asyncio.run(main())


def test_a_longer_pause_than_is_sensible_is_told_at_once() -> None:
    async def main() -> None:
        async def answer(asked: Asked, wire: Wire) -> None:
            await wire.reply(429, Retry_After="21600")

        asked, _, error = await fails_with(RegistryRateLimited, answer)
        assert asked == 1
        assert error.details["wait_s"] == 21_600

    asyncio.run(main())


def test_a_registry_that_stays_busy_is_given_up() -> None:
    async def main() -> None:
        async def limited(asked: Asked, wire: Wire) -> None:
            await wire.reply(429)

        async def down(asked: Asked, wire: Wire) -> None:
            await wire.reply(502)

        assert (await fails_with(RegistryRateLimited, limited))[0] == QUICK.tries
        assert (await fails_with(RegistryUnreachable, down))[0] == QUICK.tries

    asyncio.run(main())


def test_who_stops_reading_ends_the_connection() -> None:
    async def main() -> None:
        async def answer(asked: Asked, wire: Wire) -> None:
            await wire.send(reply(200, Content_Length=str(len(DATA))), DATA[:200_000])
            await wire.reader.read()  # until the client goes

        async with serving(answer) as server:
            async with contextlib.aclosing(client().blob(image(server.address), BLOB)) as parts:  # type: ignore[type-var]
                async for _ in parts:
                    break
            async with asyncio.timeout(5):
                while server.open_now:
                    await asyncio.sleep(0.01)

    asyncio.run(main())


def test_many_blobs_are_fetched_so_many_at_once() -> None:
    async def main() -> None:
        datas = {wire_form(digest_of(data)): data for data in (bytes([n]) * 50_000 for n in range(12))}
        most = 0
        release = asyncio.Event()

        async def answer(asked: Asked, wire: Wire) -> None:
            nonlocal most
            most = max(most, server.open_now)
            if server.open_now == 3:
                release.set()
            await release.wait()
            await wire.reply(200, datas[asked.target.rpartition("/")[2]])

        async def take(blob: RemoteBlob, parts: AsyncIterator[bytes]) -> bytes:
            return b"".join([part async for part in parts])

        async with serving(answer) as server:
            wanted = [blob_of(data) for data in datas.values()]
            settings = RegistrySettings(patience=QUICK, at_once=3)
            got = await client(settings=settings).fetch_many(image(server.address), [*wanted, *wanted], take)
            assert got == dict(zip(wanted, datas.values(), strict=True))
            assert len(server.asked) == 12
        assert most == 3

    asyncio.run(main())


def test_the_first_failure_of_many_ends_the_others_and_is_told() -> None:
    async def main() -> None:
        async def answer(asked: Asked, wire: Wire) -> None:
            if asked.target.endswith(blob_of(b"gone").digest):
                await wire.reply(404)
            else:
                await wire.reader.read()

        async def take(blob: RemoteBlob, parts: AsyncIterator[bytes]) -> int:
            return len([part async for part in parts])

        async with serving(answer) as server:
            with pytest.raises(RegistryNotFound):
                await client().fetch_many(image(server.address), [BLOB, blob_of(b"gone")], take)
            async with asyncio.timeout(5):
                while server.open_now:
                    await asyncio.sleep(0.01)

    asyncio.run(main())
