"""Image conda: the words of a step of conda packages, checked when they are declared and read when they are needed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from squall.images.conda.channels import (
    ALIAS,
    ALIAS_VARIABLE,
    DEFAULT,
    addresses,
    checked_alias,
    hide,
    split_channel,
    without_credentials,
)
from squall.images.redact import Hidden
from squall.model.errors import InvalidError
from squall.sdk.environment_file import EnvironmentFile, read_environment_file
from squall.sdk.image_declared import Conda, flat_words
from squall.sdk.image_packages import Install, install

_PACKAGE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?P<rest>[\s=<>!~\[].*)?")
_REQUIREMENTS = re.compile(r"(?:-r|--requirement)(?:\s+|=)(?P<path>\S+)")
_CONSTRAINTS = re.compile(r"(?:-c|--constraint)\b")


class ReadConda(NamedTuple):
    """What a step of conda packages comes to, every credential put away. explicit: addresses of package files."""

    packages: tuple[str, ...]
    explicit: tuple[str, ...]
    channels: tuple[str, ...]


def checked_conda_packages(packages: Iterable[Any]) -> tuple[str, ...]:
    """Match specs, as a user has declared them. Raises InvalidError that names the word that is wrong."""
    found = tuple(word.strip() for word in flat_words("Image.micromamba_install", packages))
    for word in found:
        _check_package(word, "Image.micromamba_install")
    return found


def read_conda(
    step: Conda, hidden: Hidden, minor: str, environ: Mapping[str, str] = os.environ
) -> tuple[ReadConda, Install | None]:
    """What a step comes to, and the step of pip's packages that its file says, if it does.

    minor: the client's version of Python. Raises SourceFileNotFound and InvalidError.
    """
    if step.begins:
        # With what users expect beside a Python: pip, and the program that the method is named after.
        step = Conda(packages=(f"python {step.python or minor}.*", "pip", "micromamba"), begins=True)
    said = read_environment_file(step.spec_file) if step.spec_file else EnvironmentFile()
    if said.explicit and (step.packages or step.channels):
        raise InvalidError(
            f"Image.micromamba_install: {step.spec_file} lists package files, which are installed as they are, and the step "
            "names packages or channels besides",
            remedy="name the packages in a step of their own",
        )
    for word in said.packages:
        _check_package(word, step.spec_file)
    alias = checked_alias(environ.get(ALIAS_VARIABLE) or ALIAS)
    packages = [_with_address(word, alias) for word in (*step.packages, *said.packages)]
    own = [channel for channel, _ in map(split_channel, packages) if channel]
    channels = [*addresses((*step.channels, *said.channels), alias), *own]
    if packages and not channels:
        channels = list(addresses((DEFAULT,), alias))
    read = ReadConda(
        packages=tuple(hide(word, hidden) for word in packages),
        explicit=tuple(hide(address, hidden) for address in said.explicit),
        channels=tuple(hide(channel, hidden) for channel in dict.fromkeys(channels)) if packages else (),
    )
    return read, _pip(said.pip, step)


def _check_package(word: str, where: str) -> None:
    channel, spec = split_channel(word)
    shown = without_credentials(word)
    if spec.startswith("-"):
        raise InvalidError(
            f"{where}: {shown!r} is an option, not a package", remedy="channels go into `channels=[...]`"
        )
    if "://" in spec or spec.startswith(("/", ".", "~")) or spec.endswith((".conda", ".tar.bz2")):
        raise InvalidError(
            f"{where}: {shown!r} is a package file, not a package",
            remedy="list package files in a file that begins with @EXPLICIT, and name that: `spec_file=...`",
        )
    if _PACKAGE.fullmatch(spec) is None or "\n" in spec:
        raise InvalidError(
            f"{where}: {shown!r} names no conda package",
            remedy='name packages as strings: "numpy", "numpy=2.1", "numpy>=2,<3"',
        )
    if channel:
        addresses([channel])


def _with_address(word: str, alias: str) -> str:
    """A match spec whose channel, where it names one, is an address."""
    channel, spec = split_channel(word)
    return f"{addresses([channel], alias)[0]}::{spec}" if channel else spec


def _pip(lines: tuple[str, ...], step: Conda) -> Install | None:
    """The step of pip's packages that the `pip:` part of a file says, as a requirements file would."""
    if not lines:
        return None
    beside = os.path.dirname(step.spec_file)
    packages: list[str] = []
    files: list[str] = []
    options: list[str] = []
    for line in lines:
        requirements = _REQUIREMENTS.fullmatch(line)
        if requirements is not None:
            files.append(os.path.join(beside, requirements["path"]))
        elif _CONSTRAINTS.match(line):
            raise InvalidError(
                f"{step.spec_file}: `{line}` of pip's part is not understood",
                remedy="write the constraints into a requirements file, and name that: `-r requirements.txt`",
            )
        elif line.startswith("-") and not line.startswith(("-e", "--editable")):
            options.append(line)
        else:
            packages.append(line)
    return install(
        packages,
        places=(None, None, None),
        options=" ".join(options),
        files=files,
        method="micromamba_install",
        env=dict(step.env),
        secrets=step.secrets,
        build_id=step.build_id,
    )
