"""Volume: files that containers share, what it may be called, where it is mounted, and which paths it may have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from squall.model.deploy import check_name
from squall.model.errors import InvalidError, VolumePathInvalid
from squall.model.ids import VOLUME, VolumeId, is_id

ROOT: Final = ""
"""The path of a volume's own directory."""

MOST_VOLUMES: Final = 10_000
"""In one record, ephemeral ones too."""

MOST_MOUNTS: Final = 64
"""In one container."""

MOST_LABELS: Final = 1_000
"""Versions of one volume that have a name."""

LONGEST_WHY: Final = 100
"""Characters that are kept of why a version was made, and of who made it."""

MOST_AT_ONCE: Final = 1_000
"""Paths of one message."""

LONGEST_PATH: Final = 4_000
LONGEST_NAME: Final = 255
"""Of a path, and of one name along it, in bytes: as much as a manifest keeps."""

DEEPEST: Final = 128

_KERNELS: Final = ("/proc", "/sys", "/dev")


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeMount:
    """A volume in a container. path: where, absolute. volume: its id. sub_path: the directory of it that shows, "" for all of it.

    Raises VolumePathInvalid, InvalidError.
    """

    path: str
    volume: str
    read_only: bool = False
    sub_path: str = ROOT

    def __post_init__(self) -> None:
        if mount_path(self.path) != self.path:
            raise VolumePathInvalid(f"{self.path!r} is written {mount_path(self.path)!r}", path=self.path)
        if inner_path(self.sub_path) != self.sub_path:
            raise VolumePathInvalid(
                f"{self.sub_path!r} is written {inner_path(self.sub_path)!r}", path=self.sub_path
            )
        check_volume_id(self.volume)


def check_mounts(mounts: Sequence[VolumeMount]) -> tuple[VolumeMount, ...]:
    """These mounts by their paths, no two at one place, none in another one's. Raises VolumePathInvalid, InvalidError."""
    if len(mounts) > MOST_MOUNTS:
        raise InvalidError(f"a container has at most {MOST_MOUNTS} volumes, and not {len(mounts)}")
    ordered = sorted(mounts, key=lambda mount: mount.path.split("/"))
    for outer, inner in pairwise(ordered):
        if inner.path == outer.path or inner.path.startswith(f"{outer.path}/"):
            where = "at" if inner.path == outer.path else "in"
            raise VolumePathInvalid(
                f"one volume is mounted at {outer.path}, and another {where} it: {inner.path}",
                remedy="mount each volume at a directory of its own, none within another's",
                path=inner.path,
            )
    return tuple(ordered)


def mount_path(text: object) -> str:
    """Where a volume is mounted, written one way: "/data/" is "/data". Raises VolumePathInvalid."""
    if not isinstance(text, str) or not text.startswith("/"):
        raise VolumePathInvalid(f"a volume is mounted at an absolute path, and {text!r:.90} is none")
    inner = inner_path(text)
    path = f"/{inner}"
    if not inner:
        raise VolumePathInvalid(
            "a volume cannot be the root of a container",
            remedy="mount it at a directory such as `/data`",
            path=path,
        )
    for kernels in _KERNELS:
        if path == kernels or path.startswith(f"{kernels}/"):
            raise VolumePathInvalid(
                f"a volume cannot be mounted at {path}: what is in {kernels} is the kernel's",
                remedy="mount it at a directory such as `/data`",
                path=path,
            )
    return path


def inner_path(text: object) -> str:
    """A path of a volume, from its own directory on, written one way: "/a//./b/" is "a/b". Raises VolumePathInvalid."""
    if not isinstance(text, str):
        raise VolumePathInvalid(f"a path of a volume is a string, and not {text!r:.90}")
    names = [name for name in text.split("/") if name not in {"", "."}]
    wrong = _wrong_with(text, names)
    if wrong:
        raise VolumePathInvalid(f"{text[:200]!r} is no path of a volume: {wrong}", path=text[:200])
    return "/".join(names)


def _wrong_with(text: str, names: list[str]) -> str:
    if "\0" in text:
        return "it has a NUL in it"
    if ".." in names:
        return "it has '..' in it"
    try:
        sizes = [len(name.encode("utf-8", "surrogateescape")) for name in names]
    except UnicodeEncodeError:
        return "it cannot be a name on disk"
    if max(sizes, default=0) > LONGEST_NAME:
        return f"a name in it is longer than {LONGEST_NAME} bytes"
    if sum(sizes) + len(sizes) > LONGEST_PATH:
        return f"it is longer than {LONGEST_PATH} bytes"
    return f"it is deeper than {DEEPEST} directories" if len(names) > DEEPEST else ""


def check_volume_name(name: object) -> str:
    """The name, if a volume may have it. Raises NameInvalid."""
    return check_name("a volume", name)


def check_label(label: object) -> str:
    """The name, if a version of a volume may have it. Raises NameInvalid, and InvalidError for what looks like a number."""
    checked = check_name("a version of a volume", label)
    if checked.isdecimal():
        raise InvalidError(
            f"{checked!r} looks like the number of a version", remedy="begin the name with a letter"
        )
    return checked


def check_volume_id(text: object) -> VolumeId:
    """The id, if it has the shape of one. Raises InvalidError."""
    if not isinstance(text, str) or not is_id(text, VOLUME):
        raise InvalidError(f"{text!r:.90} is no id of a volume")
    return VolumeId(text)
