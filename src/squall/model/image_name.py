"""Image name: what a published image is called, and which names are near one that nobody published."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from squall.model.errors import ImageNameNotFound, InvalidError

LATEST: Final = "latest"
NAMES_SHOWN: Final = 3

_NAME = re.compile(r"[a-z0-9][a-z0-9._/-]{0,127}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_REMEDY: Final = (
    "write NAME or NAME:TAG; NAME has small letters, digits and `._/-` and begins with a letter or a digit, TAG may have "
    "large letters too, and each has 128 characters at most"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageName:
    """A name for images and one of its tags. Made by `parse_image_name`."""

    name: str
    tag: str = LATEST

    def __str__(self) -> str:
        return f"{self.name}:{self.tag}"


def parse_image_name(text: Any) -> ImageName:
    """What `text` says: "base:1", or "base" for "base:latest". Raises InvalidError."""
    if not isinstance(text, str):
        raise InvalidError(f"the name of an image is a string, and not {text!r:.80}", remedy=_REMEDY)
    name, colon, tag = text.partition(":")
    if not _NAME.fullmatch(name):
        raise InvalidError(f"{text[:80]!r} is no name for an image", remedy=_REMEDY)
    if colon and not _TAG.fullmatch(tag):
        raise InvalidError(f"{text[:80]!r} is no name for an image: {tag[:80]!r} is no tag", remedy=_REMEDY)
    return ImageName(name=name, tag=tag if colon else LATEST)


def unknown_name(asked: str, names: Iterable[str]) -> ImageNameNotFound:
    """What is said of a name that nobody has published, where these names mean something."""
    near = near_names(asked, names)
    told = f"the nearest are {', '.join(near)}" if near else "no image has a name yet"
    return ImageNameNotFound(f"no image is published as {asked}; {told}", name=asked)


def near_names(asked: str, names: Iterable[str]) -> tuple[str, ...]:
    """Some of `names`, the nearest first: other tags of the same name, then what begins as it does."""

    def far(name: str) -> tuple[bool, int, str]:
        return name.partition(":")[0] != asked.partition(":")[0], -_common(name, asked), name

    return tuple(sorted(names, key=far)[:NAMES_SHOWN])


def _common(one: str, other: str) -> int:
    """How many signs both begin with."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count
