"""Volume mounts: volumes shown in a container that runs already, each as an overlay of its own or as it is.

The container itself has no right to mount. A child of its launcher makes the mounts where nobody sees them, enters the
container's mount namespace with them, and puts them in their places.
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from squall import faults
from squall.runtime import overlay, syscalls
from squall.runtime.host import Host
from squall.runtime.id_maps import needed

_NS_GET_USERNS = 0xB701
_NO_LINKS = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS

_MADE = faults.declare("volume.made", "the mounts of a container's volumes are made, and lie nowhere")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One place at which a volume shows. sub_path: only that directory of it, which is made where it may be."""

    target: str
    sub_path: str = ""
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MountedVolume:
    """A volume as it is to be mounted: what it holds, where it shows.

    lower: a directory with its files. place: a directory with `upper`, `work`, `at` and `mapped` in it, in whose upper the
    container's writes go; None where the lower itself is shown. own: the lower is this container's alone, to be written to.
    """

    lower: str
    views: tuple[View, ...]
    place: str | None = None
    own: bool = False

    def to_json(self) -> dict[str, Any]:
        """As JSON carries it."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> MountedVolume:
        """What `to_json` gave. Raises ValueError for what cannot be."""
        try:
            views = tuple(View(**view) for view in value["views"])
            return cls(**{**value, "views": views})
        except (KeyError, TypeError) as problem:
            raise ValueError(f"this is no volume to be mounted: {problem}") from problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Into:
    """The container: a process of it and its pidfd or that of its first process, and with which ids its files are shown.

    owner: the host id of its root, ids: a user namespace with that; None where the launcher is no root. again: what lies at the
    targets is taken away first.
    """

    pid: int
    pidfd: int
    host: Host
    owner: int | None = None
    ids: int | None = None
    again: bool = False


def mount_volumes(volumes: tuple[MountedVolume, ...], into: Into) -> None:
    """Show `volumes` in a container. Raises OSError; what is in place then is taken away with the container. For a child that ends."""
    namespace = os.open(f"/proc/{into.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    root = os.open(f"/proc/{into.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    # The number was its own if it still lives.
    signal.pidfd_send_signal(into.pidfd, 0)
    if not into.host.privileged:
        syscalls.setns(fcntl.ioctl(namespace, _NS_GET_USERNS), syscalls.CLONE_NEWUSER)
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_SLAVE)
    trees = [tree for volume in volumes for tree in _trees(volume, into)]
    faults.point(_MADE)
    syscalls.setns(namespace, syscalls.CLONE_NEWNS)
    # Outer targets first, so that none covers another.
    for view, tree in sorted(trees, key=lambda one: one[0].target.count("/")):
        if into.again:
            _take_away(root, view.target)
        with overlay.target_inside(root, view.target, directory=True) as target:
            syscalls.attach_tree(tree, target)


def _trees(volume: MountedVolume, into: Into) -> list[tuple[View, int]]:
    """A mount for each view, which lies nowhere yet."""
    ids = needed(into.ids) if into.host.privileged else None
    if volume.place is None:
        return [
            (view, _shown(volume.lower, view, into, writable=volume.own and not view.read_only, ids=ids))
            for view in volume.views
        ]
    at = _mount_overlay(volume.lower, volume.place, ids)
    return [(view, _shown(at, view, into, writable=not view.read_only, ids=None)) for view in volume.views]


def _mount_overlay(lower: str, place: str, ids: int | None) -> str:
    """Mount the overlay at the place, in this namespace alone; where."""
    if ids is not None:
        tree = overlay.copy_of(lower, writable=False, ids=ids)
        lower = f"{place}/mapped"
        target = _open(lower)
        syscalls.attach_tree(tree, target)
        os.close(target)
    # Descriptors in place of paths: no length limit, no character to escape, and no host path in /proc/mounts inside.
    below, upper, work = _open(lower), _open(f"{place}/upper"), _open(f"{place}/work")
    options = (
        f"lowerdir=/proc/self/fd/{below},upperdir=/proc/self/fd/{upper},workdir=/proc/self/fd/{work},"
        "volatile,userxattr"
    )
    at = f"{place}/at"
    syscalls.mount("overlay", at, "overlay", syscalls.MS_NOSUID | syscalls.MS_NODEV, options)
    return at


def _shown(at: str, view: View, into: Into, *, writable: bool, ids: int | None) -> int:
    root = _open(at)
    try:
        if not view.sub_path:
            return overlay.copy_of(at, writable=writable, ids=ids)
        if writable:
            _make_below(root, view.sub_path, None if ids is not None else into.owner)
        found = syscalls.open_at(root, view.sub_path, os.O_PATH | os.O_DIRECTORY, resolve=_NO_LINKS)
        try:
            return overlay.copy_of(f"/proc/self/fd/{found}", writable=writable, ids=ids)
        finally:
            os.close(found)
    finally:
        os.close(root)


def _make_below(root: int, path: str, owner: int | None) -> None:
    """Make the directories on the way that are missing, as the container's root would."""
    way = ""
    for name in path.split("/"):
        above = syscalls.open_at(root, way or ".", os.O_RDONLY | os.O_DIRECTORY, resolve=_NO_LINKS)
        try:
            os.mkdir(name, 0o755, dir_fd=above)
            if owner is not None:
                os.chown(name, owner, owner, dir_fd=above, follow_symlinks=False)
        except FileExistsError:
            pass  # What it is, is seen when it is opened.
        finally:
            os.close(above)
        way = f"{way}/{name}" if way else name


def _take_away(root: int, target: str) -> None:
    """Let go of what is mounted there. Its files stay for whoever has them open."""
    # No link is followed: whoever put one on the way could have another mount taken away, such as one that hides something.
    found = syscalls.open_at(root, target.strip("/"), os.O_PATH | os.O_DIRECTORY, resolve=_NO_LINKS)
    try:
        os.fchdir(found)
    finally:
        os.close(found)
    syscalls.umount(".", syscalls.MNT_DETACH)


def _open(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
