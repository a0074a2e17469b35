"""Image projects: what a pyproject.toml, and a uv.lock or poetry.lock beside it, say that an image needs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from squall.model.errors import InvalidError, SourceFileNotFound
from squall.sdk.text_file import read_text

_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*\[([^\]]*)\]\s*$")


def project_packages(path: str, extras: tuple[str, ...]) -> tuple[str, ...]:
    """The dependencies of a pyproject.toml, and those of these optional groups, in their order.

    Raises SourceFileNotFound and InvalidError.
    """
    said = _table(_read_toml(path), "project", path)
    if not said:
        raise InvalidError(
            f"{path} has no [project] table, and no other tells dependencies",
            remedy="list the packages in `.pip_install(...)`",
        )
    if "dependencies" in said.get("dynamic", []):
        raise InvalidError(
            f"the dependencies of {path} are dynamic: only building the project tells them",
            remedy="name their file in `.pip_install_from_requirements(...)`",
        )
    optional = _table(said, "optional-dependencies", path)
    own = _normal(str(said.get("name", "")))
    found = list(_strings(said.get("dependencies", []), path, "dependencies"))
    waiting, seen = list(extras), set[str]()
    while waiting:
        extra = waiting.pop(0)
        if _normal(extra) in seen:
            continue
        seen.add(_normal(extra))
        name = next((each for each in optional if _normal(each) == _normal(extra)), None)
        if name is None:
            there = ", ".join(optional) or "none"
            raise InvalidError(
                f"{path} has no optional dependencies {extra!r}; there are: {there}",
                remedy="name one of those",
            )
        for word in _strings(optional[name], path, f"optional-dependencies.{name}"):
            # `all = ["this-project[one,two]"]` means groups of its own, not a package of an index.
            itself = _NAME.match(word)
            if itself is not None and _normal(itself[1]) == own:
                waiting += [part.strip() for part in itself[2].split(",") if part.strip()]
            else:
                found.append(word)
    if not found:
        raise InvalidError(f"{path} names no dependency", remedy="leave the step out")
    return tuple(dict.fromkeys(found))


def uv_project(directory: str, *, frozen: bool) -> tuple[str, str]:
    """The text of a uv project's pyproject.toml, and of its uv.lock or "".

    Raises SourceFileNotFound, and InvalidError for a project that no build can follow.
    """
    path = os.path.join(os.path.expanduser(directory), "pyproject.toml")
    said = _read_toml(path)
    sources = _table(_table(_table(said, "tool", path), "uv", path), "sources", path)
    for name, source in sources.items():
        for each in source if isinstance(source, list) else [source]:
            if isinstance(each, dict) and (each.get("path") or each.get("workspace")):
                raise InvalidError(
                    f"{path}: {name} comes from a place on this machine, which a build does not see",
                    remedy="ship it with `.add_local_python_source(...)`, and take it out of the dependencies",
                )
    lock_path = os.path.join(os.path.dirname(path), "uv.lock")
    if not os.path.exists(lock_path):
        if frozen:
            raise SourceFileNotFound(
                f"Image.uv_sync: {lock_path} does not exist, and frozen=True resolves nothing anew",
                path=lock_path,
                remedy="make it with `uv lock`, or write frozen=False",
            )
        return read_text(path), ""
    return read_text(path), read_text(lock_path)


def poetry_project(path: str, lockfile: str, *, ignored: bool) -> tuple[str, str]:
    """The text of a Poetry project's pyproject.toml, and of its lock, "" where it is `ignored`. lockfile: "" for poetry.lock beside it.

    Raises SourceFileNotFound, and InvalidError for a project that no build can follow.
    """
    said = _read_toml(path)
    for name, found in _poetry_dependencies(said, path):
        for each in found if isinstance(found, list) else [found]:
            if isinstance(each, dict) and (each.get("path") or str(each.get("url", "")).startswith("file:")):
                raise InvalidError(
                    f"{path}: {name} comes from a place on this machine, which a build does not see",
                    remedy="ship it with `.add_local_python_source(...)`, and take it out of the dependencies",
                )
    if ignored:
        return read_text(path), ""
    lock_path = lockfile or os.path.join(os.path.dirname(os.path.expanduser(path)), "poetry.lock")
    if not os.path.exists(os.path.expanduser(lock_path)):
        raise SourceFileNotFound(
            f"Image.poetry_install_from_file: {lock_path} does not exist, and says which versions are meant",
            path=lock_path,
            remedy="make it with `poetry lock`, or write ignore_lockfile=True, which resolves anew what pyproject.toml asks for",
        )
    return read_text(path), read_text(lock_path)


def _poetry_dependencies(said: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    """What a project needs, by name, in the tables that are Poetry's own."""
    own = _table(_table(said, "tool", path), "poetry", path)
    groups = _table(own, "group", path)
    for table in (
        _table(own, "dependencies", path),
        _table(own, "dev-dependencies", path),
        *(_table(_table(groups, name, path), "dependencies", path) for name in groups),
    ):
        yield from table.items()


def _read_toml(path: str) -> dict[str, Any]:
    import tomllib

    text = read_text(path)
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as wrong:
        raise InvalidError(f"{path} is no TOML: {wrong or 'it is nested too deeply'}") from None


def _table(said: dict[str, Any], name: str, path: str) -> dict[str, Any]:
    found = said.get(name, {})
    if not isinstance(found, dict):
        raise InvalidError(f"{path}: {name} is no table")
    return found


def _strings(found: Any, path: str, name: str) -> list[str]:
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise InvalidError(f"{path}: {name} is no list of strings")
    return found


def _normal(name: str) -> str:
    """A name as indexes compare them."""
    return re.sub(r"[-_.]+", "-", name).lower()
