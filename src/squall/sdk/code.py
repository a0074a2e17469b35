"""Code by value: functions as pickles, for those that no module reference reaches."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final

from squall.model.errors import FeatureUnavailable, FunctionNotSerializable
from squall.sdk.shared_directory import package_directories
from squall.wire.culprit import not_serializable

_REMEDY: Final = "do not close over open files, locks or connections; make them inside the function"
# What every container has: Squall, and what travels with it.
_BROUGHT: Final = frozenset({"squall", "cloudpickle", *sys.stdlib_module_names})


def pickled_function(raw: Callable[..., Any]) -> bytes:
    """The bytes of a function, its code in them. Raises FunctionNotSerializable, naming what cannot travel."""
    cloudpickle = _cloudpickle()
    try:
        with _by_value([raw.__module__] if raw.__module__ in sys.modules else []):
            data: bytes = cloudpickle.dumps(raw, protocol=5)
    except Exception as wrong:
        raise _not_serializable(raw, wrong) from wrong
    return data


def pickled_call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
    """The bytes of `(function, args, kwargs)`, with the code of all modules in them that are the user's own.

    Raises FunctionNotSerializable and ArgumentNotSerializable, naming what cannot travel.
    """
    cloudpickle = _cloudpickle()
    with _by_value(own_modules()):
        try:
            data: bytes = cloudpickle.dumps((function, args, dict(kwargs)), protocol=5)
        except Exception as wrong:
            try:
                cloudpickle.dumps(function, protocol=5)
            except Exception as cause:
                raise _not_serializable(function, cause) from cause
            raise not_serializable((args, dict(kwargs)), wrong, "call") from wrong
    return data


def own_modules() -> tuple[str, ...]:
    """The modules loaded here that are the user's own: the script, and those of files where no packages are installed."""
    inside = tuple(os.path.join(directory, "") for directory in package_directories())
    found = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        is_file = isinstance(file, str) and name.partition(".")[0] not in _BROUGHT
        if name == "__main__" or (is_file and not os.path.realpath(str(file)).startswith(inside)):
            found.append(name)
    return tuple(sorted(found))


@contextmanager
def _by_value(modules: Iterable[str]) -> Iterator[None]:
    """Within it, the code of these modules travels by value; that of the script does so in any case."""
    cloudpickle = _cloudpickle()
    before = {"__main__", *cloudpickle.list_registry_pickle_by_value()}
    found = {
        module.__name__: module for name in modules if isinstance(module := sys.modules[name], ModuleType)
    }
    new = [module for name, module in found.items() if name in sys.modules and name not in before]
    for module in new:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in new:
            cloudpickle.unregister_pickle_by_value(module)


def _cloudpickle() -> Any:
    try:
        return importlib.import_module("cloudpickle")
    except ImportError as error:
        raise FeatureUnavailable(
            "code that travels by value needs the package cloudpickle, which is missing here",
            remedy="install cloudpickle, or put the function into a module",
        ) from error


def _not_serializable(function: Callable[..., Any], wrong: Exception) -> FunctionNotSerializable:
    where = str(not_serializable(function, wrong, "function"))
    return FunctionNotSerializable(
        f"{function.__qualname__!r} cannot travel by value: {where}", remedy=_REMEDY
    )
