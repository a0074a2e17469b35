"""Code digest: one name for all that decides what a call of a function does, the same in every run of its program."""

from __future__ import annotations

import copyreg
import dis
import hashlib
import struct
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from squall.model.errors import FunctionNotSerializable

_LOADS: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
# Texts of a class may hold the text of a set, as those that a dataclass writes, and places of it change no call.
_OF_NO_CLASS: Final = frozenset(
    {"__dict__", "__doc__", "__firstlineno__", "__module__", "__static_attributes__", "__weakref__"}
)
_OF_NO_MODULE: Final = ("__builtins__", "__cached__", "__file__", "__loader__", "__path__", "__spec__")


def call_digest(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], *, own: Iterable[str]
) -> str:
    """The digest of a call. own: names of the modules whose code is looked into; others are known by name.

    In it are the function's compiled code, so that comments and places of lines make no difference, its defaults, and the
    values of the globals and the variables around it that it names, as far down as they lead: own functions, classes and
    modules with all they name in turn, data by value, objects by what pickle would keep of them. Sets count without
    their order. What pickle refuses, and code of others, counts by its name or type alone. Raises
    FunctionNotSerializable for what is nested too deeply.
    """
    try:
        return _Sayer(frozenset(own)).of((function, args, dict(kwargs))).hex()
    except RecursionError:
        raise FunctionNotSerializable(
            f"{function.__qualname__!r} or an argument of it is nested too deeply to travel"
        ) from None


@dataclass(slots=True)
class _Sayer:
    """Digests of values. known: those that are ready or on their way, with the value, so that no other gets its id."""

    own: frozenset[str]
    known: dict[int, tuple[Any, bytes]] = field(default_factory=dict)

    def of(self, value: Any) -> bytes:
        """The digest of a value."""
        if value is None or value is Ellipsis or value is NotImplemented or type(value) is bool:
            return _digest(b"constant", repr(value).encode())
        kind = type(value)
        if kind is int:
            return _digest(b"int", f"{value:x}".encode())
        if kind is complex:
            return _digest(b"complex", struct.pack("<dd", value.real, value.imag))
        if kind is float:
            return _digest(b"float", struct.pack("<d", value))
        if kind is str:
            return _digest(b"str", value.encode("utf-8", "surrogatepass"))
        if kind is bytes or kind is bytearray:
            return _digest(kind.__name__.encode(), value)
        found = self.known.get(id(value))
        if found is not None:
            return found[1]
        # Until it is known: a value that holds itself says so by this, whatever lies between.
        self.known[id(value)] = (value, _digest(b"itself", kind.__qualname__.encode()))
        digest = self._of_parts(value, kind)
        self.known[id(value)] = (value, digest)
        return digest

    def _of_parts(self, value: Any, kind: type) -> bytes:
        if kind is tuple or kind is list:
            return _digest(kind.__name__.encode(), *map(self.of, value))
        if kind is dict:
            return _digest(b"dict", *(self.of(part) for item in value.items() for part in item))
        if kind is set or kind is frozenset:
            # Their order is another in each run: strings have another hash.
            return _digest(kind.__name__.encode(), *sorted(map(self.of, value)))
        if kind is types.CodeType:
            return self._code(value)
        if kind is types.FunctionType:
            return self._function(value)
        if kind is types.ModuleType:
            return self._module(value)
        if isinstance(value, type):
            return self._class(value)
        if kind is types.CellType:
            return self._cell(value)
        if kind in {staticmethod, classmethod}:
            return _digest(kind.__name__.encode(), self.of(value.__func__))
        if kind is property:
            return _digest(b"property", *map(self.of, (value.fget, value.fset, value.fdel)))
        return self._object(value, kind)

    def _code(self, code: types.CodeType) -> bytes:
        """Compiled code without its places: neither a file's name nor a line's number is in it."""
        head = (
            code.co_argcount,
            code.co_posonlyargcount,
            code.co_kwonlyargcount,
            code.co_flags,
            code.co_name,
        )
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        return _digest(
            b"code", code.co_code, code.co_exceptiontable, *map(self.of, (head, names, code.co_consts))
        )

    def _function(self, function: types.FunctionType) -> bytes:
        if not self._is_own(function.__module__):
            return _named(function)
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        return _digest(
            b"function",
            self.of(function.__code__),
            self.of(function.__defaults__),
            self.of(function.__kwdefaults__),
            *(self.of(part) for cell in cells for part in cell),
            *(self.of(part) for item in _globals(function) for part in item),
            *(self.of(part) for item in sorted(vars(function).items()) for part in item),
        )

    def _cell(self, cell: types.CellType) -> bytes:
        try:
            return _digest(b"cell", self.of(cell.cell_contents))
        except ValueError:
            return _digest(b"empty cell")

    def _module(self, module: types.ModuleType) -> bytes:
        name = module.__name__
        if not self._is_own(name):
            return _digest(b"module", name.encode())
        parts = ((key, value) for key, value in sorted(vars(module).items()) if key not in _OF_NO_MODULE)
        return _digest(b"own module", name.encode(), *(self.of(part) for item in parts for part in item))

    def _class(self, cls: type) -> bytes:
        if not self._is_own(cls.__module__):
            return _named(cls)
        kept = {
            name: part
            for name, part in vars(cls).items()
            if name not in _OF_NO_CLASS
            and not isinstance(part, types.MemberDescriptorType | types.GetSetDescriptorType)
        }
        return _digest(
            b"class",
            cls.__qualname__.encode(),
            *map(self.of, cls.__bases__),
            *(self.of(part) for item in sorted(kept.items()) for part in item),
        )

    def _object(self, value: Any, kind: type) -> bytes:
        """What pickle keeps of an object: how it is made again, its state, its items."""
        try:
            reduce = copyreg.dispatch_table.get(kind)
            told = reduce(value) if reduce is not None else value.__reduce_ex__(4)
        except RecursionError:
            raise
        except Exception:  # noqa: BLE001 - users' classes take part in this, and raise whatever they like
            return _digest(b"unsaid", self.of(kind))
        if isinstance(told, str):
            return _digest(b"global", f"{getattr(value, '__module__', '')}.{told}".encode())
        made, arguments, *rest = told
        state, items, pairs = (*rest, None, None, None)[:3]
        return _digest(
            b"object",
            self.of(made),
            self.of(arguments),
            self.of(state),
            *(self.of(item) for item in items or ()),
            *(self.of(part) for pair in pairs or () for part in pair),
        )

    def _is_own(self, module: str | None) -> bool:
        return module is None or module in self.own


def _globals(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """The globals that a function and what is written in it name, with their values, by name."""
    for name in sorted(set(_global_names(function.__code__))):
        if name in function.__globals__:
            yield name, function.__globals__[name]


def _global_names(code: types.CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in _LOADS:
            yield str(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _global_names(constant)


def _named(what: Any) -> bytes:
    return _digest(b"named", f"{what.__module__}.{what.__qualname__}".encode())


def _digest(*parts: bytes | bytearray) -> bytes:
    """One digest of several parts: each with its length before it, so that no two lists of parts are the same bytes."""
    found = hashlib.sha256()
    for part in parts:
        found.update(struct.pack("<Q", len(part)))
        found.update(part)
    return found.digest()
