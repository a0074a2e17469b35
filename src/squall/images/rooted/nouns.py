"""Nouns: an image with a root of its own, as far as it is built, and what is still to be done to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from squall.blobs.digest import Digest
from squall.images.dockerfile.nouns import Copy, ImageConfig, MakeDirectory, Run
from squall.model.image_steps import (
    AddLocal,
    AptInstall,
    CondaInstall,
    PipInstall,
    PoetryInstall,
    RunFunction,
    UvSync,
)
from squall.model.jsonable import from_json, to_json
from squall.model.step_takes import NOTHING, StepTakes


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """The Python in an image. path: of its program; prefix: what it is installed below; packages: where it finds what is installed, in
    its order; all absolute in the image. version: "3.12.1", or "3.12" where no more is known. copy_of: the home, on the machine that built
    the image, of the Python that it is a copy of; glibc: the version of the C library that it runs with then.
    """

    path: str
    prefix: str
    version: str
    packages: tuple[str, ...]
    copy_of: str = ""
    glibc: str = ""

    @property
    def minor(self) -> str:
        """The version without its patch: "3.12"."""
        return ".".join(self.version.split(".")[:2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """An image that is here.

    key: names all that went in. trees: the manifests of its layers, the lowest first. config: how a program is started in it. label: its
    last step, for people. made_s: seconds since 1970; took_s: how long that step took; size: bytes of the files in its layer. parent:
    the key of the image that its last step was made over, empty where it is a base. final: whether it is all that a recipe says, the
    config too, and not one of the layers on the way there.
    """

    key: str
    trees: tuple[str, ...] = ()
    config: ImageConfig = field(default_factory=ImageConfig)
    python: Interpreter | None = None
    label: str = ""
    made_s: float = 0.0
    took_s: float = 0.0
    size: int = 0
    parent: str = ""
    final: bool = False

    def to_json(self) -> dict[str, Any]:
        """The plain form; `Built.from_json` reads it."""
        return cast("dict[str, Any]", to_json(self))

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Built:
        """The image that `plain` says. Raises ValueError where it says none."""
        return from_json(cls, dict(plain))

    @property
    def layers(self) -> tuple[Digest, ...]:
        """The same manifests, the top one first, as an overlay takes them."""
        return tuple(Digest(tree) for tree in reversed(self.trees))


Action = (
    PipInstall
    | UvSync
    | PoetryInstall
    | AptInstall
    | CondaInstall
    | RunFunction
    | AddLocal
    | Run
    | Copy
    | MakeDirectory
)
"""What makes one layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerStep:
    """One layer to build over what is below it.

    key: names all that goes in. config: what holds while it is built. secrets: names of variables whose values are for this step
    only. context: the tree that files are copied from where neither a stage nor an image has them. takes: of the machine, while
    it is built.
    """

    key: str
    action: Action
    config: ImageConfig
    label: str
    secrets: tuple[str, ...] = ()
    context: str = ""
    timeout_s: float | None = None
    takes: StepTakes = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class StepsPlan:
    """The layers of a recipe over its base, the lowest first, and what holds in the end. notes: what the user should be told."""

    steps: tuple[LayerStep, ...]
    config: ImageConfig
    notes: tuple[str, ...] = ()
