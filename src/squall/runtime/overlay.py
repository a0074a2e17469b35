"""The root of a container: an overlay, and paths inside it that never lead out of it."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from squall.runtime import syscalls
from squall.runtime.spec import Mount

# A target may go through links of the image, as long as they stay inside; never through those of /proc.
_INSIDE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
# Real directories in the top layer, so that no image can put a link in their place.
_OWN_DIRECTORIES = {"dev": 0o755, "proc": 0o755, "sys": 0o755, "tmp": 0o1777}
# And those in which programs expect to write: the container's root owns them, whoever owns the layers below.
_HOME_DIRECTORIES = {"app": 0o755, "root": 0o755}


def mount_root(
    lowers: tuple[str, ...],
    base: str,
    *,
    owner: int | None,
    user_attributes: bool,
    made: tuple[tuple[str, bool], ...] = (),
) -> int:
    """Mount the overlay of `lowers` (top first) at `base`/root, its changes in `base`/upper; a descriptor of it.

    owner: whom the root directory belongs to. user_attributes: keep the overlay's own notes where any user may write.
    made: what `ways_to` gave, made in the top layer.
    """
    for name, mode in (("upper", 0o755), ("work", 0o700), ("root", 0o755)):
        os.mkdir(f"{base}/{name}", mode)
    for name, mode in (_OWN_DIRECTORIES | _HOME_DIRECTORIES).items():
        os.mkdir(f"{base}/upper/{name}")
        os.chmod(f"{base}/upper/{name}", mode)
    if owner is not None:
        for name in ("", *_HOME_DIRECTORIES):
            os.chown(f"{base}/upper/{name}", owner, owner)
    for path, directory in made:
        if not directory:
            os.close(os.open(f"{base}/upper/{path}", os.O_CREAT | os.O_CLOEXEC, 0o644))
        elif path not in _OWN_DIRECTORIES | _HOME_DIRECTORIES:
            os.mkdir(f"{base}/upper/{path}", 0o755)
    # Descriptors in place of paths: no length limit, no character to escape, and no host path in /proc/mounts inside.
    opened = [os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for path in lowers]
    opened += [os.open(f"{base}/{name}", os.O_PATH | os.O_CLOEXEC) for name in ("upper", "work")]
    named = [f"/proc/self/fd/{fd}" for fd in opened]
    options = f"lowerdir={':'.join(named[:-2])},upperdir={named[-2]},workdir={named[-1]},volatile"
    if user_attributes:
        options += ",userxattr"
    root = f"{base}/root"
    try:
        syscalls.mount("overlay", root, "overlay", syscalls.MS_NOSUID | syscalls.MS_NODEV, options)
    finally:
        for fd in opened:
            os.close(fd)
    return os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def ways_to(lowers: tuple[str, ...], mounts: tuple[Mount, ...]) -> tuple[tuple[str, bool], ...]:
    """The folders (True) and files that have to be made so that each of `mounts` has its place, outer ones first.

    Of a mount that has it in some layer, nothing. A link on the way is left to be followed later, inside the root.
    """
    made: dict[str, bool] = {}
    for mount in mounts:
        parts = mount.target.strip("/").split("/")
        ways = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        seen = [
            [os.lstat(f"{lower}/{way}").st_mode for lower in lowers if os.path.lexists(f"{lower}/{way}")]
            for way in ways
        ]
        if not seen[-1] and not any(stat.S_ISLNK(mode) for modes in seen for mode in modes):
            made |= dict.fromkeys(ways[:-1], True)
            made[ways[-1]] = os.path.isdir(mount.source)
    return tuple(sorted(made.items()))


@contextmanager
def target_inside(root_fd: int, path: str, *, directory: bool) -> Iterator[int]:
    """A descriptor of `path` inside the root, made (empty) where it is missing, for mounting on.

    Raises OSError where a file stands in place of a directory, or the other way round.
    """
    fd = _open_or_make(root_fd, path.strip("/"), directory=directory)
    try:
        yield fd
    finally:
        os.close(fd)


def mount_inside(root_fd: int, path: str, kind: str, *, flags: int, options: str = "") -> None:
    """Mount a new file system of `kind` at `path` inside the root."""
    with target_inside(root_fd, path, directory=True) as fd:
        syscalls.mount(kind, f"/proc/self/fd/{fd}", kind, flags, options)


def bind_inside(root_fd: int, source: str, path: str, *, writable: bool) -> None:
    """Show the host's `source` at `path` inside the root, without set-user-id programs and devices."""
    tree = syscalls.clone_tree(source)
    try:
        flags = syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NODEV
        flags |= 0 if writable else syscalls.MOUNT_ATTR_RDONLY
        syscalls.set_mount_flags(tree, flags, propagation=syscalls.MS_PRIVATE)
        directory = stat.S_ISDIR(os.fstat(tree).st_mode)
        with target_inside(root_fd, path, directory=directory) as fd:
            syscalls.attach_tree(tree, fd)
    finally:
        os.close(tree)


def open_inside(root_fd: int, path: str) -> int | None:
    """A descriptor of `path` inside the root; None where there is nothing."""
    try:
        return syscalls.open_at(root_fd, path.strip("/"), os.O_PATH, resolve=_INSIDE)
    except (FileNotFoundError, NotADirectoryError):
        return None


def append_inside(root_fd: int, path: str, text: str) -> None:
    """Add `text` to the file `path` inside the root; nothing where that is no file, or cannot be written."""
    # An image may have anything there: a pipe must not hold us up.
    flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK
    try:
        fd = syscalls.open_at(root_fd, path.strip("/"), flags, resolve=_INSIDE)
    except OSError:
        return
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            os.write(fd, text.encode())
    finally:
        os.close(fd)


def enter_root(root_fd: int, *, detach_old: bool) -> None:
    """Make the root that `root_fd` is the root of this mount namespace and of this process.

    detach_old unmounts what was the root. That waits for the kernel, by the millisecond on an idle machine; without it
    the old root stays below the new one, where only unmounting the new one would uncover it.
    """
    os.fchdir(root_fd)
    if detach_old:
        # The old root is stacked on the new one for a moment; the working directory still is in the old one then.
        syscalls.pivot_root(".", ".")
        syscalls.umount(".", syscalls.MNT_DETACH)
    else:
        syscalls.mount(".", "/", "", syscalls.MS_MOVE)
        os.chroot(".")
    os.chdir("/")


def _open_or_make(root_fd: int, path: str, *, directory: bool) -> int:
    fd = open_inside(root_fd, path)
    if fd is None:
        parent, _, name = path.rpartition("/")
        with target_inside(root_fd, parent or ".", directory=True) as parent_fd:
            if directory:
                os.mkdir(name, 0o755, dir_fd=parent_fd)
            else:
                os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=parent_fd))
        fd = syscalls.open_at(root_fd, path, os.O_PATH, resolve=_INSIDE)
    if stat.S_ISDIR(os.fstat(fd).st_mode) != directory:
        os.close(fd)
        wanted = "a directory" if directory else "a file"
        raise NotADirectoryError(f"the image has something else than {wanted} at /{path}")
    return fd
