"""Judges what attempts met: pure functions from a probe and its outcomes to what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Literal

from tests.linux.hostile.probe import Probe

Met = Mapping[str, str]
Place = Literal["runner", "build", "loading", "oci"]

# What must work for everybody, inside as outside: it says that the attempts were made at all.
_EVERYDAY = "everyday "


def escapes(probe: Probe, met: Met, *, place: Place = "runner") -> list[str]:
    """The attempts that met something else than where they are stopped. place: which code makes them."""
    if broken := met.get("broken"):
        return [f"it could not be tried: {broken}"]
    return [
        f"{name}: {got}, not {_refusal(probe, name, place=place)}"
        for name, got in met.items()
        if not _is_refused(probe, name, got, place=place)
    ]


def repeated(first: Met, second: Met) -> list[str]:
    """What two containers drew alike, and must not."""
    return [f"{name}: {got} twice" for name, got in first.items() if second.get(name) == got]


def reached(probe: Probe, met: Met) -> list[str]:
    """The attempts that got what they wanted."""
    return [
        name
        for name, got in met.items()
        if name != "broken" and not name.startswith(_EVERYDAY) and not _is_refused(probe, name, got)
    ]


def unproven(probe: Probe, met: Met) -> list[str]:
    """Attempts that would be refused anywhere, by what they met without a sandbox, and for which no reason is known."""
    if broken := met.get("broken"):
        return [f"it could not be tried: {broken}"]
    unexplained = [
        f"{name}: {met[name]} without a sandbox too"
        for name in _unreached(probe, met)
        if name not in probe.unproven and name not in lacking(probe, met)
    ]
    tried = [name for name in met if not name.startswith(_EVERYDAY)]
    return unexplained or (
        ["no attempt of it ever got anywhere"] if tried and not reached(probe, met) else []
    )


def lacking(probe: Probe, met: Met) -> list[str]:
    """Attempts that find nothing on this kernel, so that it says nothing that they are refused."""
    return [
        name
        for name in _unreached(probe, met)
        if any(fnmatchcase(name, pattern) for pattern in probe.may_lack)
    ]


def _unreached(probe: Probe, met: Met) -> list[str]:
    got = reached(probe, met)
    return [name for name in met if name not in got and not name.startswith(_EVERYDAY)]


def _is_refused(probe: Probe, name: str, got: str, *, place: Place = "runner") -> bool:
    return any(fnmatchcase(got, one) for one in _refusal(probe, name, place=place).split("|"))


def _refusal(probe: Probe, name: str, *, place: Place) -> str:
    instead = {"runner": {}, "build": probe.build, "loading": probe.loading, "oci": probe.oci}[place]
    # What differs there counts before the pattern that it differs from.
    patterns = [*instead.items(), *probe.refused.items()]
    return next((wanted for pattern, wanted in patterns if fnmatchcase(name, pattern)), "any of the known")
