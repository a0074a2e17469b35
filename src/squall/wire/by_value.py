"""By value: code and classes that the other side cannot import, packed whole."""

from __future__ import annotations

import functools
import importlib
import io
import operator
import pickle
import sys
import types
from collections.abc import Callable
from typing import Any, TypeAlias

from squall.model.errors import FeatureUnavailable

BufferCallback: TypeAlias = Callable[[pickle.PickleBuffer], bool]


def dumps_by_value(value: Any, buffer_callback: BufferCallback | None, main: str | None) -> bytes:
    """A pickle of `value` with the functions and classes in it that cannot be imported.

    main: the name under which the other side imports what is `__main__` here; what can be found there by its name
    then travels as that name. Raises whatever the classes in it raise.
    """
    file = io.BytesIO()
    _pickler()(file, buffer_callback, main).dump(value)
    return file.getvalue()


def named(module: str, path: str) -> Any:
    """The object at `path` in `module`. Pickles refer to this function by its name: it stays as it is."""
    return operator.attrgetter(path)(importlib.import_module(module))


@functools.cache
def _pickler() -> Any:
    """The class that does it; made at first use, since most programs never need it and it takes 20 ms to load."""
    try:
        cloudpickle: Any = importlib.import_module("cloudpickle")
    except ImportError as error:
        raise FeatureUnavailable(
            "code that travels by value needs the package cloudpickle, which is missing here",
            remedy="install cloudpickle, or put what the value refers to into a module",
        ) from error

    class ByValue(cloudpickle.Pickler):  # type: ignore[misc]  # mypy does not see this package
        def __init__(
            self, file: io.BytesIO, buffer_callback: BufferCallback | None, main: str | None
        ) -> None:
            super().__init__(file, protocol=5, buffer_callback=buffer_callback)
            self._main = main

        def reducer_override(self, obj: Any) -> Any:
            if self._main is not None and isinstance(obj, (type, types.FunctionType)) and _is_in_main(obj):
                return named, (self._main, obj.__qualname__)
            return super().reducer_override(obj)

    return ByValue


def _is_in_main(obj: Any) -> bool:
    if obj.__module__ != "__main__" or "<" in obj.__qualname__:
        return False
    try:
        return operator.attrgetter(obj.__qualname__)(sys.modules["__main__"]) is obj
    except (AttributeError, KeyError):
        return False
