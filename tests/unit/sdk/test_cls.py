"""Classes as they are declared: what cannot be one is refused where it stands, and what can be stays a class."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import squall
from squall.model.errors import AlreadyExistsError, ExecutionError, InvalidError


def twice(app: squall.App) -> None:
    class Model:
        @squall.method()
        def work(self) -> None: ...

    app.cls()(app.cls()(Model))


def without_methods(app: squall.App) -> None:
    @app.cls()
    class Model:
        @squall.enter()
        def load(self) -> None: ...


def a_function(app: squall.App) -> None:
    @app.cls()  # type: ignore[arg-type]
    def work() -> None: ...


def a_constructor_with_arguments(app: squall.App) -> None:
    @app.cls()
    class Model:
        def __init__(self, size: int) -> None: ...

        @squall.method()
        def work(self) -> None: ...


def a_parameter_without_a_type(app: squall.App) -> None:
    @app.cls()
    class Model:
        size = squall.parameter()

        @squall.method()
        def work(self) -> None: ...


def a_parameter_of_another_type(app: squall.App) -> None:
    @app.cls()
    class Model:
        sizes: list[int] = squall.parameter()

        @squall.method()
        def work(self) -> None: ...


def a_default_of_another_type(app: squall.App) -> None:
    @app.cls()
    class Model:
        size: int = squall.parameter(default="4")  # type: ignore[assignment]

        @squall.method()
        def work(self) -> None: ...


def a_start_without_a_value(app: squall.App) -> None:
    @app.cls()
    class Model:
        size: int = squall.parameter(init=False)

        @squall.method()
        def work(self) -> None: ...


def a_hook_with_arguments(app: squall.App) -> None:
    class Model:
        @squall.enter()
        def load(self, name: str) -> None: ...


def a_hook_that_yields(app: squall.App) -> None:
    class Model:
        @squall.exit()
        def close(self) -> Iterator[int]:
            yield 1


def a_hook_that_is_a_method(app: squall.App) -> None:
    class Model:
        @squall.method()
        @squall.enter()
        def load(self) -> None: ...


def a_method_that_is_a_hook(app: squall.App) -> None:
    class Model:
        @squall.enter()  # type: ignore[type-var]
        @squall.method()
        def load(self) -> None: ...


def a_method_said_to_yield(app: squall.App) -> None:
    class Model:
        @squall.method(is_generator=True)
        def work(self) -> None: ...


def an_option_out_of_bounds(app: squall.App) -> None:
    @app.cls(timeout=-1)
    class Model:
        @squall.method()
        def work(self) -> None: ...


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (twice, "decorated with @app.cls twice"),
        (without_methods, "has no method that can be called remotely"),
        (a_function, "@app.cls decorates a class"),
        (a_constructor_with_arguments, "takes arguments"),
        (a_parameter_without_a_type, "'size' of .*Model has no type"),
        (a_parameter_of_another_type, "'sizes' of .*Model has the type"),
        (a_default_of_another_type, "'size' of .*Model is int, not str"),
        (a_start_without_a_value, "init=False and no default"),
        (a_hook_with_arguments, "nobody gives it 'name'"),
        (a_hook_that_yields, "yields"),
        (a_hook_that_is_a_method, "is a hook"),
        (a_method_that_is_a_hook, "decorates a plain function"),
        (a_method_said_to_yield, "yields nothing"),
        (an_option_out_of_bounds, "@app.cls of .*timeout"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_what_cannot_be_a_class_is_refused_where_it_stands(
    wrong: Callable[[squall.App], None], said: str
) -> None:
    with pytest.raises(InvalidError, match=said):
        wrong(squall.App("wrong"))


app = squall.App("declared")


class Base:
    size: int = squall.parameter(default=1)

    def __init__(self) -> None:
        self.seen = self.size

    @squall.method()
    def work(self) -> int:
        return self.size


@app.cls()
class Model(Base):
    language: str = squall.parameter(default="en")


def test_a_name_that_is_taken_by_another_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # In a notebook, whose program is no file, a cell may be evaluated again.
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "program.py", raising=False)
    with pytest.raises(AlreadyExistsError, match="Model"):

        @app.cls(name="Model")
        class Other:
            @squall.method()
            def work(self) -> None: ...


def test_its_objects_are_ordinary_ones_whose_parameters_are_set_before_their_own_constructor() -> None:
    model: Any = Model(3, language="de")  # type: ignore[call-arg]
    assert Base in type(model).__mro__
    assert (model.size, model.language, model.seen) == (3, "de", 3)
    assert model.work() == model.work.local() == 3


def test_an_object_and_its_method_travel_and_are_the_same_there() -> None:
    model: Any = Model(size=5)  # type: ignore[call-arg]
    assert pickle.loads(pickle.dumps(model)).work() == 5
    assert pickle.loads(pickle.dumps(model.work))() == 5


def test_a_remote_call_while_no_app_runs_says_so() -> None:
    with pytest.raises(ExecutionError, match="'Model' is called remotely, but its app does not run"):
        Model().work.remote()


def test_a_base_whose_app_decorates_only_another_class_has_no_remote_calls() -> None:
    with pytest.raises(InvalidError, match="belongs to no app"):
        Base().work.remote()
