"""`@squall.concurrent` as it is declared: what it says travels, and what cannot be is refused where it stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import squall
from squall.model.errors import InvalidError

app = squall.App("declared")


def noun_of(made: Any) -> Any:
    return made.declared.noun


def test_it_says_how_many_of_a_function_and_of_a_class() -> None:
    @app.function()
    @squall.concurrent(max_inputs=8, target_inputs=4)
    def many() -> None: ...

    @app.function()
    def one() -> None: ...

    @app.cls()
    @squall.concurrent(max_inputs=3)
    class Model:
        @squall.method()
        def work(self) -> None: ...

    assert (noun_of(many).max_inputs, noun_of(many).target_inputs) == (8, 4)
    assert (noun_of(one).max_inputs, noun_of(one).target_inputs) == (1, None)
    model = app.functions[next(name for name in app.functions if name.endswith("Model"))]
    assert (noun_of(model).max_inputs, noun_of(model).target_inputs) == (3, None)


def above() -> None:
    @squall.concurrent(max_inputs=2)
    @app.function()
    def work() -> None: ...


def of_a_method() -> None:
    class Model:
        @squall.concurrent(max_inputs=2)  # type: ignore[type-var]
        @squall.method()
        def work(self) -> None: ...


def none_at_all() -> None:
    @app.function()
    @squall.concurrent(max_inputs=0)
    def work() -> None: ...


def too_many() -> None:
    @app.function()
    @squall.concurrent(max_inputs=1001)
    def work() -> None: ...


def aims_too_high() -> None:
    @app.function()
    @squall.concurrent(max_inputs=2, target_inputs=3)
    def work() -> None: ...


def no_number() -> None:
    squall.concurrent(max_inputs=2.5)  # type: ignore[arg-type]


def nothing() -> None:
    squall.concurrent(max_inputs=None)  # type: ignore[arg-type]


def used_once() -> None:
    @app.function(single_use_containers=True)
    @squall.concurrent(max_inputs=2)
    def work() -> None: ...


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (above, "decorates a plain function or class"),
        (of_a_method, "and no method"),
        (none_at_all, "max_inputs is between 1 and 1000, not 0"),
        (too_many, "max_inputs is between 1 and 1000, not 1001"),
        (aims_too_high, "target_inputs is between 1 and max_inputs, 2, not 3"),
        (no_number, "max_inputs is a number"),
        (nothing, "max_inputs is a number"),
        (used_once, "a single-use container works on one input"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_what_cannot_be_is_refused_where_it_stands(wrong: Callable[[], None], said: str) -> None:
    with pytest.raises(InvalidError, match=said):
        wrong()
