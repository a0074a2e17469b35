"""The filter's answers, on both machines, by running it."""

from __future__ import annotations

import errno
import os
import re
import socket
from pathlib import Path

import pytest

from squall.runtime.seccomp import filter_for
from squall.runtime.syscall_numbers import NUMBERS
from tests.unit.runtime.bpf import ALLOW, ERRNO, KILL, judge

ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
MACHINES = tuple(ARCH)
_EPERM, _ENOSYS = ERRNO | errno.EPERM, ERRNO | errno.ENOSYS
_NEVER = """
unshare setns mount umount2 pivot_root chroot fsopen fsconfig fsmount fspick move_mount open_tree mount_setattr
open_tree_attr statmount listmount bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register keyctl
add_key request_key init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff syslog acct
settimeofday clock_settime adjtimex clock_adjtime open_by_handle_at pidfd_getfd kcmp fanotify_init quotactl quotactl_fd
nfsservctl lookup_dcookie iopl ioperm modify_ldt uselib ustat sysfs vhangup sethostname setdomainname mbind
set_mempolicy migrate_pages move_pages
"""
_OF_OWNERS = """
chown fchown lchown fchownat setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capset
"""
_EVERYDAY = """
read write openat close fstat mmap munmap mprotect brk futex clone execve exit exit_group wait4 pipe2 dup3 fcntl
epoll_create1 epoll_ctl epoll_pwait eventfd2 timerfd_create getrandom sched_getaffinity sched_setaffinity madvise
set_robust_list rseq membarrier prlimit64 statx memfd_create sendmsg recvmsg accept4 bind listen connect shmget
semget msgget inotify_init1 ptrace process_vm_readv pidfd_open pidfd_send_signal copy_file_range prctl seccomp
landlock_create_ruleset mlock get_mempolicy splice clock_nanosleep rt_sigaction kill tgkill renameat2 unlinkat
"""


def answer(machine: str, name: str, *arguments: int) -> int:
    return judge(filter_for(machine), arch=ARCH[machine], number=NUMBERS[machine][name], arguments=arguments)


@pytest.mark.parametrize("machine", MACHINES)
def test_what_is_never_allowed_meets_eperm(machine: str) -> None:
    met = {name: answer(machine, name) for name in _NEVER.split() if name in NUMBERS[machine]}
    assert {name for name, got in met.items() if got != _EPERM} == set()


@pytest.mark.parametrize("machine", MACHINES)
def test_what_programs_need_every_day_is_allowed(machine: str) -> None:
    assert {name for name in _EVERYDAY.split() if answer(machine, name) != ALLOW} == set()


@pytest.mark.parametrize("machine", MACHINES)
def test_a_call_that_no_table_knows_does_not_exist(machine: str) -> None:
    newest = max(NUMBERS[machine].values())
    for number in (newest + 1, newest + 1000, 0x3FFFFFFF):
        assert judge(filter_for(machine), arch=ARCH[machine], number=number) == _ENOSYS
    assert answer(machine, "clone3") == _ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("foreign", [0x40000003, 0x40000028, 0, 0xC000003E ^ 1])
def test_a_foreign_abi_is_killed(machine: str, foreign: int) -> None:
    for number in (0, 1, 39, 102):
        assert judge(filter_for(machine), arch=foreign, number=number) == KILL


def test_x32_is_killed_on_x86_64() -> None:
    program = filter_for("x86_64")
    for number in (0x40000000, 0x40000027, 0x7FFFFFFF, 0xFFFFFFFE):
        assert judge(program, arch=ARCH["x86_64"], number=number) == KILL


@pytest.mark.parametrize("machine", MACHINES)
def test_threads_and_forks_are_allowed_and_new_namespaces_are_not(machine: str) -> None:
    thread, fork, vfork = 0x3D0F00, 0x1200011, 0x4111
    for flags in (thread, fork, vfork):
        assert answer(machine, "clone", flags) == ALLOW
    for bit in (0x00020000, *(0x02000000 << shift for shift in range(6))):
        assert answer(machine, "clone", fork | bit) == _EPERM
        # The upper half of the register is no part of the flags.
        assert answer(machine, "clone", (1 << 40) | fork | bit) == _EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_sockets_are_allowed_by_family_kind_and_protocol(machine: str) -> None:
    stream, datagram, raw, seqpacket = 1, 2, 3, 5
    flags = 0o2004000  # SOCK_CLOEXEC | SOCK_NONBLOCK
    allowed = [
        *((1, kind, 0) for kind in (stream, datagram, seqpacket, raw)),
        *((family, kind | flags, 0) for family in (2, 10) for kind in (stream, datagram)),
        *((2, stream, 6), (10, datagram, 17), (16, raw | flags, 0), (16, datagram, 0)),
    ]
    for arguments in allowed:
        assert answer(machine, "socket", *arguments) == ALLOW, arguments
    for family in set(range(50)) - {1, 2, 10, 16}:
        assert answer(machine, "socket", family, stream, 0) == ERRNO | errno.EAFNOSUPPORT, family
        assert answer(machine, "socket", (1 << 32) | family, stream, 0) == ERRNO | errno.EAFNOSUPPORT, family
    refused = [
        (2, raw, 1),
        (10, raw, 58),
        (2, seqpacket, 132),
        (2, stream, 132),
        (2, stream, 262),
        (2, 10, 0),
    ]
    for arguments in refused:
        assert answer(machine, "socket", *arguments) == _EPERM, arguments
    # As from a kernel that has no audit.
    assert answer(machine, "socket", 16, raw, 9) == ERRNO | errno.EPROTONOSUPPORT
    assert answer(machine, "socketpair", socket.AF_UNIX, stream, 0) == ALLOW
    assert answer(machine, "socketpair", 38, stream, 0) == ERRNO | errno.EAFNOSUPPORT


@pytest.mark.parametrize("machine", MACHINES)
def test_other_calls_are_allowed_by_what_they_ask_for(machine: str) -> None:
    assert answer(machine, "ioctl", 0, 0x5413) == ALLOW
    for request in (0x5412, 0x541C, (1 << 32) | 0x5412):
        assert answer(machine, "ioctl", 0, request) == _EPERM
    assert answer(machine, "personality", 0xFFFFFFFF) == answer(machine, "personality", 0) == ALLOW
    assert answer(machine, "personality", 0x0040000) == answer(machine, "personality", 8) == _EPERM
    for mode in (0o100644, 0o010644, 0o140644, 0o644):
        assert answer(machine, "mknodat", -100, 0, mode) == ALLOW
    for mode in (0o020666, 0o060666):
        assert answer(machine, "mknodat", -100, 0, mode) == _EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_where_there_is_one_owner_what_is_about_owners_is_done_already_and_nothing_else_changes(
    machine: str,
) -> None:
    numbers = NUMBERS[machine]
    played = {name for name in _OF_OWNERS.split() if name in numbers}

    def answers(name: str, *arguments: int) -> tuple[int, int]:
        given = [
            judge(program, arch=ARCH[machine], number=numbers[name], arguments=arguments)
            for program in (filter_for(machine), filter_for(machine, one_owner=True))
        ]
        return given[0], given[1]

    assert {name for name in numbers if answers(name)[0] != answers(name)[1]} == played
    assert {answers(name) for name in played} == {(ALLOW, ERRNO)}
    for mode in (0o020666, 0o060666):
        assert answers("mknodat", -100, 0, mode) == (_EPERM, ERRNO)
    for mode in (0o100644, 0o010644, 0o140644):
        assert answers("mknodat", -100, 0, mode) == (ALLOW, ALLOW)


def test_a_machine_without_a_table_is_named() -> None:
    with pytest.raises(KeyError):
        filter_for("pdp11")


@pytest.mark.parametrize("machine", MACHINES)
def test_the_program_fits_and_every_path_through_it_ends(machine: str) -> None:
    program = filter_for(machine)
    assert len(program) // 8 <= 4096
    for number in range(600):
        judge(program, arch=ARCH[machine], number=number)


def test_the_table_of_this_machine_is_that_of_its_headers() -> None:
    header = Path(f"/usr/include/{os.uname().machine}-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("needs linux: and the kernel's headers (Debian: linux-libc-dev)")
    theirs = {
        name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)", header.read_text())
    }
    ours = NUMBERS[os.uname().machine]
    assert {name for name in theirs if ours.get(name) != theirs[name]} == set()
