"""The first process of a fork's sandbox: a program of some bytes, which reaps, and which nobody inside can reach."""

from __future__ import annotations

import os

import pytest

from squall.runtime import resting
from tests.linux.runtime.box import Box, Running, a_box

_WAIT = "import signal; print('up', flush=True); signal.pause()"
_ORPHANS = """
import os, time
for _ in range(20):
    if os.fork() == 0:
        if os.fork() == 0:
            end = time.process_time() + 0.01
            while time.process_time() < end: pass
        os._exit(0)
    os.wait()
def others():
    return [name for name in os.listdir("/proc") if name.isdigit() and int(name) not in (1, os.getpid())]
end = time.monotonic() + 20
while others() and time.monotonic() < end:
    time.sleep(0.01)
print(others())
"""
_REACH = """
import ctypes, os, signal
for number in (signal.SIGSTOP, signal.SIGKILL, signal.SIGTERM, signal.SIGCHLD):
    os.kill(1, number)
for look, names in ((lambda path: open(path).read(), ("environ", "mem", "maps", "fdinfo/3")), (os.readlink, ("root", "cwd", "exe", "fd/3", "ns/pid"))):
    for name in names:
        try:
            print("saw", name, look(f"/proc/1/{name}"))
        except OSError:
            pass
libc = ctypes.CDLL(None, use_errno=True)
print(libc.ptrace(16, 1, 0, 0), libc.ptrace(0x4206, 1, 0, 0))
print(open("/proc/1/comm").read().strip(), open("/proc/1/cmdline").read().strip(chr(0)), open("/proc/1/stat").read().split()[2])
"""


def test_it_keeps_some_kilobytes(box: Box) -> None:
    running = _a_fork(box)
    init_pid = running.message["init_pid"]
    with open(f"/proc/{init_pid}/smaps_rollup", encoding="ascii") as file:
        private = sum(int(line.split()[1]) for line in file if line.startswith("Private_"))
    assert private <= 64, f"{private} KiB"
    if os.geteuid() == 0:
        kept = [os.readlink(f"/proc/{init_pid}/fd/{fd}") for fd in os.listdir(f"/proc/{init_pid}/fd")]
        assert sorted(os.path.basename(name).partition(":")[0] for name in kept) == ["null"] * 3 + ["socket"]
    _end(box, running)


def test_it_takes_up_the_ends_of_orphans_and_their_seconds(box: Box) -> None:
    box.template()
    ended = box.finish(box.start(box.spec(_ORPHANS), path="pooled"))
    assert ended.out == "[]\n"
    # Twenty orphans of a hundredth of a second each.
    assert ended.exited["cpu_s"] > 0.2


def test_nobody_inside_reads_stops_or_traces_it(box: Box) -> None:
    box.template()
    ended = box.finish(box.start(box.spec(_REACH), path="pooled"))
    traced, described = ended.out.splitlines()
    assert traced == "-1 -1"
    # It is not stopped, nor gone.
    assert described in {"squall-init squall-init S", "squall-init squall-init R"}


@pytest.mark.needs("root", "namespaces")
def test_where_no_program_may_be_made_in_memory_it_stays_what_it_is() -> None:
    forbid = 'echo 2 > /proc/sys/vm/memfd_noexec && exec "$@"'
    with a_box(
        "root", wrapper=("unshare", "--pid", "--fork", "--mount-proc", "sh", "-ec", forbid, "sh")
    ) as box:
        box.template()
        started = box.start(box.spec(_WAIT), path="pooled")
        assert started.read_line() == "up"
        argv = ["/bin/sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline; grep VmRSS /proc/self/status"]
        box.say({"t": "exec", "container": started.spec.id, "exec": "e1", "argv": argv})
        got = box.hear("execed", "refused")
        assert got.message["t"] == "execed", got.message
        with os.fdopen(got.fds[1]) as said:
            assert said.read().startswith("squall-init")
        for fd in (got.fds[0], got.fds[2]):
            os.close(fd)
        _end(box, started)


def test_there_is_a_program_for_each_machine_with_a_filter_and_for_no_other() -> None:
    assert {machine: bool(resting.program(machine)) for machine in ("x86_64", "aarch64", "riscv64")} == {
        "x86_64": True,
        "aarch64": True,
        "riscv64": False,
    }


def _a_fork(box: Box) -> Running:
    box.template()
    running = box.start(box.spec(_WAIT), path="pooled")
    assert running.read_line() == "up"
    return running


def _end(box: Box, running: Running) -> None:
    box.say({"t": "kill", "container": running.spec.id})
    box.finish(running)
