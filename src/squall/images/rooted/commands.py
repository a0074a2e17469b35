"""Commands: what is run in the sandbox of one layer. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from squall.images.command import Command, Places, Tool, failure, install_command
from squall.images.conda.command import conda_command
from squall.images.conda.complaint import conda_failure, no_environment
from squall.images.dockerfile.nouns import DEFAULT_PATH, ImageConfig, Run
from squall.images.host import PYTHON_ROOT
from squall.images.installer import InstallerSettings, uv_environment
from squall.images.plan import LayerBuild
from squall.images.redact import reveal
from squall.images.rooted import poetry
from squall.images.rooted.nouns import Interpreter, LayerStep
from squall.model.errors import Error, ImageBuildError
from squall.model.image import ClientPython
from squall.model.image_steps import (
    AptInstall,
    CondaInstall,
    PipInstall,
    PoetryInstall,
    RunFunction,
    UvSync,
)

ROOM: Final = "/squall/build"
"""Where a step sees its inputs, the cache of packages and our tools; nothing of it is kept."""

INPUTS: Final = f"{ROOM}/inputs"
CACHE: Final = f"{ROOM}/cache"
CONDA_INSTALLER: Final = f"{ROOM}/conda-installer"
AUTHORITIES: Final = f"{ROOM}/authorities.crt"
APT_SETTINGS: Final = "apt.conf"
"""The file among the inputs in which apt is told whom this machine trusts."""

CALL: Final = "call"
"""The file among the inputs that holds a function and its arguments."""

EPOCH_S: Final = 1_735_689_600
"""The instant, in seconds since 1970, after which steps that give the same each time have changed nothing: the start of 2025."""

_HOME: Final = "/root"
# Of OpenSSL, curl, Python's requests, git, Node and Rust's cargo.
_AUTHORITY_VARIABLES: Final = (
    *("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS"),
    "CARGO_HTTP_CAINFO",
)
# Compiled Python is then known by its source's digest and not by the time of it, which is not kept.
_SAME_EACH_TIME: Final = {"SOURCE_DATE_EPOCH": str(EPOCH_S), "PYC_INVALIDATION_MODE": "UNCHECKED_HASH"}
_SCRIPT: Final = "script"
_APT: Final = (
    # All that a step runs is confined alike, so apt's own user adds nothing; and no terminal is there.
    *("apt-get", "-q", "-o", "APT::Sandbox::User=root", "-o", "Dpkg::Use-Pty=0"),
    *("-o", "Acquire::Retries=3", "-o", "Dpkg::Options::=--force-unsafe-io"),
)
# What differs each time, and what is fetched anew anyway.
_APT_LEAVES: Final = (
    "rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/apt/archives/*.deb /var/cache/ldconfig/aux-cache "
    "/var/log/apt /var/log/dpkg.log /var/log/alternatives.log"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCommand:
    """The command of one layer.

    user: as a Dockerfile writes it, empty for root. programs: the inputs that are run. writes_inputs: its inputs are its own to change.
    clamp_s: no later change than this is kept of a file, in seconds since 1970; None: each keeps its time. failure: what it means that
    it failed, as `squall.images.command.failure` says of most.
    """

    command: Command
    workdir: str = "/"
    user: str = ""
    programs: tuple[str, ...] = ()
    writes_inputs: bool = False
    clamp_s: int | None = None
    failure: Callable[..., Error] = failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What commands are made with. tool: what installs Python packages, as it is found in the sandbox."""

    python: Interpreter | None = None
    tool: Tool | None = None
    settings: InstallerSettings = field(default_factory=InstallerSettings)


def command_of(step: LayerStep, means: Means) -> StepCommand:
    """What is run for a layer that needs something run. Raises ImageBuildError where the image has no Python for it."""
    config, secrets = step.config, _values(step, means.settings.secrets)
    match step.action:
        case Run() as run:
            env = {**_base_env(run.env), **run.env, **secrets}
            argv, files = run.argv, dict[str, str]()
            if run.script:
                argv, files = (f"{INPUTS}/{_SCRIPT}",), {_SCRIPT: run.script}
            command = Command(argv=argv, env=env, files=files, shown=_shown(run))
            return StepCommand(
                command=command,
                workdir=run.workdir,
                user=run.user,
                programs=(_SCRIPT,) if run.script else (),
            )
        case AptInstall() as apt:
            return StepCommand(command=_steady(_apt(apt, config), secrets), clamp_s=EPOCH_S)
        case PipInstall() as install:
            return StepCommand(command=_steady(_install(install, step, means), secrets), clamp_s=EPOCH_S)
        case UvSync() as sync:
            command = _steady(_sync(sync, step, means), secrets)
            return StepCommand(command=command, writes_inputs=True, clamp_s=EPOCH_S)
        case PoetryInstall() as project:
            command = _steady(_poetry(project, step, means), secrets)
            return StepCommand(command=command, writes_inputs=True, clamp_s=EPOCH_S)
        case CondaInstall() as conda:
            if means.python is None:
                # Where there is an environment, it is that of the image.
                raise no_environment(step.label)
            places = (INPUTS, CACHE, CONDA_INSTALLER)
            command = conda_command(conda, config.env, means.settings, places)
            return StepCommand(command=_steady(command, secrets), clamp_s=EPOCH_S, failure=conda_failure)
        case RunFunction() as function:
            python = _python(step, means)
            if function.python not in {"", python.minor}:
                raise ImageBuildError(
                    f"{step.label} was packed by Python {function.python}, and the image has Python {python.minor}, which cannot read it",
                    remedy=f"run your program with Python {python.minor}, or give the image Python {function.python}",
                    step=step.label,
                )
            env = {**_base_env(config.env), **config.env, **function.env, **secrets}
            env["PYTHONPATH"] = ":".join(filter(None, [env.get("PYTHONPATH"), PYTHON_ROOT]))
            command = Command(
                argv=(python.path, "-m", "squall.runner.build_step", f"{INPUTS}/{CALL}"),
                env=env,
                files={},
                shown=f"{function.name}(...)",
            )
            return StepCommand(command=command, workdir=config.workdir, user=config.user)
        case _:
            raise ValueError(f"nothing is run for {step.label}")


def _steady(command: Command, secrets: Mapping[str, str]) -> Command:
    """The same command with these secrets, told to leave the same files each time."""
    return replace(command, env={**_SAME_EACH_TIME, **command.env, **secrets})


def _apt(step: AptInstall, config: ImageConfig) -> Command:
    packages = shlex.join(step.packages)
    apt = shlex.join(_APT)
    script = f"{apt} update && {apt} install -y --no-install-recommends -- {packages} && {_APT_LEAVES}"
    env = {**_base_env(config.env), **config.env, "DEBIAN_FRONTEND": "noninteractive", **step.env}
    return Command(argv=("/bin/sh", "-c", script), env=env, files={}, shown=f"apt-get install {packages}")


def _install(step: PipInstall, layer: LayerStep, means: Means) -> Command:
    python = _python(layer, means)
    if means.tool is None:
        raise ValueError("an install step needs a tool")
    build = LayerBuild(key=layer.key, parent=None, step=step, environment=_own_env(layer.config))
    places = Places(target="", inputs=INPUTS, cache=CACHE, home=_HOME)
    return install_command(build, means.tool, places, settings=means.settings, python=_as_client(python))


def _sync(step: UvSync, layer: LayerStep, means: Means) -> Command:
    python = _python(layer, means)
    tool = _uv(layer, means)
    options = [
        *(("--frozen",) if step.frozen else ()),
        *(word for group in step.groups for word in ("--group", group)),
        *(word for extra in step.extras for word in ("--extra", extra)),
        *shlex.split(step.extra_options),
    ]
    # No variable stands for a credential in these files. They lie in a directory that is closed to other users, for as long as this runs.
    texts = {"pyproject.toml": step.pyproject, **({"uv.lock": step.lock} if step.lock else {})}
    files = {name: reveal(text, means.settings.secrets) for name, text in texts.items()}
    env = {
        **_base_env(layer.config.env),
        **_own_env(layer.config),
        **step.env,
        **uv_environment(_as_install(step), means.settings),
        "UV_PROJECT_ENVIRONMENT": python.prefix,
    }
    argv = (
        *(*tool.argv, "sync", "--project", INPUTS, "--python", python.path, "--no-install-project"),
        # What the image has besides stays.
        *("--inexact", "--cache-dir", CACHE, "--link-mode", "copy", "--compile-bytecode", "--color", "never"),
    )
    shown = shlex.join(["uv", "sync", *options])
    return Command(argv=(*argv, *options), env=env, files=files, shown=shown)


def _poetry(step: PoetryInstall, layer: LayerStep, means: Means) -> Command:
    python, tool = _python(layer, means), _uv(layer, means)
    places = Places(target="", inputs=INPUTS, cache=CACHE, home=_HOME)
    texts = {poetry.PROJECT: step.pyproject, **({poetry.LOCK: step.lock} if step.lock else {})}
    env = {
        **_base_env(layer.config.env),
        **_own_env(layer.config),
        **step.env,
        **uv_environment(_as_install(step), means.settings),
        **poetry.settings_of(places),
    }
    return Command(
        argv=("/bin/sh", "-c", poetry.script_of(step, tool, python.path, places)),
        env=env,
        files={name: reveal(text, means.settings.secrets) for name, text in texts.items()},
        shown="poetry export, and uv pip install",
    )


def _uv(layer: LayerStep, means: Means) -> Tool:
    if means.tool is None or means.tool.kind != "uv":
        raise ImageBuildError(
            f"{layer.label} needs uv, which was not found and could not be fetched",
            remedy="install uv on this machine (`python -m pip install uv`)",
            step=layer.label,
        )
    return means.tool


def packages_of(step: LayerStep) -> PipInstall | None:
    """The install step that finds packages where this one does; None for one that installs none of Python's."""
    match step.action:
        case PipInstall() as install:
            return install
        case UvSync() | PoetryInstall() as project:
            return _as_install(project)
        case _:
            return None


def _as_install(step: UvSync | PoetryInstall) -> PipInstall:
    return PipInstall(packages=("a-project",), dialect="uv", env=step.env)


def _python(step: LayerStep, means: Means) -> Interpreter:
    if means.python is None:
        raise ImageBuildError(
            f"{step.label} needs a Python in the image, and there is none",
            remedy='name one: `Image.from_registry(..., add_python="3.12")`, or start from Image.debian_slim()',
            step=step.label,
        )
    return means.python


def _as_client(python: Interpreter) -> ClientPython:
    return ClientPython(
        executable=python.path, prefix=python.prefix, base_prefix=python.prefix, version=python.version
    )


def _base_env(said: Mapping[str, str]) -> dict[str, str]:
    return {"PATH": said.get("PATH") or DEFAULT_PATH, "HOME": _HOME}


def _own_env(config: ImageConfig) -> dict[str, str]:
    return {**_base_env(config.env), **config.env}


def _values(step: LayerStep, secrets: Mapping[str, str]) -> dict[str, str]:
    return {name: secrets[name] for name in step.secrets if name in secrets}


def _shown(run: Run) -> str:
    return (run.argv[-1] if run.argv else run.script).strip()


def trusting(settings: InstallerSettings) -> tuple[dict[str, str], dict[str, str]]:
    """What tells programs of a step to trust whom this machine trusts, which may have authorities of its own, and by which proxies to
    go: variables, and files among the inputs. It is about this machine, so it is in no key, and nothing of it is kept.
    """
    told = dict.fromkeys(_AUTHORITY_VARIABLES, AUTHORITIES)
    apt = f'Acquire::https::CaInfo "{AUTHORITIES}";\n'
    return {**settings.proxies, **told, "APT_CONFIG": f"{INPUTS}/{APT_SETTINGS}"}, {APT_SETTINGS: apt}


def with_tool(means: Means, tool: Tool | None) -> Means:
    """The same means with the tool as it shows in a sandbox."""
    if tool is None or not tool.uv:
        return replace(means, tool=tool)
    return replace(means, tool=replace(tool, argv=(f"{ROOM}/uv",)))
