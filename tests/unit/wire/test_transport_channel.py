"""The end of a channel between machines: what was said last arrives, and nobody is waited for in vain."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from squall.testing.chaos_proxy import ChaosProxy, Weather
from squall.testing.conformance.channel_seen import Seen
from squall.wire import tls
from squall.wire.codec import Frame, Kind
from squall.wire.dialing import dial_tls
from tests.remote import LOOPS, PATIENCE_S, run, serving

both_loops = pytest.mark.parametrize("loop", LOOPS)


@both_loops
@pytest.mark.parametrize("kind", ["tls", "websocket"])
def test_what_is_said_before_closing_arrives_although_much_was_left_unread(
    kind: str, loop: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with serving(tmp_path) as server:
            left, right = await server.connect(kind)
            seen = Seen(left)
            for number in range(30):
                left.send(Frame(Kind.DATA, number, payload=bytes(1000)))
            await left.drain(1)
            # The server has read none of it when it refuses and goes.
            right.send(Frame(Kind.FAIL, 1, 0, b'{"code":"SQ-1014"}'))
            right.close()
            assert await seen.end() is None
            assert [frame.kind for frame in seen.frames] == [Kind.FAIL]

    run(loop, main)


@both_loops
def test_closing_does_not_wait_for_a_peer_that_is_silent(loop: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as server:
            proxy = ChaosProxy(seed=1)
            host, port = proxy.listen_tcp(server.endpoint.address)
            left = await dial_tls(host, port, tls.client_context(server.authority.file))
            right, _ = await server.next()
            seen_left, seen_right = Seen(left), Seen(right)
            proxy.up = proxy.down = Weather(stalled=True)
            left.close()
            async with asyncio.timeout(1):
                assert await seen_left.end() is None
            assert not right.closed
            proxy.reset()
            assert await seen_right.end() is not None
            await proxy.close()

    run(loop, main)


def test_a_channel_that_is_torn_or_cut_through_a_proxy_says_so_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as server:
            for seed in range(5):
                proxy = ChaosProxy(seed=seed, up=Weather(reset_after_bytes=20_000 + 7_001 * seed))
                host, port = proxy.listen_tcp(server.endpoint.address)
                left = await dial_tls(host, port, tls.client_context(server.authority.file))
                right, _ = await server.next()
                seen_left, seen_right = Seen(left), Seen(right)
                for number in range(100):
                    left.send(Frame(Kind.DATA, number, payload=bytes(1000)))
                for seen in (seen_left, seen_right):
                    error = await asyncio.wait_for(seen.end(), PATIENCE_S)
                    assert type(error).__name__ == "ConnectionLost"
                    assert seen.ends == 1
                numbers = [frame.stream for frame in seen_right.frames]
                assert numbers == list(range(len(numbers)))
                assert len(numbers) < 100
                await proxy.close()

    run("asyncio", main)
