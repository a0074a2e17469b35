"""What a run left out: collected, compared with what the machine's profile expects, and told as a table."""

from __future__ import annotations

import fnmatch
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROFILES = Path(__file__).parent / "profiles"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """One reason for which a profile leaves tests out; tests: patterns of their paths."""

    reason: str
    tests: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A kind of machine: the facts that make it, and the tests that it may leave out."""

    name: str
    describes: str
    machine: Mapping[str, bool]
    left_out: tuple[Expected, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """One test (or file of tests) that did not run, and the reason it gave."""

    test: str
    reason: str


def read_profiles(folder: Path = PROFILES) -> tuple[Profile, ...]:
    """All profiles, the most capable machine first."""
    every = folder / "every.toml"
    shared = _expected(every) if every.exists() else ()
    found = []
    for path in sorted(folder.glob("[0-9]-*.toml")):
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        found.append(
            Profile(
                name=path.stem.partition("-")[2],
                describes=data["describes"],
                machine=data["machine"],
                left_out=_expected(path) + shared,
            )
        )
    return tuple(found)


def profile_of(facts: Mapping[str, bool], profiles: tuple[Profile, ...]) -> Profile:
    """The first profile whose facts all hold.

    Raises LookupError where none fits: a new kind of machine needs a profile of its own.
    """
    for profile in profiles:
        if all(facts[fact] == value for fact, value in profile.machine.items()):
            return profile
    raise LookupError(f"no profile in tests/profiles fits this machine: {dict(facts)}")


def unexpected(skips: list[Skip], profile: Profile) -> list[Skip]:
    """The skips that the profile does not allow."""
    return [skip for skip in skips if not any(_covers(entry, skip) for entry in profile.left_out)]


def table(skips: list[Skip], remedies: Mapping[str, str]) -> list[str]:
    """Lines that say how many tests were left out for which reason, where they are, and what would let them run.

    remedies: for each fact that a test may need, what to do to have it.
    """
    counted = Counter((_short(skip.reason, remedies), _folder(skip.test)) for skip in skips)
    rows = [(str(count), where, reason) for (reason, where), count in sorted(counted.items())]
    rows.insert(0, ("tests", "where", "left out because"))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = [f"{count:>{widths[0]}}  {where:<{widths[1]}}  {reason}" for count, where, reason in rows]
    wanted = [fact for fact in remedies if any(f"needs {fact}" in skip.reason for skip in skips)]
    return [*lines, *(f"to have {fact}: {remedies[fact]}" for fact in wanted)]


def _short(reason: str, remedies: Mapping[str, str]) -> str:
    """The reason without the remedies, which stand below the table."""
    for fact, remedy in remedies.items():
        reason = reason.replace(f"needs {fact}: {remedy}", f"needs {fact}")
    return reason


def _expected(path: Path) -> tuple[Expected, ...]:
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("left_out", [])
    return tuple(Expected(reason=entry["reason"], tests=tuple(entry["tests"])) for entry in entries)


def _covers(entry: Expected, skip: Skip) -> bool:
    path = skip.test.partition("::")[0]
    return entry.reason in skip.reason and any(fnmatch.fnmatch(path, pattern) for pattern in entry.tests)


def _folder(test: str) -> str:
    return "/".join(test.partition("::")[0].split("/")[:2])
