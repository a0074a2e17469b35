"""A container's directory on the host: made before it starts, removed after its end, whatever it left there."""

import errno
import fcntl
import os
import stat

_HELD = ".held"
_TRIES = 100
_NEW_S = 1.0


def make(path: str) -> int:
    """Make `path`, which must not exist yet, for this user alone; its parents where they are missing.

    Gives a descriptor that holds it for as long as some process has it open: `is_abandoned` asks for that. A container
    gets at its directory through its overlay only, with the rights of whoever mounted that.
    """
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    os.mkdir(path, 0o700)
    held = os.open(f"{path}/{_HELD}", os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return held


def is_abandoned(path: str, *, now_s: float) -> bool:
    """Whether `path` is a container's directory whose launcher is gone. now_s: the time of day."""
    try:
        held = os.open(f"{path}/{_HELD}", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # One that was made just now may not be locked yet.
        if now_s - os.fstat(held).st_ctime < _NEW_S:
            return False
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(held)
    return True


def remove(path: str) -> None:
    """Remove `path` and all below it, however deep and whatever its modes; nothing happens where there is none.

    Another process may be removing a part of it at the same time. What belongs to ids that this user cannot act for is
    left and raises PermissionError.
    """
    for _ in range(_TRIES):
        try:
            _remove_once(path)
        except OSError as problem:
            # Somebody else was quicker with a part of it, or in the middle of one.
            if problem.errno not in {errno.ENOENT, errno.ENOTEMPTY}:
                raise
        else:
            return
    _remove_once(path)


def _remove_once(path: str) -> None:
    try:
        top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        while not _empty_some(top):
            pass
    finally:
        os.close(top)
    os.rmdir(path)


def _empty_some(top: int) -> bool:
    """Remove what is in the directory `top`; True once it is empty.

    Deep trees cost one descriptor and no recursion: a directory that has directories is moved up, and so flattened. What
    holds it goes last: where the remover is killed over its work, the next one must know the rest for abandoned.
    """
    flat = True
    names = os.listdir(top)
    for name in names:
        if name == _HELD and len(names) > 1:
            flat = False
            continue
        try:
            flat = _remove_entry(top, name) and flat
        except FileNotFoundError:
            # Somebody else was quicker with it.
            flat = False
    return flat


def _remove_entry(top: int, name: str) -> bool:
    """Remove this entry of `top`; False where directories in it were moved up to be entries of `top` themselves."""
    if not _is_directory(top, name):
        os.unlink(name, dir_fd=top)
        return True
    flat = True
    fd = _open_directory(top, name)
    try:
        for inner in os.listdir(fd):
            if _is_directory(fd, inner):
                flat = False
                _open_up(fd, inner)
                os.rename(inner, f".{os.urandom(8).hex()}", src_dir_fd=fd, dst_dir_fd=top)
            else:
                os.unlink(inner, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=top)
    return flat


def _is_directory(parent: int, name: str) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


def _open_directory(parent: int, name: str) -> int:
    _open_up(parent, name)
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)


def _open_up(parent: int, name: str) -> None:
    """The kernel keeps its work directory at mode 0, and a user may do the same; moving and listing need more.

    The name is that of a directory, seen just now, in a tree in which nobody is left to change it.
    """
    if os.geteuid() != 0:
        os.chmod(name, 0o700, dir_fd=parent)
