"""Describes a raised exception as plain data from which the client can raise it again."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from squall.model.errors import Error
from squall.model.raised import HEAD_LIMIT_BYTES, STR_FAILED, Node, Raised
from squall.model.redaction import Redactor
from squall.runner.frames import FrameLimits, Places, python_version
from squall.runner.parts import Parts, cut, is_plain


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limits:
    """How much is told of one exception tree. nodes: exceptions; the others: characters, notes and frames of each."""

    nodes: int
    message: int
    notes: int
    note: int
    frames: FrameLimits


# Tried in this order until the head is small enough; what the last one gives always is.
_LIMITS: Final = (
    _Limits(
        nodes=64,
        message=8000,
        notes=32,
        note=2000,
        frames=FrameLimits(places=120, runs=2000, lines=40, columns=400),
    ),
    _Limits(
        nodes=32,
        message=2000,
        notes=16,
        note=500,
        frames=FrameLimits(places=40, runs=400, lines=8, columns=200),
    ),
    _Limits(
        nodes=8, message=500, notes=4, note=100, frames=FrameLimits(places=12, runs=60, lines=2, columns=100)
    ),
    _Limits(
        nodes=2, message=150, notes=2, note=40, frames=FrameLimits(places=4, runs=8, lines=1, columns=40)
    ),
)
# Attributes that C code keeps outside of __dict__, by the builtin class that has them.
_SPECIAL: Final[tuple[tuple[type[BaseException], tuple[str, ...]], ...]] = (
    (ImportError, ("name", "path")),
    (NameError, ("name",)),
    (AttributeError, ("name",)),
)
_SYNTAX: Final = (
    "msg",
    "filename",
    "lineno",
    "offset",
    "text",
    "end_lineno",
    "end_offset",
    "print_file_and_line",
)


# Under these stand names of classes and words of ours, which a secret may be by chance.
_WORDS: Final = frozenset({"type", "kind", "python", "module", "qualname", "file", "code"})
_redactor: list[Redactor] = []


def describe(exc: BaseException, *, source_root: str) -> tuple[dict[str, Any], bytes | None]:
    """What was raised, as a JSON-safe head of at most 48 KiB and, where JSON cannot say it, a pickled payload.

    The head tells type, message, notes, frames of the user's code, plain arguments and attributes, of the exception
    and of all that hang from it by cause, context and groups. The payload (at most 3 MiB) holds the other arguments and
    attributes, never a class. Files below `source_root` are told relative to it. Never raises, whatever `exc` does.
    """
    head: Raised = {}
    parts = Parts()
    try:
        for limits in _LIMITS:
            parts = Parts()
            head = _Tree(limits, source_root, parts).head(exc)
            if len(json.dumps(head)) <= HEAD_LIMIT_BYTES:
                break
        return _hidden(dict(head), parts.pack())
    except BaseException as hostile:  # noqa: BLE001 - attributes of a foreign class may raise anything, each time they are read
        return dict(_bare(exc, hostile)), None


def hide(values: Iterable[str]) -> None:
    """Has every description from now on be without these values, which are a container's secrets."""
    _redactor.append(Redactor(values))


def _hidden(head: dict[str, Any], payload: bytes | None) -> tuple[dict[str, Any], bytes | None]:
    """The same without secrets. What is pickled cannot be changed, and is left out where it has one."""
    for redactor in _redactor:
        head = redactor.plain(head, but=_WORDS)
        if payload is not None and redactor.hide(payload) != payload:
            payload = None
    return head, payload


def _bare(exc: BaseException, hostile: BaseException) -> Raised:
    """A description of an exception of which nothing but the class can be read."""
    qualname = cut(type.__dict__["__qualname__"].__get__(type(exc)), 300)
    message = f"[it cannot be described: reading it raises {type(hostile).__name__}]"
    node: Node = {"module": "?", "qualname": qualname, "message": message, "notes": [], "frames": []}
    head: Raised = {"type": qualname, "message": message, "kind": "exception", "python": python_version()}
    head["nodes"], head["places"] = [node], []
    return head


class _Tree:
    """The exceptions that hang together, numbered so that each points only at later ones."""

    def __init__(self, limits: _Limits, source_root: str, parts: Parts) -> None:
        self._limits = limits
        self._root = os.path.join(os.path.abspath(source_root), "") if source_root else ""
        self._parts = parts
        self._places = Places(source_root=source_root, limits=limits.frames)
        self._nodes: list[Node] = []

    def head(self, exc: BaseException) -> Raised:
        self._add(exc, above=())
        node = self._nodes[0]
        return {
            "type": f"{node['module']}.{node['qualname']}",
            "message": cut(node["message"], 500),
            "kind": _kind(exc),
            "python": python_version(),
            "nodes": self._nodes,
            "places": self._places.told,
        }

    def _add(self, exc: BaseException, above: tuple[int, ...]) -> int | None:
        """The index of the node for `exc`; None where it hangs above itself or there is no room."""
        if id(exc) in above or len(self._nodes) >= self._limits.nodes:
            return None
        index = len(self._nodes)
        node: Node = {}
        self._nodes.append(node)
        self._tell(exc, index, node)
        inner = (*above, id(exc))
        cause = exc.__cause__
        context = exc.__context__ if cause is None else None
        node["suppress"] = exc.__suppress_context__
        if cause is not None and (at := self._add(cause, inner)) is not None:
            node["cause"] = at
        if context is not None and not node["suppress"] and (at := self._add(context, inner)) is not None:
            node["context"] = at
        if isinstance(exc, BaseExceptionGroup):
            self._tell_group(exc, node, inner)
        return index

    def _tell(self, exc: BaseException, index: int, node: Node) -> None:
        module, qualname, file = _type_names(exc, self._root)
        message = message_of(exc)
        node["module"], node["qualname"] = module, qualname
        if file:
            node["file"] = file
        node["message"] = cut(message, self._limits.message)
        node["message_cut"] = node["message"] != message
        node["notes"] = self._notes(exc)
        node["frames"] = self._places.frames(exc.__traceback__, outermost=index == 0)
        if isinstance(exc, Error) and type(exc).__module__ == Error.__module__:
            node["wire"] = self._wire(exc)
            return
        node["args"] = [] if isinstance(exc, BaseExceptionGroup) else self._parts.args(index, _args(exc))
        node["state"] = self._parts.state(index, _state(exc))
        special = _special(exc)
        if special:
            node["special"] = {name: self._short(value) for name, value in special.items()}
        hint = _hint(exc)
        if hint:
            node["hint"] = cut(hint, self._limits.note)

    def _tell_group(
        self, group: BaseExceptionGroup[BaseException], node: Node, inner: tuple[int, ...]
    ) -> None:
        node["group"] = cut(str(group.message), self._limits.message)
        node["exceptions"] = [at for each in group.exceptions if (at := self._add(each, inner)) is not None]
        left_out = len(group.exceptions) - len(node["exceptions"])
        if left_out:
            node["notes"].append(
                f"[{left_out} of {len(group.exceptions)} exceptions of this group are left out here]"
            )

    def _notes(self, exc: BaseException) -> list[str]:
        notes = getattr(exc, "__notes__", None)
        if not isinstance(notes, list | tuple):
            return []
        told = [cut(_text(note), self._limits.note) for note in notes[: self._limits.notes]]
        left_out = len(notes) - len(told)
        return [*told, f"[{left_out} more notes left out]"] if left_out else told

    def _short(self, value: Any) -> Any:
        if isinstance(value, str):
            inside = bool(self._root) and value.startswith(self._root)
            return cut(f"\0{value[len(self._root) :]}" if inside else value, self._limits.message)
        return value if value is None or type(value) in {int, bool} else None

    def _wire(self, error: Error) -> dict[str, Any]:
        """The form that our own errors have anyway, with those of its details that are plain."""
        told = {
            name: cut(value, self._limits.message) if type(value) is str else value
            for name, value in error.to_wire().items()
        }
        return {
            name: value for name, value in list(told.items())[:32] if type(value) is str or is_plain(value)
        }


def message_of(exc: BaseException) -> str:
    """What str() says of the exception, whatever its __str__ does."""
    try:
        plain = type(exc).__str__ is BaseException.__str__ and len(exc.args) == 1 and type(exc.args[0]) is str
    except Exception:  # noqa: BLE001 - a metaclass or a property may answer
        plain = False
    # The same, without a copy of what may be very long.
    return exc.args[0] if plain else _text(exc)


def _text(value: Any) -> str:
    try:
        return str.__str__(str(value))
    except BaseException:  # noqa: BLE001 - a foreign __str__ ends here, whatever it raises
        return STR_FAILED


def _kind(exc: BaseException) -> str:
    if isinstance(exc, SystemExit):
        return "exit"
    return "interrupt" if isinstance(exc, KeyboardInterrupt) else "exception"


def _type_names(exc: BaseException, root: str) -> tuple[str, str, str]:
    """Module, qualified name and, below the source root, the file of the exception's class."""
    cls = type(exc)
    module, file = "", None
    try:
        # Through `type` itself, since a metaclass may answer for its class.
        module = str.__str__(type.__dict__["__module__"].__get__(cls))
        file = getattr(sys.modules.get(module), "__file__", None)
    except Exception:  # noqa: BLE001 - __module__ may be anything, and so may what is in sys.modules
        module = module or "?"
    qualname = type.__dict__["__qualname__"].__get__(cls)
    inside = bool(root) and isinstance(file, str) and file.startswith(root)
    return cut(module, 300), cut(qualname, 300), (file[len(root) :][:1024] if inside and file else "")


def _args(exc: BaseException) -> tuple[Any, ...]:
    if isinstance(exc, OSError) and len(exc.args) == 2 and exc.filename is not None:
        # The two file names are arguments of the constructor that `args` does not show.
        second = (None, exc.filename2) if exc.filename2 is not None else ()
        return (*exc.args, exc.filename, *second)
    return exc.args if isinstance(exc.args, tuple) else ()


def _state(exc: BaseException) -> dict[str, Any]:
    """The attributes of the exception but its notes: those in __dict__ and those in slots."""
    state: dict[str, Any] = {}
    try:
        for cls in type(exc).__mro__:
            slots = cls.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if name not in {"__dict__", "__weakref__"} and hasattr(exc, name):
                    state[name] = getattr(exc, name)
        own = exc.__dict__
        state.update((name, own[name]) for name in own if isinstance(name, str) and name != "__notes__")
    except Exception:  # noqa: BLE001 - slots, __dict__ and descriptors may be a foreign class's own
        return state
    return state


def _special(exc: BaseException) -> dict[str, Any]:
    if isinstance(exc, SyntaxError):
        return {name: getattr(exc, name, None) for name in _SYNTAX}
    for cls, names in _SPECIAL:
        if isinstance(exc, cls):
            return {name: getattr(exc, name, None) for name in names}
    return {}


def _hint(exc: BaseException) -> str:
    """The "Did you mean" that Python adds to the message, which needs the objects and frames that stay here."""
    if not isinstance(exc, NameError | AttributeError | ImportError) or getattr(exc, "name", None) is None:
        return ""
    try:
        told = traceback.TracebackException(type(exc), exc, exc.__traceback__, limit=0, compact=True)
        line = next(iter(told.format_exception_only()), "").rstrip("\n")
    except Exception:  # noqa: BLE001 - it looks into foreign objects with dir()
        return ""
    message = message_of(exc)
    _, found, hint = line.rpartition(message) if message else ("", "", "")
    return hint if found else ""
