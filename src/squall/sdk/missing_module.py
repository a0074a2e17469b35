"""Explains a module that is missing in the container: where it is on this machine, and why it did not ship."""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import dataclass

from squall.model.errors import LocalModuleMissing
from squall.model.raised import MARKER_FILE
from squall.sdk.imports import Finder
from squall.sdk.shared_directory import package_directories, why_shared
from squall.sdk.source import Source
from squall.sdk.source_walk import Place, machine_made, rules_down_to, with_rules_of

_MOST_PARENTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """Where a module is on this machine. inside: whether that is below the root of the source."""

    directory: str
    place: Place
    inside: bool

    @property
    def path(self) -> str:
        """The file or package directory."""
        return os.path.join(self.directory, self.place.path)


def missing_local_module(
    name: str, *, source: Source, wanted_by: str | None = None
) -> LocalModuleMissing | None:
    """Why a module that the container has not is missing there, though it is here; None where it is not here either.

    name: as in ImportError.name. wanted_by: the import that wanted it, in words: "main.py line 3: `import helpers`".
    """
    found = _find(name, source)
    wanted = f"; it is wanted by {wanted_by}" if wanted_by else ""
    if found is None:
        return None
    why, remedy = _why(name, found, source)
    return LocalModuleMissing(
        f"the module {name} is missing in the container: here it is {found.path}, and {why}{wanted}",
        remedy=remedy,
        module=name,
        path=found.path,
    )


def explain_import_error(error: BaseException, *, source: Source) -> LocalModuleMissing | None:
    """The same for an exception that came from the container; None where it tells of no module that is here.

    The import that wanted the module is read from the last frame of its traceback.
    """
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    if not name:
        return None
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != MARKER_FILE]
    wanted_by = None
    if frames:
        last = frames[-1]
        file = (
            os.path.relpath(last.filename, source.root)
            if _below(last.filename, source.root)
            else last.filename
        )
        wanted_by = f"{file} line {last.lineno}" + (f": `{last.line}`" if last.line else "")
    return missing_local_module(name, source=source, wanted_by=wanted_by)


def with_explanation(error: BaseException, *, root: str | None) -> BaseException:
    """The exception itself, with two notes where it tells of a module that is here: why it is missing there, what to do.

    root: the local directory whose source the container has.
    """
    if root is None or not isinstance(error, ModuleNotFoundError):
        return error
    source = Source(files=(), root=root, entry_module="", alone=why_shared(root), moved={})
    found = explain_import_error(error, source=source)
    if found is not None:
        error.add_note(str(found))
        error.add_note(f"{found.code}: {found.remedy}")
    return error


def _find(name: str, source: Source) -> _Found | None:
    """The module here: in the root, where Python looks, or in a directory above or beside the root."""
    above = [source.root]
    for _ in range(_MOST_PARENTS):
        above.append(os.path.dirname(above[-1]))
    installed = package_directories()
    on_path = [os.path.realpath(path or os.curdir) for path in sys.path]
    for directory in dict.fromkeys([source.root, *on_path, *installed, os.getcwd(), *above[1:]]):
        places = Finder(directory).places(name)
        if places:
            inside = _below(os.path.join(directory, places[0].path), source.root)
            return _Found(directory=directory, place=places[0], inside=inside)
    return None


def _why(name: str, found: _Found, source: Source) -> tuple[str, str]:
    """Why it did not ship, and what to do about it."""
    top = name.partition(".")[0]
    if any(_below(found.path, directory) for directory in package_directories()):
        return (
            "installed packages do not ship as source",
            f"install it in the image: `image.pip_install({top!r})`",
        )
    if not found.inside:
        return (
            f"that is outside of {source.root}, the directory that ships",
            f"add it: `image.add_local_python_source({top!r})`, or move it below {source.root}",
        )
    path = os.path.relpath(found.path, source.root).replace(os.sep, "/")
    reason = _ignored_because(source.root, path, is_directory=found.place.is_directory)
    if reason is not None:
        return reason, f"take it back in a .squallignore file in {source.root}: `!/{path}`, or rename it"
    if source.alone:
        return (
            f"{source.root} is {source.alone}, so only the entry file and what it imports plainly ship",
            "put the files into a directory of their own",
        )
    if not source.files:
        return "it may have come to be after the source was read", "run the command again"
    shipped = any(file.path == path or file.path.startswith(path + "/") for file in source.files)
    if shipped:
        return (
            "it did ship, but is not found under that name",
            f"import it by its name from {source.root}, which is first on the container's sys.path",
        )
    return "it came to be after the source was read", "run the command again"


def _ignored_because(root: str, path: str, *, is_directory: bool) -> str | None:
    """The rule that keeps a path, or a directory above it, from shipping."""
    names = path.split("/")
    for count in range(1, len(names) + 1):
        part = "/".join(names[:count])
        parent = "/".join(names[: count - 1])
        last = count == len(names)
        here = os.path.join(root, parent) if parent else root
        listed = frozenset(os.listdir(here))
        rules = with_rules_of(here, parent, rules_down_to(root, parent), listed)
        rule = rules.ignoring(part, names[count - 1], is_directory=is_directory or not last)
        if rule is not None and not rules.may_ship_below(rule):
            return f"{'it' if last else part + '/'} is ignored by {rule}"
        if not last or is_directory:
            mark = machine_made(frozenset(os.listdir(os.path.join(root, part))))
            if mark:
                return f"{part}/ looks made by a machine ({mark} is in it), so it is ignored"
    return None


def _below(path: str, directory: str) -> bool:
    return os.path.join(os.path.realpath(path), "").startswith(os.path.join(os.path.realpath(directory), ""))
