"""Code by value: a function as a pickle, for those that no module reference reaches."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

from squall.model.errors import FunctionNotSerializable
from squall.wire.culprit import not_serializable


def pickled_function(raw: Callable[..., Any]) -> bytes:
    """The bytes of a function, its code in them. Raises FunctionNotSerializable, naming what cannot travel."""
    cloudpickle = importlib.import_module("cloudpickle")
    module = sys.modules.get(raw.__module__)
    by_reference = module is not None and raw.__module__ != "__main__"
    try:
        if by_reference:
            cloudpickle.register_pickle_by_value(module)
        try:
            data: bytes = cloudpickle.dumps(raw, protocol=5)
        finally:
            if by_reference:
                cloudpickle.unregister_pickle_by_value(module)
    except Exception as wrong:
        where = str(not_serializable(raw, wrong, "function"))
        raise FunctionNotSerializable(
            f"{raw.__qualname__!r} cannot travel by value: {where}",
            remedy="do not close over open files, locks or connections; make them inside the function",
        ) from wrong
    return data
