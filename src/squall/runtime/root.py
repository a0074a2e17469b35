"""The root of a container: an overlay of directories of the host, with its changes on top."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from squall.runtime import overlay, syscalls
from squall.runtime.id_maps import needed
from squall.runtime.plan import MountRoot
from squall.runtime.spec import Mount

# Real directories above all layers, so that no image can put a link in their place.
_OWN_DIRECTORIES = {"dev": 0o755, "proc": 0o755, "sys": 0o755, "tmp": 0o1777}
# And those in which programs expect to write: the container's root owns them, whoever owns the layers below.
_HOME_DIRECTORIES = {"app": 0o755, "root": 0o755}
# What is written there is no part of an image: where changes are kept, these lie in the scratch directory.
_UNKEPT_DIRECTORIES = {"run": 0o755, "sys": 0o755, "tmp": 0o1777}


def mount_root(step: MountRoot, *, ids: int | None) -> int:
    """Mount the overlay that `step` says at its base/root; a descriptor of it.

    Its changes lie in base/upper, where directories of our own are made beforehand; or, where they are kept, in upper/upper,
    where nothing is but what the container does. ids: as for `overlay.copy_of`, for the layers that are to be mapped.
    """
    os.mkdir(f"{step.base}/root", 0o755)
    with _layers(step, ids) as layers:
        if step.upper is None:
            _furnish(step)
            _mount(step, layers, step.base)
            return _open(f"{step.base}/root")
        with _opened(_make_places(step, layers)) as places:
            _make_halves(step.upper)
            _give(f"{step.upper}/upper", os.stat(layers[0]), step)
            _mount(step, (places, *layers), step.upper)
    root = _open(f"{step.base}/root")
    for name, mode in _UNKEPT_DIRECTORIES.items():
        path = f"{step.base}/unkept/{name}"
        os.makedirs(path)
        os.chmod(path, mode)
        if step.owner is not None:
            os.chown(path, step.owner, step.owner)
        overlay.bind_inside(root, path, name, writable=True)
    return root


@contextmanager
def _layers(step: MountRoot, ids: int | None) -> Iterator[tuple[int, ...]]:
    """Descriptors of the lower directories, as the overlay is to take them, the top one first."""
    opened: list[int] = []
    try:
        for number, path in enumerate(step.lowers):
            owned = step.mapped and path in step.owned
            shown = _mapped(path, f"{step.base}/mapped/{number}", needed(ids)) if owned else path
            opened.append(_open(shown))
        yield tuple(opened)
    finally:
        for fd in opened:
            os.close(fd)


def _mapped(path: str, place: str, ids: int) -> str:
    """Mount `path` at `place` with its owners mapped: an overlay takes no mount that lies nowhere, before Linux 6.15."""
    os.makedirs(place)
    tree = overlay.copy_of(path, writable=False, ids=ids)
    try:
        with _opened(place) as target:
            syscalls.attach_tree(tree, target)
    finally:
        os.close(tree)
    return place


def _furnish(step: MountRoot) -> None:
    """Make in the upper half what a container is to find in it."""
    _make_halves(step.base)
    upper = f"{step.base}/upper"
    homes = {name: mode for name, mode in _HOME_DIRECTORIES.items() if not _has_own(step, name)}
    for name, mode in (_OWN_DIRECTORIES | homes).items():
        os.mkdir(f"{upper}/{name}")
        os.chmod(f"{upper}/{name}", mode)
    if step.owner is not None:
        for name in ("", *homes):
            os.chown(f"{upper}/{name}", step.owner, step.owner)
    for path, directory in step.made:
        if not directory:
            os.close(os.open(f"{upper}/{path}", os.O_CREAT | os.O_CLOEXEC, 0o644))
        elif path not in _OWN_DIRECTORIES | homes:
            os.mkdir(f"{upper}/{path}", 0o755)


def _has_own(step: MountRoot, name: str) -> bool:
    """Whether the image brings this directory, with an owner of its own."""
    first = next((path for path in step.lowers if os.path.lexists(f"{path}/{name}")), None)
    return first in step.owned and first is not None


def _make_places(step: MountRoot, layers: tuple[int, ...]) -> str:
    """Make a layer with what the root must have and its changes must not: our directories, places to mount on. Its path.

    Made through an overlay of its own, so that links of the image lead where they lead in its root.
    """
    base = f"{step.base}/places"
    os.mkdir(base)
    _make_halves(base)
    for name, mode in (_OWN_DIRECTORIES | _UNKEPT_DIRECTORIES).items():
        os.mkdir(f"{base}/upper/{name}")
        os.chmod(f"{base}/upper/{name}", mode)
    _mount(step, layers, base)
    try:
        with _opened(f"{step.base}/root") as root:
            for mount in sorted(step.mounts, key=lambda mount: mount.target.count("/")):
                _make_place(root, mount)
    finally:
        syscalls.umount(f"{step.base}/root")
    return f"{base}/upper"


def _make_place(root: int, mount: Mount) -> None:
    """Make what is missing on the way to the target. Directories that were there keep their time: nothing happened to them."""
    way = mount.target.strip("/")
    found = overlay.open_inside(root, way)
    if found is not None:
        os.close(found)
        return
    above = None
    while above is None:
        way = way.rpartition("/")[0]
        above = overlay.open_inside(root, way or ".")
    try:
        before = os.stat(above)
        directory = stat.S_ISDIR(os.stat(mount.source).st_mode)
        with overlay.target_inside(root, mount.target, directory=directory):
            os.utime(f"/proc/self/fd/{above}", ns=(before.st_atime_ns, before.st_mtime_ns))
    finally:
        os.close(above)


def _give(path: str, seen: os.stat_result, step: MountRoot) -> None:
    """Let the root of the changes look like that of the topmost layer: it is what shows, and no change by itself."""
    if step.owner is not None:
        mapped = step.lowers[0] in step.owned
        os.chown(path, seen.st_uid if mapped else step.owner, seen.st_gid if mapped else step.owner)
    os.chmod(path, stat.S_IMODE(seen.st_mode))
    os.utime(path, ns=(seen.st_mtime_ns, seen.st_mtime_ns))


def _make_halves(base: str) -> None:
    for name, mode in (("upper", 0o755), ("work", 0o700)):
        os.mkdir(f"{base}/{name}", mode)


def _mount(step: MountRoot, layers: tuple[int, ...], changes: str) -> None:
    # Descriptors in place of paths: no length limit, no character to escape, and no host path in /proc/mounts inside.
    with _opened(f"{changes}/upper") as upper, _opened(f"{changes}/work") as work:
        lowers = ":".join(f"/proc/self/fd/{fd}" for fd in layers)
        options = f"lowerdir={lowers},upperdir=/proc/self/fd/{upper},workdir=/proc/self/fd/{work},volatile"
        if step.user_attributes:
            options += ",userxattr"
        syscalls.mount(
            "overlay", f"{step.base}/root", "overlay", syscalls.MS_NOSUID | syscalls.MS_NODEV, options
        )


@contextmanager
def _opened(path: str) -> Iterator[int]:
    fd = _open(path)
    try:
        yield fd
    finally:
        os.close(fd)


def _open(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
