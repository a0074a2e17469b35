from __future__ import annotations

import asyncio

import pytest

from squall.images.flight import Flight, Say
from squall.model.errors import ChannelClosed


def test_all_followers_get_the_result_and_every_line() -> None:
    async def main() -> None:
        go = asyncio.Event()
        ended: list[Flight[int]] = []

        async def work(say: Say) -> int:
            say("first")
            await go.wait()
            say("last")
            return 7

        flight = Flight(work, on_end=ended.append)
        one: list[str] = []
        two: list[str] = []
        early = asyncio.ensure_future(flight.follow(one.append))
        await asyncio.sleep(0)
        late = asyncio.ensure_future(flight.follow(two.append))
        await asyncio.sleep(0)
        go.set()
        assert (await early, await late) == (7, 7)
        assert one == two == ["first", "last"]
        assert ended == [flight]

    asyncio.run(main())


def test_work_goes_on_while_one_follower_is_left_and_ends_with_the_last() -> None:
    async def main() -> None:
        state: list[str] = []

        async def work(_say: Say) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                state.append("cleaned up")

        flight = Flight(work, on_end=lambda _: state.append("landed"))
        followers = [asyncio.ensure_future(flight.follow(lambda _: None)) for _ in range(2)]
        await asyncio.sleep(0)
        followers[0].cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert state == []
        followers[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await followers[1]
        assert state[:2] == ["landed", "cleaned up"]

    asyncio.run(main())


def test_a_follower_whose_connection_is_gone_does_not_stop_the_others() -> None:
    async def main() -> None:
        async def work(say: Say) -> int:
            await asyncio.sleep(0)
            say("one")
            say("two")
            return 7

        def gone(_line: str) -> None:
            raise ChannelClosed

        heard: list[str] = []
        flight = Flight(work, on_end=lambda _: None)
        ends = await asyncio.gather(flight.follow(gone), flight.follow(heard.append))
        assert list(ends) == [7, 7]
        assert heard == ["one", "two"]

    asyncio.run(main())


def test_an_error_reaches_every_follower() -> None:
    async def main() -> None:
        async def work(_say: Say) -> None:
            await asyncio.sleep(0)
            raise ValueError("no")

        flight = Flight(work, on_end=lambda _: None)
        ends = await asyncio.gather(
            *(flight.follow(lambda _: None) for _ in range(3)), return_exceptions=True
        )
        assert [type(end) for end in ends] == [ValueError] * 3

    asyncio.run(main())
