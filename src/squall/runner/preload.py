"""Preload: the user's code imported in a template, once for all containers that are forked from it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from squall.context import current
from squall.model.function import Function
from squall.model.jsonable import from_json
from squall.runner import load, secret_reads
from squall.runner.callee import make_object, snap_hooks
from squall.runner.packages import without_packages
from squall.runner.place import OURS, take_place

_MOST_NAMED = 64
_LONGEST = 64
REMOTE_CALL_HINT = (
    "make remote calls inside functions: code that calls one while it is imported gets no template"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preloaded:
    """The user's plain function or class, and what it was loaded for; made: the object, where hooks of it have run."""

    function: Function
    call_user: Callable[..., Any]
    made: Any


HOOK_HINT = (
    "each container runs this hook itself; in the template there is no network, no secret and no other process: what needs more "
    "belongs in a hook without snap=True"
)
_REMOTE_CALL = {
    "t": "refused",
    "reason": "remote_call",
    "why": "the code makes a remote call while it is imported, or in a hook with snap=True",
    "hint": f"{REMOTE_CALL_HINT}, and a hook that does runs in each container without snap=True",
}
_LONGEST_WORDS = 300

_done: list[Preloaded] = []


def preload(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Import what `asked` names, and say {"t": "ready"} with its "modules", or {"t": "refused"} with a reason; see runtime.template.

    asked: "function" as JSON, and "pickled", bytes, of code that travels by value. The way that a container takes
    without a template tells the user what is wrong with code that cannot be imported, so here a word will do. "hooks": the
    enter hooks of a class that have run.
    """
    source = take_place()
    function = from_json(Function, asked["function"])
    pickled = asked.get("pickled")
    current.enter_container(current.Container(id="", function=function.id, app=function.app, link=None))
    before = without_packages()
    with secret_reads.noted(function):
        call_user, hooks, made, refused = _loaded(function, pickled, source)
    read = secret_reads.read_of(function)
    if read:
        return secret_reads.refusal(read)
    if refused is not None or call_user is None:
        return refused or {}
    _done.append(Preloaded(function=function, call_user=call_user, made=made))
    return {"t": "ready", "modules": _packages(before, source), "hooks": hooks}


def _loaded(
    function: Function, pickled: bytes | None, source: str
) -> tuple[Callable[..., Any] | None, list[str], Any, dict[str, Any] | None]:
    """The user's function or class, its hooks, and its object where hooks of it have run; last, why there is none of that."""
    try:
        call_user = load.load(function.code, pickled=pickled, source_dir=source)
    except current.NotInTemplateError:
        return None, [], None, _REMOTE_CALL
    except BaseException as error:  # noqa: BLE001 - the user's code ends here
        why = f"{type(error).__name__} while the code was imported"
        return None, [], None, {"t": "refused", "reason": "import", "why": why}
    hooks = snap_hooks(call_user) if function.methods else []
    made, refused = _made(function, call_user) if hooks else (None, None)
    return call_user, hooks, made, refused


def preloaded(function: Function) -> tuple[Callable[..., Any], Any] | None:
    """The user's function or class, and its object if one was made, where this process was forked from a template of it."""
    for one in _done:
        if one.function.code == function.code:
            return one.call_user, one.made if one.function.values == function.values else None
    return None


def _made(function: Function, cls: Any) -> tuple[Any, dict[str, Any] | None]:
    """The object of a class after its hooks for templates, or why there is none: then each container makes its own."""
    try:
        with _within(function.startup_timeout_s / 2):
            return make_object(function, cls), None
    except current.NotInTemplateError:
        return None, _REMOTE_CALL
    except BaseException as error:  # noqa: BLE001 - the user's code ends here
        last = getattr(error, "__notes__", ["raised while the object was made"])[-1]
        why = f"{type(error).__name__}: {str(error)[:_LONGEST_WORDS]}, {last}"
        return None, {"t": "refused", "reason": "hook", "why": why, "hint": HOOK_HINT}


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in whatever runs longer: a hook that waits for what a template has not would keep others waiting."""

    def ring(_number: int, _frame: Any) -> None:
        raise TimeoutError(f"it took longer than {seconds:g} s in the template")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def _packages(before: frozenset[str], source: str) -> list[str]:
    """The top-level modules that were loaded since `before` and come from packages: not Python's, ours, or the user's."""
    since = set(sys.modules) - before
    tops = {name.partition(".")[0] for name in since if isinstance(name, str)} - sys.stdlib_module_names
    return sorted(top for top in tops - before - OURS if _is_of_a_package(top, source))[:_MOST_NAMED]


def _is_of_a_package(top: str, source: str) -> bool:
    path = getattr(sys.modules.get(top), "__file__", None)
    named = top.isidentifier() and len(top) <= _LONGEST
    return named and isinstance(path, str) and not path.startswith(f"{source}/")
