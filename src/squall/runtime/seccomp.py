"""The seccomp filter of a container: which system calls it may make, as a program for the kernel."""

import struct
from dataclasses import dataclass
from functools import cache

from squall.runtime.syscall_numbers import NUMBERS

ALLOWED = """
read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek sendfile splice tee vmsplice
copy_file_range readahead fadvise64 fallocate truncate ftruncate fsync fdatasync sync syncfs sync_file_range cachestat
open openat openat2 creat close close_range dup dup2 dup3 fcntl flock pipe pipe2 memfd_create name_to_handle_at
stat fstat lstat newfstatat statx statfs fstatfs access faccessat faccessat2 getcwd chdir fchdir readlink readlinkat
getdents getdents64 mkdir mkdirat rmdir rename renameat renameat2 link linkat symlink symlinkat unlink unlinkat umask
chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat utime utimes utimensat futimesat
getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr setxattr lsetxattr fsetxattr removexattr lremovexattr
fremovexattr getxattrat setxattrat listxattrat removexattrat inotify_init inotify_init1 inotify_add_watch
inotify_rm_watch
mmap munmap mprotect mremap msync madvise process_madvise mincore brk mlock mlock2 munlock mlockall munlockall membarrier
pkey_alloc pkey_free pkey_mprotect remap_file_pages mseal map_shadow_stack get_mempolicy
poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait
epoll_pwait2 eventfd eventfd2 signalfd signalfd4 timerfd_create timerfd_settime timerfd_gettime
io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents
futex futex_waitv futex_wake futex_wait futex_requeue set_robust_list get_robust_list set_tid_address rseq
sched_yield sched_getaffinity sched_setaffinity sched_getparam sched_setparam sched_getscheduler sched_setscheduler
sched_getattr sched_setattr sched_get_priority_max sched_get_priority_min sched_rr_get_interval getpriority
setpriority ioprio_get ioprio_set getcpu
fork vfork execve execveat exit exit_group wait4 waitid kill tkill tgkill pidfd_open pidfd_send_signal
process_mrelease ptrace process_vm_readv process_vm_writev prctl arch_prctl seccomp landlock_create_ruleset
landlock_add_rule landlock_restrict_self
rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend rt_sigtimedwait rt_sigqueueinfo
rt_tgsigqueueinfo sigaltstack pause alarm restart_syscall
getitimer setitimer timer_create timer_settime timer_gettime timer_getoverrun timer_delete nanosleep clock_nanosleep
clock_gettime clock_getres gettimeofday time times
getpid getppid gettid getpgid getpgrp setpgid getsid setsid getuid geteuid getgid getegid getresuid getresgid
getgroups setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capget capset
getrlimit setrlimit prlimit64 getrusage uname sysinfo getrandom
bind listen accept accept4 connect getsockname getpeername getsockopt setsockopt sendto recvfrom sendmsg recvmsg
sendmmsg recvmmsg shutdown
shmget shmat shmdt shmctl semget semop semtimedop semctl msgget msgsnd msgrcv msgctl mq_open mq_unlink mq_timedsend
mq_timedreceive mq_notify mq_getsetattr
"""

# Changes of owners and of the caller's ids and capabilities.
_OF_OWNERS = """
chown fchown lchown fchownat setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capset
"""

# CLONE_NEWNS NEWCGROUP NEWUTS NEWIPC NEWUSER NEWPID NEWNET.
NEW_NAMESPACES = 0x7E020000
_EPERM, _ENOSYS, _EPROTONOSUPPORT, _EAFNOSUPPORT = 1, 38, 93, 97
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# Numbers from this bit on are the x32 ABI of x86-64.
_X32 = 0x40000000

_ALLOW = 0x7FFF0000
_KILL = 0x80000000
_ERRNO = 0x00050000

# struct sock_filter is (code, jump if true, jump if false, operand); these are the codes that are used here.
_LOAD, _AND = 0x20, 0x54
_JUMP, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT = 0x05, 0x15, 0x35, 0x45
_RETURN = 0x06

Instruction = tuple[int, int, int, int]
Code = tuple[Instruction, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """The system calls from number `first` up to the next span's first, and what decides on them."""

    first: int
    code: Code


@cache
def filter_for(machine: str, *, may_join: bool = False, one_owner: bool = False) -> bytes:
    """The program that a container on `machine` (as `uname -m` says) runs under, ready for the kernel.

    may_join: setns too, for a template and what is forked from it. Without a capability it enters nothing. one_owner: what gives
    files or the caller itself to other ids, and what makes devices, is not done and succeeds.

    A foreign ABI kills the process. What is neither allowed nor known gets ENOSYS, so that a C library tries its older
    way; what is known and not allowed gets EPERM. Raises KeyError for a machine without a table.
    """
    numbers = NUMBERS[machine]
    by_number = {numbers[name]: _return(_ALLOW) for name in ALLOWED.split() if name in numbers}
    by_number |= {numbers[name]: code for name, code in _by_argument().items() if name in numbers}
    if one_owner:
        by_number |= {numbers[name]: code for name, code in _one_owner().items() if name in numbers}
    if may_join:
        by_number[numbers["setns"]] = _return(_ALLOW)
    program = (
        (_LOAD, 0, 0, 4),
        (_IF_EQUAL, 1, 0, _AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
        *_choose(_spans(by_number, unknown=max(numbers.values()) + 1, x32=machine == "x86_64")),
    )
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _by_argument() -> dict[str, Code]:
    """The calls that are allowed, or refused in their own way, by what they ask for."""
    clone = _refuse_bits(argument=0, bits=NEW_NAMESPACES)
    return {
        # The flags of clone3 are in memory, where a filter cannot look; without it libraries take clone.
        "clone3": _return(_ERRNO | _ENOSYS),
        "clone": clone,
        "memfd_secret": _return(_ERRNO | _ENOSYS),
        "personality": (
            *_load_argument(0),
            *_if_in((0, 0xFFFFFFFF), then=_ALLOW),
            *_return(_ERRNO | _EPERM),
        ),
        # TIOCSTI types into a terminal, TIOCLINUX pastes into a console.
        "ioctl": (*_load_argument(1), *_if_in((0x5412, 0x541C), then=_ERRNO | _EPERM), *_return(_ALLOW)),
        # Character and block devices, whiteouts of an overlay among them; fifos, sockets and files stay allowed.
        "mknod": _devices(1, then=_ERRNO | _EPERM),
        "mknodat": _devices(2, then=_ERRNO | _EPERM),
        "socket": _sockets(),
        "socketpair": (*_load_argument(0), *_if_in((1,), then=_ALLOW), *_return(_ERRNO | _EAFNOSUPPORT)),
    }


def _one_owner() -> dict[str, Code]:
    """The calls that a build makes for owners, where there is one id: no kernel could do them, and no build goes on without."""
    done = {name: _return(_ERRNO) for name in _OF_OWNERS.split()}
    return done | {"mknod": _devices(1, then=_ERRNO), "mknodat": _devices(2, then=_ERRNO)}


def _sockets() -> Code:
    """AF_UNIX; AF_INET and AF_INET6 streams and datagrams of the everyday protocols; the routing netlink."""
    # ICMP stands here for its unprivileged echo sockets, not for raw ones.
    protocols = _if_in((0, 6, 17, 1, 58), then=_ALLOW)
    internet = (
        *_load_argument(1),
        (_AND, 0, 0, 0xF),
        (_IF_EQUAL, 2, 0, 1),
        (_IF_EQUAL, 1, 0, 2),
        *_return(_ERRNO | _EPERM),
        *_load_argument(2),
        *protocols,
        *_return(_ERRNO | _EPERM),
    )
    # As from a kernel without them: who adds a user goes on where there is no audit, and gives up where it is forbidden.
    netlink = (*_load_argument(2), *_if_in((0,), then=_ALLOW), *_return(_ERRNO | _EPROTONOSUPPORT))
    return (
        *_load_argument(0),
        *_if_in((1,), then=_ALLOW),
        (_IF_EQUAL, 0, len(netlink), 16),
        *netlink,
        (_IF_EQUAL, 2, 0, 2),
        (_IF_EQUAL, 1, 0, 10),
        *_return(_ERRNO | _EAFNOSUPPORT),
        *internet,
    )


def _devices(argument: int, *, then: int) -> Code:
    """What becomes of making character and block devices; `argument` is the mode."""
    devices = _if_in((0x2000, 0x6000), then=then)
    return (*_load_argument(argument), (_AND, 0, 0, 0xF000), *devices, *_return(_ALLOW))


def _refuse_bits(*, argument: int, bits: int) -> Code:
    return (
        *_load_argument(argument),
        (_IF_ANY_BIT, 0, 1, bits),
        *_return(_ERRNO | _EPERM),
        *_return(_ALLOW),
    )


def _load_argument(index: int) -> Code:
    """The lower half of an argument, which is all that the kernel reads of an int; both machines are little endian."""
    return ((_LOAD, 0, 0, 16 + 8 * index),)


def _if_in(values: tuple[int, ...], *, then: int) -> Code:
    return tuple(
        instruction for value in values for instruction in ((_IF_EQUAL, 0, 1, value), (_RETURN, 0, 0, then))
    )


def _return(answer: int) -> Code:
    return ((_RETURN, 0, 0, answer),)


def _spans(by_number: dict[int, Code], *, unknown: int, x32: bool) -> tuple[_Span, ...]:
    """Every number there can be, in spans that are decided alike."""
    refused = _return(_ERRNO | _EPERM)
    ends = [*by_number.items(), *((n, refused) for n in range(unknown) if n not in by_number)]
    ends.append((unknown, _return(_ERRNO | _ENOSYS)))
    if x32:
        # -1 is no x32 call: a tracer writes it to skip one.
        ends += [(_X32, _return(_KILL)), (0xFFFFFFFF, _return(_ERRNO | _ENOSYS))]
    spans: list[_Span] = []
    for first, code in sorted(ends):
        if not spans or spans[-1].code != code:
            spans.append(_Span(first=first, code=code))
    return tuple(spans)


def _choose(spans: tuple[_Span, ...]) -> Code:
    """A search that halves the spans at each step, as one conditional jump can only cross 255 instructions."""
    if len(spans) == 1:
        return spans[0].code
    middle = len(spans) // 2
    below, above = _choose(spans[:middle]), _choose(spans[middle:])
    return ((_IF_AT_LEAST, 0, 1, spans[middle].first), (_JUMP, 0, 0, len(below)), *below, *above)
