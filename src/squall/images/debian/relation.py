"""Relation: what a package says of others, in the fields of its control file. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from squall.images.debian.version import satisfies, version_key

MAX_NAME_CHARACTERS: Final = 128
_MAX_FIELD_CHARACTERS: Final = 256 << 10

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9+.-]+")
# The old forms "<" and ">" mean "or the same".
_ONE: Final = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9+.-]+)(?::(?P<arch>[a-z0-9-]+))?"
    r"(?:\s*\((?P<relation><<|<=|=|>=|>>|<|>)\s*(?P<version>[^\s()]+)\s*\))?"
    r"(?:\s*\[[^\]]*\])?(?:\s*<[^>]*>)*"
)
_OLD: Final = {"<": "<=", ">": ">="}


@dataclass(frozen=True, slots=True)
class One:
    """A package by its name, and where `relation` is not empty by how its version relates to `version`."""

    name: str
    relation: str = ""
    version: str = ""

    def accepts(self, version: str) -> bool:
        """Whether a package of the name and of this version will do."""
        return not self.relation or satisfies(version, self.relation, self.version)

    def __str__(self) -> str:
        return f"{self.name} ({self.relation} {self.version})" if self.relation else self.name


# Any of these will do; the first one is preferred.
Alternatives = tuple[One, ...]


def is_package_name(text: str) -> bool:
    """Whether a package can have this name."""
    return len(text) <= MAX_NAME_CHARACTERS and _NAME.fullmatch(text) is not None


def parse_relations(field: str) -> tuple[Alternatives, ...]:
    """What a field such as Depends says: all of these are wanted. Raises ValueError."""
    if len(field) > _MAX_FIELD_CHARACTERS:
        raise ValueError(f"a field of {len(field)} characters")
    groups = (group.strip() for group in field.split(","))
    return tuple(tuple(_one(text.strip()) for text in group.split("|")) for group in groups if group)


def show(alternatives: Alternatives) -> str:
    """The alternatives as Debian writes them."""
    return " | ".join(map(str, alternatives))


def _one(text: str) -> One:
    found = _ONE.fullmatch(text)
    if found is None or len(found["name"]) > MAX_NAME_CHARACTERS:
        raise ValueError(f"{text[:120]!r} is no relation to a package")
    if found["relation"] is None:
        return One(found["name"])
    version_key(found["version"])
    return One(found["name"], _OLD.get(found["relation"], found["relation"]), found["version"])
