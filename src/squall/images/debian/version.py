"""Version: Debian's order of versions. Pure."""

from __future__ import annotations

import functools
import re
from typing import Final

MAX_VERSION_CHARACTERS: Final = 256

_SHAPE: Final = re.compile(r"(?:[0-9]{1,9}:)?[0-9A-Za-z.+~:-]+")
_RUNS: Final = re.compile(r"([^0-9]*)([0-9]*)")

Key = tuple[int, tuple[tuple[int, ...] | int, ...], tuple[tuple[int, ...] | int, ...]]


@functools.lru_cache(maxsize=4096)
def version_key(version: str) -> Key:
    """What sorts versions: of two, the newer one has the larger key, and equal ones ("1.0" and "1.00") the same.

    Raises ValueError for what is no version.
    """
    if len(version) > MAX_VERSION_CHARACTERS or not _SHAPE.fullmatch(version):
        raise ValueError(f"{version[:80]!r} is no version of a package")
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, hyphen, revision = rest.rpartition("-")
    if not hyphen:
        upstream, revision = rest, "0"
    return int(epoch), _runs(upstream), _runs(revision)


def satisfies(version: str, relation: str, wanted: str) -> bool:
    """Whether `version` is as "<<", "<=", "=", ">=" or ">>" `wanted` says. Raises ValueError for another relation."""
    here, there = version_key(version), version_key(wanted)
    match relation:
        case "<<":
            return here < there
        case "<=":
            return here <= there
        case "=":
            return here == there
        case ">=":
            return here >= there
        case ">>":
            return here > there
        case _:
            raise ValueError(f"{relation!r} does not relate two versions")


def _runs(part: str) -> tuple[tuple[int, ...] | int, ...]:
    """Runs of other characters and numbers in turn, ended by an empty run: what ends here is before what goes on,
    but for a tilde.
    """
    runs: list[tuple[int, ...] | int] = []
    for others, digits in _RUNS.findall(part):
        if others or digits:
            runs += [(*map(_rank, others), 0), int(digits or 0)]
    return (*runs, (0,))


def _rank(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256
