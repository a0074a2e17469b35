"""Nouns of the Python that an image is given: what the base has, what could be laid over it, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from squall.blobs.digest import Digest
from squall.blobs.manifest import Attributes
from squall.images.python.elf import Elf

PREFIX: Final = "usr/local"
"""Where a Python that we lay over a base has its home, as paths of trees are written."""

Origin = Literal["base", "standalone", "client", "distribution"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked for.

    minor: "3.12"; None for whatever the base has. machine: as `uname -m` says. path: the directories in which the image's
    programs are sought, in their order.
    """

    minor: str | None
    machine: str = "x86_64"
    path: tuple[str, ...] = ("/usr/local/bin", "/usr/bin", "/bin")


@dataclass(frozen=True, slots=True, kw_only=True)
class BasePython:
    """A Python that lies in the base.

    interpreter: as it is found, which in a virtual environment is the link that makes it one. version: "3.12"; what comes behind is
    not known without running it. site_packages: where installs go. managed: by the distribution, so that installers ask to be told
    that they may. lacks: what keeps it from running functions, "" for nothing.
    """

    interpreter: str
    version: str
    site_packages: str
    managed: bool = False
    lacks: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Libc:
    """The C library of a base. version: (2, 36) for glibc, () where it does not matter."""

    kind: Literal["glibc", "musl"]
    version: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """What the base says that it is: the ID, VERSION_ID and PRETTY_NAME of its os-release. installer: the path of apt-get, "" without."""

    id: str = ""
    version: str = ""
    name: str = ""
    installer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What of a base decides which Python it can be given.

    loader: the path of the program that loads others for glibc, "" without one. library_dir: the directory that its C library really lies in, where the loader looks without being told, as "usr/lib64"; "" without
    one. libraries: those that the loader finds, of those that were asked for, with the versions that they define. diverted: paths in a tree at which something else stands
    than the directory that a Python of ours has there. attributes: of directories that are there, by their paths in a tree.
    """

    libc: Libc | None = None
    loader: str = ""
    library_dir: str = ""
    libraries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pythons: tuple[BasePython, ...] = ()
    distribution: Distribution = field(default_factory=Distribution)
    diverted: tuple[str, ...] = ()
    attributes: Mapping[str, Attributes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """A program or library of a Python. path: in the tree that it goes into. source: where it lies on this machine."""

    path: str
    source: str
    elf: Elf


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPrefix:
    """The client's own Python, as far as it can be copied.

    version: "3.12.1". interpreter, stdlib, site_packages: paths in the tree that it goes into. source, prefix: the interpreter and its prefix on
    this machine. files: pairs of a path in the tree and where it lies here; links: pairs of a path in the tree and a target. binaries: the interpreter first, then the extension modules. libraries: by their names, those that any of
    these needs, also through another one, where this machine has them. size in bytes.
    """

    version: str
    interpreter: str
    source: str
    prefix: str
    stdlib: str
    site_packages: str
    files: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    links: tuple[tuple[str, str], ...] = ()
    binaries: tuple[Binary, ...] = field(default=(), repr=False)
    libraries: Mapping[str, Binary] = field(default_factory=dict, repr=False)
    size: int = 0

    @property
    def minor(self) -> str:
        """The version without its patch."""
        return minor_of(self.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A standalone build as its makers publish it. digest: of its bytes."""

    version: str
    release: str
    name: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class Declined:
    """Something that could have given the Python, and why it does not. what: for people."""

    what: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonInImage:
    """The Python of an image.

    interpreter: its absolute path in the image. version: "3.12.1", or "3.12" where no more is known. tree: the digest of a
    manifest to be stacked above the base; None where nothing is. commands: for the image's shell, in their order, as root, once the tree is
    stacked. site_packages: where installs go. managed: as BasePython says. glibc: the version of the C library that a copy of the client's
    Python runs with, "2.36". notes: what its user should know. declined: what came before it in the order and was not taken.
    """

    origin: Origin
    interpreter: str
    version: str
    site_packages: str
    tree: Digest | None = None
    commands: tuple[str, ...] = ()
    managed: bool = False
    glibc: str = ""
    notes: tuple[str, ...] = ()
    declined: tuple[Declined, ...] = ()


def minor_of(version: str) -> str:
    """The version without its patch: "3.12"."""
    return ".".join(version.split(".")[:2])


def dotted(version: tuple[int, ...]) -> str:
    """A version as people write it."""
    return ".".join(map(str, version))
