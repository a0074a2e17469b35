"""The keeper: a container's first process where an OCI runtime makes the rest; it starts the runtime and tells how it went."""

import fcntl
import json
import os
import select
import signal
import socket
import sys
import time
from dataclasses import replace
from typing import Any, NoReturn

from squall.runtime import children, command, packet
from squall.runtime.oci import bundle
from squall.runtime.oci.bridge import Bridge, Word
from squall.runtime.oci.bundle_plan import CONTAINER, process_of
from squall.runtime.oci.inside import LINE_FD
from squall.runtime.runner_start import CONTROL_FD, LOG_FD, Ends
from squall.runtime.spec import SandboxSpec

# Nothing of the container's environment, and no directory of its image, is where a runtime looks for anything.
_ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "XDG_RUNTIME_DIR": bundle.STATE,
}
_ABOVE_ALL = 64
_INHERITED = LINE_FD - 2
_FLUSH_S = 3.0
_NO_REASON = "it gave no reason"


class Keeper:
    """Waits for the runtime, for the launcher's words, and for pid 1 of the container."""

    def __init__(self, spec: SandboxSpec, ends: Ends, line: socket.socket) -> None:
        self._spec = spec
        self._ends = ends
        self._line = line
        self._commands: dict[int, tuple[str, str]] = {}
        self._executed = 0
        self._runtime = -1
        self._running = False
        self._status: int | None = None
        self._inner, self._theirs = packet.pair()
        self._inner.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._inner.setblocking(False)
        self._bridge: Bridge | None = None

    def serve(self) -> NoReturn:
        """Be the container's first process until its runtime ends; never returns."""
        woken = children.wake_for_children()
        self._start()
        # From here on nothing may ever be loaded into this process: what lies below the root is the user's.
        sys.path.clear()
        sys.meta_path.clear()
        try:
            self._watch(woken)
        except Exception:
            # Pid 1 of the container may be the image's own, and say whatever it likes: that is its end, once it runs.
            if not self._running:
                raise
            self._tell({"t": "ended", "status": int(signal.SIGKILL)})
        os._exit(0)

    def _watch(self, woken: int) -> NoReturn:
        while True:
            poll = select.poll()
            for fd, events in self._wants().items():
                poll.register(fd, events)
            poll.register(woken, select.POLLIN)
            ready = dict(poll.poll())
            if self._line.fileno() in ready:
                self._obey()
            self._hear(ready)
            if woken in ready:
                os.read(woken, 4096)
                self._reap()

    def _wants(self) -> dict[int, int]:
        wanted = {self._line.fileno(): select.POLLIN}
        if self._bridge is not None:
            wanted[self._ends.control] = select.POLLIN
            wanted |= self._bridge.wants()
        elif self._inner.fileno() >= 0:
            wanted[self._inner.fileno()] = select.POLLIN
        return wanted

    # the runtime

    def _start(self) -> None:
        spec, ends = self._spec, self._ends
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        argv = [*_global(spec), "run", "--bundle", bundle.BUNDLE]
        wanted = {0: null, 1: ends.out, 2: ends.err}
        if spec.argv is None and spec.level == "gvisor":
            wanted[0] = self._theirs.fileno()
            log = socket.socket(fileno=os.dup(ends.log))
            self._bridge = Bridge(self._inner, log)
        elif spec.argv is None:
            wanted |= {CONTROL_FD: ends.control, LOG_FD: ends.log, LINE_FD: self._theirs.fileno()}
            argv += ["--preserve-fds", str(_INHERITED)]
        self._runtime = _spawn([*argv, CONTAINER], wanted)
        os.close(null)
        self._theirs.close()
        for fd in (
            (ends.out, ends.err, ends.log) if self._bridge else (ends.out, ends.err, ends.log, ends.control)
        ):
            os.close(fd)
        if spec.argv is not None:
            self._inner.close()
            self._tell_running(self._runtime)

    def _reap(self) -> None:
        for one in children.ended():
            if one.pid == self._runtime:
                self._finish(one.status)
            if (known := self._commands.pop(one.pid, None)) is not None:
                named, path = known
                packet.send(self._line, {"t": "exec_ended", "exec": named, "status": one.status})
                os.unlink(path)

    def _finish(self, status: int) -> NoReturn:
        """End, and with this pid namespace everything that the runtime has left in it."""
        self._drain()
        if not self._running:
            self._tell({"t": "failed", "step": f"{self._spec.runtime[0]}: {_reason()}"})
        else:
            self._tell({"t": "ended", "status": _plain(status) if self._status is None else self._status})
        os._exit(0)

    def _drain(self) -> None:
        """Take in what pid 1 of the container said last."""
        until = time.monotonic() + _FLUSH_S
        if self._bridge is None:
            self._hear_inner()
            return
        while self._turn(self._bridge) and self._status is None and time.monotonic() < until:
            select.select([self._bridge.line], [], [], 0.05)
        while not self._bridge.idle and time.monotonic() < until:
            self._bridge.turn()
            select.select([], [], [], 0.01)

    # what it is told

    def _obey(self) -> None:
        got = packet.receive(self._line)
        match got and got.message.get("t"):
            case None:
                os._exit(0)
            case "signal" if got is not None:
                number = signal.Signals(got.message["signal"])
                _spawn([*_global(self._spec), "kill", CONTAINER, number.name.removeprefix("SIG")], {})
            case "exec" if got is not None:
                self._execute(command.Command.from_json(got.message))

    def _execute(self, asked: command.Command) -> None:
        """Run a command in the container, through the runtime; its terminal or pipes are made here."""
        self._executed += 1
        path = f"{bundle.TOP}/exec-{self._executed}.json"
        process = process_of(list(asked.argv), dict(asked.env), asked.cwd) | {"terminal": asked.tty}
        bundle.write(path, json.dumps(process))
        argv = (*_global(self._spec), "exec", "--process", path, CONTAINER)
        pid = command.start(replace(asked, argv=argv, env=_ENV, cwd="/"), self._line, leader=False)
        self._commands[pid] = (asked.id, path)

    # what it hears from inside

    def _hear(self, ready: dict[int, int]) -> None:
        if self._bridge is not None:
            if ready.get(self._ends.control):
                self._hear_control(self._bridge)
            self._turn(self._bridge)
        elif self._inner.fileno() in ready:
            self._hear_inner()

    def _hear_inner(self) -> None:
        while self._inner.fileno() >= 0:
            try:
                got = packet.heard(self._inner)
            except BlockingIOError:
                return
            if got is None:
                self._inner.close()
            elif got.message.get("t") == "running":
                self._tell_running(got.sender)
            elif got.message.get("t") == "ended":
                self._status = int(got.message["status"])

    def _hear_control(self, bridge: Bridge) -> None:
        """In the runner's place: a channel for a new agent, whose other end is made in the container."""
        with socket.socket(fileno=os.dup(self._ends.control)) as control:
            got = packet.receive(control)
        if got is None:
            os._exit(0)
        if got.message.get("t") == "channel" and len(got.fds) == 1:
            bridge.announce_channel(socket.socket(fileno=got.fds[0]))

    def _turn(self, bridge: Bridge) -> bool:
        alive = bridge.turn()
        while bridge.words:
            word, body, sender = bridge.words.popleft()
            if word is Word.RUNNING:
                self._tell_running(sender)
            elif word is Word.ENDED:
                self._status = int(json.loads(body)["status"])
        return alive

    def _tell_running(self, pid: int) -> None:
        """Whoever hears this sees other process numbers than we do, so it gets the process itself."""
        if self._running:
            return
        self._running = True
        try:
            fds: tuple[int, ...] = (os.pidfd_open(pid),)
        except OSError:
            fds = ()  # It has ended already, which is told next.
        packet.send(self._line, {"t": "running", "at": time.monotonic()}, fds)
        for fd in fds:
            os.close(fd)

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            packet.send(self._line, message)
        except OSError:
            pass  # The launcher is gone: nobody is left to tell.


def _global(spec: SandboxSpec) -> list[str]:
    return [*spec.runtime, "--root", bundle.STATE, "--log", bundle.LOG]


def _spawn(argv: list[str], descriptors: dict[int, int]) -> int:
    """Start a program with these descriptors, by the number that it knows them as, and no others."""
    # Above all numbers that are given, so that none hits another.
    away = {number: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ABOVE_ALL) for number, fd in descriptors.items()}
    actions: list[tuple[int, int, int]] = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in away.items()]
    try:
        return os.posix_spawn(
            argv[0],
            argv,
            _ENV,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
        )
    finally:
        for fd in away.values():
            os.close(fd)


def _plain(status: int) -> int:
    """A runtime says a signal as a shell does; here it is a wait status again."""
    code = os.waitstatus_to_exitcode(status)
    return code - 128 if 128 < code <= 128 + signal.NSIG else status


def _reason() -> str:
    """The last thing that the runtime complained of."""
    try:
        with open(bundle.LOG, encoding="utf-8", errors="replace") as file:
            lines = [line.strip() for line in file if line.strip()]
    except OSError:
        return _NO_REASON
    return lines[-1][:500] if lines else _NO_REASON
