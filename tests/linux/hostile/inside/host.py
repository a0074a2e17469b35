"""Attempts on the host around: its files, its processes, its network, its settings, its devices."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import stat
import termios
from functools import partial
from pathlib import Path

from tests.linux.hostile.inside.attempts import (
    Facts,
    Met,
    attempt,
    buffer,
    call,
    in_child,
    listed,
    open_to_write,
    opened,
    read_some,
    seen,
)

_SETTINGS = (
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/hostname",
    "/proc/sys/vm/drop_caches",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/fs/binfmt_misc/register",
    "/proc/sysrq-trigger",
)
_SHOWN = (
    *("kcore", "keys", "timer_list", "kallsyms", "slabinfo", "iomem", "interrupts", "modules"),
    *("vmallocinfo", "ioports", "kpagecount", "kpageflags", "sched_debug", "latency_stats"),
)
_LISTED = (
    "/sys/firmware",
    "/sys/fs/cgroup",
    "/proc/scsi",
    "/proc/bus",
    "/proc/irq",
    "/proc/fs",
    "/proc/acpi",
)
_DEVICES = (
    *("mem", "kmem", "port", "kmsg", "kvm", "fuse", "net/tun", "vsock", "vhost-net", "vda", "sda", "loop0"),
    *("loop-control", "mapper/control", "uinput", "userfaultfd", "nvidia0"),
)
_HARMLESS = {(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)}
_OWN_KINDS = {"overlay", "tmpfs", "devpts", "proc", "mqueue"}


def typing_for_others(_facts: Facts) -> Met:
    """TIOCSTI into a terminal that one has, and TIOCLINUX."""

    def type_in() -> str:
        os.setsid()
        _, inner = os.openpty()
        fcntl.ioctl(inner, termios.TIOCSCTTY, 0)
        return attempt(lambda: fcntl.ioctl(inner, termios.TIOCSTI, b"x"))

    return {"TIOCSTI": in_child(type_in)}


def release_agent(facts: Facts) -> Met:
    cgroup, here = buffer(b"cgroup"), buffer(facts["room"].encode())
    met = {
        "mount cgroup": call(facts, "mount", cgroup, here, cgroup, 0, buffer(b"memory")),
        "mount cgroup2": call(facts, "mount", cgroup, here, buffer(b"cgroup2"), 0, 0),
    }
    for path in facts["agents_of_groups"]:
        met[f"write {path}"] = open_to_write(path)
    return met


def settings(_facts: Facts) -> Met:
    return {f"write {path}": open_to_write(path) for path in _SETTINGS}


def shown_by_kernel(_facts: Facts) -> Met:
    met = {f"read {name}": read_some(f"/proc/{name}") for name in _SHOWN}
    # Reading takes messages away from whoever is to have them.
    met["open kmsg"] = opened("/proc/kmsg", os.O_RDONLY)
    for path in _LISTED:
        met[f"list {path}"] = listed(path)
    return met


def _told_of(pids: set[int]) -> str:
    """Who they are, a few of them: number, name, state and parent, as the kernel has it."""
    return ", ".join(seen(partial(_status_of, pid)) for pid in sorted(pids)[:5])


def _status_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")[:50].rstrip()


def host_processes(facts: Facts) -> Met:
    """Processes of the host by their numbers there, and any process but the own ones."""
    own = {1, os.getpid(), os.getppid()}
    pids = {int(name) for name in os.listdir("/proc") if name.isdigit()}
    met = {"processes seen": f"others: {_told_of(pids - own)}" if pids - own else "own"}
    for name, pid in facts["host_pids"].items():
        place = f"/proc/{pid}"
        met |= {
            f"root of {name}": attempt(partial(os.listdir, f"{place}/root")),
            f"cwd of {name}": attempt(partial(os.listdir, f"{place}/cwd")),
            f"descriptors of {name}": attempt(partial(os.listdir, f"{place}/fd")),
            f"environ of {name}": read_some(f"{place}/environ"),
            f"memory of {name}": opened(f"{place}/mem", os.O_RDWR),
            f"signal {name}": attempt(partial(os.kill, pid, 0)),
            f"pidfd of {name}": call(facts, "pidfd_open", pid, 0),
        }
    return met


def first_process(facts: Facts) -> Met:
    """The first process of the sandbox; where there is none, another container's."""
    pid = facts["first"]
    place = f"/proc/{pid}"
    met = {f"list {name}": attempt(partial(os.listdir, f"{place}/{name}")) for name in ("root", "cwd", "fd")}
    met |= {f"read {name}": read_some(f"{place}/{name}") for name in ("environ", "mem", "maps")}
    met |= {
        f"link {name}": attempt(partial(os.readlink, f"{place}/{name}")) for name in ("exe", "ns/mnt", "root")
    }
    # Only where it can only be our own.
    if pid == 1:
        for number in facts["first_signals"]:
            os.kill(pid, number)
        met["signals"] = "alive" if os.path.exists(place) else "arrive"
    else:
        met["signals"] = attempt(partial(os.kill, pid, 0))
    return met


def host_files(facts: Facts) -> Met:
    """Files of the host by their paths there: the state, another container's scratch, the launcher's socket."""
    met = {}
    for name, path in facts["host_paths"].items():
        met[f"look at {name}"] = attempt(partial(os.stat, path))
        met[f"above the working directory to {name}"] = attempt(
            partial(os.stat, "/proc/self/cwd" + "/.." * 40 + path)
        )
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        named = [line for line in file if facts["state"] in line]
    met["mounts that name the state"] = "named" if named else "none"
    return met


def beneath_the_root(facts: Facts) -> Met:
    """A directory of the host as working directory or descriptor, through which `..` leads past the root."""
    secret = facts["host_paths"]["a secret"]
    cwd = os.getcwd()
    same = cwd.startswith("/") and os.path.samestat(os.stat(cwd), os.stat("/proc/self/cwd"))
    met = {"working directory": "inside" if same else "outside"}
    numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    folders = [n for n in numbers if os.path.isdir(f"/proc/self/fd/{n}")]
    met["directories open"] = "some" if folders else "none"
    found = [n for n in range(64) if os.path.exists(f"/proc/self/fd/{n}" + "/.." * 40 + secret)]
    met["the secret through a descriptor"] = "reached" if found else "none"
    met["the secret through the root"] = attempt(lambda: os.stat("/proc/self/root" + "/.." * 40 + secret))
    return met


def writable_mounts(_facts: Facts) -> Met:
    """File systems that can be written to and are no overlay, no memory and none of the kernel's own."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        lines = [line.split() for line in file]
    shared = sorted(
        fields[4]
        for fields in lines
        if "rw" in fields[5].split(",")
        and fields[fields.index("-") + 1] not in _OWN_KINDS
        # A device is no file system: what can be opened of those is another attempt.
        and not stat.S_ISCHR(os.lstat(fields[4]).st_mode)
    )
    return {"writable mounts of the host": "some" if shared else "none"}


def host_devices(_facts: Facts) -> Met:
    met = {f"open {name}": opened(f"/dev/{name}", os.O_RDWR) for name in _DEVICES}
    unknown = []
    for top, _, names in os.walk("/dev"):
        for name in names:
            found = os.lstat(os.path.join(top, name))
            number = (os.major(found.st_rdev), os.minor(found.st_rdev))
            # 136 and on are the ends of the terminals that it makes itself.
            if found.st_rdev and number not in _HARMLESS and not 136 <= number[0] <= 143:
                unknown.append(name)
    return {**met, "devices beyond the harmless": "some" if unknown else "none"}


def host_sockets(facts: Facts) -> Met:
    def unix(address: str) -> str:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
            return attempt(lambda: one.connect(address))

    def tcp(address: str) -> str:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
            one.settimeout(3)
            return attempt(lambda: one.connect((address, facts["port"])))

    return {
        "abstract socket": unix("\0" + facts["abstract"]),
        "socket in a directory": unix(facts["host_paths"]["a socket"]),
        "loopback": tcp("127.0.0.1"),
    }


def shared_ipc(facts: Facts) -> Met:
    libc = ctypes.CDLL(None, use_errno=True)
    found: int = libc.shmget(facts["shared_key"], 1, 0)
    return {"shared memory by key": "done" if found >= 0 else "ENOENT"}
