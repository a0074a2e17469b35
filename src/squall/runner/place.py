"""Place: where this interpreter finds modules, and what it says of itself, as the client's would."""

from __future__ import annotations

import os
import sys

from squall.runner import load

OURS = frozenset({"squall", "cloudpickle"})
"""The packages that are ours and not the user's."""

_taken: list[str] = []


def take_place() -> str:
    """Make this interpreter the client's, as its environment says, and give the directory of the user's source.

    A forked one was warmed as the launcher's: our own packages lie elsewhere in here, and so does its home where the
    image has a copy of it. A fork of a template is in its place already, and what user code has done to `sys.path` stays.
    """
    source = os.environ.pop("SQUALL_SOURCE_DIR", load.APP_DIR)
    path, python = os.environ.pop("SQUALL_PATH", ""), os.environ.pop("SQUALL_PYTHON", "")
    home = os.environ.pop("SQUALL_PYTHON_HOME", "")
    if not _taken:
        _taken.append(source)
        if home and home != sys.base_prefix:
            move_home(home)
        _take_place(path, python)
    return source


def own_names(source: str) -> frozenset[str]:
    """The names, up to the first dot, of what lies in the directory of the user's source."""
    try:
        return frozenset(name.partition(".")[0] for name in os.listdir(source))
    except OSError:
        return frozenset()


def move_home(home: str) -> None:
    """Make this interpreter find its standard library below `home`, where a copy of its own lies, and nothing where it was started.

    What is loaded already stays; the modules that come after it are looked for in the copy.
    """
    old = sys.base_prefix
    # What is found elsewhere here is nowhere in the image.
    sys.path[:] = [_moved(place, old, home) for place in sys.path if place.startswith(f"{old}/")]
    for module in list(sys.modules.values()):
        places = getattr(module, "__path__", None)
        if isinstance(places, list):
            places[:] = [_moved(place, old, home) for place in places]
    sys.base_prefix = sys.base_exec_prefix = home
    if getattr(sys, "_stdlib_dir", None):
        sys._stdlib_dir = _moved(sys._stdlib_dir, old, home)  # type: ignore[attr-defined]  # CPython's own
    sys.path_importer_cache.clear()


def _moved(place: str, old: str, new: str) -> str:
    return new + place[len(old) :] if place == old or place.startswith(f"{old}/") else place


def _take_place(path: str, python: str) -> None:
    if path:
        wanted = path.split(":")
        standard = [
            place for place in sys.path if "site-packages" not in place and "dist-packages" not in place
        ]
        sys.path[:] = [*wanted, *(place for place in standard if place and place not in wanted)]
        sys.path_importer_cache.clear()
    own = os.path.join(path.rpartition(":")[2], "squall")
    if os.path.isdir(own):
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] == "squall" and hasattr(module, "__path__"):
                module.__path__ = [os.path.join(os.path.dirname(own), *name.split("."))]
    if python:
        executable, _, prefix = python.partition(":")
        sys.executable, sys.prefix, sys.exec_prefix = executable, prefix, prefix
