"""The chaos proxy: what it does to connections, that it counts it, and that the same seed does the same."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from squall.model.errors import ConnectionLost
from squall.testing.chaos_proxy import FAIR, ChaosProxy, Weather
from squall.testing.conformance.channel_seen import Seen
from squall.wire.codec import Frame, Kind
from squall.wire.rights import close_all
from squall.wire.sealed import seal
from squall.wire.socket_channel import SocketChannel, dial, serve
from tests.remote import LOOPS, PATIENCE_S, open_files, run, warm_up


@pytest.fixture(autouse=True)
def no_descriptor_stays() -> Iterator[None]:
    warm_up()
    before = open_files()
    yield
    assert open_files() <= before


@contextlib.asynccontextmanager
async def echo() -> AsyncIterator[tuple[str, int]]:
    """The address of a server that says back what it hears, up to the end."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()


@contextlib.asynccontextmanager
async def through(proxy: ChaosProxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the echo through `proxy`."""
    async with echo() as to:
        reader, writer = await asyncio.open_connection(*proxy.listen_tcp(to))
        try:
            yield reader, writer
        finally:
            writer.transport.abort()
            await proxy.close()


@contextlib.asynccontextmanager
async def channels(proxy: ChaosProxy, folder: Path) -> AsyncIterator[tuple[SocketChannel, SocketChannel]]:
    """Both ends of a channel through `proxy`: who dialed, and the other."""
    accepted: asyncio.Future[SocketChannel] = asyncio.get_running_loop().create_future()
    endpoint = serve(folder / "real.sock", lambda channel, _: accepted.set_result(channel))
    proxy.listen_unix(folder / "proxy.sock", folder / "real.sock")
    left = await dial(folder / "proxy.sock")
    right = await asyncio.wait_for(accepted, PATIENCE_S)
    try:
        yield left, right
    finally:
        left.close()
        right.close()
        endpoint.close()
        await proxy.close()


async def heard(reader: asyncio.StreamReader, count: int) -> bytes:
    return await asyncio.wait_for(reader.readexactly(count), PATIENCE_S)


@pytest.mark.parametrize("loop", LOOPS)
def test_in_fair_weather_everything_comes_through_and_nothing_is_counted(loop: str) -> None:
    async def main() -> None:
        proxy = ChaosProxy(seed=1)
        async with through(proxy) as (reader, writer):
            said = os.urandom(3_000_000)
            writer.write(said)
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(), PATIENCE_S) == said
        assert not proxy.counts

    run(loop, main)


def test_latency_jitter_and_bandwidth_take_their_time() -> None:
    async def main() -> None:
        proxy = ChaosProxy(seed=1, up=Weather(latency_s=0.05, jitter_s=0.01), down=Weather(latency_s=0.02))
        async with through(proxy) as (reader, writer):
            started = time.monotonic()
            writer.write(b"there and back")
            assert await heard(reader, 14) == b"there and back"
            assert time.monotonic() - started >= 0.07
            assert proxy.counts["delayed"] == 2
            proxy.up, proxy.down = Weather(bytes_per_s=1_000_000), FAIR
            started = time.monotonic()
            writer.write(bytes(200_000))
            await heard(reader, 200_000)
            assert time.monotonic() - started >= 0.15
            assert proxy.counts["throttled"] >= 1

    run("asyncio", main)


def test_a_connection_is_torn_after_so_many_bytes() -> None:
    async def main() -> None:
        proxy = ChaosProxy(seed=1, down=Weather(reset_after_bytes=1000))
        async with through(proxy) as (reader, writer):
            writer.write(bytes(5000))
            with pytest.raises(ConnectionResetError):
                await heard(reader, 5000)
            assert proxy.counts["reset"] == 1
            async with asyncio.timeout(PATIENCE_S):
                while proxy.connections:
                    await asyncio.sleep(0.001)

    run("asyncio", main)


@pytest.mark.parametrize("how", ["now", "in its time"])
def test_a_connection_is_torn_when_it_is_told_to_or_its_time_has_come(how: str) -> None:
    async def main() -> None:
        proxy = ChaosProxy(seed=1)
        async with through(proxy) as (reader, writer):
            writer.write(b"x")
            await heard(reader, 1)
            if how == "now":
                proxy.reset()
            else:
                proxy.up = Weather(reset_every_s=0.01)
            with pytest.raises(ConnectionResetError):
                await heard(reader, 1)
            assert proxy.counts["reset"] == 1

    run("asyncio", main)


def test_a_stalled_direction_says_nothing_until_the_weather_is_fair_again() -> None:
    async def main() -> None:
        proxy = ChaosProxy(seed=1, down=Weather(stalled=True))
        async with through(proxy) as (reader, writer):
            writer.write(b"said into the silence")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.1)
            assert proxy.counts["stalled"] >= 1
            proxy.down = FAIR
            assert await heard(reader, 21) == b"said into the silence"

    run("asyncio", main)


@pytest.mark.parametrize("loop", LOOPS)
def test_frames_go_through_with_their_descriptors(loop: str, tmp_path: Path) -> None:
    async def main() -> None:
        proxy = ChaosProxy(seed=1)
        async with channels(proxy, tmp_path) as (left, right):
            taken: list[int] = []
            seen = Seen(right, lambda frame: taken.extend(frame.take_fds()))
            fd = seal([b"value"])
            left.send(Frame(Kind.DATA, 1, 2, b"{}", bytes(2_000_000), (fd,)))
            left.send(Frame(Kind.DATA, 2, fds=(fd, fd)))
            close_all([fd])
            await seen.until(2)
            assert [os.pread(fd, 10, 0) for fd in taken] == [b"value"] * 3
            close_all(taken)

    run(loop, main)


def test_frames_are_lost_repeated_and_change_places_as_the_seed_wants(tmp_path: Path) -> None:
    async def streams(seed: int, folder: Path) -> tuple[list[int], dict[str, int]]:
        folder.mkdir()
        proxy = ChaosProxy(seed=seed, up=Weather(duplicate=0.2, drop=0.2, reorder=0.2))
        async with channels(proxy, folder) as (left, right):
            seen = Seen(right)
            fd = seal([b"value"])
            for number in range(100):
                left.send(Frame(Kind.DATA, number, fds=(fd,) if number % 7 == 0 else ()))
            close_all([fd])
            counts = proxy.counts
            async with asyncio.timeout(PATIENCE_S):
                while len(seen.frames) < 100 - counts["dropped"] + counts["duplicated"]:
                    await asyncio.sleep(0.001)
        return [frame.stream for frame in seen.frames], dict(counts)

    async def main() -> None:
        first, counts = await streams(5, tmp_path / "first")
        again, counts_again = await streams(5, tmp_path / "again")
        other, _ = await streams(6, tmp_path / "other")
        assert counts == counts_again
        assert sorted(first) == sorted(again)
        assert sorted(first) != sorted(other)
        assert len(set(first)) == 100 - counts["dropped"]
        assert len(first) - len(set(first)) > 5
        assert counts["reordered"] > 5
        assert first != sorted(first)

    run("asyncio", main)


def test_what_listens_no_more_is_told_by_the_end_of_the_connection(tmp_path: Path) -> None:
    async def main() -> None:
        proxy = ChaosProxy(seed=1)
        async with echo() as to:
            pass
        reader, writer = await asyncio.open_connection(*proxy.listen_tcp(to))
        with pytest.raises(ConnectionResetError):
            assert not await asyncio.wait_for(reader.read(), PATIENCE_S)
            raise ConnectionResetError
        writer.close()
        async with channels(ChaosProxy(seed=1), tmp_path) as (left, right):
            seen_left, seen_right = Seen(left), Seen(right)
            left.send(Frame(Kind.DATA, 1))
            await left.drain(1)
            left.close()
            assert await asyncio.wait_for(seen_right.end(), PATIENCE_S) is None
            assert len(seen_right.frames) == 1
            await seen_left.end()
        await proxy.close()

    run("asyncio", main)


def test_a_reset_in_the_middle_of_a_frame_is_a_lost_connection(tmp_path: Path) -> None:
    async def main() -> None:
        proxy = ChaosProxy(seed=1, up=Weather(reset_after_bytes=50_000))
        async with channels(proxy, tmp_path) as (left, right):
            seen = Seen(right)
            left.send(Frame(Kind.DATA, 1, payload=bytes(100_000)))
            assert isinstance(await seen.end(), ConnectionLost)

    run("asyncio", main)
