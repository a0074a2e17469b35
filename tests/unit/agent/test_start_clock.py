"""How long a start has waited on its machine, and what is told of one that is late."""

from __future__ import annotations

import asyncio
from typing import Any

from squall.agent.start_clock import StartClock


def test_each_wait_is_counted_once_and_in_its_order() -> None:
    async def scene() -> None:
        told: list[dict[str, Any]] = []
        clock = StartClock("co-1", told.append)
        clock.enter("image")
        await asyncio.sleep(0.02)
        clock.enter("launcher")
        clock.leave()
        clock.leave()
        assert list(clock.waited_ms) == ["image", "launcher"]
        assert clock.waited_ms["image"] >= 15
        assert told == []

    asyncio.run(scene())


def test_one_that_is_late_says_what_it_waits_for_and_from_then_on_each_further_wait() -> None:
    async def scene() -> None:
        told: list[dict[str, Any]] = []
        heard = asyncio.Event()

        def tell(event: dict[str, Any]) -> None:
            told.append(event)
            heard.set()

        clock = StartClock("co-1", tell)
        for phase in ("image", "template"):
            heard.clear()
            clock.enter(phase)
            async with asyncio.timeout(10):
                await heard.wait()
        clock.leave()
        assert [(one["event"], one["container"], one["waits_for"]) for one in told] == [
            ("starting", "co-1", "image"),
            ("starting", "co-1", "template"),
        ]
        assert list(told[1]["waited_ms"]) == ["image"]

    asyncio.run(scene())
