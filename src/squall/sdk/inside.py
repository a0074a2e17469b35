"""Inside: what code can ask about where it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from squall.context import current
from squall.context.current import current_input, in_container
from squall.model.ids import CallId, input_id

H = TypeVar("H", bound=Callable[[], object])


def after_fork(hook: H) -> H:
    """Has each container call `hook` once, before its first input; at the client it is not called. Gives it back.

    Code of a module runs once, in the template that containers are forked from: what must be each container's own
    (a random generator, a connection, a file) belongs in a hook. Where there is no template it is called all the same.
    What it raises is raised by the calls that wait for the container.
    """
    current.after_fork.append(hook)
    return hook


def is_local() -> bool:
    """Whether this code runs at the client, not in a container."""
    return in_container() is None


def current_input_id() -> str | None:
    """The id of the input that is being run here, or None outside of one. Unique; the same for each attempt."""
    here = current_input.get()
    return None if here is None else input_id(CallId(here.call), here.index)


def current_function_call_id() -> str | None:
    """The id of the call whose input is being run here, or None outside of one."""
    here = current_input.get()
    return None if here is None else here.call
