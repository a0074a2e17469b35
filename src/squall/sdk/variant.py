"""Variant: a function with other options, which has containers of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

from squall.model import function as nouns
from squall.model.errors import InvalidError
from squall.model.gpu import parse_gpus
from squall.model.jsonable import to_json
from squall.model.resources import Resources
from squall.model.variant import Changes, merged, varied, with_changes
from squall.sdk.amounts import asks_of, limits_of
from squall.sdk.blocking import run_blocking
from squall.sdk.calls import Target
from squall.sdk.declare import env_of, retries_of
from squall.sdk.function import Function
from squall.sdk.volume_option import mounts_of, volumes_of

P = ParamSpec("P")
R = TypeVar("R")
_NOTHING = Resources()


class Variant(Function[P, R]):
    """A function, and what is changed of it."""

    def __init__(self, base: Function[P, R], changes: Changes) -> None:
        self._base = base
        self._changes = changes
        self.__squall_function__ = base.__squall_function__
        self.__name__ = self.__qualname__ = base.name
        self._give_verbs()

    def __reduce__(self) -> Any:
        """As an argument it travels as its function does, with what is changed."""
        return Variant, (self._base, dict(self._changes))

    @property
    def name(self) -> str:
        """Its function's name within the app."""
        return self._base.name

    @property
    def is_generator(self) -> bool:
        """Whether it yields."""
        return self._base.is_generator

    @property
    def spec(self) -> nouns.Function:
        """What the decorator declared, with what is changed."""
        return varied(self._base.spec, self._changes)

    def local(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs its function here, in this process, without a container."""
        return self._base.local(*args, **kwargs)

    def target(self) -> Target:
        """Where calls go. Raises what that of its function raises."""
        target = self._base.target()
        return replace(target, function=with_changes(target.function, self._changes))

    def varied(self, changes: Changes) -> Variant[P, R]:
        """One with further changes."""
        return Variant(self._base, merged(self._changes, changes))


def variant_of(function: Function[P, R], options: Mapping[str, Any]) -> Variant[P, R]:
    """The function with these options; None leaves one as it is. Raises InvalidError that names the option."""
    try:
        changes = _changes({name: value for name, value in options.items() if value is not None})
    except (TypeError, ValueError) as wrong:
        raise InvalidError(f"with_options of {function.name!r}: {wrong}") from None
    made = function.varied(changes) if isinstance(function, Variant) else Variant(function, changes)
    if hasattr(function, "declared"):
        made.spec  # noqa: B018 - what cannot be is said here, where its code is, and not at the first call
    return made


_SCALING = ("max_containers", "buffer_containers")


def _changes(given: Mapping[str, Any]) -> Changes:
    cpu, memory = given.get("cpu"), given.get("memory")
    asks, limits = asks_of(cpu, memory, _NOTHING), limits_of(cpu, memory)
    changes: dict[str, Any] = {
        "asks": {
            **({"cpu_milli": asks.cpu_milli} if cpu is not None else {}),
            **({"memory_mib": asks.memory_mib} if memory is not None else {}),
        },
        "limits": {
            **({"cpu_milli": limits.cpu_milli} if limits.cpu_milli is not None else {}),
            **({"memory_mib": limits.memory_mib} if limits.memory_mib is not None else {}),
        },
        "env": env_of(given.get("env")),
        "scaling": {name: _count(name, given[name]) for name in _SCALING if name in given},
    }
    if "scaledown_window" in given:
        changes["scaling"]["scaledown_window_s"] = float(given["scaledown_window"])
    found = {name: value for name, value in changes.items() if value}
    if "gpu" in given:
        found["gpu"] = to_json(parse_gpus(given["gpu"]))
    if "retries" in given:
        retries = retries_of(given["retries"], is_generator=False)
        found["retries"] = None if retries is None else to_json(retries)
    if "timeout" in given:
        found["timeout_s"] = float(given["timeout"])
    if "volumes" in given:
        found["volumes"] = to_json(run_blocking(mounts_of(volumes_of(given["volumes"]))))
    return found


def _count(what: str, given: Any) -> int:
    if isinstance(given, bool) or not isinstance(given, int):
        raise TypeError(f"{what} is a whole number, not {given!r}")
    return given
