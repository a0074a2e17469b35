"""Nouns: what is wanted of the distribution, its packages, and what was made of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from squall.blobs.digest import Digest
from squall.images.debian.relation import Alternatives, is_package_name, parse_relations
from squall.images.debian.version import version_key
from squall.images.registry.location import parse_location
from squall.model.errors import FeatureUnavailable

MIRRORS: Final = ("https://deb.debian.org/debian", "https://deb.debian.org/debian-security")
ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}

_RELEASE: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedDebian:
    """A root of the distribution, as somebody wants it.

    release: "bookworm". architecture: as Debian names it, "amd64" or "arm64". mirrors: addresses below which there is
    a folder `dists`; each is asked for the release, for its updates and for its security updates, and the newest
    version of a package wins. packages: further ones, by their names. Raises ValueError.
    """

    release: str = "bookworm"
    architecture: str = "amd64"
    mirrors: tuple[str, ...] = MIRRORS
    packages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _RELEASE.fullmatch(self.release):
            raise ValueError(f"{self.release[:80]!r} is no name of a release, such as bookworm")
        if self.architecture not in ARCHITECTURES.values():
            raise ValueError(
                f"no architecture that is known here: {self.architecture[:80]!r}, only amd64 and arm64"
            )
        if not self.mirrors:
            raise ValueError("there is no mirror to ask")
        for mirror in self.mirrors:
            try:
                parse_location(mirror)
            except ValueError as error:
                raise ValueError(f"a mirror has {error}") from None
            if "?" in mirror or mirror.endswith("/"):
                raise ValueError("a mirror's address has neither a question mark nor a slash at its end")
        for package in self.packages:
            if not is_package_name(package):
                raise ValueError(f"{package[:80]!r} is no name of a Debian package")

    @property
    def suites(self) -> tuple[str, ...]:
        """The folders below `dists` that each mirror is asked for; without the first one there is nothing."""
        return self.release, f"{self.release}-updates", f"{self.release}-security"


def debian_architecture(machine: str) -> str:
    """Debian's name of this machine, which names itself as `uname -m` does. Raises FeatureUnavailable."""
    found = ARCHITECTURES.get(machine)
    if found is None:
        raise FeatureUnavailable(
            f"a root from Debian's packages is made for x86_64 and aarch64, and this machine is {machine[:40]!r}",
            remedy="use `Image.from_registry` with an image for this machine",
            feature="debian",
        )
    return found


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package as an index lists it. at: the address of the mirror; filename: below that. size in bytes."""

    name: str
    version: str
    architecture: str
    at: str
    filename: str
    size: int
    digest: Digest
    essential: bool = False
    priority: str = "optional"
    depends: str = ""
    provides: str = ""
    conflicts: str = ""

    def __post_init__(self) -> None:
        version_key(self.version)

    @cached_property
    def needs(self) -> tuple[Alternatives, ...]:
        """What must be there beside it. Raises ValueError."""
        return parse_relations(self.depends)

    @cached_property
    def gives(self) -> dict[str, str]:
        """The names that it stands for too, each with a version or "". Raises ValueError."""
        return {one.name: one.version for group in parse_relations(self.provides) for one in group}

    @cached_property
    def excludes(self) -> tuple[Alternatives, ...]:
        """What must not be there beside it. Raises ValueError."""
        return parse_relations(self.conflicts)

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A package that is in a root. architecture: "all" for one that has none."""

    name: str
    version: str
    architecture: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RootCommand:
    """A command that is to run as root in the root. env: all of its variables; nothing else is inherited."""

    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """A root whose packages are unpacked and not yet configured.

    manifest: the digest of its manifest. packages: sorted by name. commands: what must run in it, in this order, before it
    is of use; each that fails makes it useless. epoch_s: when the release was made, in seconds since 1970: no later time
    need be kept of a file. entries: paths; files_bytes: of all files; fetched_bytes: what came over the network.
    """

    manifest: Digest
    packages: tuple[Installed, ...]
    commands: tuple[RootCommand, ...]
    epoch_s: int
    entries: int
    files_bytes: int
    fetched_bytes: int
