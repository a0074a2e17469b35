"""The first process of a container: builds the sandbox, starts the runner, reaps, and ends with it."""

import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from typing import Any, NoReturn

from squall.runtime import children, command, packet, resting, syscalls
from squall.runtime.apply import Site, StepError
from squall.runtime.children import BROKEN
from squall.runtime.oci.keeper import Keeper
from squall.runtime.plan import Plan
from squall.runtime.runner_start import Ends, start_runner
from squall.runtime.spec import SandboxSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """What the first process of a container is born with.

    line: its socket to the launcher. ends: those of the runner that it starts; None where a template sends one in later.
    mapped: what it reads a byte from once its ids are mapped; None where the launcher says so over the line.
    resting: the program that it becomes when all that is left is to reap; None where it stays what it is.
    ids: as for the Site in which its plan is carried out.
    """

    spec: SandboxSpec
    plan: Plan
    line: socket.socket
    ends: Ends | None
    mapped: int | None = None
    resting: int | None = None
    ids: int | None = None


# What a template's child enters, in the order in which it has to: the first gives it the powers for the others.
_JOINED = ("user", "mnt", "net", "ipc", "uts", "cgroup", "pid")
_PYTHON_IGNORES = frozenset({signal.SIGPIPE, signal.SIGXFSZ})


def live(birth: Birth) -> NoReturn:
    """Be the container's first process until its runner ends; never returns, whatever happens."""
    try:
        _live(birth)
    except StepError as problem:
        _tell_quietly(birth.line, {"t": "failed", "step": str(problem)})
    except BaseException as problem:  # noqa: BLE001 - nothing may unwind into the launcher's own stack
        _tell_quietly(birth.line, {"t": "failed", "step": f"{type(problem).__name__}: {problem}"})
    finally:
        os._exit(BROKEN)


def _live(birth: Birth) -> None:
    if birth.mapped is not None:
        # A fork of a template's init, which has left the launcher already: each page that is written to is memory more.
        kept = (birth.line.fileno(), birth.mapped, *(() if birth.resting is None else (birth.resting,)))
        syscalls.close_others((0, 1, 2, *kept))
        signal.set_wakeup_fd(-1)
        name_process("squall-init")
    else:
        ends = () if birth.ends is None else birth.ends
        ids = () if birth.ids is None else (birth.ids,)
        leave_the_launcher((birth.line.fileno(), *ends, *ids), "squall-init")
    isolated = birth.spec.level != "process"
    if isolated:
        # Ends this process even if it hangs in the kernel; without namespaces it must live on to end its descendants.
        syscalls.die_with_parent(signal.SIGKILL)
    else:
        syscalls.become_subreaper()
    if birth.mapped is not None:
        _await_byte(birth.mapped)
    elif "user" in birth.plan.namespaces:
        await_word(birth.line, "mapped")
    site = Site(ids=birth.ids)
    os.umask(0)
    site.carry_out(birth.plan.build)
    os.umask(0o022)
    if birth.ids is not None:
        os.close(birth.ids)
    packet.send(birth.line, {"t": "ready", "at": time.monotonic()}, tuple(site.memory_fds))
    for fd in site.memory_fds:
        os.close(fd)
    await_word(birth.line, "go")
    site.carry_out(birth.plan.confine)
    # Its memory is a copy of the launcher's, and the runner has the same ids: keep it out.
    syscalls.set_dumpable(dumpable=False)
    if birth.ends is None:
        _offer_namespaces(birth)
        if birth.resting is not None:
            resting.rest(birth.resting, birth.line)
    elif birth.spec.oci:
        Keeper(birth.spec, birth.ends, birth.line).serve()
    _Init(birth, isolated=isolated).serve()


def joined_namespaces(spec: SandboxSpec) -> tuple[str, ...]:
    """What a template's child enters of a sandbox like `spec`, in this order: where it has the host's network, not that."""
    return tuple(name for name in _JOINED if name != "net" or spec.network != "host")


def _offer_namespaces(birth: Birth) -> None:
    """Hand out what a template's child enters this sandbox by: descriptors, as nobody may look into this process."""
    names = joined_namespaces(birth.spec)
    opened = tuple(os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in names)
    rests = birth.resting is not None
    packet.send(birth.line, {"t": "prepared", "at": time.monotonic(), "rests": rests}, opened)
    for fd in opened:
        os.close(fd)


def leave_the_launcher(kept: tuple[int, ...], name: str) -> None:
    """Drop what a fork has in common with its parent: descriptors but `kept`, terminal, signal handlers, name."""
    syscalls.close_others(kept)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        if fd != null:
            os.dup2(null, fd)
    if null > 2:
        os.close(null)
    else:
        os.set_inheritable(null, True)
    name_process(name)
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        handler = signal.getsignal(number)
        # What whoever started us had ignored (nohup does) is not for containers to inherit; Python's own is.
        if callable(handler) or (handler is signal.SIG_IGN and number not in _PYTHON_IGNORES):
            signal.signal(number, signal.SIG_DFL)


def name_process(name: str) -> None:
    """Be called `name`, in a session of one's own."""
    os.setsid()
    syscalls.set_name(name)
    # The launcher's own names the host's paths, and everybody in the container can read it.
    syscalls.replace_command_line(name)
    sys.argv[:] = sys.orig_argv[:] = [name]


def _await_byte(fd: int) -> None:
    if not os.read(fd, 1):
        os._exit(BROKEN)
    os.close(fd)


def await_word(line: socket.socket, word: str) -> None:
    """Wait for the launcher's `word`; without a launcher there is nothing to live for."""
    got = packet.receive(line)
    if got is None or got.message.get("t") != word:
        os._exit(BROKEN)


def _tell_quietly(line: socket.socket, message: dict[str, Any]) -> None:
    try:
        packet.send(line, message)
    except OSError:
        pass  # The launcher is gone: nobody is left to tell.


class _Init:
    """Waits for its children and for the launcher's words."""

    def __init__(self, birth: Birth, *, isolated: bool) -> None:
        self._birth = birth
        self._line = birth.line
        self._isolated = isolated
        self._commands: dict[int, str] = {}
        self._runner = -1

    def serve(self) -> NoReturn:
        woken = children.wake_for_children()
        ends = self._birth.ends
        if ends is not None:
            if (runner := os.fork()) == 0:
                start_runner(self._birth.spec, ends, self._line)
            self._runner = runner
            ends.close()
        # From here on the files are the user's: nothing of them may ever be loaded into this process.
        sys.path.clear()
        sys.meta_path.clear()
        children.serve(woken, self._line, obey=self._obey, take=self._take)
        self._finish(None)

    def _take(self, one: children.Ended) -> None:
        if one.pid == self._runner:
            self._finish({"t": "ended", "status": one.status})
        if (named := self._commands.pop(one.pid, None)) is not None:
            packet.send(self._line, {"t": "exec_ended", "exec": named, "status": one.status})

    def _obey(self) -> bool:
        got = packet.receive(self._line)
        match got and got.message.get("t"):
            case None:
                return False
            case "signal" if got is not None:
                os.kill(self._runner, got.message["signal"])
            case "kill":
                self._finish({"t": "ended", "status": int(signal.SIGKILL)})
            case "exec" if got is not None:
                asked = command.Command.from_json(got.message)
                pid = command.start(asked, self._line, leader=self._isolated)
                self._commands[pid] = asked.id
        return True

    def _finish(self, last_word: dict[str, Any] | None) -> NoReturn:
        """End, and everything in the container with it: the kernel ends a pid namespace with its first process."""
        if not self._isolated:
            _end_descendants()
        if last_word is not None:
            _tell_quietly(self._line, last_word)
        os._exit(0)


def _end_descendants() -> None:
    """Kill until no child is left: whoever loses its parent becomes a child of this process."""
    while True:
        for pid in _children_of(os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # It has ended by itself.
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children_of(parent: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                # The name in brackets may hold anything, so fields are counted behind its end.
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(name))
    return found
