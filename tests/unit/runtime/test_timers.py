"""Timers fire in their order, once each."""

from __future__ import annotations

from squall.runtime.timers import Timers


def test_they_fire_in_order_and_once() -> None:
    fired: list[str] = []
    timers = Timers()
    timers.at(3.0, lambda: fired.append("late"))
    timers.at(1.0, lambda: fired.append("early"))
    timers.at(1.0, lambda: fired.append("early too"))
    assert timers.next_in(0.5) == 0.5
    assert timers.next_in(9.0) == 0.0
    timers.run_due(1.0)
    assert fired == ["early", "early too"]
    timers.run_due(9.0)
    timers.run_due(9.0)
    assert fired == ["early", "early too", "late"]
    assert timers.next_in(9.0) is None


def test_one_that_sets_itself_again_is_not_run_for_ever() -> None:
    timers = Timers()
    fired: list[float] = []

    def again() -> None:
        fired.append(2.0)
        timers.at(2.0 + len(fired), again)

    timers.at(2.0, again)
    timers.run_due(2.0)
    assert fired == [2.0]
