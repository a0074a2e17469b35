"""Observe: one look at this very process, for the gate. Needs /proc, and no privilege."""

import os
import signal
import stat
import sys
import threading
import time

from squall.runtime.template import living
from squall.runtime.template.gate import Descriptor, Kind, Seen, Task, Thread

_ANONYMOUS = {
    "[eventpoll]": Kind.EPOLL,
    "[eventfd]": Kind.EVENTFD,
    "[timerfd]": Kind.TIMERFD,
    "[signalfd]": Kind.SIGNALFD,
    "inotify": Kind.INOTIFY,
    "[fanotify]": Kind.INOTIFY,
    "[io_uring]": Kind.IO_URING,
    "[pidfd]": Kind.PIDFD,
}
# null, zero, full, random, urandom
_HARMLESS_DEVICES = frozenset(os.makedev(1, minor) for minor in (3, 5, 7, 8, 9))
_GPU_DEVICES = ("/dev/nvidia", "/dev/dri/", "/dev/kfd")
# What smaps calls memory that madvise(2) keeps from being copied by a fork.
_NOT_COPIED = "dc"
_MOST_DESCRIPTORS = 65_536
_LOOKS, _BETWEEN_S = 10, 0.01


def look() -> Seen:
    """What this process has and holds now. To be called before gc.freeze, which hides objects."""
    made, holders = living.look()
    descriptors = _descriptors()
    memory = _memory()
    return Seen(
        tasks=_tasks(),
        descriptors=None
        if descriptors is None
        else frozenset(
            Descriptor(
                number=number,
                kind=kind,
                target=target,
                writable=writable,
                holder=holders.get(number, ""),
            )
            for number, kind, target, writable in descriptors
        ),
        shared=memory and memory[0],
        withheld=memory and memory[1],
        children=_children(),
        threads=_threads(),
        made=made,
        modules=frozenset(sys.modules),
        handlers=frozenset(
            signal.Signals(number).name
            for number in signal.valid_signals() & set(signal.Signals)
            if callable(signal.getsignal(number))
            and signal.getsignal(number) is not signal.default_int_handler
        ),
        alarm=any(signal.getitimer(which)[0] for which in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL)),
    )


def is_single() -> bool:
    """Whether this process has one thread: cheap enough to ask before each fork."""
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


def _tasks() -> tuple[Task, ...] | None:
    """The tasks, this one first. One that is just ending is waited for: a join returns before the kernel has let go."""
    found = _tasks_now()
    for _ in range(_LOOKS):
        if found is None or len(found) == 1:
            break
        time.sleep(_BETWEEN_S)
        found = _tasks_now()
    return found


def _tasks_now() -> tuple[Task, ...] | None:
    own = threading.get_native_id()
    found = []
    try:
        for name in os.listdir("/proc/self/task"):
            try:
                with open(f"/proc/self/task/{name}/comm", encoding="utf-8", errors="replace") as file:
                    found.append(Task(id=int(name), name=file.read().strip()))
            except FileNotFoundError:
                continue  # It has ended since.
    except OSError:
        return None
    return tuple(sorted(found, key=lambda task: (task.id != own, task))) or None


def _threads() -> frozenset[Thread]:
    main = threading.main_thread()
    return frozenset(
        Thread(name=one.name, module=_module_of(one)) for one in threading.enumerate() if one is not main
    )


def _module_of(thread: threading.Thread) -> str:
    """Where the function of a thread is defined. A Timer keeps its function elsewhere."""
    work = getattr(thread, "_target", None) or getattr(thread, "function", None) or type(thread)
    module = getattr(work, "__module__", None)
    return module if isinstance(module, str) and module != "threading" else ""


def _descriptors() -> list[tuple[int, Kind, str, bool]] | None:
    try:
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        numbers = list(range(min(_MOST_DESCRIPTORS, os.sysconf("SC_OPEN_MAX"))))
    found = []
    for number in numbers:
        try:
            status = os.fstat(number)
        except OSError:
            continue  # Not open: the listing's own, or none.
        target = _target(number, status)
        found.append((number, _kind(status, target), target, _is_writable(number)))
    return found


def _target(number: int, status: os.stat_result) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return f"{status.st_dev:x}:{status.st_ino}"


def _kind(status: os.stat_result, target: str) -> Kind:
    mode = status.st_mode
    if stat.S_ISSOCK(mode):
        return Kind.SOCKET
    if stat.S_ISFIFO(mode):
        return Kind.PIPE
    if stat.S_ISDIR(mode):
        return Kind.DIRECTORY
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        if stat.S_ISCHR(mode) and status.st_rdev in _HARMLESS_DEVICES:
            return Kind.HARMLESS
        return Kind.GPU if target.startswith(_GPU_DEVICES) else Kind.DEVICE
    if target.startswith("/memfd:"):
        return Kind.MEMFD
    if target.startswith("anon_inode:"):
        return _ANONYMOUS.get(target.removeprefix("anon_inode:"), Kind.UNKNOWN)
    return Kind.FILE if stat.S_ISREG(mode) else Kind.UNKNOWN


def _is_writable(number: int) -> bool:
    try:
        with open(f"/proc/self/fdinfo/{number}", encoding="ascii") as file:
            flags = next(int(line.split()[1], 8) for line in file if line.startswith("flags:"))
    except (OSError, StopIteration):
        return True  # In doubt.
    return flags & os.O_ACCMODE != os.O_RDONLY


def _memory() -> tuple[frozenset[str], frozenset[str]] | None:
    """Memory that children would not have as their own, by what it maps: shared and writable, and kept from them."""
    shared, withheld, area = set(), set(), ""
    try:
        with open("/proc/self/smaps", encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, rest = line.partition(" ")
                if not name.endswith(":"):
                    fields = line.rstrip("\n").split(None, 5)
                    area = f"{fields[5] if len(fields) == 6 else 'no name'} (inode {fields[4]})"
                    if fields[1][3] == "s" and fields[1][1] == "w":
                        shared.add(area)
                elif name == "VmFlags:" and _NOT_COPIED in rest.split():
                    withheld.add(area)
    except OSError:
        return None
    return frozenset(shared), frozenset(withheld)


def _children() -> frozenset[int] | None:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return frozenset()
    except OSError:
        return None
    found: set[int] = set()
    try:
        for name in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{name}/children", encoding="ascii") as file:
                found.update(map(int, file.read().split()))
    except OSError:
        pass  # Not every kernel lists them.
    return frozenset(found or {-1})
