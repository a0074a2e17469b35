"""Image: the recipe of a container's file system, and the client's Python that it is built for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, cast

from squall.model.image_paths import check_absolute, check_remote
from squall.model.image_steps import (
    AddLocal,
    DockerfileCommands,
    RunFunction,
    Step,
    WithoutOwnRoot,
    check_context,
    step_after_uncopied_add,
    step_from_json,
    step_label,
    step_to_json,
)
from squall.model.jsonable import from_json, to_json

Base = Literal["host", "debian_slim", "registry", "dockerfile", "scratch", "built"]
SOURCE_ROOT: Final = "/app"
"""Where the user's source shows in a container, and where local Python sources are added."""

_KEY = re.compile(r"[0-9a-f]{6,64}")
_PYTHON_VERSION = re.compile(r"3\.\d{1,2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryImage:
    """An image that a registry has.

    reference: its name, with the host that carries it unless that is the default one, and a tag or digest. login:
    whether a user and a password travel apart, as REGISTRY_USERNAME and REGISTRY_PASSWORD. build_id: not empty where
    the name is to be looked up anew, once for each value.
    """

    reference: str
    login: bool = False
    build_id: str = ""

    def __post_init__(self) -> None:
        if not self.reference.strip() or "\0" in self.reference:
            raise ValueError(f"{self.reference!r} is no name of an image")


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerfileImage:
    """An image that a Dockerfile says.

    text: all of it. context: the digest of a tree of the files that COPY and ADD find, each below its path in the
    context; "" for none. build_args: values for its ARGs, which are no secret. build_id: as in PipInstall.
    """

    text: str
    context: str = ""
    build_args: dict[str, str] = field(default_factory=dict)
    build_id: str = ""

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError("the Dockerfile is empty")
        check_context(self.context)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecipe:
    """What an image is made of: a base and steps, in order.

    base: "host" is the machine itself; every other one has a root of its own. image, dockerfile, built: what the bases of those names
    stand on, the last one a key of an image that was built on this machine, or the beginning of one. python_version: "3.12", the Python that the base is given where it is not the host; None for the client's,
    and with a base from a registry, from a Dockerfile or from nothing for none but what is in it. sources: the digest of the client's settings that decide which
    packages its steps find, so that the recipe alone tells its layers.
    """

    base: Base = "host"
    image: RegistryImage | None = None
    dockerfile: DockerfileImage | None = None
    built: str = ""
    python_version: str | None = None
    steps: tuple[Step, ...] = ()
    sources: str = ""

    def __post_init__(self) -> None:
        if self.python_version is not None and not _PYTHON_VERSION.fullmatch(self.python_version):
            raise ValueError(f"a Python version looks like 3.12, not {self.python_version!r}")
        if (self.image is not None) != (self.base == "registry"):
            raise ValueError("an image of a registry is what the base of that name stands on, and no other")
        if (self.dockerfile is not None) != (self.base == "dockerfile"):
            raise ValueError("a Dockerfile is what the base of that name stands on, and no other")
        if bool(self.built) != (self.base == "built") or (self.built and not _KEY.fullmatch(self.built)):
            raise ValueError(
                f"the key of an image that was built is what the base of that name stands on, not {self.built!r}"
            )
        late = step_after_uncopied_add(self.steps)
        if late is not None:
            raise ValueError(f"a step that builds follows {late.origin or late.remote}, which is not copied")
        for step in self.steps:
            if self.base == "host" and not isinstance(step, WithoutOwnRoot):
                raise ValueError(
                    f"`{step_label(step)}` needs an image with a root of its own, which the host is not"
                )
            if isinstance(step, AddLocal):
                check_remote(step.remote, own_root=self.base != "host")

    @property
    def trees(self) -> tuple[str, ...]:
        """The digests of the trees that must be there before it is built: the base's, then those of the steps in order."""
        found = [self.dockerfile.context] if self.dockerfile is not None else []
        for step in self.steps:
            match step:
                case AddLocal():
                    found.append(step.tree)
                case DockerfileCommands():
                    found.append(step.context)
                case _:
                    pass
        return tuple(dict.fromkeys(filter(None, found)))

    @property
    def blobs(self) -> tuple[str, ...]:
        """The digests of the blobs that must be there before it is built, in the order of the steps."""
        return tuple(dict.fromkeys(step.call for step in self.steps if isinstance(step, RunFunction)))

    def to_json(self) -> dict[str, Any]:
        """The plain form; `ImageRecipe.from_json` reads it."""
        head = {key: value for key, value in to_json(replace(self, steps=())).items() if value}
        return {**head, "base": self.base, "steps": [step_to_json(step) for step in self.steps]}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> ImageRecipe:
        """The recipe that `plain` says; nothing at all is the host image. Raises ValueError where it says none."""
        steps = plain.get("steps", [])
        if not isinstance(steps, list):
            raise ValueError("the steps of a recipe are a list")  # noqa: TRY004 - one kind of error for bad data
        head = from_json(cls, {key: value for key, value in plain.items() if key != "steps"})
        return replace(head, steps=tuple(step_from_json(step) for step in steps))


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
