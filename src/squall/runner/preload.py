"""Preload: the user's code imported in a template, once for all containers that are forked from it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from squall.context import current
from squall.model.function import Code, Function
from squall.model.jsonable import from_json
from squall.runner import load
from squall.runner.packages import without_packages
from squall.runner.place import OURS, take_place

_MOST_NAMED = 64
_LONGEST = 64
REMOTE_CALL_HINT = (
    "make remote calls inside functions: code that calls one while it is imported gets no template"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preloaded:
    """The user's plain function, and the code that it was loaded from."""

    code: Code
    call_user: Callable[..., Any]


_done: list[Preloaded] = []


def preload(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Import what `asked` names, and say {"t": "ready"} with its "modules", or {"t": "refused"} with a reason; see runtime.template.

    asked: "function" as JSON, and "pickled", bytes, of code that travels by value. The way that a container takes
    without a template tells the user what is wrong with code that cannot be imported, so here a word will do.
    """
    source = take_place()
    function = from_json(Function, asked["function"])
    pickled = asked.get("pickled")
    current.enter_container(current.Container(id="", function=function.id, app=function.app, link=None))
    before = without_packages()
    try:
        call_user = load.load(function.code, pickled=pickled, source_dir=source)
    except current.NotInTemplateError:
        why = "the code makes a remote call while it is imported"
        return {"t": "refused", "reason": "remote_call", "why": why, "hint": REMOTE_CALL_HINT}
    except BaseException as error:  # noqa: BLE001 - the user's code ends here
        return {
            "t": "refused",
            "reason": "import",
            "why": f"{type(error).__name__} while the code was imported",
        }
    _done.append(Preloaded(code=function.code, call_user=call_user))
    return {"t": "ready", "modules": _packages(before, source)}


def preloaded(code: Code) -> Callable[..., Any] | None:
    """The user's function, where this process was forked from a template that has loaded this very code."""
    return next((one.call_user for one in _done if one.code == code), None)


def _packages(before: frozenset[str], source: str) -> list[str]:
    """The top-level modules that were loaded since `before` and come from packages: not Python's, ours, or the user's."""
    since = set(sys.modules) - before
    tops = {name.partition(".")[0] for name in since if isinstance(name, str)} - sys.stdlib_module_names
    return sorted(top for top in tops - before - OURS if _is_of_a_package(top, source))[:_MOST_NAMED]


def _is_of_a_package(top: str, source: str) -> bool:
    path = getattr(sys.modules.get(top), "__file__", None)
    named = top.isidentifier() and len(top) <= _LONGEST
    return named and isinstance(path, str) and not path.startswith(f"{source}/")
