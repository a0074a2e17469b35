"""The server looks for a moment after it gave out work, and sleeps then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

from squall.server.awake import AWAY_S, LOOK_S, REST_S, Awake


class Loop:
    """A loop, a clock that the test moves, and others who take the processor for so long when it is left to them."""

    def __init__(self) -> None:
        self.now_s = 1.0
        self.away_s = 0.0
        self.soon: list[Callable[[], None]] = []

    def awake(self) -> Awake:
        return Awake(cast("asyncio.AbstractEventLoop", self), clock=self.time, give_way=self.give_way)

    def time(self) -> float:
        return self.now_s

    def give_way(self) -> None:
        self.now_s += self.away_s

    def call_soon(self, callback: Callable[..., None], *_: Any) -> None:
        self.soon.append(callback)

    def turn(self) -> int:
        """One iteration: how many callbacks it had."""
        todo, self.soon = self.soon, []
        for callback in todo:
            callback()
        return len(todo)


def test_it_looks_until_its_time_is_over_and_once_an_iteration_however_often_it_is_touched() -> None:
    loop = Loop()
    awake = loop.awake()
    begun_s = loop.now_s
    awake.touch()
    awake.touch()
    assert [loop.turn(), loop.turn()] == [1, 1]
    loop.now_s = begun_s + LOOK_S / 2
    awake.touch()
    loop.now_s = begun_s + LOOK_S
    assert loop.turn() == 1
    loop.now_s = begun_s + LOOK_S * 2
    assert [loop.turn(), loop.turn()] == [1, 0]
    awake.touch()
    assert loop.turn() == 1


def test_the_next_hop_may_have_the_processor_in_between() -> None:
    loop = Loop()
    awake = loop.awake()
    loop.away_s = min(AWAY_S, LOOK_S) / 8
    awake.touch()
    assert [loop.turn() for _ in range(4)] == [1, 1, 1, 1]


def test_beside_other_work_it_sleeps_and_tries_again_only_after_a_rest() -> None:
    loop = Loop()
    awake = loop.awake()
    loop.away_s = AWAY_S * 2
    awake.touch()
    assert [loop.turn(), loop.turn()] == [1, 0]
    awake.touch()
    assert loop.turn() == 0
    loop.now_s += REST_S
    awake.touch()
    assert loop.turn() == 1


def test_its_own_clock_tells_the_moment_from_a_millisecond() -> None:
    soon: list[Callable[[], None]] = []
    loop = Loop()
    loop.soon = soon
    awake = Awake(cast("asyncio.AbstractEventLoop", loop), give_way=lambda: None)
    awake.touch()
    until_s = time.monotonic() + LOOK_S
    while time.monotonic() < until_s:
        pass
    assert [loop.turn(), loop.turn()] == [1, 0]
