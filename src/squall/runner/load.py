"""Load: from a module reference, or a pickle, to the user's function."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from typing import Any

from squall.context import current
from squall.model.function import Code

APP_DIR = "/app"
MAIN = "__squall_main__"


class CodeMissingError(Exception):
    """The module was imported, but it holds no such function."""


def load(code: Code, *, pickled: bytes | None, source_dir: str) -> Callable[..., Any]:
    """The user's plain function. Raises whatever the user's module raises while it is imported.

    source_dir: where the shipped source lies; it comes first on sys.path.
    """
    if source_dir not in sys.path:
        sys.path.insert(0, source_dir)
    if code.main:
        _import_main(code, source_dir)
    if pickled is not None:
        import_cloudpickle()
        return plain(importlib.import_module("pickle").loads(pickled))
    module = sys.modules[MAIN] if code.main else _import(code, source_dir)
    declared = current.declared.get(f"{module.__name__}:{code.qualname}")
    if declared is not None:
        return declared
    found: Any = module
    for part in code.qualname.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise CodeMissingError(f"module {code.module!r} has no function {code.qualname!r}")
    return plain(found)


def plain(found: Any) -> Callable[..., Any]:
    """The undecorated function behind what a name holds."""
    function: Callable[..., Any] = getattr(found, "__squall_function__", found)
    return function


def import_cloudpickle() -> None:
    """Makes by-value objects loadable: their pickles name cloudpickle's own functions."""
    importlib.import_module("cloudpickle")


def _import(code: Code, source_dir: str) -> Any:
    if code.file is not None and code.module not in sys.modules:
        path = os.path.join(source_dir, code.file)
        if os.path.exists(path) and not code.module.isidentifier() and "." not in code.module:
            return _exec_file(code.module, path)
    return importlib.import_module(code.module)


def _import_main(code: Code, source_dir: str) -> None:
    """Runs the client's script under another name, so that its `if __name__ == "__main__"` part stays quiet.

    `__main__` becomes an alias of it: pickles made at the client name classes there.
    """
    if MAIN in sys.modules or code.file is None:
        return
    module = _exec_file(MAIN, os.path.join(source_dir, code.file))
    sys.modules["__main__"] = module


def _exec_file(name: str, path: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise CodeMissingError(f"{path} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
