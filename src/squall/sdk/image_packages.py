"""Image packages: the words of an install step, checked when they are declared and read when they are needed."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from squall.images.redact import Hidden, placeholders, without_userinfo
from squall.model.errors import InvalidError, SourceFileNotFound
from squall.model.gpu import Gpus
from squall.model.image_steps import Dialect, GitLogin, PipInstall
from squall.sdk.image_projects import project_packages
from squall.sdk.secret import Secret, values_of

Words = str | Iterable[str] | None

SECRET_PREFIX: Final = "SQUALL_CREDENTIAL_R"  # noqa: S105 - the name of a placeholder

_INCLUDE = re.compile(r"^\s*(-r|--requirement|-c|--constraint)[\s=]\s*(?P<path>\S+)")
_EDITABLE = re.compile(r"^\s*(-e|--editable)\b")
_LOCAL = re.compile(r"^\s*(\.|\.?\.?/|file://|[A-Za-z]:\\)|\s@\s*(file://|\.?\.?/)")
_PLACE_OPTIONS: Final = {
    "--index-url": "index", "-i": "index", "--default-index": "index",
    "--extra-index-url": "extra", "--index": "extra",
    "--find-links": "links", "-f": "links",
}  # fmt: skip
_DEPTH: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """An install step as declared: its files are paths, all places as the user wrote them.

    method: of `Image`, by which it was declared. project: a pyproject.toml, of which all dependencies are meant and
    those of `extras`.
    """

    method: str
    packages: tuple[str, ...]
    files: tuple[str, ...] = ()
    project: str = ""
    extras: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    index_url: str | None = None
    extra_index_url: tuple[str, ...] = ()
    pre: bool = False
    extra_options: str = ""
    env: tuple[tuple[str, str], ...] = ()
    build_id: str = ""
    uv_version: str | None = None
    dialect: Dialect = "pip"
    secrets: tuple[Secret, ...] = ()
    gpu: tuple[Gpus, ...] = ()
    git: GitLogin | None = None

    def __repr__(self) -> str:
        # Seen in tracebacks: no user and no password of a URL.
        return f"Install{self.said!r}"

    @property
    def said(self) -> tuple[Any, ...]:
        """What is the same wherever the program is loaded: local files by their names alone, and no forced build's id."""
        local = [os.path.basename(path) for path in (*self.files, self.project)]
        links = [link if "://" in link else os.path.basename(link) for link in self.find_links]
        shown = [*self.packages, *local, *links, str(self.index_url), *self.extra_index_url]
        names = tuple(name for secret in self.secrets for name in secret.names)
        return (
            *map(without_userinfo, shown),
            *self.extras,
            self.extra_options,
            self.pre,
            names,
            self.gpu,
            self.git,
        )


def install(
    packages: Iterable[str | Iterable[str]],
    *,
    places: tuple[Words, str | None, Words],
    options: str,
    files: Words = None,
    **rest: Any,
) -> Install:
    """An install step from the words of a user. places: find_links, index_url, extra_index_url; rest: other fields.

    Raises InvalidError that names the word that is wrong.
    """
    flat = [word for package in packages for word in _each(package)]
    for word in flat:
        _check_package(word)
    named = _words(files)
    if not flat and not named and not rest.get("project"):
        raise InvalidError(
            "an install step names no package", remedy='name at least one: `.pip_install("numpy")`'
        )
    links, index, extra = places
    left, found = read_options(options)
    env = rest.pop("env", None) or {}
    _check_env(env)
    return Install(
        packages=tuple(word.strip() for word in flat),
        files=named,
        find_links=(*_words(links), *found["links"]),
        index_url=index or next(iter(found["index"]), None),
        extra_index_url=(*_words(extra), *found["extra"]),
        extra_options=left,
        env=tuple(sorted(env.items())),
        **rest,
    )


def read_install(step: Install, hidden: Hidden) -> PipInstall:
    """The step of a recipe: its requirements files read, every credential put away into `hidden`.

    Raises SourceFileNotFound and InvalidError.
    """
    read = _Read()
    for path in step.files:
        read.file(path, read.requirements, depth=0)
    packages = (*step.packages, *(project_packages(step.project, step.extras) if step.project else ()))
    for word in packages:
        _check_package(word)
    for name, value in values_of(step.secrets).items():
        hidden.keep(name, value)
    text, bounds = "\n".join(read.requirements), "\n".join(read.constraints)
    for name in placeholders(" ".join([text, bounds, *packages])):
        # As pip does with a requirements file: variables of the client's environment stand in it.
        if name in os.environ and not name.startswith(SECRET_PREFIX):
            hidden.secrets.setdefault(name, os.environ[name])
    index = step.index_url or next(iter(read.places["index"]), None)
    links = [*map(_absolute, step.find_links), *read.places["links"]]
    return PipInstall(
        packages=tuple(map(hidden.hide, packages)),
        requirements=hidden.hide(text),
        constraints=hidden.hide(bounds),
        find_links=tuple(map(hidden.hide, links)),
        index_url=None if index is None else hidden.hide(index),
        extra_index_url=tuple(map(hidden.hide, [*step.extra_index_url, *read.places["extra"]])),
        pre=step.pre,
        extra_options=step.extra_options,
        env=dict(step.env),
        build_id=step.build_id,
        uv_version=step.uv_version,
        dialect=step.dialect,
        secrets=tuple(dict.fromkeys(name for secret in step.secrets for name in secret.names)),
        gpu=step.gpu,
        git=step.git,
    )


def _each(package: Any) -> Iterable[Any]:
    """The words of one argument: a list of packages counts as its packages."""
    return package if isinstance(package, Iterable) and not isinstance(package, str) else (package,)


def _check_package(word: Any) -> None:
    if not isinstance(word, str) or not word.strip() or "\n" in word:
        raise InvalidError(
            f"{word!r} names no package", remedy='name packages as strings: `.pip_install("numpy>=2")`'
        )
    if word.lstrip().startswith("-") and not _EDITABLE.match(word):
        raise InvalidError(
            f"{word!r} is an option, not a package", remedy=f"write it as `extra_options={word.strip()!r}`"
        )
    if _LOCAL.search(word) or _EDITABLE.match(word):
        raise InvalidError(
            f"{word!r} is a place on this machine, which a build does not see",
            remedy="build a wheel of it and name its directory in `find_links`, or ship it with "
            "`.add_local_python_source(...)`",
        )


def read_options(text: str) -> tuple[str, dict[str, list[str]]]:
    """The options that are left, and those that say where packages are: those travel apart from a command line.

    Raises InvalidError for what cannot be read, and for a user or a password.
    """
    found = _no_places()
    left: list[str] = []
    try:
        words = shlex.split(text)
    except ValueError as wrong:
        raise InvalidError(f"extra_options cannot be read: {wrong}") from None
    at = 0
    while at < len(words):
        name, equals, value = words[at].partition("=")
        kind = _PLACE_OPTIONS.get(name)
        at += 1
        if kind is None:
            left.append(words[at - 1])
            continue
        if not equals:
            if at == len(words):
                raise InvalidError(f"extra_options: {name} names nothing")
            value = words[at]
            at += 1
        found[kind].append(value)
    rest = shlex.join(left)
    if without_userinfo(rest) != rest:
        raise InvalidError(
            "extra_options holds a user or password, and command lines are no secret",
            remedy="give it to `index_url` or `extra_index_url`, or keep it in ~/.netrc or pip's settings",
        )
    return rest, found


def _no_places() -> dict[str, list[str]]:
    return {"index": [], "extra": [], "links": []}


@dataclass(slots=True)
class _Read:
    """What requirements files say, those that they include with them."""

    requirements: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    places: dict[str, list[str]] = field(default_factory=_no_places)

    def file(self, path: str, wanted: list[str], *, depth: int) -> None:
        """Add the lines of a file to `wanted`."""
        if depth > _DEPTH:
            raise InvalidError(f"{path} includes itself, or others more than {_DEPTH} deep")
        for line in _lines(path):
            include = _INCLUDE.match(line)
            if include is not None:
                inner = os.path.join(os.path.dirname(path), include["path"])
                bounds = include[1].strip("-").startswith("c")
                self.file(inner, self.constraints if bounds else wanted, depth=depth + 1)
            elif line.split("=")[0].split()[:1] and line.split("=")[0].split()[0] in _PLACE_OPTIONS:
                _, found = read_options(line)
                beside = os.path.dirname(os.path.abspath(os.path.expanduser(path)))
                found["links"] = [_absolute(link, beside) for link in found["links"]]
                for kind, places in found.items():
                    self.places[kind] += places
            elif _EDITABLE.match(line) or _LOCAL.search(line.split("#")[0].split(";")[0]):
                raise InvalidError(
                    f"{path}: `{line.strip()}` is a place on this machine, which a build does not see",
                    remedy="take the line out and ship the package with `.add_local_python_source(...)`",
                )
            else:
                wanted.append(line)


def _lines(path: str) -> list[str]:
    """The lines of a file, continued lines joined. Raises SourceFileNotFound."""
    try:
        with open(os.path.expanduser(path), encoding="utf-8-sig") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as problem:
        raise SourceFileNotFound(
            f"the requirements file {path} cannot be read: {problem}", path=path
        ) from None
    return text.replace("\\\r\n", " ").replace("\\\n", " ").splitlines()


def _words(words: Words) -> tuple[str, ...]:
    if words is None:
        return ()
    return (os.fspath(words),) if isinstance(words, str | os.PathLike) else tuple(map(os.fspath, words))


def _absolute(place: str, beside: str = "") -> str:
    """A local directory by its whole path; a URL as it is. beside: what it is relative to, if not to here."""
    return place if "://" in place else os.path.abspath(os.path.join(beside, os.path.expanduser(place)))


def _check_env(env: Mapping[str, str]) -> None:
    for name, value in env.items():
        if not isinstance(value, str):
            raise InvalidError(f"env: the value of {name} is not a string")
