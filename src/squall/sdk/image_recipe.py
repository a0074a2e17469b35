"""Image recipe: what a declared image comes to on this machine: its local files, and its recipe without a secret."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import PurePosixPath
from typing import Final

from squall.images.redact import Hidden
from squall.model.errors import InvalidError, ModuleNotMountable, SourceFileNotFound, SourceTooLarge
from squall.model.image import ImageRecipe
from squall.model.image_steps import AddLocal, Env, Step, Workdir
from squall.sdk.ignore import Rules, RuleSet, docker_rules
from squall.sdk.image import IDENTITY_VARIABLE, Directory, Ignore, Image, Local, Variables
from squall.sdk.image_packages import SECRET_PREFIX, Install, read_install
from squall.sdk.source_walk import SourceFile

FILES_LIMIT: Final = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFiles:
    """The files of one local add, each under its whole path in the container without the first slash."""

    step: Local
    files: tuple[SourceFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """What travels for an image. secrets: values by placeholder, for the build only: never kept, never logged."""

    recipe: ImageRecipe
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()


def local_files(image: Image) -> tuple[LocalFiles, ...]:
    """The local files of each add, in the order of the steps; whoever ships them gives a tree's digest for each.

    Raises SourceFileNotFound, ModuleNotMountable and SourceTooLarge.
    """
    return tuple(
        LocalFiles(step=step, files=tuple(_files(step))) for step in image.steps if isinstance(step, Local)
    )


def recipe_of(image: Image, trees: Sequence[str] = (), *, sources: str = "") -> Needed:
    """The recipe of an image. trees: the digests for its `local_files`, in their order.

    sources: the digest of the settings (`InstallerSettings.sources`) by which its packages are found.
    Raises SourceFileNotFound and InvalidError.
    """
    hidden = Hidden(SECRET_PREFIX)
    left = list(trees)
    steps: list[Step] = []
    for step in image.steps:
        match step:
            case Install():
                steps.append(read_install(step, hidden))
            case Variables():
                steps.append(Env(variables=dict(step.variables)))
            case Directory():
                steps.append(Workdir(path=step.path))
            case Local():
                tree = left.pop(0)
                steps.append(
                    AddLocal(kind=step.kind, remote=step.remote, tree=tree, copy=step.copy, origin=step.local)
                )
    steps.append(Env(variables={IDENTITY_VARIABLE: image.identity}))
    installs = any(isinstance(step, Install) for step in image.steps)
    recipe = ImageRecipe(
        base=image.base,
        python_version=image.python_version,
        steps=tuple(steps),
        sources=sources if installs else "",
    )
    return Needed(recipe=recipe, secrets=hidden.secrets, notes=image.notes)


def _files(step: Local) -> Iterator[SourceFile]:
    match step.kind:
        case "file":
            yield _file(step.local, step.remote)
        case "dir":
            yield from _directory(step.local, step.remote, step.ignore)
        case "python_source":
            place = _module(step.local)
            if os.path.isdir(place):
                yield from _directory(place, step.remote, step.ignore)
            else:
                yield _file(place, f"{step.remote}.py")


def _file(local: str, remote: str) -> SourceFile:
    path = os.path.abspath(os.path.expanduser(local))
    if not os.path.isfile(path):
        what = "is a directory: use `.add_local_dir`" if os.path.isdir(path) else "does not exist"
        raise SourceFileNotFound(f"Image.add_local_file: {path} {what}", path=path)
    return SourceFile.at("", remote.lstrip("/"), absolute=path)


def _directory(local: str, remote: str, ignore: Ignore) -> Iterator[SourceFile]:
    """Every file of a directory but what `ignore` keeps away. Links to files ship as the files that they lead to."""
    top = os.path.abspath(os.path.expanduser(local))
    if not os.path.isdir(top):
        what = "is a file: use `.add_local_file`" if os.path.isfile(top) else "does not exist"
        raise SourceFileNotFound(f"Image.add_local_dir: {top} {what}", path=top)
    stays = _stays(ignore)
    count = 0
    for here, directories, names in os.walk(top, followlinks=False):
        below = os.path.relpath(here, top).replace(os.sep, "/")
        base = "" if below == "." else f"{below}/"
        directories[:] = sorted(name for name in directories if name != "__pycache__")
        for name in sorted(names):
            path = base + name
            place = os.path.join(here, name)
            if stays(path) or not os.path.isfile(place):
                continue
            count += 1
            if count > FILES_LIMIT:
                raise SourceTooLarge(f"Image.add_local_dir: {top} has more than {FILES_LIMIT:,} files")
            yield SourceFile.at("", f"{remote}/{path}".lstrip("/"), absolute=place)


def _stays(ignore: Ignore) -> Callable[[str], bool]:
    """Whether a path below an added directory does not ship."""
    if callable(ignore):
        return ignore
    rules = Rules((RuleSet(docker_rules("\n".join(ignore), file="ignore="), parents=True),))
    return lambda path: rules.ignoring(path, PurePosixPath(path).name, is_directory=False) is not None


def _module(name: str) -> str:
    """Where a module or package lies, found without importing it. Raises ModuleNotMountable."""
    spec = PathFinder.find_spec(name, ["", *sys.path])
    if spec is None:
        raise ModuleNotMountable(
            f"Image.add_local_python_source: there is no module {name!r} in the current directory or on the path",
            remedy="run from the directory that holds it, or install it",
            module=name,
        )
    if spec.submodule_search_locations:
        return os.path.abspath(next(iter(spec.submodule_search_locations)))
    if spec.origin is None or not spec.origin.endswith(".py"):
        raise InvalidError(
            f"Image.add_local_python_source: {name!r} is no Python source ({spec.origin})",
            remedy="install the package in the image with `.pip_install(...)`",
        )
    return os.path.abspath(spec.origin)
