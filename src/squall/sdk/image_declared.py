"""Image declared: the bases and steps of an image as users write them, before anything is read for them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from squall.images.conda.channels import without_credentials
from squall.model.errors import ImageStepUnavailable, InvalidError
from squall.model.gpu import Gpus, parse_gpus
from squall.model.image_steps import LocalKind, check_variables
from squall.model.resources import Limits, Resources
from squall.sdk.image_packages import Install
from squall.sdk.secret import Secret

Path = str | os.PathLike[str]
Ignore = Sequence[str] | Callable[[str], bool]
"""Which local files stay away: patterns as in a .dockerignore, or a test of the path below the added directory."""

Gpu = str | Sequence[str] | None
"""Devices of a step while it runs, as for a function: "H100", "A100:2", or a list of which the first that is free is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryBase:
    """An image of a registry. secret: a user and a password for it."""

    tag: str
    secret: Secret | None = None
    build_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerfileBase:
    """An image that a Dockerfile says. context_dir: where COPY finds files; ignore: None for what .dockerignore says."""

    path: str
    context_dir: str
    ignore: Ignore | None = None
    build_args: tuple[tuple[str, str], ...] = ()
    build_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltBase:
    """An image that was built before. key: or its beginning."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedBase:
    """An image that was published. name: with its tag; what it means is asked when the image is needed."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """The dependencies of a uv project; its files are read when the image is needed."""

    directory: str
    groups: tuple[str, ...]
    extras: tuple[str, ...]
    frozen: bool
    extra_options: str
    uv_version: str | None
    env: tuple[tuple[str, str], ...]
    secrets: tuple[Secret, ...]
    build_id: str
    gpu: tuple[Gpus, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PoetryProject:
    """The dependencies of a Poetry project; its files are read when the image is needed. lockfile: "" for the one beside pyproject."""

    pyproject: str
    lockfile: str
    ignore_lockfile: bool
    groups: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
    poetry_version: str
    extra_options: str
    env: tuple[tuple[str, str], ...]
    secrets: tuple[Secret, ...]
    build_id: str
    gpu: tuple[Gpus, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Apt:
    """Packages of the distribution."""

    packages: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    secrets: tuple[Secret, ...]
    build_id: str
    gpu: tuple[Gpus, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Conda:
    """Conda packages; the file is read when the image is needed.

    begins: it makes the environment, with this minor version of Python ("3.12"), or the client's where it is "".
    """

    packages: tuple[str, ...] = ()
    spec_file: str = ""
    channels: tuple[str, ...] = ()
    begins: bool = False
    python: str = ""
    env: tuple[tuple[str, str], ...] = ()
    secrets: tuple[Secret, ...] = ()
    build_id: str = ""
    gpu: tuple[Gpus, ...] = ()

    def __repr__(self) -> str:
        # Seen in tracebacks: no user, no password and no token of an address.
        return f"Conda{self.said!r}"

    @property
    def said(self) -> tuple[Any, ...]:
        """What is the same wherever the program is loaded, and free of credentials."""
        shown = [without_credentials(word) for word in (*self.packages, *self.channels)]
        return (
            shown,
            os.path.basename(self.spec_file),
            self.python,
            self.env,
            _names(self.secrets),
            self.gpu,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """Commands for the image's shell."""

    commands: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    secrets: tuple[Secret, ...]
    build_id: str
    gpu: tuple[Gpus, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Call:
    """A function to be run in the image. Equal to itself only: its arguments may have no equality and no hash.

    asks, limits: as of RunFunction.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    timeout_s: float
    env: tuple[tuple[str, str], ...]
    secrets: tuple[Secret, ...]
    build_id: str
    gpu: tuple[Gpus, ...] = ()
    asks: Resources = Resources()
    limits: Limits | None = None

    @property
    def name(self) -> str:
        """What people call it."""
        return str(getattr(self.function, "__qualname__", "function")).replace("<locals>.", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Lines of a Dockerfile. context_files: local files by their paths in the context, which win over context_dir."""

    lines: tuple[str, ...]
    context_files: tuple[tuple[str, str], ...]
    context_dir: str
    build_id: str
    gpu: tuple[Gpus, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Variables:
    """Environment variables from here on, as sorted pairs."""

    variables: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """The directory in which containers start."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """How programs are started. kind: "entrypoint", "cmd" or "shell"."""

    kind: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """Local files to add; they are looked for when the image is needed, not when it is declared."""

    kind: LocalKind
    local: str
    remote: str
    copy: bool
    ignore: Ignore = field(default=())


Building = Install | Sync | PoetryProject | Apt | Conda | Commands | Call | Lines
"""The steps that run something."""

Declared = Building | Variables | Directory | Program | Local
Single = (
    Install | Sync | PoetryProject | Apt | Commands | Call | Lines | Variables | Directory | Program | Local
)
"""The steps that are one step of a recipe: conda packages may come with some of pip's."""

Origin = RegistryBase | DockerfileBase | BuiltBase | NamedBase | None


class Chain:
    """What the methods of an image are written with: each gives an image with one more step."""

    __slots__ = ()

    def with_step(self, step: Declared) -> Self:
        """This image and one more step."""
        raise NotImplementedError


def method_of(step: Declared) -> str:
    """The method of `Image` that declares such a step."""
    match step:
        case Install():
            return step.method
        case Sync():
            return "uv_sync"
        case PoetryProject():
            return "poetry_install_from_file"
        case Apt():
            return "apt_install"
        case Conda():
            return "micromamba" if step.begins else "micromamba_install"
        case Commands():
            return "run_commands"
        case Call():
            return "run_function"
        case Lines():
            return "dockerfile_commands"
        case Variables():
            return "env"
        case Directory():
            return "workdir"
        case Program():
            return step.kind
        case Local():
            return f"add_local_{step.kind}"


def said_by(step: Declared) -> str:
    """What a step says that is the same wherever its program is loaded: no local place, no forced build, no value of a secret."""
    match step:
        case Install():
            words: tuple[Any, ...] = step.said
        case Sync():
            words = (
                step.groups,
                step.extras,
                step.frozen,
                step.extra_options,
                step.uv_version,
                step.env,
                step.gpu,
            )
        case PoetryProject():
            options = (step.ignore_lockfile, step.groups, step.extra_options, step.poetry_version)
            words = (os.path.basename(step.pyproject), *options, step.env, _names(step.secrets), step.gpu)
        case Conda():
            words = step.said
        case Apt() | Commands():
            words = (
                step.packages if isinstance(step, Apt) else step.commands,
                step.env,
                _names(step.secrets),
                step.gpu,
            )
        case Call():
            given = (_plain(step.args), _plain(dict(step.kwargs)))
            words = (step.name, *given, step.env, _names(step.secrets), step.gpu)
        case Lines():
            words = (step.lines, tuple(path for path, _ in step.context_files), step.gpu)
        case Local():
            ignore = None if callable(step.ignore) else tuple(step.ignore)
            words = (step.remote, step.copy, ignore)
        case Variables():
            words = step.variables
        case Directory():
            words = (step.path,)
        case Program():
            words = step.words
    return f"{method_of(step)} {words!r}"


def said_by_origin(origin: Origin) -> str:
    """The same of what an image stands on."""
    match origin:
        case RegistryBase():
            return f"{origin.tag} {origin.secret!r}"
        case DockerfileBase():
            return f"{os.path.basename(origin.path)} {origin.build_args!r}"
        case BuiltBase():
            return origin.key
        case NamedBase():
            return origin.name
        case None:
            return ""


def refuse_later(method: str, **options: Any) -> None:
    """Raises ImageStepUnavailable for an option that has a value and is not in this version."""
    for name, value in options.items():
        if value:
            raise ImageStepUnavailable(
                f"Image.{method}({name}=...) is not in this version: {_LATER[name]}",
                remedy="leave it out for now",
                feature=f"{method}({name}=)",
            )


_LATER = {
    "volumes": "volumes come with the storage of apps; a step that needs files can COPY or download them",
}


def settings_of(method: str, env: Any, gpu: Any, *, force_build: bool) -> dict[str, Any]:
    """What nearly every step can be told: variables as sorted pairs, its devices, and the id of a forced build.

    Raises InvalidError.
    """
    try:
        devices = parse_gpus(gpu)
    except ValueError as wrong:
        raise InvalidError(
            f"Image.{method}: {wrong}", remedy='name a type, or several: `gpu="H100"`'
        ) from None
    # A new id for each declaration: what was built for another one is not used again.
    return {
        "env": checked_env(f"Image.{method}", env),
        "build_id": os.urandom(8).hex() if force_build else "",
        "gpu": devices,
    }


def checked_env(what: str, env: Any) -> tuple[tuple[str, str], ...]:
    """Variables as sorted pairs. Raises InvalidError that names the variable."""
    if env is None:
        return ()
    if not isinstance(env, Mapping):
        raise InvalidError(f"{what}: variables are a dict, not {type(env).__name__}")
    for name, value in env.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidError(
                f"{what}: the value of {name} is of type {type(value).__name__}, not a string",
                remedy=f"write str(...) around the value of {name}",
            )
    try:
        check_variables(env)
    except ValueError as wrong:
        raise InvalidError(f"{what}: {wrong}") from None
    return tuple(sorted(env.items()))


def flat_words(what: str, words: Iterable[Any]) -> tuple[str, ...]:
    """Words and lists of words as one sequence. Raises InvalidError for anything but strings without NUL."""
    found = [
        word
        for each in words
        for word in (each if isinstance(each, Iterable) and not isinstance(each, str) else (each,))
    ]
    for word in found:
        if not isinstance(word, str) or "\0" in word:
            raise InvalidError(f"{what}: {word!r} is no string", remedy="name strings, or lists of strings")
    return tuple(found)


def kept(ignore: Ignore) -> Ignore:
    """Patterns that nobody changes later, or the function that was given."""
    return ignore if callable(ignore) else tuple(ignore)


def _names(secrets: tuple[Secret, ...]) -> tuple[str, ...]:
    return tuple(name for secret in secrets for name in secret.names)


def _plain(value: Any) -> Any:
    """A value as far as its text is the same everywhere: of anything but plain data, its type."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value[:100]]
    if isinstance(value, dict):
        return [(_plain(key), _plain(item)) for key, item in list(value.items())[:100]]
    return type(value).__name__
