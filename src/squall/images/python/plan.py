"""Plan: which Python an image gets, of those that there are. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from squall.images.python.libraries import Fit, fit, module_of
from squall.images.python.nouns import (
    PREFIX,
    Archive,
    Base,
    BasePython,
    ClientPrefix,
    Declined,
    Distribution,
    PythonInImage,
    Wanted,
    minor_of,
)
from squall.images.python.standalone import WHAT as STANDALONE
from squall.model.errors import PythonUnavailable

OLDEST: Final = (3, 11)
"""The first minor version that a runner works with."""

_CLIENT: Final = "the client's own Python"
_DISTRIBUTION: Final = "the distribution's packages"
# Which minor version the package `python3` of a release is.
_PACKAGED: Final = {
    ("debian", "12"): "3.11",
    ("debian", "13"): "3.13",
    ("ubuntu", "24.04"): "3.12",
    ("ubuntu", "25.04"): "3.13",
    ("ubuntu", "25.10"): "3.13",
}
_INSTALL: Final = (
    "apt-get update",
    "DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3",
    "rm -rf /var/lib/apt/lists/*",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is chosen from. standalone, client: what there is, or why there is none."""

    wanted: Wanted
    base: Base
    standalone: Archive | Declined
    client: ClientPrefix | Declined


@dataclass(frozen=True, slots=True, kw_only=True)
class InBase:
    """The base has it."""

    python: BasePython
    declined: tuple[Declined, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FromArchive:
    """A standalone build is fetched and laid over the base."""

    archive: Archive
    declined: tuple[Declined, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FromClient:
    """The client's own Python is copied, with the libraries that the base lacks."""

    prefix: ClientPrefix
    fit: Fit
    declined: tuple[Declined, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FromDistribution:
    """The image's own package manager installs it."""

    distribution: Distribution
    declined: tuple[Declined, ...] = ()


Choice = InBase | FromArchive | FromClient | FromDistribution


def choose(facts: Facts) -> Choice:
    """The first that does, in this order: the base's own Python, a standalone build, the client's, the distribution's.

    Raises PythonUnavailable, which lists them all and why each did not do.
    """
    declined: list[Declined] = []
    for offer in _offers(facts):
        if isinstance(offer, Declined):
            declined.append(offer)
            continue
        match offer:
            case BasePython():
                return InBase(python=offer, declined=tuple(declined))
            case Archive():
                return FromArchive(archive=offer, declined=tuple(declined))
            case Distribution():
                return FromDistribution(distribution=offer, declined=tuple(declined))
            case prefix, fitting:
                return FromClient(prefix=prefix, fit=fitting, declined=tuple(declined))
    raise _unavailable(facts.wanted, declined)


def installed_by_distribution(choice: FromDistribution, wanted: Wanted) -> PythonInImage:
    """What the distribution's packages make of the image."""
    return PythonInImage(
        origin="distribution",
        interpreter="/usr/bin/python3",
        version=wanted.minor or "",
        site_packages=f"/usr/local/lib/python{wanted.minor}/dist-packages",
        commands=_INSTALL,
        managed=True,
        declined=choice.declined,
    )


def found_in_base(choice: InBase) -> PythonInImage:
    """The base's own Python, as that of the image."""
    python = choice.python
    return PythonInImage(
        origin="base",
        interpreter=python.interpreter,
        version=python.version,
        site_packages=python.site_packages,
        managed=python.managed,
        declined=choice.declined,
    )


def notes_on(choice: FromClient, base: Base) -> tuple[str, ...]:
    """What the user of a copied Python should know."""
    notes = [f"{module_of(path)} is left out: it {why}" for path, why in choice.fit.left_out]
    libraries = [name for name in choice.fit.brought if not name.startswith("libpython")]
    if libraries:
        notes.append(f"libraries that the image lacks come with it: {', '.join(libraries)}")
    return (*notes, *_covered(base, choice.prefix.minor))


def notes_on_archive(choice: FromArchive, base: Base) -> tuple[str, ...]:
    """What the user of a standalone build should know."""
    return _covered(base, minor_of(choice.archive.version))


def said(python: PythonInImage) -> tuple[str, ...]:
    """What a person reads of the Python that an image got, a line each."""
    how = {
        "base": "the image's own",
        "standalone": "a standalone build",
        "client": "a copy of the client's",
        "distribution": "installed by the image's package manager",
    }[python.origin]
    return (
        f"Python {python.version} at {python.interpreter}: {how}",
        *(f"  not {one.what}: {one.why}" for one in python.declined),
        *(f"  {note}" for note in python.notes),
    )


Offer = BasePython | Archive | tuple[ClientPrefix, Fit] | Distribution


def _offers(facts: Facts) -> Iterator[Offer | Declined]:
    """All that there is, in the order in which it is taken."""
    yield from _in_base(facts)
    if facts.wanted.minor is None:
        return  # an image that is to keep its own Python
    in_the_way = _in_the_way(facts.base, *(f"{PREFIX}/{name}" for name in ("bin", "lib", "include")))
    if isinstance(facts.standalone, Archive) and in_the_way:
        yield Declined(STANDALONE, in_the_way)
    else:
        yield facts.standalone
    yield _from_client(facts)
    yield _from_distribution(facts.base.distribution, facts.wanted.minor)


def _in_base(facts: Facts) -> Iterator[BasePython | Declined]:
    wanted = facts.wanted.minor
    for python in facts.base.pythons:
        if wanted is not None and python.version != wanted:
            yield Declined(python.interpreter, f"it is Python {python.version}")
        elif tuple(map(int, python.version.split("."))) < OLDEST:
            yield Declined(python.interpreter, f"Python {python.version} is too old to run functions")
        elif python.lacks:
            yield Declined(python.interpreter, f"it is not whole: {python.lacks}")
        else:
            yield python
    if not facts.base.pythons:
        yield Declined("the image's own Python", "it has none")


def _from_client(facts: Facts) -> tuple[ClientPrefix, Fit] | Declined:
    prefix, base = facts.client, facts.base
    if isinstance(prefix, Declined):
        return prefix
    if prefix.minor != facts.wanted.minor:
        return Declined(_CLIENT, f"it is Python {prefix.version}")
    program = prefix.binaries[0].elf
    if base.libc is None:
        return Declined(_CLIENT, "the image has no C library that it could load")
    if program.machine != facts.wanted.machine:
        return Declined(
            _CLIENT, f"it is made for {program.machine}, and the image for {facts.wanted.machine}"
        )
    if base.libc.kind != "glibc":
        return Declined(_CLIENT, f"copies need glibc, and the image has {base.libc.kind}")
    if program.interpreter != base.loader:
        return Declined(_CLIENT, f"it is loaded by {program.interpreter}, which the image has not")
    in_the_way = _in_the_way(base, f"{PREFIX}/bin", prefix.interpreter, prefix.stdlib, prefix.site_packages)
    if in_the_way:
        return Declined(_CLIENT, in_the_way)
    fitting = fit(prefix, base)
    return Declined(_CLIENT, fitting.refused) if fitting.refused else (prefix, fitting)


def _from_distribution(there: Distribution, minor: str) -> Distribution | Declined:
    packaged = _PACKAGED.get((there.id, there.version))
    called = there.name or there.id or "the image says of no distribution that it is one"
    if not there.installer or packaged is None:
        return Declined(_DISTRIBUTION, f"Squall knows no Python of theirs ({called})")
    if packaged != minor:
        return Declined(_DISTRIBUTION, f"{called} has Python {packaged}")
    return there


def _in_the_way(base: Base, *paths: str) -> str:
    """What stands where one of these paths, or a directory above it, would have to be; "" for nothing."""
    for diverted in base.diverted:
        if any(f"{path}/".startswith(f"{diverted}/") for path in paths):
            return f"/{diverted} of the image is no directory"
    return ""


def _covered(base: Base, minor: str) -> tuple[str, ...]:
    covered = [one.version for one in base.pythons if one.interpreter.startswith(f"/{PREFIX}/bin/")]
    return (
        (f"`python3` is now {minor}; the image's own Python {covered[0]} stays under its version's name",)
        if covered
        else ()
    )


def _unavailable(wanted: Wanted, declined: list[Declined]) -> PythonUnavailable:
    asked = (
        f"no Python {wanted.minor} for this image"
        if wanted.minor
        else "this image has no Python that can run functions"
    )
    reasons = "; ".join(f"{one.what}: {one.why}" for one in declined)
    return PythonUnavailable(f"{asked}. {reasons}" if reasons else asked, minor=wanted.minor)
