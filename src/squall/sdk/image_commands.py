"""Image commands: the methods of `Image` that run something in it, and those that say how programs start there."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

from squall.model.errors import InvalidError
from squall.model.image_paths import check_absolute
from squall.model.resources import Resources
from squall.sdk.amounts import Amount, asks_of, limits_of
from squall.sdk.image_declared import (
    Call,
    Chain,
    Commands,
    Directory,
    Gpu,
    Lines,
    Path,
    Program,
    Variables,
    checked_env,
    flat_words,
    refuse_later,
    settings_of,
)
from squall.sdk.secret import Secret, checked_secrets

Secrets = Iterable[Secret] | None


class Runs(Chain):
    """What runs commands and functions in an image, and what they run with."""

    __slots__ = ()

    def run_commands(
        self,
        *commands: str | Iterable[str],
        env: Mapping[str, str] | None = None,
        secrets: Secrets = None,
        volumes: Any = None,
        gpu: Gpu = None,
        force_build: bool = False,
    ) -> Self:
        """With what these commands leave, each run by the image's shell, as root, with a network, until one fails.

        env, secrets: variables for this step only; a secret is in no layer, no key and no log. gpu: the devices that each
        of them has while it runs, as for `@app.function`: they are nobody else's meanwhile, and commands wait until they are free.
        force_build: run them anew, also where this image was built before. Needs an image with a root of its own. Raises
        InvalidError.
        """
        refuse_later("run_commands", volumes=volumes)
        found = flat_words("Image.run_commands", commands)
        if not found or not all(command.strip() for command in found):
            raise InvalidError(
                "Image.run_commands names no command, or an empty one",
                remedy='write one: `.run_commands("make install")`',
            )
        return self.with_step(
            Commands(
                commands=found,
                secrets=checked_secrets("Image.run_commands", secrets),
                **settings_of("run_commands", env, gpu, force_build=force_build),
            )
        )

    def run_function(
        self,
        function: Callable[..., Any],
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        timeout: float = 3600,
        env: Mapping[str, str] | None = None,
        secrets: Secrets = None,
        volumes: Any = None,
        gpu: Gpu = None,
        cpu: Amount = None,
        memory: Amount = None,
        force_build: bool = False,
    ) -> Self:
        """With what a Python function leaves, which is run in the image: to download a model, say. Its value is dropped.

        It travels by value, with the modules of yours that it needs; what it imports when it runs must be in the image.
        It is run again when its code, its defaults, what it refers to, or args and kwargs change, or gpu. timeout: seconds,
        1 to 86400. cpu, memory: cores and MiB that the machine must have, or (request, limit), as for `@app.function`; a
        function that needs more memory ends in OutOfMemory. env, secrets, gpu, force_build: as for `run_commands`. Needs an
        image with a root of its own, and with the client's minor version of Python. Raises InvalidError.
        """
        refuse_later("run_function", volumes=volumes)
        step = Call(
            function=_plain_function(function),
            args=tuple(args),
            kwargs=dict(kwargs or {}),
            timeout_s=_checked_timeout(timeout),
            secrets=checked_secrets("Image.run_function", secrets),
            **settings_of("run_function", env, gpu, force_build=force_build),
            **_machine(cpu, memory),
        )
        try:
            inspect.signature(step.function).bind(*step.args, **step.kwargs)
        except TypeError as wrong:
            raise InvalidError(
                f"Image.run_function: {step.name} cannot be called with these arguments: {wrong}",
                remedy="give its arguments in args=(...) and kwargs={...}",
            ) from None
        return self.with_step(step)

    def dockerfile_commands(
        self,
        *lines: str | Iterable[str],
        context_files: Mapping[str, Path] | None = None,
        context_dir: Path | None = None,
        gpu: Gpu = None,
        force_build: bool = False,
    ) -> Self:
        """With what lines of a Dockerfile say, without FROM; they are read when the image is needed.

        COPY and ADD find files below context_dir (the current directory), but for what its .dockerignore names, and at
        the paths of context_files: {path in the context: local file}. gpu: as for `run_commands`, for each RUN. Needs an
        image with a root of its own. Raises InvalidError, also for what Docker refuses, and ImageStepUnavailable for what is
        not in this version; both name the line.
        """
        settings = settings_of("dockerfile_commands", None, gpu, force_build=force_build)
        found = flat_words("Image.dockerfile_commands", lines)
        if not any(line.strip() for line in found):
            raise InvalidError(
                "Image.dockerfile_commands names no line",
                remedy='write one: `.dockerfile_commands("RUN make install")`',
            )
        files = {str(path): os.fspath(local) for path, local in (context_files or {}).items()}
        for path in files:
            if path.startswith("/") or {"", ".", ".."} & set(path.split("/")) or "\0" in path:
                raise InvalidError(
                    f"Image.dockerfile_commands: {path!r} is no path in a context",
                    remedy='write it as COPY does, such as {"conf/app.toml": "local.toml"}',
                )
        step = Lines(
            lines=found,
            context_files=tuple(sorted(files.items())),
            context_dir=os.fspath(context_dir) if context_dir is not None else os.curdir,
            build_id=settings["build_id"],
            gpu=settings["gpu"],
        )
        return self.with_step(step)

    def env(self, variables: Mapping[str, str]) -> Self:
        """With these environment variables, in later steps and in containers. Raises InvalidError."""
        return self.with_step(Variables(variables=checked_env("Image.env", variables)))

    def workdir(self, path: str) -> Self:
        """With this working directory in later steps and in containers: an absolute path. Raises InvalidError."""
        shortest = path.rstrip("/") or "/"
        try:
            check_absolute(shortest)
        except ValueError as wrong:
            raise InvalidError(f"Image.workdir: {wrong}") from None
        return self.with_step(Directory(path=shortest))

    def entrypoint(self, words: Sequence[str]) -> Self:
        """With this program and its first arguments, which a container starts and gives the command to; [] for none.

        As in a Dockerfile: it must start what it is given (`exec "$@"`), and the `cmd` of what the image stands on is gone
        then. Needs an image with a root of its own. Raises InvalidError.
        """
        return self.with_step(_program("entrypoint", words))

    def cmd(self, words: Sequence[str]) -> Self:
        """With this program, or these further arguments of the entrypoint, where a container is started without a command.

        A function's container has a command; this is for images that run elsewhere. Needs an image with a root of its own.
        Raises InvalidError.
        """
        return self.with_step(_program("cmd", words))

    def shell(self, words: Sequence[str]) -> Self:
        """With this shell for the commands of later steps: ["/bin/bash", "-c"]. By default /bin/sh.

        Needs an image with a root of its own. Raises InvalidError.
        """
        step = _program("shell", words)
        if not step.words or not step.words[0]:
            raise InvalidError("Image.shell names no program", remedy='write `.shell(["/bin/bash", "-c"])`')
        return self.with_step(step)


def _program(method: str, words: Any) -> Program:
    if isinstance(words, str):
        raise InvalidError(
            f"Image.{method} takes a list, not a string", remedy='write `["program", "argument"]`'
        )
    return Program(kind=method, words=flat_words(f"Image.{method}", words))


def _plain_function(function: Any) -> Callable[..., Any]:
    """The function itself, also of one that an app has. Raises InvalidError for anything else."""
    found = getattr(function, "__squall_function__", function)
    if not inspect.isfunction(found):
        raise InvalidError(
            f"Image.run_function runs a function, not a {type(found).__name__}",
            remedy="write a function around it, and give its arguments in args=(...)",
        )
    if (
        inspect.isgeneratorfunction(found)
        or inspect.iscoroutinefunction(found)
        or inspect.isasyncgenfunction(found)
    ):
        raise InvalidError(
            f"Image.run_function: {found.__qualname__} is asynchronous or yields, and nothing would wait for it",
            remedy="write a plain function, which may call `asyncio.run(...)`",
        )
    return found


def _machine(cpu: Any, memory: Any) -> dict[str, Any]:
    """What a function asks of the machine, and may use of it at most."""
    try:
        said = cpu is not None or memory is not None
        return {
            "asks": asks_of(cpu, memory, Resources()),
            "limits": limits_of(cpu, memory) if said else None,
        }
    except ValueError as wrong:
        raise InvalidError(f"Image.run_function: {wrong}") from None


def _checked_timeout(timeout: Any) -> float:
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 1 <= timeout <= 86_400:
        raise InvalidError(f"Image.run_function: timeout is 1 to 86400 seconds, not {timeout!r}")
    return float(timeout)
