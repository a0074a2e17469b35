"""Image: what users declare about the environment of their functions, step by step."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from squall.context.current import in_container
from squall.model.errors import ImageStepUnavailable, InvalidError, PythonVersionMismatch
from squall.model.image import SOURCE_ROOT, Base
from squall.model.image_steps import Dialect, LocalKind, check_absolute, check_remote, check_variables
from squall.sdk.image_packages import Install, Words, install

P = ParamSpec("P")
T = TypeVar("T")
Ignore = Sequence[str] | Callable[[str], bool]
"""Which local files stay away: patterns as in a .dockerignore, or a test of the path below the added directory."""

IDENTITY_VARIABLE: Final = "SQUALL_IMAGE"
PYTHON_ONLY: Final = ("**", "!**/*.py", "!**/*.pyi", "!**/py.typed")
_ALIAS_NOTE: Final = (
    "Image.debian_slim() is the host image for now: this machine's own programs and Python, shown read-only; "
    "base images of their own come with the image system"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variables:
    """Environment variables from here on, as sorted pairs."""

    variables: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """The directory in which containers start."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """Local files to add; they are looked for when the image is needed, not when it is declared."""

    kind: LocalKind
    local: str
    remote: str
    copy: bool
    ignore: Ignore = ()


Declared = Install | Variables | Directory | Local


@dataclass(frozen=True, slots=True)
class Image:
    """An environment for functions. Each method gives a new image with one more step; the old one stays as it is.

    Nothing is built or read before a function with this image is run: declaring an image costs nothing.
    """

    base: Base = "host"
    python_version: str | None = None
    steps: tuple[Declared, ...] = field(default=(), repr=False)

    @staticmethod
    def host() -> Image:
        """This machine: its programs and libraries, and the Python and packages that run this, all read-only.

        It holds no home directory, no key and no configuration but what programs need, and it does not move to
        other machines.
        """
        return Image()

    @staticmethod
    def debian_slim(python_version: str | None = None) -> Image:
        """A slim Debian with Python; an alias of `Image.host()` until base images come, which a note says.

        python_version: "3.12", by default and for now always the one that runs this. Raises PythonVersionMismatch.
        """
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        asked = None if python_version is None else ".".join(str(python_version).split(".")[:2])
        if asked not in {None, here}:
            raise PythonVersionMismatch(
                f"Image.debian_slim(python_version={python_version!r}) asks for another Python than this one ({here}), "
                "and it is the host image for now, which has no other",
                remedy=f"leave python_version out, or run this with Python {asked}",
            )
        return Image(base="debian_slim", python_version=asked)

    def pip_install(
        self,
        *packages: str | Iterable[str],
        find_links: Words = None,
        index_url: str | None = None,
        extra_index_url: Words = None,
        pre: bool = False,
        extra_options: str = "",
        env: Mapping[str, str] | None = None,
        secrets: Any = None,
        gpu: Any = None,
        force_build: bool = False,
    ) -> Image:
        """With these packages, chosen by pip's rules: the best version that any index has.

        packages: as on pip's command line, options apart: those go into extra_options. env: for this step only.
        force_build: install anew, also where this image was built before. Raises InvalidError.
        """
        _refuse_later("pip_install", secrets=secrets, gpu=gpu)
        return self._with(
            install(
                packages,
                places=(find_links, index_url, extra_index_url),
                options=extra_options,
                pre=pre,
                env=env,
                **_common("pip", force_build=force_build),
            )
        )

    def uv_pip_install(
        self,
        *packages: str | Iterable[str],
        requirements: Words = None,
        find_links: Words = None,
        index_url: str | None = None,
        extra_index_url: Words = None,
        pre: bool = False,
        extra_options: str = "",
        uv_version: str | None = None,
        env: Mapping[str, str] | None = None,
        secrets: Any = None,
        gpu: Any = None,
        force_build: bool = False,
    ) -> Image:
        """With these packages, chosen by uv's rules: from the first index that has a package.

        requirements: requirements files, read when the image is needed. uv_version: the uv that installs. The rest
        is as for `pip_install`. Raises InvalidError.
        """
        _refuse_later("uv_pip_install", secrets=secrets, gpu=gpu)
        return self._with(
            install(
                packages,
                places=(find_links, index_url, extra_index_url),
                options=extra_options,
                files=requirements,
                pre=pre,
                env=env,
                uv_version=uv_version,
                **_common("uv", force_build=force_build),
            )
        )

    def pip_install_from_requirements(
        self,
        requirements_txt: str,
        *,
        find_links: Words = None,
        index_url: str | None = None,
        extra_index_url: Words = None,
        pre: bool = False,
        extra_options: str = "",
        env: Mapping[str, str] | None = None,
        secrets: Any = None,
        gpu: Any = None,
        force_build: bool = False,
    ) -> Image:
        """With the packages of a requirements file, which is read when the image is needed. Raises InvalidError."""
        _refuse_later("pip_install_from_requirements", secrets=secrets, gpu=gpu)
        return self._with(
            install(
                (),
                places=(find_links, index_url, extra_index_url),
                options=extra_options,
                files=requirements_txt,
                pre=pre,
                env=env,
                **_common("pip", force_build=force_build),
            )
        )

    def env(self, variables: Mapping[str, str]) -> Image:
        """With these environment variables, in later steps and in containers. Raises InvalidError."""
        for name, value in variables.items():
            if not isinstance(value, str):
                raise InvalidError(
                    f"Image.env: the value of {name} is {type(value).__name__}, not a string",
                    remedy=f"write str(...) around the value of {name}",
                )
        try:
            check_variables(variables)
        except ValueError as wrong:
            raise InvalidError(f"Image.env: {wrong}") from None
        return self._with(Variables(variables=tuple(sorted(variables.items()))))

    def workdir(self, path: str) -> Image:
        """With this working directory in containers: an absolute path. Raises InvalidError."""
        shortest = path.rstrip("/") or "/"
        try:
            check_absolute(shortest)
        except ValueError as wrong:
            raise InvalidError(f"Image.workdir: {wrong}") from None
        return self._with(Directory(path=shortest))

    def add_local_file(
        self, local_path: str | os.PathLike[str], remote_path: str, *, copy: bool = False
    ) -> Image:
        """With a local file at an absolute path, or in a directory where that ends in "/".

        The file is there when a container starts, and editing it builds nothing; with copy=True it is a part of the
        image, which later steps see. Raises InvalidError.
        """
        local = os.fspath(local_path)
        remote = remote_path + os.path.basename(local) if remote_path.endswith("/") else remote_path
        step = Local(kind="file", local=local, remote=remote, copy=copy)
        return self._with(_checked("add_local_file", step))

    def add_local_dir(
        self, local_path: str | os.PathLike[str], remote_path: str, *, copy: bool = False, ignore: Ignore = ()
    ) -> Image:
        """With all files of a local directory at an absolute path, but for those that `ignore` names.

        ignore: patterns as in a .dockerignore, or a function that is true for what stays away. copy: as for
        `add_local_file`. Raises InvalidError.
        """
        remote = remote_path.rstrip("/") or "/"
        step = Local(kind="dir", local=os.fspath(local_path), remote=remote, copy=copy, ignore=_kept(ignore))
        return self._with(_checked("add_local_dir", step))

    def add_local_python_source(
        self, *modules: str, copy: bool = False, ignore: Ignore = PYTHON_ONLY
    ) -> Image:
        """With local modules or packages, by the names that they are imported by; importable in containers.

        ignore: as for `add_local_dir`; by default all that is not Python. Raises InvalidError.
        """
        image = self
        for module in modules:
            if not module.isidentifier():
                raise InvalidError(
                    f"Image.add_local_python_source: {module!r} is no name of a top-level module or package",
                    remedy="name the package as it is imported, without dots and without `.py`",
                )
            remote = f"{SOURCE_ROOT}/{module}"
            image = image._with(
                Local(kind="python_source", local=module, remote=remote, copy=copy, ignore=_kept(ignore))
            )
        return image

    def imports(self) -> Imports:
        """A `with` block for imports that only this image has: elsewhere, an import that fails there is passed over."""
        return Imports(self.identity)

    def pipe(self, function: Callable[Concatenate[Image, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function(image, ...)` gives, so that steps of one's own can stand in a chain."""
        return function(self, *args, **kwargs)

    @property
    def identity(self) -> str:
        """Names what was declared, the same in the client and in the container: nothing is read for it."""
        said = "\n".join(
            repr(step) if not callable(getattr(step, "ignore", None)) else _plain(step) for step in self.steps
        )
        return hashlib.sha256(f"{self.base}\n{said}".encode()).hexdigest()[:32]

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should be told once about this image."""
        return (_ALIAS_NOTE,) if self.base == "debian_slim" else ()

    def _with(self, step: Declared) -> Image:
        """This image and one more step. Raises InvalidError for a step that builds after files that are not copied."""
        uncopied = next((done for done in self.steps if isinstance(done, Local) and not done.copy), None)
        builds = isinstance(step, Install) or (isinstance(step, Local) and step.copy)
        if uncopied is not None and builds:
            what = "an install step" if isinstance(step, Install) else "a copy"
            raise InvalidError(
                f"{what} comes after the local files of {uncopied.local!r}, which are added only when a container "
                "starts, so a step that builds cannot see them",
                remedy="add local files last, or add them with copy=True",
            )
        return replace(self, steps=(*self.steps, step))

    # What comes with the image system. The names are here, so that a program that uses them is told what is so.

    @staticmethod
    def from_registry(*_: Any, **__: Any) -> Image:
        """Not in this version: base images from a registry."""
        raise _later("from_registry")

    @staticmethod
    def from_dockerfile(*_: Any, **__: Any) -> Image:
        """Not in this version: an image from a Dockerfile."""
        raise _later("from_dockerfile")

    @staticmethod
    def from_scratch(*_: Any, **__: Any) -> Image:
        """Not in this version: an empty image."""
        raise _later("from_scratch")

    @staticmethod
    def from_id(*_: Any, **__: Any) -> Image:
        """Not in this version: an image that was built, by its id."""
        raise _later("from_id")

    @staticmethod
    def from_name(*_: Any, **__: Any) -> Image:
        """Not in this version: a published image."""
        raise _later("from_name")

    @staticmethod
    def micromamba(*_: Any, **__: Any) -> Image:
        """Not in this version: an image with conda packages."""
        raise _later("micromamba")

    def publish(self, *_: Any, **__: Any) -> Image:
        """Not in this version: a name for this image."""
        raise _later("publish")

    def build(self, *_: Any, **__: Any) -> Image:
        """Not in this version: building before a function is run."""
        raise _later("build")

    def apt_install(self, *_: Any, **__: Any) -> Image:
        """Not in this version: Debian packages."""
        raise _later("apt_install", "install the package on this machine: the host image shows /usr")

    def run_commands(self, *_: Any, **__: Any) -> Image:
        """Not in this version: shell commands."""
        raise _later("run_commands")

    def run_function(self, *_: Any, **__: Any) -> Image:
        """Not in this version: a Python function at build time."""
        raise _later("run_function")

    def dockerfile_commands(self, *_: Any, **__: Any) -> Image:
        """Not in this version: lines of a Dockerfile."""
        raise _later("dockerfile_commands")

    def entrypoint(self, *_: Any, **__: Any) -> Image:
        """Not in this version: the program of a container."""
        raise _later("entrypoint")

    def cmd(self, *_: Any, **__: Any) -> Image:
        """Not in this version: the arguments of a container's program."""
        raise _later("cmd")

    def shell(self, *_: Any, **__: Any) -> Image:
        """Not in this version: the shell of later commands."""
        raise _later("shell")

    def micromamba_install(self, *_: Any, **__: Any) -> Image:
        """Not in this version: conda packages."""
        raise _later("micromamba_install")

    def pip_install_from_pyproject(self, *_: Any, **__: Any) -> Image:
        """Not in this version: the dependencies of a pyproject.toml."""
        raise _later("pip_install_from_pyproject", "list the packages in `.pip_install(...)`")

    def pip_install_private_repos(self, *_: Any, **__: Any) -> Image:
        """Not in this version: packages from private repositories."""
        raise _later("pip_install_private_repos", "write `git+https://...` in `.pip_install(...)`")

    def poetry_install_from_file(self, *_: Any, **__: Any) -> Image:
        """Not in this version: the dependencies of a Poetry project."""
        raise _later("poetry_install_from_file", "export them, and use `.pip_install_from_requirements(...)`")

    def uv_sync(self, *_: Any, **__: Any) -> Image:
        """Not in this version: the dependencies of a uv project."""
        raise _later(
            "uv_sync", "`uv export > requirements.txt`, and use `.pip_install_from_requirements(...)`"
        )


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


def _common(dialect: Dialect, *, force_build: bool) -> dict[str, Any]:
    # A new id for each declaration: what was built for another one is not used again.
    return {"dialect": dialect, "build_id": os.urandom(8).hex() if force_build else ""}


def _checked(method: str, step: Local) -> Local:
    """The step, if its files may go where it puts them. Raises InvalidError."""
    try:
        check_remote(step.remote)
    except ValueError as wrong:
        raise InvalidError(
            f"Image.{method}: {wrong}", remedy="name an absolute path such as /data, or one below /app"
        ) from None
    return step


def _kept(ignore: Ignore) -> Ignore:
    return ignore if callable(ignore) else tuple(ignore)


def _plain(step: Declared) -> str:
    """A local add that a function filters: the function's address would not be the same in a container."""
    return repr(replace(step, ignore=())) if isinstance(step, Local) else repr(step)


def _refuse_later(method: str, **options: Any) -> None:
    for name, value in options.items():
        if value:
            raise _later(f"{method}({name}=...)")


def _later(what: str, instead: str = "") -> ImageStepUnavailable:
    return ImageStepUnavailable(
        f"Image.{what} comes with the image system; this version has Image.host(), .pip_install, .uv_pip_install, "
        ".pip_install_from_requirements, .env, .workdir and .add_local_file/_dir/_python_source",
        **({"remedy": instead} if instead else {}),
    )
