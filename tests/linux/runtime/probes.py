"""Hostile probes: small programs for the inside of a container, each of which tries one thing that it must not get.

A probe prints one JSON object: what it tried, and the name of the error that it met, "done" where it met none, or the
signal that ended it.
"""

from __future__ import annotations

_PRELUDE = """
import ctypes, errno, json, os, signal, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
libc.syscall.argtypes = [ctypes.c_long] * 7
RESULTS = {}
NUMBERS = dict(pair.split("=") for pair in os.environ["NUMBERS"].split())

def call(label, name, *arguments):
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    got = libc.syscall(int(NUMBERS[name]), *padded)
    RESULTS[label] = "done" if got >= 0 else errno.errorcode.get(ctypes.get_errno(), str(ctypes.get_errno()))
    return got

def trying(label, do):
    try:
        do()
        RESULTS[label] = "done"
    except ValueError:
        RESULTS[label] = "EPERM"  # what setrlimit makes of it
    except OSError as problem:
        RESULTS[label] = errno.errorcode[problem.errno]

def in_child(label, do):
    pid = os.fork()
    if pid == 0:
        try:
            code = do()
        except BaseException:
            code = 99
        os._exit(code or 0)
    status = os.waitpid(pid, 0)[1]
    code = os.waitstatus_to_exitcode(status)
    RESULTS[label] = signal.Signals(-code).name if code < 0 else f"exit {code}"

def text(data):
    kept.append(ctypes.create_string_buffer(data))
    return ctypes.addressof(kept[-1])
kept = []
"""

_EPILOGUE = "\nprint(json.dumps(RESULTS))\n"

NAMESPACES = """
NEW = {"ns": 0x00020000, "cgroup": 0x02000000, "uts": 0x04000000, "ipc": 0x08000000,
       "user": 0x10000000, "pid": 0x20000000, "net": 0x40000000}
for name, flag in NEW.items():
    in_child(f"unshare {name}", lambda: 0 if libc.syscall(int(NUMBERS["unshare"]), flag, 0, 0, 0, 0, 0) == 0 else ctypes.get_errno())
    def clone():
        pid = libc.syscall(int(NUMBERS["clone"]), flag | signal.SIGCHLD, 0, 0, 0, 0, 0)
        if pid == 0:
            os._exit(0)
        return 0 if pid > 0 else ctypes.get_errno()
    in_child(f"clone {name}", clone)
if call("clone3", "clone3", text(struct.pack("11Q", 0x10000000, *[0] * 10)), 88) == 0:
    os._exit(0)
for name in ("user", "mnt", "net"):
    try:
        fd = os.open(f"/proc/1/ns/{name}", os.O_RDONLY)
    except OSError as problem:
        RESULTS[f"open ns {name}"] = errno.errorcode[problem.errno]
own = os.open("/proc/self/ns/net", os.O_RDONLY)
call("setns", "setns", own, 0)
"""

MOUNTS = """
slash, here, tmpfs = text(b"/"), text(b"/tmp"), text(b"tmpfs")
call("mount", "mount", tmpfs, here, tmpfs, 0, 0)
call("remount", "mount", 0, slash, 0, 32 | 4096, 0)
call("umount2", "umount2", text(b"/proc"), 2)
call("fsopen", "fsopen", tmpfs, 0)
call("fsmount", "fsmount", 99, 0, 0)
call("fspick", "fspick", -100, slash, 0)
call("move_mount", "move_mount", -100, here, -100, here, 0)
call("open_tree", "open_tree", -100, slash, 1)
call("mount_setattr", "mount_setattr", -100, slash, 0, text(bytes(32)), 32)
call("pivot_root", "pivot_root", here, here)
call("chroot", "chroot", here)
"""

DEVICES = """
import stat
for name, kind, device in (("mem", stat.S_IFCHR, os.makedev(1, 1)), ("vda", stat.S_IFBLK, os.makedev(254, 0)),
                           ("whiteout", stat.S_IFCHR, 0)):
    trying(f"mknod {name}", lambda: os.mknod(f"/tmp/{name}", kind | 0o666, device))
trying("mkfifo", lambda: os.mkfifo("/tmp/fifo"))
"""

OTHERS = """
call("pidfd_getfd", "pidfd_getfd", os.pidfd_open(os.getpid()), 0, 0)
call("kcmp", "kcmp", os.getpid(), os.getpid(), 0, 0, 0)
call("ptrace outside", "ptrace", 16, 999999, 0, 0)
room = text(bytes(8))
part = text(struct.pack("2Q", room, 8))
call("process_vm_readv outside", "process_vm_readv", 999999, part, 1, part, 1, 0)
child = os.fork()
if child == 0:
    signal.pause()
call("ptrace inside", "ptrace", 16, child, 0, 0)
os.kill(child, signal.SIGKILL)
call("ptrace init", "ptrace", 16, 1, 0, 0)
"""

SUBSYSTEMS = """
call("bpf", "bpf", 0, text(bytes(128)), 128)
call("perf_event_open", "perf_event_open", text(bytes(128)), 0, -1, -1, 0)
call("userfaultfd", "userfaultfd", 0)
call("io_uring_setup", "io_uring_setup", 1, text(bytes(128)))
call("keyctl", "keyctl", 0, -3, 0)
call("add_key", "add_key", text(b"user"), text(b"x"), text(b"x"), 1, -3)
call("request_key", "request_key", text(b"user"), text(b"x"), 0, -3)
call("fanotify_init", "fanotify_init", 0, 0)
call("open_by_handle_at", "open_by_handle_at", -100, text(bytes(128)), 0)
call("personality", "personality", 0x0040000)
"""

MACHINE = """
call("init_module", "init_module", 0, 0, text(b""))
call("finit_module", "finit_module", -1, text(b""), 0)
call("delete_module", "delete_module", text(b"nosuch"), 0)
call("kexec_load", "kexec_load", 0, 0, 0, 0xffff0000)
call("reboot", "reboot", 1, 2, 3, 0)
call("swapon", "swapon", text(b"/nosuch"), 0)
call("swapoff", "swapoff", text(b"/nosuch"))
call("syslog", "syslog", 99, 0, 0)
call("acct", "acct", text(b"/nosuch"))
call("settimeofday", "settimeofday", text(struct.pack("2q", -1, -1)), 0)
call("clock_settime", "clock_settime", 99, text(bytes(16)))
call("sethostname", "sethostname", text(b"x"), 65)
call("quotactl", "quotactl", 0, 0, 0, 0)
call("vhangup", "vhangup") if os.getenv("VHANGUP") else None
"""

SOCKETS = """
for name, family, kind, protocol in (
    ("alg", 38, socket.SOCK_SEQPACKET, 0), ("vsock", 40, socket.SOCK_STREAM, 0), ("packet", 17, socket.SOCK_RAW, 0),
    ("raw ip", socket.AF_INET, socket.SOCK_RAW, 1), ("raw ip6", socket.AF_INET6, socket.SOCK_RAW, 58),
    ("audit", 16, socket.SOCK_RAW, 9), ("netfilter", 16, socket.SOCK_RAW, 12), ("bluetooth", 31, socket.SOCK_RAW, 1),
    ("kcm", 41, socket.SOCK_DGRAM, 0), ("can", 29, socket.SOCK_RAW, 1), ("sctp", 2, socket.SOCK_STREAM, 132),
    ("rds", 21, socket.SOCK_SEQPACKET, 0), ("tipc", 30, socket.SOCK_RDM, 0), ("xdp", 44, socket.SOCK_RAW, 0),
    ("tcp", socket.AF_INET, socket.SOCK_STREAM, 0), ("udp6", socket.AF_INET6, socket.SOCK_DGRAM, 0),
    ("unix", socket.AF_UNIX, socket.SOCK_STREAM, 0), ("route", 16, socket.SOCK_RAW, 0),
    ("cloexec tcp", socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 6),
):
    got = call(name, "socket", family, kind, protocol)
    if got >= 0:
        os.close(got)
"""

# x32: getpid with the bit set. i386: int 0x80 with getpid's number there (20), through a page of machine code.
FOREIGN = """
import mmap
def x32():
    libc.syscall(0x40000000 | 39, 0, 0, 0, 0, 0, 0)
    return 0
in_child("x32", x32)
def i386():
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3")
    run = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    return 0 if run() > 0 else 1
in_child("i386", i386)
"""

KERNEL_FILES = """
def write(path):
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, b"x")
for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/drop_caches",
             "/proc/sys/fs/binfmt_misc/register", "/proc/self/oom_adj_none"):
    trying(f"write {path}", lambda: write(path))
for path in ("/proc/sysrq-trigger", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/kallsyms", "/proc/kmsg",
             "/proc/slabinfo", "/proc/iomem", "/proc/interrupts"):
    try:
        with open(path, "rb") as file:
            RESULTS[f"read {path}"] = "empty" if not file.read(64) else "done"
    except OSError as problem:
        RESULTS[f"read {path}"] = errno.errorcode[problem.errno]
for path in ("/sys/firmware", "/sys/fs/cgroup", "/proc/scsi", "/proc/bus", "/proc/irq", "/proc/fs"):
    try:
        RESULTS[f"list {path}"] = "empty" if not os.listdir(path) else "done"
    except OSError as problem:
        RESULTS[f"list {path}"] = errno.errorcode[problem.errno]
"""

LIMITS = """
import resource
trying("realtime", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50)))
trying("nice", lambda: os.setpriority(os.PRIO_PROCESS, 0, -20))
trying("raise rtprio", lambda: resource.setrlimit(resource.RLIMIT_RTPRIO, (1, 1)))
call("mlock", "mlockall", 3)
made = []
def terminals():
    while True:
        made.append(os.openpty())
trying("terminals", terminals)
RESULTS["terminals made"] = len(made)
"""


def program(probe: str) -> str:
    """The code of a container that makes one of the probes above."""
    return _PRELUDE + probe + _EPILOGUE
