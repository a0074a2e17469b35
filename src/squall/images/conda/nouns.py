"""Nouns of conda: where an environment lies in an image, what its installer is told, and how it says what went wrong. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast, get_args

from squall.model.jsonable import from_json, to_json

PREFIX: Final = "/opt/conda"
"""The environment of an image: one for each, where images of conda commonly have it."""

RECORDS: Final = "conda-meta"
"""The directory of an environment in which each package has a record, and the environment its history."""

SILENCE_S: Final = 120.0
"""Seconds for which a channel may be silent, unless the machine's settings say otherwise."""

INSTALLER: Final = "py-rattler"
INSTALLER_VERSION: Final = "0.28.0"

Wrong = Literal[
    "missing",
    "conflict",
    "unreachable",
    "no_channel",
    "login",
    "damaged",
    "spec",
    "no_environment",
    "old_python",
    "broken_python",
]
"""What can be wrong that a user can do something about; anything else is the installer's own failure."""

_FIRST_STATUS: Final = 81  # behind what programs and shells commonly end with
_PACKAGE_FILE: Final = re.compile(
    r"(?P<channel>https?://\S+)/(?P<subdir>[^/\s]+)/(?P<name>[^/\s]+)-(?P<version>[^-/\s]+)-(?P<build>[^-/\s]+?)"
    r"(?P<kind>\.conda|\.tar\.bz2)(?:#(?:sha256:)?(?P<digest>[0-9a-f]{32}|[0-9a-f]{64}))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFile:
    """A file of a package, as a list of such files names it. digest: its sha256 or its md5, "" where the list has none."""

    channel: str
    subdir: str
    file: str
    name: str
    version: str
    build: str
    digest: str = ""

    @classmethod
    def of(cls, address: str) -> PackageFile | None:
        """What an address says; None for one that is not of a package file."""
        found = _PACKAGE_FILE.fullmatch(address.strip())
        if found is None:
            return None
        name, version, build = found["name"], found["version"], found["build"]
        return cls(
            channel=found["channel"],
            subdir=found["subdir"],
            file=f"{name}-{version}-{build}{found['kind']}",
            name=name.lower(),
            version=version,
            build=build,
            digest=found["digest"] or "",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaJob:
    """What the installer does in a sandbox.

    packages, explicit, channels, begins: as in the step, with the names of credentials in place of their values. cache: a
    directory that lasts; logins: the path of a file to be written that the sandbox forgets. timeout_s: seconds for which a channel may be silent.
    """

    packages: tuple[str, ...]
    explicit: tuple[str, ...]
    channels: tuple[str, ...]
    begins: bool
    cache: str
    prefix: str = PREFIX
    logins: str = "/tmp/squall-conda-logins.json"  # noqa: S108 - of a sandbox that nobody else is in
    timeout_s: float = SILENCE_S

    def to_json(self) -> dict[str, Any]:
        """The plain form; `CondaJob.from_json` reads it."""
        return cast("dict[str, Any]", to_json(self))

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> CondaJob:
        """The job that `plain` says. Raises ValueError where it says none."""
        return from_json(cls, dict(plain))


def status_of(wrong: Wrong) -> int:
    """The exit status by which the installer says what is wrong."""
    return _FIRST_STATUS + get_args(Wrong).index(wrong)


def wrong_of(status: int | None) -> Wrong | None:
    """What an exit status of the installer says; None where it is a status like any other."""
    said: dict[int, Wrong] = {status_of(wrong): wrong for wrong in get_args(Wrong)}
    return said.get(status) if status is not None else None
