"""On macOS and Windows the SDK and the command line import; running containers is for Linux."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.tidy import house

# What Python has on Linux only, and what it has on macOS too, but not on Windows.
_WITHOUT = """
import importlib.abc, os, signal, socket, sys

platform = sys.argv[1]
names = {
    os: {"memfd_create", "MFD_CLOEXEC", "pidfd_open", "P_PIDFD", "sched_getaffinity", "waitid"},
    signal: set(),
    socket: {"SOCK_SEQPACKET", "SO_PEERCRED", "SOCK_CLOEXEC"},
}
modules = set()
if platform == "win32":
    modules = {"fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"}
    names[os] |= {"fork", "forkpty", "getuid", "geteuid", "getpgid", "killpg", "mkfifo", "register_at_fork", "setsid", "WNOHANG"}
    names[signal] |= {"SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGWINCH", "pthread_kill", "pthread_sigmask"}
    names[socket] |= {"AF_UNIX", "SCM_RIGHTS", "CMSG_LEN", "CMSG_SPACE", "recv_fds", "send_fds"}

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in modules:
            raise ModuleNotFoundError(name, name=name)

# What the standard library itself needs of these names, it has loaded before they go.
import asyncio, click, random, rich.console, subprocess, sysconfig, tempfile
sysconfig.get_paths()
for module in modules:
    sys.modules.pop(module, None)
sys.meta_path.insert(0, Absent())
for module, gone in names.items():
    for name in gone:
        if hasattr(module, name):
            delattr(module, name)
sys.platform = platform
"""


@pytest.mark.parametrize("platform", ["darwin", "win32"])
@pytest.mark.parametrize(
    "module", ["squall.sdk.app", "squall.cli.main", "squall.cli.run", "squall.cli.version"]
)
def test_it_imports_without_what_only_linux_has(module: str, platform: str) -> None:
    program = (
        f"{_WITHOUT}\nimport {module}\nimport squall\n[getattr(squall, name) for name in squall._HOMES]\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, platform],
        env={**os.environ, "PYTHONPATH": str(house.ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
