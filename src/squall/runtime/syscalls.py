"""The system calls that Python does not offer: the only module that talks to the kernel through ctypes."""

import ctypes
import functools
import itertools
import os
import signal
import struct
from collections.abc import Callable

from squall.runtime.syscall_numbers import NUMBERS

# madvise(2)
_MADV_COLLAPSE = 25

# clone(2), unshare(2), setns(2)
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# mount(2), umount2(2)
MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_MOVE = 0x2000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MNT_DETACH = 0x2

# open_tree(2), mount_setattr(2), move_mount(2)
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
_MOUNT_ATTR_IDMAP = 0x00100000
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 0x1
_OPEN_TREE_CLOEXEC = os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH = 0x4
_MOVE_MOUNT_T_EMPTY_PATH = 0x40

# openat2(2)
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10
_LOOKUPS = 1000

# close_range(2) takes all that is below.
_MOST_FDS = 1 << 32

# capset(2)
_CAPSET_HEADER = 8

# prctl(2)
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_SET_SECCOMP = 22
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_SECUREBITS = 28
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522
_KEYCTL_JOIN_SESSION_KEYRING = 1
_LANDLOCK_SCOPE_ABSTRACT_SOCKETS = 0x1
# Root has no magic, and each of these is locked: NOROOT, NO_SETUID_FIXUP, KEEP_CAPS (off), NO_CAP_AMBIENT_RAISE.
SECUREBITS_NO_ROOT = 0x01 | 0x02 | 0x04 | 0x08 | 0x20 | 0x40 | 0x80

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long] * 7
# A child of clone must come back with the interpreter's lock held, so this one call never lets go of it.
_syscall_holding_lock = ctypes.PyDLL(None, use_errno=True).syscall
_syscall_holding_lock.restype = ctypes.c_long
_syscall_holding_lock.argtypes = [ctypes.c_long] * 7
_prctl = _libc.prctl
_prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
# Without the three arguments that some options have no use for: to pass each takes as long as the kernel does.
_prctl_short = ctypes.CDLL(None, use_errno=True).prctl
_prctl_short.argtypes = [ctypes.c_int, ctypes.c_ulong]
_mount = _libc.mount
_mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
_madvise = _libc.madvise
_madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_move = ctypes.memmove
_umount2 = _libc.umount2
_umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]

_NUMBERS = NUMBERS.get(os.uname().machine, {})


def load_library(path: str) -> None:
    """Load a shared library by its path, so that whoever loads it by its name later gets this one. Raises OSError."""
    ctypes.CDLL(path)


def clone(namespaces: int) -> int:
    """Fork into new `namespaces` (CLONE_NEW*): the child's pid, and 0 in the child. Single-threaded callers only."""
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = _syscall_holding_lock(_NUMBERS["clone"], namespaces | signal.SIGCHLD, 0, 0, 0, 0, 0)
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    error = ctypes.get_errno()
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(error, os.strerror(error), "clone")
    return int(pid)


def unshare(namespaces: int) -> None:
    """Leave the given namespaces (CLONE_NEW*) for new ones."""
    _call("unshare", namespaces)


def setns(fd: int, namespaces: int) -> None:
    """Enter `namespaces` of the process (a pidfd) or the one namespace (its file) that `fd` is."""
    _call("setns", fd, namespaces)


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Mount, or change a mount, the old way: for what has no descriptor."""
    done = _mount(
        os.fsencode(source), os.fsencode(target), kind.encode() or None, flags, os.fsencode(options) or None
    )
    if done != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), f"mount {kind} at {target}")


def umount(target: str, flags: int = MNT_DETACH) -> None:
    """Unmount `target`."""
    if _umount2(os.fsencode(target), flags) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), f"umount {target}")


def clone_tree(source: str) -> int:
    """A descriptor of a detached copy of the mounts at and below `source`."""
    path = ctypes.create_string_buffer(os.fsencode(source))
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | _AT_RECURSIVE
    return _call("open_tree", _AT_FDCWD, ctypes.addressof(path), flags, about=source)


def set_mount_flags(mount_fd: int, flags: int, *, propagation: int = 0, ids: int | None = None) -> None:
    """Add `flags` (MOUNT_ATTR_*) to the mounts at and below the descriptor; what is set already stays set.

    ids: a user namespace (its file). Files then show the owners that it maps theirs to: for a copy that nobody sees yet.
    """
    path = ctypes.create_string_buffer(b"")
    flags |= 0 if ids is None else _MOUNT_ATTR_IDMAP
    attributes = ctypes.create_string_buffer(struct.pack("=QQQQ", flags, 0, propagation, ids or 0), 32)
    _call(
        "mount_setattr",
        mount_fd,
        ctypes.addressof(path),
        _AT_EMPTY_PATH | _AT_RECURSIVE,
        ctypes.addressof(attributes),
        32,
    )


def attach_tree(mount_fd: int, target_fd: int) -> None:
    """Mount what `clone_tree` gave on the file or directory that `target_fd` is: no path is walked."""
    path = ctypes.create_string_buffer(b"")
    where = ctypes.addressof(path)
    _call(
        "move_mount",
        mount_fd,
        where,
        target_fd,
        where,
        _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH,
    )


def pivot_root(new_root: str, put_old: str) -> None:
    """Put `new_root` in the place of the root, which then lies at `put_old`."""
    new, old = (
        ctypes.create_string_buffer(os.fsencode(new_root)),
        ctypes.create_string_buffer(os.fsencode(put_old)),
    )
    _call("pivot_root", ctypes.addressof(new), ctypes.addressof(old))


def open_at(root_fd: int, path: str, flags: int, *, resolve: int) -> int:
    """openat2(2): a descriptor of `path`, looked up below `root_fd` as `resolve` (RESOLVE_*) allows."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    how = ctypes.create_string_buffer(struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, resolve), 24)
    for _ in range(_LOOKUPS):
        try:
            return _call("openat2", root_fd, ctypes.addressof(name), ctypes.addressof(how), 24, about=path)
        except BlockingIOError:
            # Somebody has moved or mounted something, anywhere, while ".." was looked up: the kernel is not sure of it.
            continue
    return _call("openat2", root_fd, ctypes.addressof(name), ctypes.addressof(how), 24, about=path)


def close_others(kept: tuple[int, ...]) -> None:
    """Close every descriptor of this process except `kept`."""
    only(kept).make()


def _between(kept: tuple[int, ...]) -> list[tuple[int, int]]:
    """The ranges of descriptors, first and last, that have none of `kept` in them."""
    edges = [-1, *sorted(set(kept)), _MOST_FDS]
    return [(one + 1, other - 1) for one, other in itertools.pairwise(edges) if other - one > 1]


def die_with_parent(sig: int) -> None:
    """Get `sig` when the parent ends. The kernel forgets this at a change of ids, so it is set after one."""
    _control(_PR_SET_PDEATHSIG, sig)


def set_dumpable(*, dumpable: bool) -> None:
    """Whether processes with the same ids may read this one's memory and /proc entries."""
    _control(_PR_SET_DUMPABLE, int(dumpable))


def set_name(name: str) -> None:
    """The name that ps shows, 15 bytes at most."""
    text = ctypes.create_string_buffer(name.encode()[:15])
    _control(_PR_SET_NAME, ctypes.addressof(text))


def replace_command_line(title: str) -> None:
    """Show `title` in place of the arguments that this process, or the one that it was forked from, was started with.

    What was in its first environment is wiped too; `os.environ` is left alone.
    """
    shown = _title(title)
    if shown is None:
        return
    _move(*shown)
    _, _, env_start, env_end = _first_words()
    if ctypes.string_at(env_start, 1) != b"\0":
        ctypes.memset(env_start, 0, env_end - env_start)


def _title(title: str) -> tuple[int, bytes, int] | None:
    """Where a title is to be written, as which bytes, and how many; None where the kernel does not say where."""
    arg_start, arg_end, env_start, env_end = _first_words()
    if not 0 < arg_start < arg_end <= env_start <= env_end:
        return None
    room = arg_end - arg_start
    # The kernel takes what ends in no zero byte for a title, and shows it up to its first zero byte.
    return arg_start, title.encode()[: room - 2].ljust(room - 1, b"\0") + b" ", room


@functools.cache
def _first_words() -> tuple[int, int, int, int]:
    """Where the arguments and the environment lie that a program was started with: forks have them at the same place."""
    with open("/proc/self/stat", "rb") as file:
        # The name in brackets may hold anything, so fields are counted behind its end: the third is the first here.
        fields = file.read().rpartition(b")")[2].split()
    arg_start, arg_end, env_start, env_end = map(int, fields[45:49])
    return arg_start, arg_end, env_start, env_end


def become_subreaper() -> None:
    """Get the orphans among this process's descendants as its own children."""
    _control(_PR_SET_CHILD_SUBREAPER, 1)


def set_no_new_privileges() -> None:
    """From now on no exec gains a privilege."""
    _control(_PR_SET_NO_NEW_PRIVS, 1)


def keep_capabilities(kept: int, *, securebits: int, held: int = 0) -> None:
    """Do what `kept_capabilities` gives."""
    kept_capabilities(kept, securebits=securebits, held=held).make()


def set_capabilities(kept: int) -> None:
    """Give up every capability but the `kept` (a bit set) in this process, which needs none for that."""
    words = _capability_words(kept)
    _call("capset", ctypes.addressof(words), ctypes.addressof(words) + _CAPSET_HEADER)


def _capability_words(kept: int) -> "ctypes.Array[ctypes.c_char]":
    """What capset(2) is told: its header, then its data."""
    low, high = kept & 0xFFFFFFFF, kept >> 32
    return ctypes.create_string_buffer(
        struct.pack("=Ii6I", _CAPABILITY_VERSION_3, 0, low, low, 0, high, high, 0), 32
    )


class Prepared:
    """Calls whose arguments lie ready, in one place: a fork that makes them copies few pages for it."""

    def __init__(
        self, *calls: tuple[Callable[..., int], tuple[int | bytes, ...], str], keep: object = None
    ) -> None:
        """calls: what is called, with what, and its name for people. keep: whatever those arguments point to."""
        self._calls = calls
        self._keep = keep

    def make(self) -> None:
        """Make them, in their order. Raises OSError for the first that fails; none after it is made."""
        for call, arguments, what in self._calls:
            if call(*arguments) < 0:
                error = ctypes.get_errno()
                raise OSError(error, os.strerror(error), what)


def kept_capabilities(kept: int, *, securebits: int, held: int = 0) -> Prepared:
    """Give up every capability but the `kept` (a bit set), for this process and whatever it will ever run.

    held: those that this process keeps beside them, and nothing that it runs has.
    """
    words = _capability_words(kept | held)
    at = ctypes.addressof(words)
    return Prepared(
        *(
            (_prctl_short, (_PR_CAPBSET_DROP, number), f"dropping capability {number}")
            for number in range(_capabilities())
            if not kept >> number & 1
        ),
        (_prctl, (_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "prctl"),
        (_prctl, (_PR_SET_SECUREBITS, securebits, 0, 0, 0), "prctl"),
        (_syscall, (_NUMBERS["capset"], at, at + _CAPSET_HEADER, 0, 0, 0, 0), "capset"),
        keep=words,
    )


def only(kept: tuple[int, ...]) -> Prepared:
    """Close every descriptor of this process except `kept`."""
    number = _NUMBERS["close_range"]
    return Prepared(
        *((_syscall, (number, first, last, 0, 0, 0, 0), "close_range") for first, last in _between(kept))
    )


def own_session(name: str) -> Prepared:
    """A session of one's own, under a name that ps shows and in place of the arguments (see `replace_command_line`)."""
    short = ctypes.create_string_buffer(name.encode()[:15])
    title = _title(name)
    return Prepared(
        (_syscall, (_NUMBERS["setsid"], 0, 0, 0, 0, 0, 0), "setsid"),
        (_prctl, (_PR_SET_NAME, ctypes.addressof(short), 0, 0, 0), "prctl"),
        *([] if title is None else [(_move, title, "memmove")]),
        keep=short,
    )


def new_session_keyring() -> None:
    """Leave the session keyring that was inherited for an empty one."""
    _call("keyctl", _KEYCTL_JOIN_SESSION_KEYRING, 0)


def install_filter(program: bytes) -> None:
    """Put this process and its children under the seccomp filter `program` (struct sock_filter, one after the other)."""
    instructions = ctypes.create_string_buffer(program, len(program))
    described = ctypes.create_string_buffer(
        struct.pack("@HP", len(program) // 8, ctypes.addressof(instructions)), 16
    )
    _control(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(described))


def landlock_abi() -> int:
    """The version of Landlock that the kernel offers, 0 for none."""
    try:
        return _call("landlock_create_ruleset", 0, 0, 1)
    except OSError:
        return 0


def scope_abstract_sockets() -> None:
    """Keep this process and its children from connecting to abstract UNIX sockets of anybody else (Landlock 6)."""
    wanted = ctypes.create_string_buffer(struct.pack("=QQQ", 0, 0, _LANDLOCK_SCOPE_ABSTRACT_SOCKETS), 24)
    rules = _call("landlock_create_ruleset", ctypes.addressof(wanted), 24, 0)
    try:
        _call("landlock_restrict_self", rules, 0)
    finally:
        os.close(rules)


def collapse(address: int, length: int) -> bool:
    """Move memory of this process into huge pages now; False where the kernel did not, for all or for a part of it."""
    return bool(_madvise(address, length, _MADV_COLLAPSE) == 0)


def flush_c_streams() -> None:
    """Write out what native code has printed and the C library still holds."""
    _libc.fflush(None)


def loaded_function(library: str, names: tuple[str, ...]) -> Callable[..., int] | None:
    """The first of `names` that `library` (a path) has, as a function of ints; None unless it is loaded already."""
    try:
        found = ctypes.CDLL(library, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
    except OSError:
        return None
    for name in names:
        if (function := getattr(found, name, None)) is not None:
            return _int_function(function)
    return None


def _int_function(function: Callable[..., int]) -> Callable[..., int]:
    return lambda *arguments: function(*map(ctypes.c_int, arguments))


def raw(name: str, *arguments: int) -> int:
    """Any system call by its name: for probing what a machine or a sandbox allows."""
    return _call(name, *arguments)


@functools.cache
def _capabilities() -> int:
    """How many capabilities the kernel knows."""
    return next(number for number in range(65) if _prctl(_PR_CAPBSET_READ, number, 0, 0, 0) < 0)


def _control(option: int, *arguments: int) -> None:
    padded = (*arguments, 0, 0, 0, 0)[:4]
    if _prctl(option, *padded) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), f"prctl {option}")


def _call(name: str, *arguments: int, about: str = "") -> int:
    padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    done = _syscall(_NUMBERS[name], *padded)
    if done < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), f"{name} {about}".rstrip())
    return int(done)
