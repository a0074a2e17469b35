"""Commands beside runners whose first process rests: a child of the launcher enters the container and starts them."""

import os
import signal
import socket
from dataclasses import dataclass

from squall.runtime import command, packet, syscalls
from squall.runtime.apply import Site
from squall.runtime.cgroups import Group
from squall.runtime.children import BROKEN
from squall.runtime.host import Host
from squall.runtime.init import joined_namespaces, leave_the_launcher
from squall.runtime.plan import LeadNowhere, NewNamespace, SetLimit, Step
from squall.runtime.spec import SandboxSpec
from squall.runtime.template.plan import plan_nested


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Where a command is run: in the container of this first process, as confined as its runner, counted in its group.

    line: where the launcher is told of the command, as it would be by a first process that does not rest.
    """

    spec: SandboxSpec
    host: Host
    pid: int
    pidfd: int
    group: Group | None
    line: socket.socket


def run(entry: Entry, asked: command.Command) -> int:
    """In a child of the launcher: run the command, wait for its end and tell of both; the exit code of that child."""
    try:
        _enter(entry)
        pid = command.start(asked, entry.line, leader=True)
        _, status, usage = os.wait4(pid, 0)
    except OSError as problem:
        packet.send(entry.line, {"t": "exec_failed", "exec": asked.id, "why": str(problem)})
        return BROKEN
    cpu_s = usage.ru_utime + usage.ru_stime
    packet.send(entry.line, {"t": "exec_ended", "exec": asked.id, "status": status, "cpu_s": cpu_s})
    return 0


def _enter(entry: Entry) -> None:
    """What is started from here on is in the container; this process alone is still counted among the host's."""
    leave_the_launcher((entry.line.fileno(), entry.pidfd), "squall-command")
    syscalls.die_with_parent(signal.SIGKILL)
    if entry.group is not None:
        entry.group.add(os.getpid())
    limits, confine = _steps(entry)
    site = Site()
    site.carry_out(limits)
    names = joined_namespaces(entry.spec)
    doors = [os.open(f"/proc/{entry.pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in names]
    # The number was its own if it still lives.
    signal.pidfd_send_signal(entry.pidfd, 0)
    # Its memory is a copy of the launcher's, and what it enters has processes with the same ids.
    syscalls.set_dumpable(dumpable=False)
    for door in doors:
        syscalls.setns(door, 0)
    os.umask(0o022)
    site.carry_out(confine)
    # Ids have changed, at which the kernel shows a process again.
    syscalls.set_dumpable(dumpable=False)


def _steps(entry: Entry) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """The limits of the container, and what it takes to have no more powers than its runner."""
    plan = plan_nested(entry.spec, entry.host, ())
    limits = tuple(step for step in plan.build if isinstance(step, SetLimit))
    # It has left the host's namespaces and networks already, by entering.
    confine = tuple(step for step in plan.confine if not isinstance(step, NewNamespace | LeadNowhere))
    return limits, confine
