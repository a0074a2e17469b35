"""The server looks for a moment after it gave out work, and sleeps then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from squall.server.awake import LOOK_S, Awake


class Loop:
    """A loop whose clock the test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.soon: list[Callable[[], None]] = []

    def time(self) -> float:
        return self.now_s

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
    awake = Awake(cast("asyncio.AbstractEventLoop", loop))
    awake.touch()
    awake.touch()
    assert [loop.turn(), loop.turn()] == [1, 1]
    loop.now_s = LOOK_S / 2
    awake.touch()
    loop.now_s = LOOK_S
    assert loop.turn() == 1
    loop.now_s = LOOK_S * 2
    assert [loop.turn(), loop.turn()] == [1, 0]
    awake.touch()
    assert loop.turn() == 1
