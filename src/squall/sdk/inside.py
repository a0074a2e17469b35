"""Inside: what code can ask about where it runs."""

from __future__ import annotations

from squall.context.current import current_input, in_container
from squall.model.ids import CallId, input_id


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
