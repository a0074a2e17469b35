"""Raises again here what was raised in a container: the same type, message, attributes, notes and lines."""

from __future__ import annotations

import asyncio
import importlib
import os
import pickle
import re
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

from squall.model.errors import RemoteError, from_wire
from squall.model.raised import STR_FAILED, Node, Place, Raised
from squall.sdk.remote_frames import LocalFiles, joined, marker, moved_from, traceback_of

# Raised here they would end or cancel what runs here, which the remote code did not mean.
_LEAVING: Final = (SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError)
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]+")

_Parts = Mapping[int, tuple[Mapping[int, bytes], Mapping[str, bytes]]]


def rebuild(
    head: Mapping[str, Any],
    payload: bytes | None,
    *,
    source_root_local: str | None,
    moved: Mapping[str, str] | None = None,
    trusted: bool = True,
) -> BaseException:
    """The exception that `head` and `payload` describe, ready to be raised; never raises itself.

    Its traceback starts with one marker line, and shows below it the remote lines of user code under the names of the local
    files: below `source_root_local`, or where `moved` (path in the shipped source: local path) says (by default what `know_moved` was told). A type that
    cannot be found here becomes RemoteError. Where not `trusted`, nothing is unpickled and no module is imported.
    """
    try:
        raised: Raised = head  # type: ignore[assignment]  # checked by use: whatever is wrong ends below
        parts: _Parts = pickle.loads(payload) if payload and trusted else {}  # noqa: S301 - the caller trusts this function
        files = LocalFiles(
            root=source_root_local, moved=moved_from(source_root_local) if moved is None else moved
        )
        return _Tree(raised, parts, files, trusted=trusted).top()
    except Exception as malformed:  # noqa: BLE001 - the head comes from a container, and unpickling runs foreign code
        text = f"{head.get('type', 'an exception')}: {head.get('message', '')}"
        return RemoteError(
            text, remedy=f"its description could not be read here ({malformed!r:.200}); see `squall logs`"
        )


class _LeftBehind:
    """Stands for an object that stayed in the container; dir() gives what Python may suggest of it."""

    __slots__ = ("_names",)

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def __dir__(self) -> list[str]:
        return list(self._names)

    def __repr__(self) -> str:
        return "<object left in the container>"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What one node says, with the pickled parts put back in their places."""

    node: Node
    args: tuple[Any, ...]
    state: Mapping[str, Any]
    inner: tuple[BaseException, ...]


class _Tree:
    """The exceptions of one description, built from the last to the first: each points only at later ones."""

    def __init__(self, head: Raised, parts: _Parts, files: LocalFiles, *, trusted: bool) -> None:
        self._nodes = head["nodes"]
        self._places: list[Place] = head["places"]
        self._marker = f"container {head['container']}" if head.get("container") else "container"
        self._parts = parts
        self._files = files
        self._trusted = trusted
        self._built: dict[int, BaseException] = {}

    def top(self) -> BaseException:
        for index in reversed(range(len(self._nodes))):
            self._built[index] = self._build(index)
        exc = self._built[0]
        exc.__traceback__ = joined(marker(self._marker), exc.__traceback__)
        return exc

    def _build(self, index: int) -> BaseException:
        node = self._nodes[index]
        inner = tuple(self._built[at] for at in node.get("exceptions", ()) if at > index)
        told = _Told(node=node, args=self._args(index), state=self._state(index), inner=inner)
        exc = self._instance(told, top=index == 0)
        known = exc is not None
        if exc is None:
            exc = _stranger(told)
        names = tuple(name for name in re.findall(r"'(\w+)'", node.get("hint", "")))
        exc.__traceback__ = traceback_of(node["frames"], self._places, self._files, names=names)
        self._hang(exc, node)
        if known and not node.get("message_cut") and _told_otherwise(_text(exc), node["message"]):
            exc.add_note(f"[in the container its message was: {node['message']}]")
        if isinstance(exc, RemoteError) and not known:
            exc.remote_traceback = "".join(traceback.format_exception(exc))
        return exc

    def _hang(self, exc: BaseException, node: Node) -> None:
        """Notes, cause and context."""
        for note in node["notes"]:
            if note not in getattr(exc, "__notes__", ()):  # our own errors come with a note already
                exc.add_note(note)
        exc.__cause__ = self._built.get(node.get("cause", -1))
        context = self._built.get(node.get("context", -1))
        exc.__context__ = context if context is not None else exc.__cause__
        exc.__suppress_context__ = bool(node.get("suppress"))

    def _args(self, index: int) -> tuple[Any, ...]:
        by_position, _ = self._parts.get(index, ({}, {}))
        args = list(self._nodes[index].get("args", ()))
        for position, part in by_position.items():
            args[position] = _unpickled(part)
        return tuple(args)

    def _state(self, index: int) -> dict[str, Any]:
        _, by_name = self._parts.get(index, ({}, {}))
        state = dict(self._nodes[index].get("state", {}))
        state.update((name, _unpickled(part)) for name, part in by_name.items())
        return state

    def _instance(self, told: _Told, *, top: bool) -> BaseException | None:
        """The exception in its own class; None where that is not to be had here."""
        if "wire" in told.node:
            return from_wire(told.node["wire"])
        cls = _find_class(told.node, self._files, trusted=self._trusted)
        if cls is None or (top and issubclass(cls, _LEAVING)):
            return None
        try:
            exc = _made(cls, told)
            _set_special(exc, told.node, self._files)
            _set_state(exc, told.state)
        except Exception:  # noqa: BLE001 - a foreign class's __new__ and __setattr__ may refuse anything
            return None
        return exc


def _made(cls: type[BaseException], told: _Told) -> BaseException:
    """An instance that has its args and what C code keeps of them; the class's own __init__ is not run.

    Its signature need not be that of `args`, and what it did to the instance comes with the state.
    """
    builtin = next(base for base in cls.__mro__ if base.__module__ == "builtins")
    assert issubclass(builtin, BaseException)
    args: tuple[Any, ...] = told.args
    if issubclass(cls, BaseExceptionGroup):
        if not told.inner:
            raise ValueError("a group without exceptions")
        args = (told.node.get("group", ""), list(told.inner))
    try:
        exc: BaseException = builtin.__new__(cls, *args)
    except TypeError:  # the class has a C base of its own
        exc = cls.__new__(cls, *args)
    if not isinstance(exc, SyntaxError):
        builtin.__init__(exc, *args)
    else:
        exc.args = args
    return exc


def _set_special(exc: BaseException, node: Node, files: LocalFiles) -> None:
    """The attributes that C code keeps outside of __dict__."""
    names = tuple(re.findall(r"'(\w+)'", node.get("hint", "")))
    for name, value in node.get("special", {}).items():
        if isinstance(value, str) and value.startswith("\0"):
            value = files.name({"file": value[1:], "source": True})  # noqa: PLW2901 - the same value under its local name
        if value is not None:
            setattr(exc, name, value)
    if isinstance(exc, AttributeError) and exc.name is not None:
        exc.obj = _LeftBehind(names)
    if isinstance(exc, ImportError) and names and exc.name in sys.modules and hasattr(exc, "name_from"):
        found = re.search(r"cannot import name '(\w+)'", str(exc))
        exc.name_from = found[1] if found else None


def _set_state(exc: BaseException, state: Mapping[str, Any]) -> None:
    for name, value in state.items():
        if name.startswith("__") and name.endswith("__"):
            continue
        try:
            object.__setattr__(exc, name, value)
        except AttributeError:  # a property of that name without a setter
            exc.__dict__[name] = value


def _stranger(told: _Told) -> BaseException:
    """What stands for an exception whose class is not to be had here."""
    node = told.node
    module, qualname = node["module"], node["qualname"]
    type_name = qualname if module in {"builtins", "__main__"} else f"{module}.{qualname}"
    text = f"{type_name}: {node['message']}" if node["message"] else type_name
    if told.inner:
        return BaseExceptionGroup(f"{type_name}: {node.get('group', '')}", told.inner)
    remedy = None
    if qualname in {"SystemExit", "KeyboardInterrupt", "GeneratorExit", "CancelledError"}:
        remedy = f"the function's own code raised {qualname}, which ends programs; return or raise an Exception instead"
    exc = RemoteError(text, remedy=remedy, type_name=type_name)
    exc.args = (text, *told.args)
    for name, value in told.state.items():
        if not hasattr(exc, name):
            setattr(exc, name, value)
    return exc


def _find_class(node: Node, files: LocalFiles, *, trusted: bool) -> type[BaseException] | None:
    """The class of that module and name, if it is to be had here and is one of an exception."""
    if "<" in node["qualname"]:
        return None  # made in a function: there is no such object but the one in the container
    for module in _modules(node, files):
        cls = _attribute(module, node["qualname"])
        if cls is not None:
            return cls
    if not trusted or node["module"] in sys.modules:
        return None
    try:
        return _attribute(importlib.import_module(node["module"]), node["qualname"])
    except (Exception, SystemExit):  # noqa: BLE001 - the import of a foreign module ends here
        return None


def _modules(node: Node, files: LocalFiles) -> list[ModuleType]:
    """The loaded modules that may hold the class: the one from the same file first, since it may be __main__ here."""
    found = []
    if node.get("file"):
        path = files.name({"file": node["file"], "source": True})
        same = [module for module in list(sys.modules.values()) if _is_from(module, path)]
        found = sorted(same, key=lambda module: module.__name__ != "__main__")
    named = sys.modules.get(node["module"])
    return [*found, named] if named is not None else found


def _is_from(module: Any, path: str) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and (file == path or os.path.abspath(file) == path)


def _attribute(module: ModuleType, qualname: str) -> type[BaseException] | None:
    found: Any = module
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found if isinstance(found, type) and issubclass(found, BaseException) else None


def _told_otherwise(here: str, there: str) -> bool:
    """Whether two messages differ in more than the addresses of objects."""
    return here != there and _ADDRESS.sub("0x", here) != _ADDRESS.sub("0x", there)


def _unpickled(part: bytes) -> Any:
    try:
        return pickle.loads(part)  # noqa: S301 - only reached where the caller trusts the function
    except Exception as failed:  # noqa: BLE001 - a part that needs what is not here costs only itself
        return f"[cannot be rebuilt here: {type(failed).__name__}]"


def _text(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception:  # noqa: BLE001 - a foreign __str__
        return STR_FAILED
