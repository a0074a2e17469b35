"""Image steps: what is done to an image, one step after the other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, assert_never, cast

from squall.model.gpu import Gpus
from squall.model.image_paths import check_absolute, check_remote
from squall.model.jsonable import from_json, to_json
from squall.model.resources import Limits, Resources

LocalKind = Literal["file", "dir", "python_source"]
Dialect = Literal["pip", "uv"]
"""Whose rules hold where several indexes carry a package: pip takes the best version, uv the first index."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HIDDEN = re.compile(r"\$\{SQUALL_CREDENTIAL_\w+\}@")
_DEBIAN_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?([=/][A-Za-z0-9.+~:-]+)?")
_VERSION = re.compile(r"latest|[0-9][0-9A-Za-z.]*|")
_SERVER = re.compile(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class GitToken:
    """Which variable has the token for a server, and no other. server: "https://github.com"."""

    server: str
    variable: str

    def __post_init__(self) -> None:
        if not _SERVER.fullmatch(self.server) or not _VARIABLE.fullmatch(self.variable):
            raise ValueError(f"no token for {self.server!r} is in {self.variable!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class GitLogin:
    """As whom git fetches repositories, and with which tokens. user: to every server."""

    user: str
    tokens: tuple[GitToken, ...]

    def __post_init__(self) -> None:
        if not self.user or not self.user.isprintable():
            raise ValueError(f"{self.user!r} is no name of a user")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipInstall:
    """One step that installs Python packages, by pip's or uv's rules.

    packages: requirement specifiers. requirements, constraints: the text of such files, every include resolved.
    Credentials never stand in a step: a URL holds `${SQUALL_CREDENTIAL_n}` in their place, and the value travels
    apart. env: set for this step only. build_id: not empty for a step that is to be built anew, once for each
    value. uv_version: the uv that does it, None for any. secrets: names of variables that are set for this step
    only; their values travel apart and are in no key. gpu: the devices that it has while it runs, the first choice first, which are part
    of its key: what is compiled for a device may not run on another. git: as whom packages are fetched that lie in repositories.
    """

    packages: tuple[str, ...] = ()
    requirements: str = ""
    constraints: str = ""
    find_links: tuple[str, ...] = ()
    index_url: str | None = None
    extra_index_url: tuple[str, ...] = ()
    pre: bool = False
    extra_options: str = ""
    env: dict[str, str] = field(default_factory=dict)
    build_id: str = ""
    uv_version: str | None = None
    dialect: Dialect = "pip"
    secrets: tuple[str, ...] = ()
    gpu: tuple[Gpus, ...] = ()
    git: GitLogin | None = None

    def __post_init__(self) -> None:
        if not self.packages and not self.requirements.strip():
            raise ValueError("an install step names no package")
        _check_settings(self.env, self.secrets)


@dataclass(frozen=True, slots=True, kw_only=True)
class UvSync:
    """One step that installs what a uv project needs, and not the project itself.

    pyproject, lock: the text of pyproject.toml and uv.lock, credentials in them as in PipInstall; the lock is empty
    where there is none. frozen: nothing is resolved anew, which needs the lock. env, build_id, uv_version, secrets, gpu:
    as in PipInstall.
    """

    pyproject: str
    lock: str = ""
    groups: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    frozen: bool = True
    extra_options: str = ""
    env: dict[str, str] = field(default_factory=dict)
    build_id: str = ""
    uv_version: str | None = None
    secrets: tuple[str, ...] = ()
    gpu: tuple[Gpus, ...] = ()

    def __post_init__(self) -> None:
        if not self.pyproject.strip():
            raise ValueError("a uv project has a pyproject.toml")
        if self.frozen and not self.lock.strip():
            raise ValueError("a frozen install of a uv project needs its uv.lock")
        _check_settings(self.env, self.secrets)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoetryInstall:
    """One step that installs what a Poetry project needs, and not the project itself.

    pyproject, lock: the text of pyproject.toml and poetry.lock, credentials in them as in PipInstall; the lock is empty
    where all is resolved anew. with_groups, without_groups, only_groups: as Poetry's options of these names. poetry_version: the Poetry
    that reads the lock, "latest" for whichever there is now, "" for the one in the image. env, build_id, secrets, gpu: as in PipInstall.
    """

    pyproject: str
    lock: str = ""
    with_groups: tuple[str, ...] = ()
    without_groups: tuple[str, ...] = ()
    only_groups: tuple[str, ...] = ()
    poetry_version: str = "latest"
    extra_options: str = ""
    env: dict[str, str] = field(default_factory=dict)
    build_id: str = ""
    secrets: tuple[str, ...] = ()
    gpu: tuple[Gpus, ...] = ()

    def __post_init__(self) -> None:
        if not self.pyproject.strip():
            raise ValueError("a Poetry project has a pyproject.toml")
        if not _VERSION.fullmatch(self.poetry_version):
            raise ValueError(f"{self.poetry_version!r} is no version of Poetry")
        _check_settings(self.env, self.secrets)


@dataclass(frozen=True, slots=True, kw_only=True)
class AptInstall:
    """One step that installs packages of the distribution, Debian's or one like it. env, build_id, secrets, gpu: as in
    PipInstall.
    """

    packages: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    build_id: str = ""
    secrets: tuple[str, ...] = ()
    gpu: tuple[Gpus, ...] = ()

    def __post_init__(self) -> None:
        if not self.packages:
            raise ValueError("an install step names no package")
        for package in self.packages:
            if not _DEBIAN_PACKAGE.fullmatch(package):
                raise ValueError(f"{package!r} is no name of a Debian package")
        _check_settings(self.env, self.secrets)


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaInstall:
    """One step that installs conda packages into the image's conda environment.

    packages: match specs, which a solver makes an environment of, with what it has already. explicit: in their place, the
    addresses of package files, each with its digest behind a "#", which are installed as they are. channels: addresses;
    the first that has a package gives it. Credentials in addresses are as in PipInstall. begins: it makes the environment,
    for which packages name a Python. env, build_id, secrets, gpu: as in PipInstall.
    """

    packages: tuple[str, ...] = ()
    explicit: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    begins: bool = False
    env: dict[str, str] = field(default_factory=dict)
    build_id: str = ""
    secrets: tuple[str, ...] = ()
    gpu: tuple[Gpus, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.packages) == bool(self.explicit):
            raise ValueError("a step of conda names packages, or package files, and not both")
        if self.packages and not self.channels:
            raise ValueError("conda packages come from a channel")
        for word in (*self.packages, *self.explicit, *self.channels):
            if not word.strip() or "\n" in word or "\0" in word:
                raise ValueError(f"{word!r} is no conda package and no channel")
        _check_settings(self.env, self.secrets)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCommands:
    """One step that runs commands by the image's shell, each in turn, until one fails. env, build_id, secrets, gpu: as in
    PipInstall.
    """

    commands: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    build_id: str = ""
    gpu: tuple[Gpus, ...] = ()

    def __post_init__(self) -> None:
        if not self.commands:
            raise ValueError("a step names no command")
        if any("\0" in command or not command.strip() for command in self.commands):
            raise ValueError("a command is some text without a NUL byte")
        _check_settings(self.env, self.secrets)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFunction:
    """One step that runs a Python function in the image.

    name: for people. says: a digest that differs when what the function does could differ. call: the digest of a blob
    with `(function, args, kwargs)` as cloudpickle writes it; it is no part of a key, since the same function can be
    written in several ways. python: the minor version that wrote it ("3.12"), which alone can read it. timeout_s:
    seconds after which it is killed. env, build_id, secrets, gpu: as in PipInstall. asks: what the machine must have for
    it; limits: what it may use at most, None for no limit of its own; neither changes what it leaves, so they are in no key.
    """

    name: str
    says: str
    call: str
    python: str = ""
    timeout_s: float = 3600.0
    env: dict[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    build_id: str = ""
    gpu: tuple[Gpus, ...] = ()
    asks: Resources = Resources()
    limits: Limits | None = None

    def __post_init__(self) -> None:
        for digest in (self.says, self.call):
            if not _DIGEST.fullmatch(digest):
                raise ValueError(f"{digest!r} is no digest")
        if not 0 < self.timeout_s <= 86_400:
            raise ValueError(f"a time limit is above 0 and at most a day, not {self.timeout_s} seconds")
        _check_settings(self.env, self.secrets)


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerfileCommands:
    """Lines as in a Dockerfile, without FROM, on top of what is there. context: the digest of a tree of the files that COPY
    and ADD find, each below its path in the context; "" for none. build_id: as in PipInstall. gpu: as there, for each RUN.
    """

    text: str
    context: str = ""
    build_id: str = ""
    gpu: tuple[Gpus, ...] = ()

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError("a step names no line of a Dockerfile")
        check_context(self.context)


@dataclass(frozen=True, slots=True, kw_only=True)
class Env:
    """Variables for every later step and for the container; a later one wins."""

    variables: dict[str, str]

    def __post_init__(self) -> None:
        check_variables(self.variables)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir:
    """The directory in which later commands and the container start."""

    path: str

    def __post_init__(self) -> None:
        check_absolute(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint:
    """The program that a container of this image starts around its own, and its first arguments; empty for none.

    As in a Dockerfile it leaves no cmd of the base, whose arguments are another program's; a cmd that a step says stays.
    """

    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_words(self.words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd:
    """The program, or the further arguments of the entrypoint, where a container is started without a command."""

    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_words(self.words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """The shell, and its first arguments, by which later commands are run."""

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.words or not self.words[0]:
            raise ValueError("a shell is at least the name of its program")
        _check_words(self.words)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddLocal:
    """Files of the client's, at `remote` in the container.

    tree: the digest of a tree of them, each under its whole path in the container without the first slash, so that
    the tree can lie over a container's root as it is. copy: part of the image, so that later steps see it; else it is
    only there when a container starts, and no step may follow that builds. origin: what the user wrote, for messages.
    """

    kind: LocalKind
    remote: str
    tree: str
    copy: bool = False
    origin: str = ""

    def __post_init__(self) -> None:
        check_remote(self.remote)


BuildStep = (
    PipInstall
    | UvSync
    | PoetryInstall
    | AptInstall
    | CondaInstall
    | RunCommands
    | RunFunction
    | DockerfileCommands
)
"""The steps that run something."""

ConfigStep = Env | Workdir | Entrypoint | Cmd | Shell
"""The steps that say how later ones and the container are started."""

Step = BuildStep | ConfigStep | AddLocal

WithoutOwnRoot = PipInstall | Env | Workdir | AddLocal
"""The steps that an image can have which is the machine itself, read-only; all others write into a root."""

_KINDS: Final[Mapping[str, type[Step]]] = {
    "pip_install": PipInstall,
    "uv_sync": UvSync,
    "poetry_install": PoetryInstall,
    "apt_install": AptInstall,
    "conda_install": CondaInstall,
    "run_commands": RunCommands,
    "run_function": RunFunction,
    "dockerfile_commands": DockerfileCommands,
    "env": Env,
    "workdir": Workdir,
    "entrypoint": Entrypoint,
    "cmd": Cmd,
    "shell": Shell,
    "add_local": AddLocal,
}


def step_to_json(step: Step) -> dict[str, Any]:
    """The plain form of one step, its kind beside its fields."""
    return {"step": next(kind for kind, cls in _KINDS.items() if isinstance(step, cls)), **to_json(step)}


def step_from_json(plain: Any) -> Step:
    """The step that `plain` says. Raises ValueError where it says none."""
    if not isinstance(plain, dict):
        raise ValueError("a step is an object")  # noqa: TRY004 - one kind of error for bad data
    found = _KINDS.get(str(plain.get("step")))
    if found is None:
        raise ValueError(f"this version knows no step {plain.get('step')!r}")
    fields = {key: value for key, value in plain.items() if key != "step"}
    return cast("Step", from_json(cast("type[Any]", found), fields))


def step_label(step: Step) -> str:
    """One line that tells people which step this is."""
    match step:
        case PipInstall():
            if step.git is not None:
                return (
                    f"pip_install_private_repos {_some([name.partition('://')[2] for name in step.packages])}"
                )
            what = [*step.packages, *(["(requirements)"] if step.requirements.strip() else [])]
            dialect = "uv_pip_install" if step.dialect == "uv" else "pip_install"
            return f"{dialect} {_HIDDEN.sub('', _some(what))}"
        case UvSync():
            return "uv_sync"
        case PoetryInstall():
            return "poetry_install_from_file"
        case AptInstall():
            return f"apt_install {_some(step.packages)}"
        case CondaInstall():
            what = list(step.packages) or [f"({len(step.explicit)} package files)"]
            return f"{'micromamba' if step.begins else 'micromamba_install'} {_HIDDEN.sub('', _some(what))}"
        case RunCommands():
            more = f" and {len(step.commands) - 1} more" if len(step.commands) > 1 else ""
            return f"run_commands {_short(step.commands[0])}{more}"
        case RunFunction():
            return f"run_function {step.name}"
        case DockerfileCommands():
            return f"dockerfile_commands {_short(step.text.strip())}"
        case Env():
            return f"env {' '.join(sorted(step.variables))}"
        case Workdir():
            return f"workdir {step.path}"
        case Entrypoint() | Cmd() | Shell():
            return f"{type(step).__name__.lower()} {' '.join(step.words)}".rstrip()
        case AddLocal():
            return f"add_local_{step.kind} {step.origin or step.remote} -> {step.remote}"
        case _:
            assert_never(step)


def step_after_uncopied_add(steps: tuple[Step, ...]) -> AddLocal | None:
    """The first uncopied local add that a step which builds comes after, if there is one."""
    uncopied: AddLocal | None = None
    for step in steps:
        if isinstance(step, AddLocal) and not step.copy:
            uncopied = uncopied or step
        elif uncopied is not None and isinstance(step, BuildStep | AddLocal):
            return uncopied
    return None


def check_variables(variables: Mapping[str, str]) -> None:
    """Raises ValueError naming the first variable that no environment can hold."""
    for name, value in variables.items():
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"{name!r} is no name for an environment variable")
        if "\0" in value:
            raise ValueError(f"the value of {name} holds a NUL byte")


def check_context(digest: str) -> None:
    """Raises ValueError unless `digest` names a tree, or is empty for none."""
    if digest and not _DIGEST.fullmatch(digest):
        raise ValueError(f"{digest!r} is no digest")


def _check_settings(env: Mapping[str, str], secrets: tuple[str, ...]) -> None:
    """Raises ValueError for what no step can be told."""
    check_variables(env)
    check_variables(dict.fromkeys(secrets, ""))


def _check_words(words: tuple[str, ...]) -> None:
    if any("\0" in word for word in words):
        raise ValueError("a word of a command line holds a NUL byte")


def _some(words: tuple[str, ...] | list[str]) -> str:
    more = f" and {len(words) - 6} more" if len(words) > 6 else ""
    return " ".join(words[:6]) + more


def _short(text: str) -> str:
    line, _, rest = text.partition("\n")
    return line if len(line) <= 60 and not rest else f"{line[:57]}..."
