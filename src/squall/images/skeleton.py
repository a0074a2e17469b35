"""Skeleton: the directory below all others of a container: mount points, links, files of ours and copied ones. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A file or directory of the machine whose content is copied, as far as everybody there may read it.

    stamp: differs when the content does.
    """

    target: str
    source: str
    stamp: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """Directories with their modes, files with their text, links with their targets, copies; each sorted by path."""

    dirs: tuple[tuple[str, int], ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    copies: tuple[Copy, ...] = ()

    @property
    def digest(self) -> str:
        """Names the content; equal skeletons are made once on a machine."""
        copies = [(copy.target, copy.source, copy.stamp) for copy in self.copies]
        plain: dict[str, Any] = {
            "dirs": self.dirs,
            "files": self.files,
            "links": self.links,
            "copies": copies,
        }
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


@dataclass(slots=True)
class SkeletonDraft:
    """A skeleton while it grows: parents come by themselves, what is there already stays, nothing goes through a link."""

    dirs: dict[str, int] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    copies: dict[str, Copy] = field(default_factory=dict)

    def add_dir(self, path: str, *, mode: int = 0o755) -> None:
        if self._makes_room(path):
            self.dirs[path] = mode

    def add_file(self, path: str, text: str = "") -> None:
        if self._makes_room(path):
            self.files[path] = text

    def add_link(self, path: str, target: str) -> None:
        if self._makes_room(path):
            self.links[path] = target

    def add_copy(self, copy: Copy) -> None:
        if self._makes_room(copy.target):
            self.copies[copy.target] = copy

    def done(self) -> Skeleton:
        return Skeleton(
            dirs=tuple(sorted(self.dirs.items())),
            files=tuple(sorted(self.files.items())),
            links=tuple(sorted(self.links.items())),
            copies=tuple(copy for _, copy in sorted(self.copies.items())),
        )

    def _makes_room(self, path: str) -> bool:
        """Whether `path` can be added; its parents are there then."""
        parts = path.strip("/").split("/")
        above = ["/" + "/".join(parts[:depth]) for depth in range(1, len(parts))]
        # A link on the way leads to a directory that another mount shows; what lies there is not ours to make.
        if any(
            at in self.links or at in self.files or at in self.copies for at in above
        ) or not self._is_free(path):
            return False
        for at in above:
            self.dirs.setdefault(at, 0o755)
        return True

    def _is_free(self, path: str) -> bool:
        return not any(path in known for known in (self.dirs, self.files, self.links, self.copies))
