"""`@squall.batched` as it is declared: what it says travels, and what cannot be is refused where it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import squall
from squall.model.errors import InvalidError

app = squall.App("declared")
DECORATE: Any = squall.batched(max_batch_size=2, wait_ms=1)


def test_it_says_how_many_and_how_long() -> None:
    @app.function()
    @squall.batched(max_batch_size=8, wait_ms=250)
    def joined(numbers: list[int]) -> list[int]:
        return numbers

    made: Any = joined
    assert (made.declared.noun.max_batch, made.declared.noun.batch_wait_s) == (8, 0.25)
    assert made(3) == 3


def above() -> None:
    @app.function()
    def work() -> None: ...

    DECORATE(work)


def above_a_method() -> None:
    class Model:
        @squall.method()
        def work(self) -> None: ...

    DECORATE(vars(Model)["work"])


def beside_another_method() -> None:
    @app.cls()
    class Model:
        @squall.method()
        @squall.batched(max_batch_size=2, wait_ms=1)
        def work(self, numbers: list[int]) -> list[int]:
            return numbers

        @squall.method()
        def other(self) -> None: ...


def yields() -> None:
    def work(numbers: list[int]) -> Iterator[int]:
        yield from numbers

    DECORATE(work)


def takes_any_number() -> None:
    def work(*numbers: list[int]) -> list[int]:
        return numbers[0]

    DECORATE(work)


def none_at_all() -> None:
    squall.batched(max_batch_size=0, wait_ms=1)


def too_many() -> None:
    @app.function()
    @squall.batched(max_batch_size=1001, wait_ms=1)
    def work(numbers: list[int]) -> list[int]:
        return numbers


def too_long() -> None:
    @app.function()
    @squall.batched(max_batch_size=10, wait_ms=600_001)
    def work(numbers: list[int]) -> list[int]:
        return numbers


def no_time() -> None:
    squall.batched(max_batch_size=2, wait_ms="5")  # type: ignore[arg-type]


def and_concurrent() -> None:
    @app.function()
    @squall.concurrent(max_inputs=2)
    @squall.batched(max_batch_size=2, wait_ms=1)
    def work(numbers: list[int]) -> list[int]:
        return numbers


def used_once() -> None:
    @app.function(single_use_containers=True)
    @squall.batched(max_batch_size=2, wait_ms=1)
    def work(numbers: list[int]) -> list[int]:
        return numbers


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (above, "decorates a plain function"),
        (above_a_method, "decorates a plain function"),
        (beside_another_method, "'work', which is batched, and others beside it"),
        (yields, "yields"),
        (takes_any_number, "any number of arguments"),
        (none_at_all, "from 1 on, not 0"),
        (too_many, "between 1 and 1000, not 1001"),
        (too_long, "wait_ms is between 0 and 600000"),
        (no_time, "a number of milliseconds"),
        (and_concurrent, "@squall.batched and @squall.concurrent do not go together"),
        (used_once, "@squall.batched and single_use_containers do not go together"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_what_cannot_be_is_refused_where_it_stands(wrong: Callable[[], None], said: str) -> None:
    with pytest.raises(InvalidError, match=said):
        wrong()
