"""Autoscaler: the bounds of a function's containers, changed while its app runs."""

from __future__ import annotations

from typing import Any

from squall.model.errors import InvalidError
from squall.model.function import Scaling
from squall.sdk.calls import Target
from squall.sdk.client import Client

OPTIONS = {
    "min_containers": "min_containers",
    "max_containers": "max_containers",
    "buffer_containers": "buffer_containers",
    "scaledown_window": "scaledown_window_s",
}


def changes(options: dict[str, Any]) -> dict[str, Any]:
    """The fields of `Scaling` that are to change, of those options that are not None.

    Raises InvalidError that names the option, for what no bound can be whatever the others are.
    """
    found: dict[str, Any] = {}
    for option, value in options.items():
        if value is None:
            continue
        whole = option != "scaledown_window"
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise InvalidError(f"{option} is a {'whole ' if whole else ''}number, not {value!r}")
        found[OPTIONS[option]] = value if whole else float(value)
    try:
        Scaling(**{name: value for name, value in found.items() if name != "min_containers"})
        Scaling(min_containers=found.get("min_containers", 0))
    except ValueError as wrong:
        raise InvalidError(str(wrong)) from None
    return found


async def update(target: Target, changed: dict[str, Any]) -> None:
    """Has the server keep to these bounds from now on. Raises InvalidError where they do not go with the others."""
    await Client.here().ask_surely("function.scale", {"fn": target.function, "scaling": changed})
