"""Attempts on the kernel: its namespaces, mounts, devices, subsystems, settings, sockets and foreign calls."""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import signal
import socket
import stat
import struct
from functools import partial

from tests.linux.hostile.inside.attempts import Facts, Met, attempt, buffer, call, in_child, opened, raw

_NEW = {
    "mount": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "net": 0x40000000,
}
_SOCKETS = {
    "alg": (38, socket.SOCK_SEQPACKET, 0),
    "vsock": (40, socket.SOCK_STREAM, 0),
    "packet": (17, socket.SOCK_RAW, 0),
    "raw ip": (socket.AF_INET, socket.SOCK_RAW, 1),
    "raw ip6": (socket.AF_INET6, socket.SOCK_RAW, 58),
    "audit": (16, socket.SOCK_RAW, 9),
    "netfilter": (16, socket.SOCK_RAW, 12),
    "bluetooth": (31, socket.SOCK_RAW, 1),
    "kcm": (41, socket.SOCK_DGRAM, 0),
    "can": (29, socket.SOCK_RAW, 1),
    "sctp": (2, socket.SOCK_STREAM, 132),
    "rds": (21, socket.SOCK_SEQPACKET, 0),
    "tipc": (30, socket.SOCK_RDM, 0),
    "xdp": (44, socket.SOCK_RAW, 0),
    "everyday tcp": (socket.AF_INET, socket.SOCK_STREAM, 0),
    "everyday udp6": (socket.AF_INET6, socket.SOCK_DGRAM, 0),
    "everyday unix": (socket.AF_UNIX, socket.SOCK_STREAM, 0),
    "everyday route": (16, socket.SOCK_RAW, 0),
    "everyday flags": (socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 6),
}


def new_namespaces(facts: Facts) -> Met:
    met = {}
    for name, flag in _NEW.items():

        def clone(flag: int = flag) -> str:
            said, pid = raw(facts, "clone", flag | signal.SIGCHLD)
            if pid == 0:
                os._exit(0)
            return said

        def unshare(flag: int = flag) -> str:
            return call(facts, "unshare", flag)

        met[f"unshare {name}"] = in_child(unshare)
        met[f"clone {name}"] = in_child(clone)
    return met


def clone3(facts: Facts) -> Met:
    said, pid = raw(facts, "clone3", buffer(struct.pack("11Q", 0x10000000, *[0] * 10)), 88)
    if pid == 0:
        os._exit(0)
    return {"clone3": said}


def other_namespaces(facts: Facts) -> Met:
    """Into its own network again, which only powers allow; and into those of other processes, by file and by pidfd."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    met = {"enter its own again": call(facts, "setns", own, 0)}
    for name in ("user", "mnt", "net"):
        met[f"open {name} of another"] = opened(f"/proc/{facts['first']}/ns/{name}", os.O_RDONLY)
    said, fd = raw(facts, "pidfd_open", facts["first"], 0)
    met["enter another by pidfd"] = said if fd < 0 else call(facts, "setns", fd, _NEW["uts"])
    return met


def mounts(facts: Facts) -> Met:
    slash, here, tmpfs = buffer(b"/"), buffer(facts["room"].encode()), buffer(b"tmpfs")
    now = -100
    return {
        "mount": call(facts, "mount", tmpfs, here, tmpfs, 0, 0),
        "remount": call(facts, "mount", 0, here, 0, 32, 0),
        "umount2": call(facts, "umount2", buffer(b"/proc"), 2),
        "fsopen": call(facts, "fsopen", tmpfs, 0),
        "fsmount": call(facts, "fsmount", 99, 0, 0),
        "fspick": call(facts, "fspick", now, slash, 0),
        "move_mount": call(facts, "move_mount", now, here, now, here, 0),
        "open_tree": call(facts, "open_tree", now, slash, 1),
        "mount_setattr": call(facts, "mount_setattr", now, slash, 0, buffer(bytes(32)), 32),
        "pivot_root": call(facts, "pivot_root", here, here),
        "chroot": call(facts, "chroot", here),
    }


def devices(facts: Facts) -> Met:
    room = facts["room"]
    kinds = {
        "mem": (stat.S_IFCHR, os.makedev(1, 1)),
        "disk": (stat.S_IFBLK, os.makedev(254, 0)),
        "whiteout": (stat.S_IFCHR, 0),
    }
    met = {
        f"make {name}": attempt(
            partial(os.mknod, f"{room}/{name}", kind | 0o600, number),
            partial(os.path.lexists, f"{room}/{name}"),
        )
        for name, (kind, number) in kinds.items()
    }
    return {**met, "everyday fifo": attempt(lambda: os.mkfifo(f"{room}/fifo"))}


def other_processes(facts: Facts) -> Met:
    """Of processes that are not there, of a child, and of the first process."""
    room = buffer(bytes(8))
    part = buffer(struct.pack("2Q", room, 8))
    outside = facts["outside_pid"]
    child = os.fork()
    if child == 0:
        signal.pause()
    own = os.pidfd_open(os.getpid())
    met = {
        "pidfd_getfd": call(facts, "pidfd_getfd", own, 0, 0),
        "kcmp": call(facts, "kcmp", os.getpid(), os.getpid(), 0, 0, 0),
        "ptrace outside": call(facts, "ptrace", 16, outside, 0, 0),
        "process_vm_readv outside": call(facts, "process_vm_readv", outside, part, 1, part, 1, 0),
        "everyday ptrace of a child": call(facts, "ptrace", 16, child, 0, 0),
        "ptrace the first": call(facts, "ptrace", 16, facts["first"], 0, 0),
    }
    # What was being traced goes on when its tracer ends. Waited for, as whoever looks at all processes next would see it end.
    os.kill(child, signal.SIGKILL)
    while not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
        pass  # That it was stopped to be traced is told first.
    return met


def subsystems(facts: Facts) -> Met:
    word = buffer(b"user"), buffer(b"x")
    return {
        "bpf": call(facts, "bpf", 0, buffer(bytes(128)), 128),
        "perf_event_open": call(facts, "perf_event_open", buffer(bytes(128)), 0, -1, -1, 0),
        "userfaultfd": call(facts, "userfaultfd", 0),
        "io_uring_setup": call(facts, "io_uring_setup", 1, buffer(bytes(128))),
        "keyctl": call(facts, "keyctl", 0, -3, 0),
        "add_key": call(facts, "add_key", *word, word[1], 1, -3),
        "request_key": call(facts, "request_key", *word, 0, -3),
        "fanotify_init": call(facts, "fanotify_init", 0, 0),
    }


def the_machine(facts: Facts) -> Met:
    """Each with arguments that change nothing where it is allowed."""
    nosuch, none = buffer(b"/nosuch"), buffer(b"")
    return {
        "init_module": call(facts, "init_module", 0, 0, none),
        "finit_module": call(facts, "finit_module", -1, none, 0),
        "delete_module": call(facts, "delete_module", buffer(b"nosuch"), 0),
        "kexec_load": call(facts, "kexec_load", 0, 0, 0, 0xFFFF0000),
        "reboot": call(facts, "reboot", 1, 2, 3, 0),
        "swapon": call(facts, "swapon", nosuch, 0),
        "swapoff": call(facts, "swapoff", nosuch),
        "syslog": call(facts, "syslog", 99, 0, 0),
        "acct": call(facts, "acct", nosuch),
        "settimeofday": call(facts, "settimeofday", buffer(struct.pack("2q", -1, -1)), 0),
        "clock_settime": call(facts, "clock_settime", 99, buffer(bytes(16))),
        "sethostname": call(facts, "sethostname", buffer(b"x"), 65),
        "quotactl": call(facts, "quotactl", 0, 0, 0, 0),
    }


def sockets(facts: Facts) -> Met:
    met = {}
    for name, (family, kind, protocol) in _SOCKETS.items():
        met[name], fd = raw(facts, "socket", family, kind, protocol)
        if fd >= 0:
            os.close(fd)
    return met


def foreign_abi(facts: Facts) -> Met:
    """x32: getpid with the bit set. i386: int 0x80 with getpid's number there (20), through a page of machine code."""
    if not facts["foreign"]:
        return {}

    def x32() -> str:
        return call({"numbers": {"x32": 0x40000000 | 39}}, "x32")

    def i386() -> str:
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
        run = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
        return "done" if run() > 0 else "ENOSYS"

    return {"x32": in_child(x32), "i386": in_child(i386)}


def by_handle(facts: Facts) -> Met:
    return {"open_by_handle_at": call(facts, "open_by_handle_at", -100, buffer(bytes(128)), 0)}


def no_random_addresses(facts: Facts) -> Met:
    return {"personality": call(facts, "personality", 0x0040000)}


def limits(_facts: Facts) -> Met:
    kept = []

    def terminals() -> str:
        # More would take from those of the whole machine, where nothing stops it.
        for _ in range(100):
            try:
                kept.append(os.openpty())
            except OSError:
                return "at most 64" if len(kept) <= 64 else "more than 64"
        return "more than 64"

    libc = ctypes.CDLL(None, use_errno=True)
    return {
        "realtime": attempt(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))),
        "nice": attempt(lambda: os.setpriority(os.PRIO_PROCESS, 0, -20)),
        "raise rtprio": attempt(lambda: resource.setrlimit(resource.RLIMIT_RTPRIO, (1, 1))),
        "lock all memory": "done" if libc.mlockall(3) == 0 else "ENOMEM",
        "terminals": terminals(),
    }
