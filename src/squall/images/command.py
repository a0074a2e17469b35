"""Command: the command line that carries out an install step, and what its failure means. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from squall.images.installer import InstallerSettings, pip_environment, uv_environment
from squall.images.plan import LayerBuild
from squall.images.redact import placeholders, without_userinfo
from squall.model.errors import (
    DiskFull,
    Error,
    ImageBuildError,
    ImageDownloadError,
    OutOfMemory,
    PackageNotFound,
)
from squall.model.image import ClientPython
from squall.model.image_steps import GitLogin, PipInstall

LAST_LINES: Final = 12
"""Lines of a failed step's output that its error carries."""

GIT_USER: Final = "SQUALL_GIT_USER"

_SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """The program that installs packages.

    argv: how it is started where it lies on this machine. origin: where it comes from, for people. uv: its file, to
    be shown in the sandbox; empty for pip, which lies in the client's Python.
    """

    kind: Literal["uv", "pip"]
    argv: tuple[str, ...]
    origin: str
    version: str = ""
    uv: str = ""

    @property
    def label(self) -> str:
        """The tool in a few words: "uv 0.9.1 (on PATH)"."""
        return f"{self.kind}{' ' + self.version if self.version else ''} ({self.origin})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the command finds things: its target, its inputs, its cache, and a home of its own.

    target: the directory that packages are put into; empty where they go to those of the Python itself. cache: empty for none.
    """

    target: str
    inputs: str
    cache: str
    home: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command line, its whole environment, and the texts of its input files by name.

    The environment may hold credentials; argv and files never do. shown: the command for people, without our options.
    """

    argv: tuple[str, ...]
    env: dict[str, str] = field(repr=False)
    files: dict[str, str]
    shown: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a command ended. cause: "exit", "signal", "oom", "pids", "disk" or "killed"."""

    code: int | None = None
    signal: int | None = None
    cause: str = "exit"

    @property
    def ok(self) -> bool:
        return self.code == 0 and self.cause == "exit"

    def __str__(self) -> str:
        return f"signal {self.signal}" if self.signal is not None else f"exit status {self.code}"


def install_command(
    build: LayerBuild, tool: Tool, places: Places, *, settings: InstallerSettings, python: ClientPython
) -> Command:
    """The command that installs what `build` says into `places.target`.

    uv works on a copy of the parent layer and changes only what must change. pip cannot see what is in a target, so
    it installs the packages of all steps so far into an empty one.
    """
    step = build.step if tool.kind == "uv" else _all_steps(build)
    if step.git is not None:
        # What everybody's builds share keeps no private repository.
        places = replace(places, cache="")
    files = {"requirements.txt": "\n".join([*step.packages, step.requirements, ""])}
    constraints = settings.constraints + step.constraints
    options = ["-r", f"{places.inputs}/requirements.txt"]
    if constraints:
        files["constraints.txt"] = constraints
        options += ["-c", f"{places.inputs}/constraints.txt"]
    options += shlex.split(step.extra_options)
    if tool.kind == "uv":
        argv = _uv_argv(tool, places, settings, python)
        told = uv_environment(step, settings)
    else:
        cache = ("--cache-dir", f"{places.cache}/pip") if places.cache else ("--no-cache-dir",)
        argv = (*tool.argv, "install", *_pip_target(places), *cache)
        told = pip_environment(step, settings)
    needed = [name for text in (*files.values(), step.extra_options) for name in placeholders(text)]
    env = {
        "PATH": f"{python.prefix}/bin:{_SYSTEM_PATH}",
        "HOME": places.home,
        "LANG": "C.UTF-8",
        # Nobody is there to be asked.
        "GIT_TERMINAL_PROMPT": "0",
        **build.environment,
        **step.env,
        **told,
        **(git_environment(step.git) if step.git is not None else {}),
        # Both tools put variables into the lines of a requirements file themselves.
        **{name: settings.secrets[name] for name in (*needed, *step.secrets) if name in settings.secrets},
    }
    shown = [tool.kind, *(["pip"] if tool.kind == "uv" else []), "install", *build.step.packages]
    shown += ["-r", "requirements.txt"] if build.step.requirements.strip() else []
    return Command(
        argv=(*argv, *options),
        env=env,
        files=files,
        shown=without_userinfo(shlex.join([*shown, *shlex.split(step.extra_options)])),
    )


def git_environment(login: GitLogin) -> dict[str, str]:
    """The variables that tell git who to be to which server. They name those that hold the tokens, and hold none themselves."""
    # An empty helper takes away what an image has: one that writes logins into a file, say.
    told = [("credential.helper", "")]
    for token in login.tokens:
        answer = f'printf "username=%s\\npassword=%s\\n" "${GIT_USER}" "${token.variable}"'
        told.append((f"credential.{token.server}.helper", f'!f() {{ test "$1" = get && {answer}; }}; f'))
    numbered = {
        f"GIT_CONFIG_{kind}_{number}": text
        for number, (key, value) in enumerate(told)
        for kind, text in (("KEY", key), ("VALUE", value))
    }
    return {GIT_USER: login.user, "GIT_CONFIG_COUNT": str(len(told)), **numbered}


def _uv_argv(
    tool: Tool, places: Places, settings: InstallerSettings, python: ClientPython
) -> tuple[str, ...]:
    binary = [
        *(word for name in settings.no_binary for word in ("--no-binary", name)),
        *(word for name in settings.only_binary for word in ("--only-binary", name)),
    ]
    # The Python of an image is nobody else's, whatever a distribution has written beside it.
    into = ("--target", places.target) if places.target else ("--system", "--break-system-packages")
    return (
        *(*tool.argv, "pip", "install", *into, "--python", python.executable),
        # A hard link into the layer would let whoever changes the cache change the layer.
        *(("--cache-dir", places.cache) if places.cache else ("--no-cache",)),
        *("--link-mode", "copy", "--compile-bytecode", "--color", "never"),
        # Of all that says where packages are, this alone has no variable.
        *(["--no-index"] if settings.no_index else []),
        *binary,
    )


def _pip_target(places: Places) -> tuple[str, ...]:
    if places.target:
        return ("--target", places.target)
    return ("--break-system-packages", "--root-user-action=ignore", "--disable-pip-version-check")


def _all_steps(build: LayerBuild) -> PipInstall:
    """One step that stands for all steps up to this one; what they exclude each other in, the last one decides."""
    steps = (*build.before, build.step)
    indexes = [step.index_url for step in steps[:-1] if step.index_url is not None]
    return replace(
        build.step,
        packages=tuple(dict.fromkeys(package for step in steps for package in step.packages)),
        requirements="\n".join(step.requirements for step in steps),
        constraints="\n".join(step.constraints for step in steps if step.constraints),
        find_links=tuple(dict.fromkeys(link for step in steps for link in step.find_links)),
        extra_index_url=tuple(
            dict.fromkeys([*indexes, *(url for step in steps for url in step.extra_index_url)])
        ),
        pre=any(step.pre for step in steps),
        git=_all_logins(steps),
        secrets=tuple(dict.fromkeys(name for step in steps for name in step.secrets)),
    )


def _all_logins(steps: Sequence[PipInstall]) -> GitLogin | None:
    logins = [step.git for step in steps if step.git is not None]
    if not logins:
        return None
    tokens = tuple(dict.fromkeys(token for login in logins for token in login.tokens))
    return GitLogin(user=logins[-1].user, tokens=tokens)


_MISSING_OF_DEBIAN: Final = (
    re.compile(r"^E: Unable to locate package (?P<package>\S+)", re.MULTILINE),
    re.compile(r"^E: Version '\S+' for '(?P<package>[^']+)' was not found", re.MULTILINE),
    re.compile(r"^E: Package '(?P<package>[^']+)' has no installation candidate", re.MULTILINE),
)
_MISSING: Final = (
    *_MISSING_OF_DEBIAN,
    re.compile(
        r"[Bb]ecause (?P<package>\S+) was not found in the (?:package registry|provided package locations)"
    ),
    re.compile(r"[Bb]ecause there (?:is|are) no versions? of (?P<package>\S+?)(?:\s|,|$)"),
    re.compile(r"[Bb]ecause only (?:the following versions of )?(?P<package>[A-Za-z0-9._-]+)"),
    re.compile(r"depends on (?P<package>\S+) \([^)]*\) which doesn't match any versions"),
    re.compile(r"(?P<package>\S+) was not found in the cache"),
    re.compile(r"No matching distribution found for (?P<package>.+)"),
    re.compile(r"Could not find a version that satisfies the requirement (?P<package>.+?)(?: \(from|$)"),
)
_UNBUILT: Final = re.compile(r"[Ff]ailed (?:to build|building wheel for) [`'\"]?(?P<package>[A-Za-z0-9._-]+)")
_OFFLINE: Final = (
    *("dns error", "error sending request", "Connection refused", "Connection reset", "timed out"),
    *("Temporary failure in name resolution", "Name or service not known", "Network is unreachable"),
    *(
        "Failed to fetch",
        "Could not fetch URL",
        "certificate verify failed",
        "invalid peer certificate",
        "SSLError",
    ),
    "NewConnectionError",
)
_STALE: Final = re.compile(
    r"since poetry\.lock was last generated|poetry\.lock is not (?:consistent|up to date) with pyproject\.toml"
)
_NO_POETRY: Final = re.compile(r"sh: (?:line )?\d+: poetry: (?:command )?not found")
_NO_GIT: Final = re.compile(
    r"Git executable not found|Cannot find command 'git'|sh: (?:line )?\d+: git: (?:command )?not found"
)
_NO_LOGIN: Final = re.compile(
    r"Authentication failed for|could not read (?:Username|Password) for|terminal prompts disabled|"
    r"remote: (?:Repository not found|HTTP Basic: Access denied|Invalid username)"
)
_REFUSED: Final = re.compile(r"\b(?:401 Unauthorized|403 Forbidden|401 Client Error|403 Client Error)")
_FULL: Final = ("No space left on device", "os error 28", "Disk quota exceeded", "os error 122")


def failure(
    label: str, command: Command, exit_: Exit, lines: Sequence[str], *, memory_mib: int | None = None
) -> Error:
    """The error that tells users why the step `label` failed: by its output first, and its exit else. `lines` hold no secret.

    memory_mib: how much the step itself might use; None for all that there is.
    """
    text = "\n".join(lines)
    last = [line for line in lines if line.strip()][-LAST_LINES:]
    told = f"{label}: `{command.shown}` failed with {exit_}"
    detail = "".join(f"\n  {line}" for line in last)
    if any(word in text for word in _FULL) or exit_.cause == "disk":
        return DiskFull(
            f"the disk is full: {told}{detail}",
            remedy="make room, or point SQUALL_STATE_DIR at a larger disk",
        )
    if exit_.cause == "oom" and memory_mib is not None:
        return OutOfMemory(
            f"out of memory, of which it might use {memory_mib} MiB: {told}{detail}",
            remedy="let it use more: `memory=`",
        )
    if exit_.cause == "oom":
        return OutOfMemory(
            f"out of memory: {told}{detail}", remedy="build on a machine with more free memory"
        )
    if _REFUSED.search(text):
        return ImageDownloadError(
            f"an index refused the login: {told}{detail}",
            remedy="check the user and password of the index in pip's or uv's settings, or in ~/.netrc",
        )
    lacking = _lacking(label, text, f"{told}{detail}")
    if lacking is not None:
        return lacking
    missing = next((found for pattern in _MISSING if (found := pattern.search(text))), None)
    offline = next((word for word in _OFFLINE if word in text), None)
    if missing is not None and offline is None:
        package = missing["package"].strip().rstrip(".,")
        return _not_found(package, missing.re in _MISSING_OF_DEBIAN, f"{told}{detail}")
    if offline is not None:
        return ImageDownloadError(f"a download failed ({offline}): {told}{detail}")
    unbuilt = _UNBUILT.search(text)
    if unbuilt is not None:
        return ImageBuildError(
            f"{unbuilt['package']} could not be built from source: {told}{detail}",
            remedy="install what its build needs on this machine, or ask for a version that has a wheel",
            step=label,
        )
    return ImageBuildError(f"{told}{detail}", step=label)


def _lacking(label: str, text: str, told: str) -> Error | None:
    """The error for what a step's program says that it lacks; None where it says nothing of the kind."""
    if _NO_GIT.search(text):
        return ImageBuildError(
            f"the image has no git: {told}",
            remedy='install it in a step before: `.apt_install("git")`',
            step=label,
        )
    if _NO_LOGIN.search(text):
        return ImageDownloadError(
            f"the server of a repository refused the login, or has no such repository: {told}",
            remedy="check the name of the repository, git_user, and that the token of the secret may read it",
        )
    if _STALE.search(text):
        return ImageBuildError(
            f"poetry.lock does not say what pyproject.toml asks for now: {told}",
            remedy="run `poetry lock` and build again, or write ignore_lockfile=True, which resolves it anew",
            step=label,
        )
    if _NO_POETRY.search(text):
        return ImageBuildError(
            f"the image has no Poetry: {told}",
            remedy="install it in a step before, or leave poetry_version=None out",
            step=label,
        )
    return None


def _not_found(package: str, of_debian: bool, told: str) -> PackageNotFound:  # noqa: FBT001 - one of two kinds
    if of_debian:
        return PackageNotFound(
            f"the distribution has no package {package}, or not this version of it: {told}",
            remedy=f"check the spelling of {package}; packages.debian.org says which release has it",
            package=package,
        )
    return PackageNotFound(
        f"no version of {package} fits, or it does not exist for this Python: {told}",
        remedy=f"check the spelling and version of {package}, that it exists for this Python, "
        "and that the index that carries it is in pip's settings or in `index_url`",
        package=package,
    )
