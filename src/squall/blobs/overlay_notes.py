"""Overlay notes: the extended attributes in which an overlay keeps what it must know of a layer."""

from __future__ import annotations

from enum import Enum
from typing import Final


class Notes(Enum):
    """Where an overlay looks for its notes: as root, or where any user may write (its option userxattr)."""

    TRUSTED = "trusted.overlay."
    USER = "user.overlay."

    @property
    def opaque(self) -> str:
        """The attribute of a directory that hides what the layers below have in it; its value is OPAQUE."""
        return f"{self.value}opaque"

    @property
    def whiteout(self) -> str:
        """The attribute of an empty file that stands for a whiteout, beside devices of number 0/0."""
        return f"{self.value}whiteout"

    def is_settled(self, xattr: str) -> bool:
        """Whether the attribute says nothing that a layer must keep: what it means is seen, or the kernel's own."""
        return xattr.startswith(self.value) and xattr.removeprefix(self.value) in _SETTLED


OPAQUE: Final = b"y"

# The others tell of a file whose bytes or names are in the layers below: no layer by itself.
_SETTLED: Final = frozenset({"impure", "nlink", "opaque", "origin", "protattr", "upper", "uuid", "whiteout"})


def is_overlay_note(xattr: str) -> bool:
    """Whether some overlay could take this attribute for its own."""
    return xattr.startswith(tuple(notes.value for notes in Notes))
