"""Resting: what the first process of a prepared sandbox becomes once all that is left for it is to reap.

As a fork of an interpreter it would keep 3 to 4 MB for as long as the container lives. As a program of some 300 bytes it keeps
its stack, a few KB; and nothing of the launcher's memory is left in a process that containers have beside them.
"""

import errno
import fcntl
import os
import signal
import socket
import struct
from typing import NoReturn

NAME = b"squall-init\0"

# Each is: prctl(PR_SET_NAME, name); then for ever: wait4(-1, 0, WNOHANG | __WALL, 0) until it finds nobody, and
# rt_sigtimedwait({SIGCHLD}, 0, 0, 8), for which SIGCHLD is blocked. The name and the set of signals follow the code.
_CODE = {
    "x86_64": (
        "bf0f000000"  # mov edi, 15
        "488d353d000000"  # lea rsi, [rip + name]
        "b89d000000 0f05"  # mov eax, 157; syscall
        "48c7c7ffffffff"  # reap: mov rdi, -1
        "31f6"  # xor esi, esi
        "ba01000040"  # mov edx, 0x40000001
        "4531d2"  # xor r10d, r10d
        "b83d000000 0f05"  # mov eax, 61; syscall
        "85c0 7fe4"  # test eax, eax; jg reap
        "488d3d1f000000"  # lea rdi, [rip + signals]
        "31f6 31d2"  # xor esi, esi; xor edx, edx
        "41ba08000000"  # mov r10d, 8
        "b880000000 0f05"  # mov eax, 128; syscall
        "ebca"  # jmp reap
    ),
    "aarch64": (
        "e00180d2 61020010"  # mov x0, 15; adr x1, name
        "e81480d2 010000d4"  # mov x8, 167; svc 0
        "00008092 010080d2"  # reap: mov x0, -1; mov x1, 0
        "220080d2 0200a8f2"  # mov x2, 1; movk x2, 0x4000, lsl 16
        "030080d2"  # mov x3, 0
        "882080d2 010000d4"  # mov x8, 260; svc 0
        "1f0000f1 0cffff54"  # cmp x0, 0; b.gt reap
        "40010010 010080d2"  # adr x0, signals; mov x1, 0
        "020080d2 030180d2"  # mov x2, 0; mov x3, 8
        "281180d2 010000d4"  # mov x8, 137; svc 0
        "f1ffff17"  # b reap
    ),
}
_SIGNALS = struct.pack("<Q", 1 << (signal.SIGCHLD - 1))
_ELF_MACHINE = {"x86_64": 62, "aarch64": 183}

# elf(5): 64 bits, little-endian; an executable file of one segment, which is read and run at this address.
_ADDRESS = 0x400000
_IDENT = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
_EXECUTABLE, _VERSION = 2, 1
_LOAD, _STACK = 1, 0x6474E551
_RUN, _WRITE, _READ = 1, 2, 4
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")

# memfd_create(2): so that it may be run; kernels before 6.3 do not know it, and need no asking.
_MFD_EXEC = 0x10


def program(machine: str) -> bytes | None:
    """The program, an ELF file; None for a machine that it was not written for."""
    if machine not in _CODE:
        return None
    text = bytes.fromhex(_CODE[machine]) + NAME + _SIGNALS
    segments = 2
    start = _HEADER.size + segments * _SEGMENT.size
    size = start + len(text)
    header = _HEADER.pack(
        *(_IDENT, _EXECUTABLE, _ELF_MACHINE[machine], _VERSION, _ADDRESS + start, _HEADER.size, 0, 0),
        *(_HEADER.size, _SEGMENT.size, segments, 0, 0, 0),
    )
    load = _SEGMENT.pack(_LOAD, _READ | _RUN, 0, _ADDRESS, _ADDRESS, size, size, 0x10000)
    stack = _SEGMENT.pack(_STACK, _READ | _WRITE, 0, 0, 0, 0, 0, 16)
    return header + load + stack + text


def program_file(machine: str) -> int | None:
    """A descriptor of the program, to be run and never read or changed; None where this machine allows none."""
    code = program(machine)
    if code is None:
        return None
    try:
        fd = _file_in_memory()
    except OSError:
        return None
    os.write(fd, code)
    fcntl.fcntl(
        fd,
        fcntl.F_ADD_SEALS,
        fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL,
    )
    # Who may run a file and not read it is not to be read either: from its first instruction on nobody in the container,
    # where others have the same ids, can look into this process or stop it.
    os.fchmod(fd, 0o111)
    return fd


def _file_in_memory() -> int:
    """Raises OSError where the machine allows no programs that are made in memory (vm.memfd_noexec is 2)."""
    kind = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create("squall-init", kind | _MFD_EXEC)
    except OSError as problem:
        if problem.errno != errno.EINVAL:
            raise
    return os.memfd_create("squall-init", kind)


def rest(file: int, line: socket.socket) -> NoReturn:
    """Become the program. The line stays open in it: its end tells nobody anything. Raises OSError where it cannot."""
    line.set_inheritable(True)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    os.execve(file, ["squall-init"], {})  # noqa: S606 - no shell is the point
