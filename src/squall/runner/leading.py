"""Leading imports: what code imports before it does anything else, read from its text and never run."""

from __future__ import annotations

import _ast
from dataclasses import dataclass, field

# What is called from these while a module is read makes things up and changes nothing that an import could notice.
_QUIET = frozenset({
    "abc", "collections", "dataclasses", "datetime", "decimal", "enum", "fractions", "functools", "math", "pathlib",
    "re", "squall", "string", "typing", "typing_extensions",
})  # fmt: skip
_BUILT_IN = frozenset({"classmethod", "frozenset", "object", "property", "range", "staticmethod", "tuple"})
_BY_NAME = "importlib"


@dataclass(frozen=True, slots=True)
class Import:
    """One import. module: dotted, with leading dots where it is relative; names: what is taken from it."""

    module: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Leading:
    """The imports in their order. whole: nothing else happens in all of the code."""

    imports: tuple[Import, ...] = ()
    whole: bool = False


def leading_imports(text: bytes | str) -> Leading:
    """The imports that `text`, a module in Python, begins with, up to the first statement that may do something.

    Definitions, constants, and what Squall's own declarations make do nothing: code that sets an environment variable
    has done something. Text that is no Python has none.
    """
    try:
        tree = compile(text, "<code>", "exec", _ast.PyCF_ONLY_AST, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Leading()
    reading = _Reading()
    try:
        whole = isinstance(tree, _ast.Module) and reading.all_quiet(tree.body)
    except RecursionError:
        whole = False
    return Leading(tuple(reading.imports), whole)


@dataclass(slots=True)
class _Reading:
    """Reads statements in order. quiet: names by which nothing can be done; loaders: names of importlib."""

    imports: list[Import] = field(default_factory=list)
    quiet: set[str] = field(default_factory=lambda: set(_BUILT_IN))
    loaders: set[str] = field(default_factory=set)

    def all_quiet(self, body: list[_ast.stmt]) -> bool:
        """Whether every one of these does nothing but import."""
        return all(self._is_quiet(one) for one in body)

    def _is_quiet(self, statement: _ast.stmt) -> bool:
        match statement:
            case _ast.Import(names=names):
                for name in names:
                    self._import(name.name, bound=name.asname or name.name.partition(".")[0])
                return True
            case _ast.ImportFrom(module=module, names=names, level=level):
                taken = tuple(name.name for name in names)
                self._import(
                    "." * level + (module or ""), taken, *(name.asname or name.name for name in names)
                )
                return True
            case _ast.Expr(value=value):
                return isinstance(value, _ast.Constant)
            case _ast.Assign(targets=targets, value=value):
                return all(self._bind(target, value) for target in targets)
            case _ast.AnnAssign(target=target, value=value):
                return value is None or self._bind(target, value)
            case _ast.FunctionDef() | _ast.AsyncFunctionDef():
                return self._defines(statement)
            case _ast.ClassDef(bases=bases, keywords=keywords, decorator_list=decorators, body=body):
                inner = _Reading(quiet=set(self.quiet))
                quiet = all(map(self._gives, (*bases, *(one.value for one in keywords))))
                quiet = quiet and all(map(self._decorates, decorators))
                return quiet and inner.all_quiet(body) and not inner.imports
            case _ast.With(items=items, body=body):
                return all(self._gives(one.context_expr) for one in items) and self.all_quiet(body)
            case _ast.If(test=test, orelse=orelse):
                return _never_true(test) and self.all_quiet(orelse)
            case _ast.Pass():
                return True
            case _:
                return False

    def _import(self, module: str, names: tuple[str, ...] = (), *also: str, bound: str = "") -> None:
        if module != "__future__":
            self.imports.append(Import(module, names))
        known = module in _QUIET
        for name in (bound, *also):
            (self.quiet.add if known else self.quiet.discard)(name)
            self.loaders.discard(name)
            if module == _BY_NAME:
                self.loaders.add("import_module" if name == "import_module" else f"{name}.import_module")

    def _bind(self, target: _ast.expr, value: _ast.expr) -> bool:
        """Whether giving this value to this target does nothing; the name is then as quiet as what it is made by."""
        if not isinstance(target, _ast.Name):
            return False
        if (module := self._loaded(value)) is not None:
            self._import(module, bound=target.id)
            return True
        made = isinstance(value, _ast.Call)
        (self.quiet.add if made else self.quiet.discard)(target.id)
        return self._gives(value)

    def _loaded(self, value: _ast.expr) -> str | None:
        """The module in `importlib.import_module("module")`."""
        match value:
            case _ast.Call(func=func, args=[_ast.Constant(value=str(module))], keywords=[]):
                return module if _dotted(func) in self.loaders else None
        return None

    def _defines(self, function: _ast.FunctionDef | _ast.AsyncFunctionDef) -> bool:
        arguments = function.args
        defaults = [one for one in (*arguments.defaults, *arguments.kw_defaults) if one is not None]
        return all(map(self._gives, defaults)) and all(map(self._decorates, function.decorator_list))

    def _decorates(self, decorator: _ast.expr) -> bool:
        """Whether what it does with a definition, which it is called with, is nothing else."""
        return _root(decorator) in self.quiet and self._gives(decorator)

    def _gives(self, value: _ast.expr) -> bool:
        """Whether working this out does nothing: it is written down, looked up, or made by what is quiet."""
        match value:
            case _ast.Constant() | _ast.Name() | _ast.Lambda():
                return True
            case _ast.Attribute(value=inner) | _ast.UnaryOp(operand=inner) | _ast.Starred(value=inner):
                return self._gives(inner)
            case _ast.Tuple(elts=parts) | _ast.List(elts=parts) | _ast.Set(elts=parts):
                return all(map(self._gives, parts))
            case _ast.Dict(keys=keys, values=values):
                return all(one is None or self._gives(one) for one in (*keys, *values))
            case _ast.BinOp(left=left, right=right):
                return self._gives(left) and self._gives(right)
            case _ast.Subscript(value=inner, slice=index):
                return self._gives(inner) and self._gives(index)
            case _ast.JoinedStr(values=parts):
                return all(map(self._gives, parts))
            case _ast.FormattedValue(value=inner):
                return self._gives(inner)
            case _ast.Call(func=func, args=args, keywords=keywords):
                given = (*args, *(one.value for one in keywords))
                return _root(func) in self.quiet and self._gives(func) and all(map(self._gives, given))
            case _:
                return False


def _root(value: _ast.expr) -> str:
    """The name at which a chain of attributes and calls begins, "" for none."""
    while isinstance(value, _ast.Attribute | _ast.Call):
        value = value.value if isinstance(value, _ast.Attribute) else value.func
    return value.id if isinstance(value, _ast.Name) else ""


def _dotted(value: _ast.expr) -> str:
    match value:
        case _ast.Name(id=name):
            return name
        case _ast.Attribute(value=_ast.Name(id=name), attr=attribute):
            return f"{name}.{attribute}"
    return ""


def _never_true(test: _ast.expr) -> bool:
    """Whether it is `TYPE_CHECKING`, or asks for the name of a program: in a container both are false."""
    match test:
        case _ast.Name(id="TYPE_CHECKING") | _ast.Attribute(attr="TYPE_CHECKING"):
            return True
        case _ast.Compare(left=_ast.Name(id="__name__"), ops=[_ast.Eq()], comparators=[_ast.Constant()]):
            return True
    return False
