"""The option `schedule`: for plain functions of deployed apps that need no arguments."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import squall
from squall.model.errors import InvalidError


def test_a_function_is_declared_with_its_schedule() -> None:
    app = squall.App("jobs")

    @app.function(schedule=squall.Cron("5 4 * * *"))
    def nightly(verbose: bool = False, *more: int, **named: int) -> None:
        pass

    schedule = nightly.spec.schedule
    assert schedule is not None
    assert schedule.rule == squall.Cron("5 4 * * *")


def test_what_nobody_could_call_has_no_schedule() -> None:
    app = squall.App("jobs")
    hourly = squall.Period(hours=1)

    def needs(x: int, y: int = 0, *, z: int) -> None:
        pass

    def yields() -> Iterator[int]:
        yield 1

    with pytest.raises(
        InvalidError, match=r"'.*needs': nobody gives a scheduled function arguments, and x, z have no"
    ):
        app.function(schedule=hourly)(needs)
    with pytest.raises(InvalidError, match="a generator has no schedule"):
        app.function(schedule=hourly)(yields)
    with pytest.raises(InvalidError, match=r"schedule is squall\.Cron"):
        app.function(schedule="5 4 * * *")(lambda: None)  # type: ignore[arg-type]  # what users may write
    with pytest.raises(InvalidError, match="a class has no schedule"):
        app.cls(schedule=hourly)
