"""Autoscaler: the bounds of a function's containers, changed while its app runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from squall.model.errors import InvalidError
from squall.model.function import Scaling
from squall.sdk.blocking import run_blocking, run_here
from squall.sdk.boundary import boundary
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


async def update(target: Target, changed: dict[str, Any], *, all_sets: bool = False) -> None:
    """Has the server keep to these bounds from now on. Raises InvalidError where they do not go with the others.

    all_sets: of a class, with whatever parameters.
    """
    head = {**target.head, "scaling": changed, **({"sets": True} if all_sets else {})}
    await Client.here().ask_surely("function.scale", head)


class Update:
    """`update_autoscaler(...)`, blocking, and with `.aio` awaited. target: says of which function."""

    __slots__ = ("_all_sets", "_target")

    def __init__(self, target: Callable[[], Target], *, all_sets: bool = False) -> None:
        self._target = target
        self._all_sets = all_sets

    @boundary("call")
    def __call__(
        self,
        *,
        min_containers: int | None = None,
        max_containers: int | None = None,
        buffer_containers: int | None = None,
        scaledown_window: float | None = None,
    ) -> None:
        """Changes how many containers there are, until the app ends or is deployed again; what is None stays as it is.

        min_containers, max_containers, buffer_containers, scaledown_window: as in `App.function`. The declaration is not
        changed. Raises InvalidError for what is out of bounds, also together with what stays; nothing is changed then.
        """
        given = {name: value for name, value in locals().items() if name != "self"}
        # Before the loop is entered: a function that was looked up asks the server what it is.
        run_blocking(update(self._target(), changes(given), all_sets=self._all_sets))

    @boundary("call")
    async def aio(
        self,
        *,
        min_containers: int | None = None,
        max_containers: int | None = None,
        buffer_containers: int | None = None,
        scaledown_window: float | None = None,
    ) -> None:
        """The same, awaited."""
        given = {name: value for name, value in locals().items() if name != "self"}
        await run_here(update(self._target(), changes(given), all_sets=self._all_sets))
