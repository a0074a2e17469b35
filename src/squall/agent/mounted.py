"""Mounted: which volumes a container has, and what it has written to them, as a directory that outlives every process of ours."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from squall.blobs.upper_changes import Stamp, stamps_from_json, stamps_to_json
from squall.runtime.volume_mounts import View

Way = Literal["overlay", "copy", "shown"]
"""How a volume is in a container: below an overlay that takes its writes, as a copy of its own, or as it is, for reading alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InContainer:
    """One volume in one container. version, manifest: what it shows below the container's own writes."""

    volume: str
    version: int
    manifest: str
    way: Way
    views: tuple[View, ...]
    generation: int = 0

    @property
    def writable(self) -> bool:
        """Whether the container may write to it."""
        return self.way != "shown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounted:
    """The volumes of one container. uid_base: of its ids; None where the agent is no root. given: its files belong to those ids."""

    container: str
    function: str
    uid_base: int | None
    volumes: tuple[InContainer, ...]
    given: bool = False

    def with_volume(self, number: int, volume: InContainer) -> Mounted:
        """The same, but for one volume."""
        volumes = list(self.volumes)
        volumes[number] = volume
        return replace(self, volumes=tuple(volumes))

    def to_json(self) -> dict[str, Any]:
        """As JSON carries it."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Mounted:
        """What `to_json` gave. Raises ValueError for what is none."""
        try:
            volumes = tuple(
                InContainer(**{**one, "views": tuple(View(**view) for view in one["views"])})
                for one in value["volumes"]
            )
            return cls(**{**value, "volumes": volumes})
        except (KeyError, TypeError) as problem:
            raise ValueError(f"this says of no container which volumes it has: {problem}") from problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was committed last: the version that came of it, and what was there."""

    version: int
    stamps: dict[str, Stamp] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A commit that the server may have been told of. changes: the layer; base: on which version; stamps: what was there."""

    id: str
    changes: str
    base: int
    stamps: dict[str, Stamp] = field(repr=False)


class MountedDirectory:
    """The directory of one container. Everything in here blocks."""

    def __init__(self, root: Path, container: str) -> None:
        self.path = root / container

    def make(self, mounted: Mounted) -> None:
        """Make it. Raises OSError."""
        self.path.mkdir(mode=0o700, parents=True)
        self.note(mounted)

    def note(self, mounted: Mounted) -> None:
        """Keep the record, whole or not at all."""
        _write(self.path / "record.json", mounted.to_json())

    def read(self) -> Mounted | None:
        """The record; None where the container was never to start."""
        try:
            return Mounted.from_json(json.loads((self.path / "record.json").read_text()))
        except (OSError, ValueError):
            return None

    def place(self, number: int, generation: int) -> Path:
        """Where one volume is, in one generation: each mount has directories of its own."""
        return self.path / f"{number}.{generation}"

    def generations(self, number: int) -> list[int]:
        """Those of one volume that can be written to, the oldest first: more than one where a reload was cut short."""
        places = self.path.iterdir() if self.path.is_dir() else ()
        found = (
            one.name.partition(".")
            for one in places
            if (one / "upper").is_dir() or ((one / "own").is_dir() and self._is_noted(one.name))
        )
        return sorted(
            int(generation) for name, _, generation in found if name == str(number) and generation.isdecimal()
        )

    def _is_noted(self, place: str) -> bool:
        # What a copy has of its own can only be told once it was whole.
        return (self.path / f"{place}.seen.json").exists()

    def seen(self, number: int, generation: int) -> Seen | None:
        """What was there when it was committed last; None where it never was."""
        try:
            plain = json.loads(self._beside(number, generation, "seen").read_text())
            return Seen(version=int(plain["version"]), stamps=stamps_from_json(plain["stamps"]))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def note_seen(self, number: int, generation: int, seen: Seen) -> None:
        """Keep that; what was pending is over."""
        plain = {"version": seen.version, "stamps": stamps_to_json(seen.stamps)}
        _write(self._beside(number, generation, "seen"), plain)
        self.drop_pending(number, generation)

    def pending(self, number: int, generation: int) -> Pending | None:
        """The commit that was under way."""
        try:
            plain = json.loads(self._beside(number, generation, "pending").read_text())
            return Pending(**{**plain, "stamps": stamps_from_json(plain["stamps"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def note_pending(self, number: int, generation: int, pending: Pending) -> None:
        """Keep that the server is about to be told."""
        plain = {
            "id": pending.id,
            "changes": pending.changes,
            "base": pending.base,
            "stamps": stamps_to_json(pending.stamps),
        }
        _write(self._beside(number, generation, "pending"), plain)

    def drop_pending(self, number: int, generation: int) -> None:
        """It is over."""
        self._beside(number, generation, "pending").unlink(missing_ok=True)

    def forget(self, number: int, generation: int) -> None:
        """Nothing is written there any more: what was noted of it goes."""
        for what in ("seen", "pending"):
            self._beside(number, generation, what).unlink(missing_ok=True)

    def _beside(self, number: int, generation: int, what: str) -> Path:
        return self.path / f"{number}.{generation}.{what}.json"


def _write(path: Path, value: Any) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(value))
    os.replace(fresh, path)
