"""Nouns: what is read from a Dockerfile, each value resolved, and their plain forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from squall.model.jsonable import from_json, to_json

SCRATCH: Final = "scratch"
"""The name of the image that has no file."""

DEFAULT_SHELL: Final = ("/bin/sh", "-c")
DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_FOR_MESSAGES: Final = frozenset({"line", "name"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """What an image says besides its files: how a program starts in it.

    workdir: absolute. user: as it was written, name or number, with or without a group; empty for root. entrypoint,
    cmd: None where nothing is said, empty where it is said that there is none.
    """

    env: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = ""
    shell: tuple[str, ...] = DEFAULT_SHELL
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    labels: dict[str, str] = field(default_factory=dict)
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A command, with all that it runs under: nothing that was said before it has to be known.

    argv: the program and its arguments, the shell included. script: a text that begins with #!, to be put into a file
    and run in place of argv. env: variables in force, build arguments among them. line: for messages; it is no part of
    the plain form, so that a comment above changes no key.
    """

    argv: tuple[str, ...] = ()
    script: str = ""
    env: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineFile:
    """A file whose text stands in the Dockerfile; name: what it is called where it is put into a directory."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Files that are put into the image; they belong to root unless `chown` says otherwise, whoever the user is.

    sources: paths or patterns (`*`, `?`, `[...]`) without a first slash, "." for everything, below the root of `stage`
    (its index among the stages) or of `image`; where neither is set, below the context. dest: absolute, with a last
    slash where it is a directory. unpack: local archives are unpacked (ADD). addresses: of http or https, for files that are downloaded (ADD);
    checksum: the sha256 that the one of them must have, in hex, or "". chown: USER[:GROUP]. chmod: octal.
    """

    sources: tuple[str, ...] = ()
    inline: tuple[InlineFile, ...] = ()
    dest: str
    stage: int | None = None
    image: str = ""
    unpack: bool = False
    addresses: tuple[str, ...] = ()
    checksum: str = ""
    chown: str = ""
    chmod: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeDirectory:
    """A directory that is there afterwards (WORKDIR); it belongs to `user` where it is new."""

    path: str
    user: str = ""
    line: int = 0


Step = Run | Copy | MakeDirectory

_KINDS: Final[Mapping[str, type[Step]]] = {"run": Run, "copy": Copy, "make_directory": MakeDirectory}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One image on the way: what it stands on, and what is done in order.

    base: the index of the stage it stands on, or else image: the name of an image, "scratch" for none, empty for the
    image that commands are added to. config: what holds at its end. name, line: for messages.
    """

    base: int | None = None
    image: str = ""
    steps: tuple[Step, ...] = ()
    config: ImageConfig = field(default_factory=ImageConfig)
    name: str = ""
    line: int = 0

    def to_json(self) -> dict[str, Any]:
        """The plain form; `Stage.from_json` reads it. Without name and lines."""
        head: dict[str, Any] = {} if self.base is None else {"base": self.base}
        if self.image:
            head["image"] = self.image
        return {**head, "steps": [step_to_json(step) for step in self.steps], "config": to_json(self.config)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Stage:
        """The stage that `plain` says. Raises ValueError where it says none."""
        steps = plain.get("steps", [])
        if not isinstance(steps, list):
            raise ValueError("the steps of a stage are a list")  # noqa: TRY004 - one kind of error for bad data
        rest = from_json(cls, {key: value for key, value in plain.items() if key != "steps"})
        return cls(
            base=rest.base,
            image=rest.image,
            steps=tuple(step_from_json(step) for step in steps),
            config=rest.config,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockerfile:
    """What a Dockerfile builds: the stages that the last one needs, itself last, each after those it needs.

    proxies: variables for every Run that are no part of its key, as with Docker. notes: what the user should be told.
    """

    stages: tuple[Stage, ...]
    proxies: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def target(self) -> Stage:
        """The stage whose image this is about."""
        return self.stages[-1]

    @property
    def images(self) -> tuple[str, ...]:
        """The names of the images that stages stand on or copy from, each once."""
        names = [
            name
            for stage in self.stages
            for name in (stage.image, *(step.image for step in stage.steps if isinstance(step, Copy)))
        ]
        return tuple(dict.fromkeys(name for name in names if name not in {"", SCRATCH}))

    def to_json(self) -> dict[str, Any]:
        """The plain form of what is built, the same for whatever builds the same; `Dockerfile.from_json` reads it."""
        return {"stages": [stage.to_json() for stage in self.stages]}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Dockerfile:
        """The stages that `plain` says, without notes and proxies. Raises ValueError where it says none."""
        stages = plain.get("stages")
        if not isinstance(stages, list) or not stages or set(plain) != {"stages"}:
            raise ValueError("a Dockerfile is a list of stages")
        if not all(isinstance(stage, dict) for stage in stages):
            raise ValueError("a stage is an object")
        return cls(stages=tuple(Stage.from_json(stage) for stage in stages))


def step_to_json(step: Step) -> dict[str, Any]:
    """The plain form of one step, its kind beside its fields."""
    kind = next(kind for kind, cls in _KINDS.items() if isinstance(step, cls))
    plain = {key: value for key, value in to_json(step).items() if key not in _FOR_MESSAGES}
    return {"step": kind, **plain}


def step_from_json(plain: Any) -> Step:
    """The step that `plain` says. Raises ValueError where it says none."""
    if not isinstance(plain, dict):
        raise ValueError("a step is an object")  # noqa: TRY004 - one kind of error for bad data
    found = _KINDS.get(str(plain.get("step")))
    if found is None:
        raise ValueError(f"a Dockerfile has no step {plain.get('step')!r}")
    fields = {key: value for key, value in plain.items() if key != "step"}
    return cast("Step", from_json(cast("type[Any]", found), fields))
