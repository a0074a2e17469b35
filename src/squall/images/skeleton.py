"""Skeleton: the directory below all others of a container: mount points, links and the few files that we write. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """Directories with their modes, files with their text, links with their targets; each sorted by path."""

    dirs: tuple[tuple[str, int], ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()

    @property
    def digest(self) -> str:
        """Names the content; equal skeletons are made once on a machine."""
        plain: dict[str, Any] = {"dirs": self.dirs, "files": self.files, "links": self.links}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


@dataclass(slots=True)
class SkeletonDraft:
    """A skeleton while it grows: parents come by themselves, what is there already stays, nothing goes through a link."""

    dirs: dict[str, int] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def add_dir(self, path: str, *, mode: int = 0o755) -> None:
        if self._makes_room(path):
            self.dirs[path] = mode

    def add_file(self, path: str, text: str = "") -> None:
        if self._makes_room(path):
            self.files[path] = text

    def add_link(self, path: str, target: str) -> None:
        if self._makes_room(path):
            self.links[path] = target

    def done(self) -> Skeleton:
        return Skeleton(
            dirs=tuple(sorted(self.dirs.items())),
            files=tuple(sorted(self.files.items())),
            links=tuple(sorted(self.links.items())),
        )

    def _makes_room(self, path: str) -> bool:
        """Whether `path` can be added; its parents are there then."""
        parts = path.strip("/").split("/")
        above = ["/" + "/".join(parts[:depth]) for depth in range(1, len(parts))]
        # A link on the way leads to a directory that another mount shows; what lies there is not ours to make.
        if any(at in self.links or at in self.files for at in above) or not self._is_free(path):
            return False
        for at in above:
            self.dirs.setdefault(at, 0o755)
        return True

    def _is_free(self, path: str) -> bool:
        return path not in self.dirs and path not in self.files and path not in self.links
