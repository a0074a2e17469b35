"""Named: the modules of packages that the user's code imports before it does anything else, without running any of it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field

from squall.model.function import Code
from squall.runner.leading import Import, leading_imports
from squall.runner.place import OURS, own_names

_MOST_FILES = 200
_MOST_BYTES = 4 * 2**20
# Packages read these from the working directory, which is the user's, while they are imported.
_READ_BY_PACKAGES = frozenset({"matplotlibrc"})


def named(code: Code, source: str) -> tuple[str, ...]:
    """The modules of packages that this code imports before anything else happens, in their order; `source`: where it lies."""
    if code.pickled is not None or any(os.path.lexists(f"{source}/{name}") for name in _READ_BY_PACKAGES):
        return ()
    walk = _Walk(source, own_names(source))
    by_path = code.main or (not code.module.isidentifier() and "." not in code.module)
    if code.file is not None and by_path:
        walk.file(os.path.join(source, code.file), package="")
    else:
        walk.take(Import(code.module), package="")
    return tuple(walk.found)


@dataclass(slots=True)
class _Walk:
    """Follows imports through the user's own modules, which begin with the names in `own`. found: of packages, in their order; see `named`."""

    source: str
    own: frozenset[str]
    found: dict[str, None] = field(default_factory=dict)
    _seen: dict[str, bool] = field(default_factory=dict)

    def take(self, one: Import, *, package: str) -> bool:
        """Whether this import does nothing but import. package: that of the module in which it stands."""
        module = _absolute(one.module, package)
        top = module.partition(".")[0]
        if not module or top not in self.own:
            if top and top not in OURS and top not in sys.stdlib_module_names:
                self.found[module] = None
            return bool(module)
        return self._module(module) and all(
            self._module(f"{module}.{name}") for name in one.names if self._has(f"{module}.{name}")
        )

    def file(self, path: str, *, package: str) -> bool:
        """Whether the module in this file does nothing but import."""
        if path not in self._seen:
            # A circle of imports has begun to be read, and nothing in it has been done.
            self._seen[path] = True
            self._seen[path] = len(self._seen) <= _MOST_FILES and self._read(path, package)
        return self._seen[path]

    def _read(self, path: str, package: str) -> bool:
        try:
            if os.path.getsize(path) > _MOST_BYTES:
                return False
            with open(path, "rb") as file:
                leading = leading_imports(file.read())
        except (OSError, ValueError):
            return False
        return all(self.take(one, package=package) for one in leading.imports) and leading.whole

    def _module(self, module: str) -> bool:
        parts = module.split(".")
        for length in range(1, len(parts) + 1):
            name, base = ".".join(parts[:length]), os.path.join(self.source, *parts[:length])
            if os.path.exists(init := os.path.join(base, "__init__.py")):
                quiet = self.file(init, package=name)
            elif os.path.exists(f"{base}.py"):
                quiet = self.file(f"{base}.py", package=name.rpartition(".")[0])
            else:
                # A folder without code of its own does nothing; what else it may be is not known.
                quiet = os.path.isdir(base)
            if not quiet:
                return False
        return True

    def _has(self, module: str) -> bool:
        base = os.path.join(self.source, *module.split("."))
        return os.path.isdir(base) or os.path.exists(f"{base}.py")


def _absolute(module: str, package: str) -> str:
    """The full name of a module that may be relative to a package; "" where that has no such parent."""
    name = module.lstrip(".")
    level = len(module) - len(name)
    if not level:
        return name
    parents = package.split(".") if package else []
    if level > len(parents):
        return ""
    return ".".join([*parents[: len(parents) - level + 1], *([name] if name else [])])
