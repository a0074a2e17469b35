"""Image recipe: what a declared image comes to on this machine: its local files, and its recipe without a secret."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.machinery import PathFinder
from typing import Any, Final, NamedTuple

from squall.blobs.digest import digest_of
from squall.blobs.local_files import LocalDirectory, LocalLink
from squall.images.dockerfile import Dockerfile, parse, parse_commands
from squall.images.redact import Hidden
from squall.images.registry.reference import parse_reference
from squall.model.errors import (
    InvalidError,
    ModuleNotMountable,
    PythonVersionMismatch,
    RequestSizeError,
    SourceFileNotFound,
    SourceTooLarge,
)
from squall.model.image import DockerfileImage, ImageRecipe, RegistryImage
from squall.model.image_steps import (
    AddLocal,
    AptInstall,
    Cmd,
    CondaInstall,
    DockerfileCommands,
    Entrypoint,
    Env,
    PipInstall,
    PoetryInstall,
    RunCommands,
    RunFunction,
    Shell,
    Step,
    UvSync,
    Workdir,
)
from squall.sdk.build_context import BuildContext, Place, build_context, by_patterns, ignore_of
from squall.sdk.code import own_modules, pickled_call
from squall.sdk.code_digest import call_digest
from squall.sdk.image import IDENTITY_VARIABLE, LOGIN, Image
from squall.sdk.image_conda import read_conda
from squall.sdk.image_declared import (
    Apt,
    BuiltBase,
    Call,
    Commands,
    Conda,
    Declared,
    Directory,
    DockerfileBase,
    Ignore,
    Lines,
    Local,
    PoetryProject,
    Program,
    RegistryBase,
    Single,
    Sync,
    Variables,
)
from squall.sdk.image_packages import SECRET_PREFIX, Install, read_install
from squall.sdk.image_projects import poetry_project, uv_project
from squall.sdk.secret import Secret, values_of
from squall.sdk.source_walk import SourceFile

FILES_LIMIT: Final = 200_000
CALL_LIMIT: Final = 256 * 1024 * 1024
"""Bytes of a function with its arguments."""

DOCKERFILE_LIMIT: Final = 4 * 1024 * 1024
_PROGRAMS: Final[Mapping[str, type[Entrypoint | Cmd | Shell]]] = {
    "entrypoint": Entrypoint,
    "cmd": Cmd,
    "shell": Shell,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFiles:
    """The files of one tree: those of a local add under their whole paths in the container, without the first slash, those
    of a context below it. others: links and empty directories. step: what they are for, the base where it is None.
    """

    step: Declared | None
    files: tuple[SourceFile, ...]
    others: tuple[LocalLink | LocalDirectory, ...] = ()


class ReadDockerfile(NamedTuple):
    """A Dockerfile, or lines of one, and what it sees of this machine."""

    text: str
    context: BuildContext
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadImage:
    """What an image needs of this machine, read once. base: its Dockerfile; lines: those of each step that has some, in order.

    local: the files of each tree, in the order of `ImageRecipe.trees`; whoever ships them gives a tree's digest for each.
    meant: the key of the image that a name means which it stands on; whoever asks for it adds it.
    """

    image: Image
    base: ReadDockerfile | None = None
    lines: tuple[ReadDockerfile, ...] = ()
    local: tuple[LocalFiles, ...] = ()
    meant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """What travels for an image.

    secrets: values by name or placeholder, for the build only: never kept, never logged. blobs: the bytes that the
    recipe names, in the order of `ImageRecipe.blobs`. notes: what the user should be told once.
    """

    recipe: ImageRecipe
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    blobs: tuple[bytes, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()


def read_image(image: Image) -> ReadImage:
    """What an image needs of this machine: Dockerfiles are read, local files found, but not read yet.

    Raises SourceFileNotFound, ModuleNotMountable, SourceTooLarge, PythonVersionMismatch for a function that the image's
    Python cannot read, and what is wrong with a Dockerfile: InvalidError or ImageStepUnavailable, naming the line.
    """
    read = _read_dockerfiles(image)
    contexts = iter(read.lines)
    local = _trees_of(None, read.base)
    for step in image.steps:
        if isinstance(step, Local):
            local.append(LocalFiles(step=step, files=tuple(_files(step))))
        elif isinstance(step, Call):
            _check_python(step, image.python_version)
        elif isinstance(step, Lines):
            local += _trees_of(step, next(contexts))
    return replace(read, local=tuple(local))


def recipe_of(
    image: Image, trees: Sequence[str] = (), *, sources: str = "", read: ReadImage | None = None
) -> Needed:
    """The recipe of an image. trees: the digests for its local files (`read.local`), in their order.

    sources: the digest of the settings (`InstallerSettings.sources`) by which its packages are found. read: what
    `read_image` gave, so that nothing is read twice. Raises SourceFileNotFound, InvalidError, FunctionNotSerializable and
    ArgumentNotSerializable.
    """
    return _Recipe(read or _read_dockerfiles(image), trees).needed(sources)


def _read_dockerfiles(image: Image) -> ReadImage:
    """The image with its Dockerfiles read, its other files still to be found."""
    return ReadImage(
        image=image,
        base=_read_base(image.origin) if isinstance(image.origin, DockerfileBase) else None,
        lines=tuple(_read_lines(step) for step in image.steps if isinstance(step, Lines)),
    )


def _here() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _check_python(step: Call, asked: str | None) -> None:
    """Raises PythonVersionMismatch where the image's Python cannot read what this one writes."""
    if asked not in {None, _here()}:
        raise PythonVersionMismatch(
            f"Image.run_function: {step.name} travels by value from Python {_here()}, and the image has Python {asked}, "
            "which cannot read it",
            remedy=f"ask for Python {_here()}, run the program with Python {asked}, or use `.run_commands(...)`",
            local=_here(),
            remote=asked,
        )


def _read_base(origin: DockerfileBase) -> ReadDockerfile:
    path = os.path.abspath(os.path.expanduser(origin.path))
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read(DOCKERFILE_LIMIT + 1)
    except (OSError, UnicodeDecodeError) as problem:
        raise SourceFileNotFound(f"the Dockerfile {path} cannot be read: {problem}", path=path) from None
    if len(text) > DOCKERFILE_LIMIT:
        raise InvalidError(f"the Dockerfile {path} has more than {DOCKERFILE_LIMIT:,} characters")
    dockerfile = parse(text, build_args=dict(origin.build_args))
    stays = ignore_of(origin.context_dir, path) if origin.ignore is None else _stays(origin.ignore)
    return _with_context(text, dockerfile, Place(directory=origin.context_dir, stays=stays))


def _read_lines(step: Lines) -> ReadDockerfile:
    text = "\n".join(step.lines)
    stays = ignore_of(step.context_dir)
    place = Place(directory=step.context_dir, stays=stays, files=dict(step.context_files))
    return _with_context(text, parse_commands(text), place)


def _with_context(text: str, dockerfile: Dockerfile, place: Place) -> ReadDockerfile:
    for name in dockerfile.images:
        parse_reference(name)
    return ReadDockerfile(text=text, context=build_context(dockerfile, place), notes=dockerfile.notes)


def _trees_of(step: Lines | None, read: ReadDockerfile | None) -> list[LocalFiles]:
    if read is None or read.context.is_empty:
        return []
    return [LocalFiles(step=step, files=read.context.files, others=read.context.others)]


class _Recipe:
    """A recipe on its way, with what travels beside it."""

    def __init__(self, read: ReadImage, trees: Sequence[str]) -> None:
        self._read = read
        self._trees = iter(trees)
        self._lines = iter(read.lines)
        self._hidden = Hidden(SECRET_PREFIX)
        self._blobs: dict[str, bytes] = {}

    def needed(self, sources: str) -> Needed:
        image, base = self._read.image, self._read.base
        registry = self._registry(image.origin) if isinstance(image.origin, RegistryBase) else None
        dockerfile = (
            self._dockerfile(image.origin, base) if isinstance(image.origin, DockerfileBase) else None
        )
        steps = [one for step in image.steps for one in self._steps(step)]
        begins = any(isinstance(step, Conda) and step.begins for step in image.steps)
        recipe = ImageRecipe(
            base=image.base,
            image=registry,
            dockerfile=dockerfile,
            built=image.origin.key if isinstance(image.origin, BuiltBase) else self._read.meant,
            # That of a conda environment is a package of it; what lies beside is the client's, as in other images.
            python_version=None if begins else image.python_version,
            steps=(*steps, Env(variables={IDENTITY_VARIABLE: image.identity})),
            sources=sources
            if any(isinstance(step, PipInstall | UvSync | PoetryInstall) for step in steps)
            else "",
        )
        read = [each for each in (base, *self._read.lines) if each is not None]
        notes = dict.fromkeys(f"Dockerfile, {note}" for each in read for note in each.notes)
        return Needed(
            recipe=recipe,
            secrets=self._hidden.secrets,
            blobs=tuple(self._blobs[digest] for digest in recipe.blobs),
            notes=tuple(notes),
        )

    def _steps(self, step: Declared) -> tuple[Step, ...]:
        """What a declared step comes to: one step, or two for conda packages with some of pip's."""
        return self._conda(step) if isinstance(step, Conda) else (self._step(step),)

    def _step(self, step: Single) -> Step:
        match step:
            case Install():
                return read_install(step, self._hidden)
            case Sync():
                return self._sync(step)
            case PoetryProject():
                return self._poetry(step)
            case Apt():
                return AptInstall(packages=step.packages, **self._told(step))
            case Commands():
                return RunCommands(commands=step.commands, **self._told(step))
            case Call():
                return self._call(step)
            case Lines():
                read = next(self._lines)
                return DockerfileCommands(
                    text=read.text, context=self._context(read), build_id=step.build_id, gpu=step.gpu
                )
            case Variables():
                return Env(variables=dict(step.variables))
            case Directory():
                return Workdir(path=step.path)
            case Program():
                return _PROGRAMS[step.kind](words=step.words)
            case Local():
                return AddLocal(
                    kind=step.kind,
                    remote=step.remote,
                    tree=next(self._trees),
                    copy=step.copy,
                    origin=step.local,
                )

    def _registry(self, origin: RegistryBase) -> RegistryImage:
        parse_reference(origin.tag)  # an image of no name fails here, before anything is sent
        if origin.secret is not None:
            self._keep(tuple(name for name in origin.secret.names if name in LOGIN), origin.secret)
        return RegistryImage(reference=origin.tag, login=origin.secret is not None, build_id=origin.build_id)

    def _dockerfile(self, origin: DockerfileBase, read: ReadDockerfile | None) -> DockerfileImage:
        assert read is not None
        return DockerfileImage(
            text=read.text,
            context=self._context(read),
            build_args=dict(origin.build_args),
            build_id=origin.build_id,
        )

    def _context(self, read: ReadDockerfile) -> str:
        return "" if read.context.is_empty else next(self._trees)

    def _sync(self, step: Sync) -> UvSync:
        pyproject, lock = uv_project(step.directory, frozen=step.frozen)
        return UvSync(
            pyproject=self._hidden.hide(pyproject),
            lock=self._hidden.hide(lock),
            groups=step.groups,
            extras=step.extras,
            frozen=step.frozen,
            extra_options=step.extra_options,
            uv_version=step.uv_version,
            **self._told(step),
        )

    def _poetry(self, step: PoetryProject) -> PoetryInstall:
        pyproject, lock = poetry_project(step.pyproject, step.lockfile, ignored=step.ignore_lockfile)
        with_, without, only = step.groups
        return PoetryInstall(
            pyproject=self._hidden.hide(pyproject),
            lock=self._hidden.hide(lock),
            with_groups=with_,
            without_groups=without,
            only_groups=only,
            extra_options=step.extra_options,
            poetry_version=step.poetry_version,
            **self._told(step),
        )

    def _conda(self, step: Conda) -> tuple[Step, ...]:
        told = self._told(step)
        conda, pip = read_conda(step, self._hidden, _here())
        installs = CondaInstall(
            packages=conda.packages,
            explicit=conda.explicit,
            channels=conda.channels,
            begins=step.begins,
            **told,
        )
        return (installs,) if pip is None else (installs, read_install(pip, self._hidden))

    def _call(self, step: Call) -> RunFunction:
        data = pickled_call(step.function, step.args, step.kwargs)
        if len(data) > CALL_LIMIT:
            raise RequestSizeError(
                f"Image.run_function: {step.name} and its arguments are {len(data):,} bytes, and may be {CALL_LIMIT:,}",
                size_bytes=len(data),
                limit_bytes=CALL_LIMIT,
            )
        digest = digest_of(data)
        self._blobs[digest] = data
        return RunFunction(
            name=step.name,
            says=call_digest(step.function, step.args, step.kwargs, own=own_modules()),
            call=digest,
            python=_here(),
            timeout_s=step.timeout_s,
            asks=step.asks,
            limits=step.limits,
            **self._told(step),
        )

    def _told(self, step: Sync | PoetryProject | Apt | Conda | Commands | Call) -> dict[str, Any]:
        names = tuple(dict.fromkeys(name for secret in step.secrets for name in secret.names))
        self._keep(names, *step.secrets)
        return {"env": dict(step.env), "secrets": names, "build_id": step.build_id, "gpu": step.gpu}

    def _keep(self, names: tuple[str, ...], *secrets: Secret) -> None:
        values = values_of(secrets)
        for name in names:
            self._hidden.keep(name, values[name])


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
    return ignore if callable(ignore) else by_patterns("\n".join(ignore))


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
