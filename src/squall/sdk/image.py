"""Image: what users declare about the environment of their functions, step by step."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar, get_args

from squall.context.current import in_container
from squall.model.errors import InvalidError
from squall.model.image import Base
from squall.model.image_name import parse_image_name
from squall.sdk.image_commands import Runs
from squall.sdk.image_declared import (
    Building,
    BuiltBase,
    Conda,
    Declared,
    Directory,
    DockerfileBase,
    Ignore,
    Local,
    NamedBase,
    Origin,
    Path,
    RegistryBase,
    Variables,
    checked_env,
    flat_words,
    kept,
    method_of,
    said_by,
    said_by_origin,
)
from squall.sdk.image_files import Adds, check_place
from squall.sdk.image_installs import Installs
from squall.sdk.image_packages import Install
from squall.sdk.image_verbs import Build, Publish
from squall.sdk.secret import Secret

P = ParamSpec("P")
T = TypeVar("T")

IDENTITY_VARIABLE: Final = "SQUALL_IMAGE"
OLDEST_PYTHON: Final = 11
"""The minor version of Python 3 that Squall's own code in a container needs."""

LOGIN: Final = ("REGISTRY_USERNAME", "REGISTRY_PASSWORD")
_KEY = re.compile(r"[0-9a-f]{6,64}")
_PYTHON = re.compile(r"3\.(\d{1,2})(\.\d{1,3})?")


@dataclass(frozen=True, slots=True)
class Image(Installs, Runs, Adds):
    """An environment for functions. Each method gives a new image with one more step; the old one stays as it is.

    Nothing is built or read before a function with this image is run: declaring an image costs nothing.
    """

    base: Base = "host"
    python_version: str | None = None
    steps: tuple[Declared, ...] = field(default=(), repr=False)
    origin: Origin = field(default=None, repr=False)

    @staticmethod
    def host() -> Image:
        """This machine: its programs and libraries, and the Python and packages that run this, all read-only.

        It holds no home directory, no key and no configuration but what programs need, and it does not move to
        other machines.
        """
        return Image()

    @staticmethod
    def debian_slim(python_version: str | None = None) -> Image:
        """A slim Debian with a root of its own, and Python; without compilers, which `.apt_install("build-essential")` adds.

        python_version: "3.12", from 3.11 on; the client's by default. Raises InvalidError.
        """
        return Image(base="debian_slim", python_version=_python("debian_slim", python_version))

    @staticmethod
    def micromamba(python_version: str | None = None) -> Image:
        """A slim Debian with a conda environment at /opt/conda: Python, pip and micromamba, to which `.micromamba_install` adds.

        Its Python is the image's, and its programs come first. python_version: "3.12", from 3.11 on; the client's by
        default. Raises InvalidError.
        """
        python = _python("micromamba", python_version)
        return Image(
            base="debian_slim",
            python_version=python,
            steps=(Conda(begins=True, python=python or ""),),
        )

    @staticmethod
    def from_registry(
        tag: str,
        secret: Secret | None = None,
        *,
        setup_dockerfile_commands: Iterable[str] = (),
        add_python: str | None = None,
        force_build: bool = False,
    ) -> Image:
        """An image of a registry: "debian:13", "HOST/owner/name@sha256:...".

        secret: with REGISTRY_USERNAME and REGISTRY_PASSWORD, for one that is private. setup_dockerfile_commands: lines of
        a Dockerfile that come first. add_python: "3.12", for an image that has no Python of its own. force_build: ask the
        registry anew what the tag names. Raises InvalidError.
        """
        if not isinstance(tag, str) or not tag.strip() or "\0" in tag:
            raise InvalidError(
                f"Image.from_registry: {tag!r} is no name of an image", remedy='write one: "debian:13"'
            )
        if secret is not None and not (isinstance(secret, Secret) and set(LOGIN) <= set(secret.names)):
            raise InvalidError(
                f"Image.from_registry: secret is a squall.Secret with {' and '.join(LOGIN)}",
                remedy=f'write `Secret.from_local_environ(["{LOGIN[0]}", "{LOGIN[1]}"])`',
            )
        image = Image(
            base="registry",
            python_version=_python("from_registry", add_python),
            origin=RegistryBase(tag=tag.strip(), secret=secret, build_id=_build_id(force=force_build)),
        )
        setup = flat_words("Image.from_registry: setup_dockerfile_commands", [setup_dockerfile_commands])
        return image.dockerfile_commands(*setup) if setup else image

    @staticmethod
    def from_dockerfile(
        path: Path,
        *,
        context_dir: Path | None = None,
        ignore: Ignore | None = None,
        build_args: Mapping[str, str] | None = None,
        add_python: str | None = None,
        force_build: bool = False,
    ) -> Image:
        """The image that a Dockerfile says; it is read when the image is needed.

        context_dir: where COPY and ADD find files; the current directory. ignore: which of those stay away, as for
        `add_local_dir`; without it, what PATH.dockerignore or the context's .dockerignore says. build_args: values for
        its ARGs, which are kept and so are no place for secrets. add_python: as in `from_registry`. force_build: run all of
        it anew. Raises InvalidError, also for what Docker refuses, and ImageStepUnavailable for what is not in this version;
        both name the line.
        """
        return Image(
            base="dockerfile",
            python_version=_python("from_dockerfile", add_python),
            origin=DockerfileBase(
                path=os.fspath(path),
                context_dir=os.fspath(context_dir) if context_dir is not None else os.curdir,
                ignore=None if ignore is None else kept(ignore),
                build_args=_build_args(build_args),
                build_id=_build_id(force=force_build),
            ),
        )

    @staticmethod
    def from_scratch() -> Image:
        """An image with nothing in it: no shell, no Python. What `add_local_*(copy=True)` and COPY put there is all."""
        return Image(base="scratch")

    @staticmethod
    def from_id(image_id: str) -> Image:
        """An image that was built before, by the key that `squall image list` shows, or at least six digits of its beginning.

        It is on the machine that built it; files that are added when a container starts are not part of it. Raises InvalidError.
        """
        if not isinstance(image_id, str) or not _KEY.fullmatch(image_id):
            raise InvalidError(
                f"Image.from_id: {image_id!r} is no key of an image, which is six to 64 digits from 0 to f",
                remedy="`squall image list` shows the keys of all that was built",
            )
        return Image(base="built", origin=BuiltBase(key=image_id))

    @staticmethod
    def from_name(name: str) -> Image:
        """The image that was published under a name: "base:1", or "base" for "base:latest".

        What the name means is asked when an app with the image is opened, and stays so until that app ends; then ImageNameNotFound
        is raised where nobody has published it. It is on the machine that built it. Raises InvalidError for what is no name.
        """
        return Image(base="built", origin=NamedBase(name=str(parse_image_name(name))))

    @property
    def publish(self) -> Publish[Image]:
        """Builds the image and gives it a name: `image.publish("base:1")`, `await image.publish.aio("base:1")`."""
        return Publish(self)

    @property
    def build(self) -> Build[Image]:
        """Builds the image now: `image.build(app)`, `await image.build.aio(app)`."""
        return Build(self)

    def imports(self) -> Imports:
        """A `with` block for imports that only this image has: elsewhere, an import that fails there is passed over."""
        return Imports(self.identity)

    def pipe(self, function: Callable[Concatenate[Image, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function(image, ...)` gives, so that steps of one's own can stand in a chain."""
        return function(self, *args, **kwargs)

    @property
    def identity(self) -> str:
        """Names what was declared, the same in the client and in the container: nothing is read for it."""
        said = [f"{self.base} {self.python_version}", said_by_origin(self.origin), *map(said_by, self.steps)]
        return hashlib.sha256("\n".join(said).encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def with_step(self, step: Declared) -> Self:
        """This image and one more step.

        Raises InvalidError for a step that builds after files that are not copied, and for one that cannot be done to
        the machine itself.
        """
        method = method_of(step)
        if self.base == "host" and not isinstance(step, Install | Variables | Directory | Local):
            raise InvalidError(
                f"Image.{method} needs an image with a root of its own, and Image.host() is this machine, read-only",
                remedy="start from Image.debian_slim()",
            )
        if isinstance(step, Conda) and not self._may_have_conda:
            raise InvalidError(
                f"Image.{method} needs a conda environment, and this image has none",
                remedy="start from Image.micromamba()",
            )
        if isinstance(step, Local):
            check_place(step, own_root=self.base != "host")
        uncopied = next((done for done in self.steps if isinstance(done, Local) and not done.copy), None)
        builds = isinstance(step, get_args(Building)) or (isinstance(step, Local) and step.copy)
        if uncopied is not None and builds:
            what = f"a copy of {step.local!r}" if isinstance(step, Local) else f"`.{method}`"
            raise InvalidError(
                f"{what} comes after the local files of {uncopied.local!r}, which are added only when a container "
                "starts, so a step that builds cannot see them",
                remedy="add local files last, or add them with copy=True",
            )
        return replace(self, steps=(*self.steps, step))

    @property
    def _may_have_conda(self) -> bool:
        """An image that was built before may have an environment: a build looks for it."""
        return self.base == "built" or any(isinstance(step, Conda) for step in self.steps)


class Imports:
    """Passes over imports that fail anywhere but in containers of one image, where they raise as ever."""

    def __init__(self, identity: str) -> None:
        self._identity = identity

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        here = in_container() is not None and os.environ.get(IDENTITY_VARIABLE) == self._identity
        return kind is not None and issubclass(kind, ImportError) and not here


def _python(method: str, version: Any) -> str | None:
    """The minor version that is asked for: "3.12". Raises InvalidError."""
    if version is None:
        return None
    found = _PYTHON.fullmatch(str(version))
    if found is None or not isinstance(version, str):
        raise InvalidError(
            f"Image.{method}: {version!r} is no version of Python", remedy='write it as a string: "3.12"'
        )
    if int(found[1]) < OLDEST_PYTHON:
        raise InvalidError(
            f"Image.{method}: Python {version} is too old for the code of Squall that runs in every container",
            remedy=f"ask for 3.{OLDEST_PYTHON} or a later one",
        )
    return f"3.{found[1]}"


def _build_args(build_args: Any) -> tuple[tuple[str, str], ...]:
    return checked_env("Image.from_dockerfile: build_args", build_args)


def _build_id(*, force: bool) -> str:
    return os.urandom(8).hex() if force else ""
