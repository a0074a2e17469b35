"""Packages that the source imports from outside of its root: editable installs and directories on the path."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from squall.model.errors import ModuleNotMountable
from squall.sdk.imports import Finder
from squall.sdk.shared_directory import package_directories, why_shared
from squall.sdk.source_walk import SourceFile, walk

_FILES_LIMIT: Final = 50_000
# The runtime brings its own.
_OURS: Final = "squall"
_FINDER_IMPORT: Final = re.compile(r"^import (__editable__\w*_finder)\b")
_LOADER_IMPORT: Final = re.compile(r"^import (_(\w+)_editable_loader)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """Where modules of this machine lie besides the root and the installed packages.

    directories: those on the path. packages: {dotted name: directory or file} as setuptools maps them. unshippable: names
    whose editable install builds on import, with the file that says so.
    """

    directories: tuple[str, ...]
    packages: Mapping[str, str]
    unshippable: Mapping[str, str]


class Outside:
    """Collects what a source needs from elsewhere. taken: top-level names that the root has, which win.

    imports: tells the modules that a file imports.
    """

    def __init__(
        self, elsewhere: Elsewhere, *, taken: Iterable[str], imports: Callable[[SourceFile], Iterable[str]]
    ) -> None:
        self._taken = {*taken, _OURS}
        self._elsewhere = elsewhere
        self._imports_of = imports
        self._shipped: set[str] = set()

    def files(self, files: Iterable[SourceFile], loaded: Iterable[str]) -> tuple[SourceFile, ...]:
        """What these files import from elsewhere, and what that imports, under the names it is imported by.

        loaded: names of modules that are imported in any case. Raises ModuleNotMountable.
        """
        if not any((self._elsewhere.directories, self._elsewhere.packages, self._elsewhere.unshippable)):
            return ()
        found: dict[str, SourceFile] = {}
        seen: set[str] = set()
        waiting = {*loaded, *self._imports(files)}
        while waiting - seen:
            name = min(waiting - seen)
            seen.add(name)
            top, _, _ = name.partition(".")
            if top in self._taken or top in sys.stdlib_module_names:
                continue
            new = [file for file in self._package(name, top) if file.path not in found]
            found.update((file.path, file) for file in new)
            waiting |= self._imports(new)
        return tuple(found.values())

    def _imports(self, files: Iterable[SourceFile]) -> set[str]:
        return {name for file in files if file.path.endswith(".py") for name in self._imports_of(file)}

    def _package(self, name: str, top: str) -> list[SourceFile]:
        """The files of the package that a module belongs to, where it lies elsewhere and was not asked for before."""
        where = self._elsewhere.unshippable.get(top)
        if where is not None:
            raise ModuleNotMountable(
                f"{top} is installed editable in a way that builds it when it is imported ({where}), "
                "so it has no directory to ship",
                remedy=f"install it without `--editable`, or name it in the image: `.pip_install({top!r})`",
                module=top,
            )
        parts = name.split(".")
        for count in range(1, len(parts) + 1):
            mapped = self._elsewhere.packages.get(".".join(parts[:count]))
            if mapped is not None:
                return _renamed(mapped, "/".join(parts[:count])) if self._first(mapped) else []
        for directory in self._elsewhere.directories:
            for place in Finder(directory).places(name):
                if not self._first(os.path.join(directory, place.path)):
                    return []
                if place.is_directory:
                    return list(walk(directory, below=place, limit=_FILES_LIMIT).files)
                return [SourceFile.at(directory, place.path)]
        return []

    def _first(self, path: str) -> bool:
        """Whether this is the first time that `path` is asked for."""
        known = path in self._shipped
        self._shipped.add(path)
        return not known


def look_elsewhere(root: str) -> Elsewhere:
    """The directories and editable installs that this interpreter imports from, besides `root` and the installed ones."""
    root = os.path.realpath(root)
    installed = package_directories()
    directories: list[str] = [path for path in sys.path if path]
    packages: dict[str, str] = {}
    unshippable: dict[str, str] = {}
    for directory in installed:
        for pth in _pth_files(directory):
            for line in _lines(pth):
                finder, loader = _FINDER_IMPORT.match(line), _LOADER_IMPORT.match(line)
                if finder:
                    packages.update(_mapping(os.path.join(directory, finder[1] + ".py")))
                elif loader:
                    unshippable[loader[2]] = os.path.basename(pth)
                elif not line.startswith(("import ", "import\t", "#")):
                    directories.append(os.path.join(directory, line))
    real = dict.fromkeys(os.path.realpath(path) for path in directories if os.path.isdir(path))
    ours = os.path.realpath(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    kept = [path for path in real if path not in {root, ours} and _is_a_place_for_source(path, installed)]
    outside = {name: path for name, path in packages.items() if not _inside(path, root)}
    return Elsewhere(directories=tuple(kept), packages=outside, unshippable=unshippable)


def _is_a_place_for_source(path: str, installed: tuple[str, ...]) -> bool:
    """Not where packages are installed, nor the interpreter's own files, nor where a program of it was started from."""
    if why_shared(path) or os.path.exists(os.path.join(path, "..", "pyvenv.cfg")):
        return False
    return not any(_inside(path, each) or _inside(each, path) for each in installed)


def _renamed(path: str, name: str) -> list[SourceFile]:
    """The files of a package, or the module, at `path` under the relative path that its name stands for."""
    real = os.path.realpath(path)
    if os.path.isdir(real):
        found = walk(real, limit=_FILES_LIMIT).files
        return [file._replace(path=f"{name}/{file.path}") for file in found]
    if os.path.isfile(real):
        return [SourceFile.at("", f"{name}.py", absolute=real)]
    return []


def _pth_files(directory: str) -> list[str]:
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    return [os.path.join(directory, name) for name in sorted(names) if name.endswith((".pth", ".egg-link"))]


def _lines(file: str) -> list[str]:
    try:
        with open(file, encoding="utf-8", errors="replace") as opened:
            lines = [line.strip() for line in opened.read(1024 * 1024).splitlines()]
    except OSError:
        return []
    kept = [line for line in lines if line]
    # The second line of an egg-link is relative to the first.
    return kept[:1] if file.endswith(".egg-link") else kept


def _mapping(finder: str) -> dict[str, str]:
    """The packages that a finder module of setuptools maps; it is read, never run."""
    for line in _lines(finder):
        if line.startswith("MAPPING") and "=" in line:
            try:
                found = ast.literal_eval(line.split("=", 1)[1].strip())
            except (ValueError, SyntaxError):
                return {}
            return {str(name): str(path) for name, path in found.items()} if isinstance(found, dict) else {}
    return {}


def _inside(path: str, directory: str) -> bool:
    return os.path.join(os.path.realpath(path), "").startswith(os.path.join(directory, ""))
