"""Image: the recipe of a container's file system, and the client's Python that it is built for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, assert_never, cast

from squall.model.jsonable import from_json, to_json

Base = Literal["host", "debian_slim"]
LocalKind = Literal["file", "dir", "python_source"]
Dialect = Literal["pip", "uv"]
"""Whose rules hold where several indexes carry a package: pip takes the best version, uv the first index."""

SOURCE_ROOT: Final = "/app"
"""Where the user's source shows in a container, and where local Python sources are added."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HIDDEN = re.compile(r"\$\{SQUALL_CREDENTIAL_\w+\}@")
_PYTHON_VERSION = re.compile(r"3\.\d{1,2}")
_NOT_OURS_TO_GIVE = (
    "/proc",
    "/sys",
    "/dev",
    "/squall",
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipInstall:
    """One step that installs Python packages, by pip's or uv's rules.

    packages: requirement specifiers. requirements, constraints: the text of such files, every include resolved.
    Credentials never stand in a step: a URL holds `${SQUALL_CREDENTIAL_n}` in their place, and the value travels
    apart. env: set for this step only. build_id: not empty for a step that is to be built anew, once for each
    value. uv_version: the uv that does it, None for any.
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

    def __post_init__(self) -> None:
        if not self.packages and not self.requirements.strip():
            raise ValueError("an install step names no package")
        check_variables(self.env)


@dataclass(frozen=True, slots=True, kw_only=True)
class Env:
    """Variables for every later step and for the container; a later one wins."""

    variables: dict[str, str]

    def __post_init__(self) -> None:
        check_variables(self.variables)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir:
    """The directory in which the container starts."""

    path: str

    def __post_init__(self) -> None:
        check_absolute(self.path)


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


Step = PipInstall | Env | Workdir | AddLocal
BuildStep = PipInstall
"""The steps that run something; the others are settled when a container starts."""

_KINDS: Final[Mapping[str, type[Step]]] = {
    "pip_install": PipInstall,
    "env": Env,
    "workdir": Workdir,
    "add_local": AddLocal,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecipe:
    """What an image is made of: a base and steps, in order.

    python_version: "3.12", or None for the client's. sources: the digest of the client's settings that decide which
    packages its steps find, so that the recipe alone tells its layers.
    """

    base: Base = "host"
    python_version: str | None = None
    steps: tuple[Step, ...] = ()
    sources: str = ""

    def __post_init__(self) -> None:
        if self.python_version is not None and not _PYTHON_VERSION.fullmatch(self.python_version):
            raise ValueError(f"a Python version looks like 3.12, not {self.python_version!r}")
        late = step_after_uncopied_add(self.steps)
        if late is not None:
            raise ValueError(f"a step that builds follows {late.origin or late.remote}, which is not copied")

    def to_json(self) -> dict[str, Any]:
        """The plain form; `ImageRecipe.from_json` reads it."""
        head: dict[str, Any] = {"base": self.base}
        if self.python_version is not None:
            head["python_version"] = self.python_version
        if self.sources:
            head["sources"] = self.sources
        return {**head, "steps": [step_to_json(step) for step in self.steps]}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> ImageRecipe:
        """The recipe that `plain` says; nothing at all is the host image. Raises ValueError where it says none."""
        unknown = set(plain) - {"base", "python_version", "sources", "steps"}
        if unknown:
            raise ValueError(f"a recipe has no field {min(unknown)!r}")
        base = plain.get("base", "host")
        if base not in {"host", "debian_slim"}:
            raise ValueError(f"a recipe has no base {base!r}")
        steps = plain.get("steps", [])
        if not isinstance(steps, list):
            raise ValueError("the steps of a recipe are a list")  # noqa: TRY004 - one kind of error for bad data
        version = plain.get("python_version")
        return cls(
            base=cast("Base", base),
            python_version=None if version is None else str(version),
            steps=tuple(step_from_json(step) for step in steps),
            sources=str(plain.get("sources", "")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPython:
    """The interpreter that the client runs, as it sees itself; every path as it is written there, links unresolved.

    version: "3.12.1". soabi: what extension modules must be built for, "cpython-312-x86_64-linux-gnu".
    platform: "linux-x86_64". stdlib_dirs: the standard library's directories, site_dirs: the directories that
    installed packages are imported from, in the order of sys.path. uv: a uv found in the client's environment.
    """

    executable: str
    prefix: str
    base_prefix: str
    version: str
    soabi: str = ""
    platform: str = ""
    stdlib_dirs: tuple[str, ...] = ()
    site_dirs: tuple[str, ...] = ()
    uv: str | None = None

    def __post_init__(self) -> None:
        for path in (self.executable, self.prefix, self.base_prefix):
            check_absolute(path)

    @property
    def minor(self) -> str:
        """The version without its patch: "3.12"."""
        return ".".join(self.version.split(".")[:2])

    def to_json(self) -> dict[str, Any]:
        """The plain form; `ClientPython.from_json` reads it."""
        return cast("dict[str, Any]", to_json(self))

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> ClientPython:
        """The interpreter that `plain` says. Raises ValueError where it says none."""
        return from_json(cls, dict(plain))


def step_to_json(step: Step) -> dict[str, Any]:
    """The plain form of one step, its kind beside its fields."""
    return {"step": _kind(step), **to_json(step)}


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
            what = [*step.packages, *(["(requirements)"] if step.requirements.strip() else [])]
            shown = _HIDDEN.sub("", " ".join(what[:6])) + (
                f" and {len(what) - 6} more" if len(what) > 6 else ""
            )
            return f"{'uv_pip_install' if step.dialect == 'uv' else 'pip_install'} {shown}"
        case Env():
            return f"env {' '.join(sorted(step.variables))}"
        case Workdir():
            return f"workdir {step.path}"
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
        elif uncopied is not None and isinstance(step, PipInstall | AddLocal):
            return uncopied
    return None


def check_variables(variables: Mapping[str, str]) -> None:
    """Raises ValueError naming the first variable that no environment can hold."""
    for name, value in variables.items():
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"{name!r} is no name for an environment variable")
        if "\0" in value:
            raise ValueError(f"the value of {name} holds a NUL byte")


def check_absolute(path: str) -> None:
    """Raises ValueError unless `path` is absolute, in its shortest form, and free of NUL."""
    parts = path.split("/")
    if not path.startswith("/") or "\0" in path:
        raise ValueError(f"a path in a container is absolute: {path!r}")
    if path != "/" and ("" in parts[1:] or "." in parts or ".." in parts):
        raise ValueError(f"a path in a container is written in its shortest form: {path!r}")


def check_remote(path: str) -> None:
    """Raises ValueError unless local files may be put at `path` in a container."""
    check_absolute(path)
    if path == "/":
        raise ValueError("local files go below a directory of the container, not over its root")
    for taken in _NOT_OURS_TO_GIVE:
        if path == taken or path.startswith(taken + "/"):
            raise ValueError(
                f"{path} is below {taken}, which is the machine's own and read-only in a container"
            )


def _kind(step: Step) -> str:
    return next(kind for kind, cls in _KINDS.items() if isinstance(step, cls))
