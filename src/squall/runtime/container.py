"""A container as its launcher holds it: started, attached to, stopped, ended."""

import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from squall.model.errors import ContainerStartError
from squall.runtime import apply, init, namespaces, packet, scratch, syscalls
from squall.runtime.cause import Ending, cause_of
from squall.runtime.cgroups import Group, make_group
from squall.runtime.command import Command
from squall.runtime.host import Host
from squall.runtime.id_maps import IdMaps
from squall.runtime.network import veth
from squall.runtime.oci.bundle_plan import plan_container
from squall.runtime.plan import MakeCgroup, MakeScratch, Plan, plan_sandbox
from squall.runtime.runner_start import Ends
from squall.runtime.spec import SandboxSpec

Phase = Literal["waiting", "building", "running", "ended", "refused"]
_SOCKET_BYTES = 1 << 20


@dataclass(slots=True, kw_only=True)
class Held:
    """The launcher's ends of one container."""

    line: socket.socket
    control: socket.socket
    pidfd: int
    readable: tuple[int, int, int]

    def close_line(self) -> None:
        self.line.close()
        self.control.close()
        os.close(self.pidfd)

    def close_readable(self) -> None:
        for fd in self.readable:
            os.close(fd)
        self.readable = (-1, -1, -1)


@dataclass(slots=True)
class Container:
    """One container, from the request to its being forgotten."""

    spec: SandboxSpec
    host: Host
    instance: str
    asked_at: float
    held: Held = field(init=False)
    init_pid: int = 0
    pid: int = 0
    phase: Phase = "building"
    refusal: str = ""
    stop_asked: bool = False
    over_memory: bool = False
    over_disk: bool = False
    peak_bytes: int = 0
    group: Group | None = None
    exited: dict[str, Any] | None = None
    tmpfs: tuple[int, ...] = ()
    terminals: dict[str, int] = field(default_factory=dict)
    id_maps: IdMaps | None = None
    _plan: Plan = field(init=False)
    _marks: dict[str, float] = field(default_factory=dict)
    _status: int | None = None
    _reaped: bool = False
    _built: bool = False
    _awaits_network: bool = False
    _hold: int = -1

    def start(self) -> None:
        """Begin; what follows is told over the line. Raises OSError where not even the first process could be made."""
        if self.rung == "parked" and not self.host.exe_protected:
            self.spec = replace(self.spec, interpreter=self.host.python)
        self._plan = (plan_container if self.spec.oci else plan_sandbox)(self.spec, self.host)
        self._awaits_network = self.spec.carrier is not None
        for step in self._plan.host:
            if isinstance(step, MakeScratch):
                self._hold = scratch.make(step.path)
        try:
            self._fork()
        except OSError:
            os.close(self._hold)
            scratch.remove(self.spec.scratch)
            raise
        self._mark("forked")
        try:
            self._equip()
        except OSError as problem:
            self._give_up(f"{problem}")

    def _equip(self) -> None:
        """Give the first process its ids and its group, while it makes its mounts on another core."""
        if "user" in self._plan.namespaces:
            namespaces.write_id_maps(self.init_pid, self.host, uid_base=self.spec.uid_base)
            self._say({"t": "mapped"})
        for step in self._plan.host:
            if isinstance(step, MakeCgroup):
                self.group = make_group(self.host.cgroup, f"squall-{self.instance}-{step.name}", step.limits)
                self.group.add(self.init_pid)
        self._mark("cgroup")
        if self.spec.veth is not None:
            veth.attach(self.spec.veth, self.init_pid)
            self._mark("network")

    def _give_up(self, why: str) -> None:
        """End a container that has not run yet; the end of its first process tells the agent why."""
        self.phase, self.refusal = "refused", why
        try:
            signal.pidfd_send_signal(self.held.pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass  # It has ended by itself.

    def _fork(self) -> None:
        line, inner_line = a_line()
        channels = runner_channels()
        flags = 0
        for name in self._plan.namespaces:
            flags |= apply.NAMESPACES[name]
        try:
            ids = None if self.id_maps is None else self.id_maps.for_spec(self.spec, self.host)
            self.init_pid = syscalls.clone(flags)
            if self.init_pid == 0:
                birth = init.Birth(
                    spec=self.spec, plan=self._plan, line=inner_line, ends=channels.ends, ids=ids
                )
                init.live(birth)
            pidfd = open_or_end(self.init_pid)
        finally:
            inner_line.close()
            channels.ends.close()
        self.held = Held(line=line, control=channels.control, pidfd=pidfd, readable=channels.readable)

    def hear(self, announce: Callable[[dict[str, Any], tuple[int, ...]], None]) -> None:
        """Take in what the first process says now; answers for the agent go to `announce`."""
        while True:
            try:
                got = packet.receive(self.held.line)
            except (BlockingIOError, ConnectionError):
                return
            except ValueError:
                self.kill(asked=False)
                return
            if got is None:
                return
            try:
                self._take(got, announce)
            except (KeyError, TypeError, ValueError):
                # Only our own code speaks here. Whoever else does is not to bring the other containers down.
                self.kill(asked=False)
            finally:
                for fd in got.fds:
                    os.close(fd)

    def _take(self, got: packet.Packet, announce: Callable[[dict[str, Any], tuple[int, ...]], None]) -> None:
        message = got.message
        match message.get("t"):
            case "ready":
                self._mark("built", message["at"])
                if not self.host.cgroup.limits_memory:
                    self.tmpfs = tuple(os.dup(fd) for fd in got.fds)
                self._built = True
                self._let_go()
            case "running":
                self.pid = _pid_of(got.fds[0]) if got.fds else got.sender
                self.phase = "running"
                self._mark("running", message["at"])
                self._announce_started(announce)
            case "failed":
                self.phase = "refused"
                self.refusal = str(message["step"])
            case "ended":
                self._status = message["status"]
            case "execed":
                if len(got.fds) == 1:
                    self.terminals[message["exec"]] = os.dup(got.fds[0])
                announce({"t": "execed", **self._named(message), "pid": got.sender}, got.fds)
            case "exec_ended":
                self._drop_terminal(message["exec"])
                ending = Ending(status=message["status"])
                told = {"t": "exec_exited", **self._named(message)}
                announce({**told, "code": ending.code, "signal": ending.signal}, ())
            case "exec_failed":
                failure = ContainerStartError(f"the command could not be started: {message['why']}")
                announce({"t": "refused", **self._named(message), **failure.to_wire()}, ())

    def joined(self, refused: str) -> None:
        """A carrier has joined its network to the host's, or says why it could not."""
        if not self.is_live:
            return
        self._awaits_network = False
        self._mark("network")
        if refused:
            self._give_up(f"its network could not be joined to the host's: {refused}")
        else:
            self._let_go()

    def _let_go(self) -> None:
        if self._awaits_network or not self._built:
            return
        try:
            if self.host.privileged and self.spec.level != "process":
                namespaces.write_id_maps(self.init_pid, self.host, uid_base=self.spec.uid_base)
        except OSError as problem:
            self._give_up(f"its ids could not be mapped: {problem}")
        else:
            self._say({"t": "go"})

    def _announce_started(self, announce: Callable[[dict[str, Any], tuple[int, ...]], None]) -> None:
        phases = {name: round((at - self.asked_at) * 1000, 3) for name, at in self._marks.items()}
        message = {
            "t": "started",
            "container": self.spec.id,
            "pid": self.pid,
            "init_pid": self.init_pid,
            "level": self.spec.level,
            "rung": self.rung,
            "address": self.address,
            "phases_ms": phases,
        }
        with self._new_channel() as channel:
            announce(message, (channel.fileno(), *self.held.readable))

    @property
    def rung(self) -> str:
        """How the runner came to be: "parked", a fork of the warm interpreter; "exec" of an interpreter or a command; or
        the level whose OCI runtime started it.
        """
        if self.spec.oci:
            return self.spec.level
        return "parked" if self.spec.interpreter is None and self.spec.argv is None else "exec"

    def attach(self) -> tuple[dict[str, Any], tuple[int, ...], socket.socket]:
        """The answer to an agent that comes back, with a new channel to the runner. The caller closes the socket.

        After the container's end the channel is at its end too; what was logged can still be read.
        """
        channel = self._new_channel()
        message = {"t": "attached", "container": self.spec.id, "pid": self.pid, "address": self.address}
        return message, (channel.fileno(), *self.held.readable), channel

    def _new_channel(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if self.phase == "running":
                packet.send(self.held.control, {"t": "channel"}, (theirs.fileno(),))
        except OSError:
            pass  # The runner has closed its control socket or is ending: the agent sees the channel's end.
        finally:
            theirs.close()
        return ours

    @property
    def address(self) -> str | None:
        """Its own address, where it has one."""
        return None if self.spec.veth is None else self.spec.veth.address

    @property
    def addresses(self) -> dict[str, str]:
        """The addresses that nobody else may have meanwhile, by what they were given to."""
        return {} if self.spec.veth is None else {self.spec.id: self.spec.veth.address}

    def stop(self) -> None:
        """Ask the runner to end."""
        self.stop_asked = True
        self._say({"t": "signal", "signal": int(signal.SIGTERM)})

    def kill(self, *, asked: bool = True) -> None:
        """End the container at once."""
        self.stop_asked = self.stop_asked or asked
        if self.spec.level == "process" and self.phase == "running":
            # Without a pid namespace only the first process can end all that descends from it.
            self._say({"t": "kill"})
            return
        try:
            signal.pidfd_send_signal(self.held.pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass  # It has ended by itself.

    def execute(self, asked: Command) -> None:
        """Run a command beside the runner; the answer comes over the line."""
        packet.send(self.held.line, asked.to_json())

    @property
    def is_own_child(self) -> bool:
        """Whether the first process is the launcher's child, whose end its pidfd tells."""
        return True

    @property
    def roots(self) -> tuple[int, ...]:
        """The processes of which all others in the container descend."""
        return (self.init_pid,)

    @property
    def is_live(self) -> bool:
        """Whether its first process has not been reaped yet."""
        return self.exited is None and not self._reaped

    def describe(self) -> dict[str, Any]:
        """What `list` says of it."""
        return {
            "container": self.spec.id,
            "phase": self.phase,
            "pid": self.pid,
            "init_pid": self.init_pid,
            "level": self.spec.level,
            "rung": self.rung,
            "address": self.address,
            "addresses": self.addresses,
            "exited": self.exited,
        }

    def tmpfs_bytes(self) -> int:
        """Bytes in the container's memory file systems, as far as the launcher was given a look at them."""
        return sum(_file_system_bytes(fd) for fd in self.tmpfs)

    def hang_up(self) -> None:
        """Let go of the terminals of commands whose caller is gone."""
        for name in list(self.terminals):
            self._drop_terminal(name)

    def finish(self, announce: Callable[[dict[str, Any], tuple[int, ...]], None]) -> None:
        """Reap the first process, whose pidfd has become readable, and say how the container ended."""
        self.hear(announce)
        cpu_s = self._reap()
        self._reaped = True
        os.close(self._hold)
        self.hang_up()
        for fd in self.tmpfs:
            os.close(fd)
        self.tmpfs = ()
        self.held.close_line()
        ending = Ending(
            status=self._status,
            asked=self.stop_asked,
            over_memory=self.over_memory,
            over_disk=self.over_disk,
            oom_kills=0 if self.group is None else self.group.oom_kills(),
            refused_forks=0 if self.group is None else self.group.refused_forks(),
        )
        if self.group is not None:
            self.peak_bytes = max(self.peak_bytes, self.group.peak_bytes())
        if self.phase == "refused" or (self.phase == "building" and not self.stop_asked):
            self.phase = "refused"
            self.refusal = self.refusal or "its first process ended before the runner was started"
            self.held.close_readable()
            return
        self.phase = "ended"
        self.exited = {
            "t": "exited",
            "container": self.spec.id,
            "code": ending.code,
            "signal": ending.signal,
            "cause": cause_of(ending),
            "memory_peak_bytes": self.peak_bytes,
            "memory_limit_bytes": self.spec.limits.memory_bytes,
            "pids_limit": self.spec.limits.pids,
            "cpu_s": round(cpu_s, 6),
            "lived_s": round(time.monotonic() - self.asked_at, 6),
        }

    def _reap(self) -> float:
        """Take up the end of the first process; the seconds of CPU time that it and its descendants took."""
        _, _, usage = os.wait4(self.init_pid, 0)
        return usage.ru_utime + usage.ru_stime

    def _named(self, message: dict[str, Any]) -> dict[str, Any]:
        return {"container": self.spec.id, "exec": message["exec"]}

    def _say(self, message: dict[str, Any]) -> None:
        try:
            packet.send(self.held.line, message)
        except OSError:
            pass  # The first process is gone; its pidfd says so too.

    def _drop_terminal(self, name: str) -> None:
        if (fd := self.terminals.pop(name, None)) is not None:
            os.close(fd)

    def _mark(self, name: str, at: float | None = None) -> None:
        self._marks[name] = time.monotonic() if at is None else at


def a_line() -> tuple[socket.socket, socket.socket]:
    """A socket to a first process, which says who sent what comes over it, and the other end."""
    line, inner = packet.pair()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    line.setblocking(False)
    return line, inner


@dataclass(frozen=True, slots=True)
class Channels:
    """Those between a launcher and a runner. control: the launcher's socket; readable: what it reads the runner's log, output
    and errors from; ends: the runner's.
    """

    control: socket.socket
    readable: tuple[int, int, int]
    ends: Ends

    def close(self) -> None:
        """Let go of all of them, where no runner came."""
        self.control.close()
        for fd in self.readable:
            os.close(fd)
        self.ends.close()


def runner_channels() -> Channels:
    """New ones, for one runner."""
    control, inner_control = packet.pair()
    log, inner_log = packet.pair()
    for end in (log, inner_log):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BYTES)
    (out, inner_out), (err, inner_err) = os.pipe(), os.pipe()
    control.setblocking(False)
    ends = Ends(control=inner_control.detach(), log=inner_log.detach(), out=inner_out, err=inner_err)
    return Channels(control, (log.detach(), out, err), ends)


def open_or_end(pid: int) -> int:
    """A pidfd of our child, which is ended where there is none to be had."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _pid_of(pidfd: int) -> int:
    """The number of the process that `pidfd` is, as we see it; 0 where it is gone."""
    with open(f"/proc/self/fdinfo/{pidfd}", encoding="ascii") as file:
        found = [int(line.split()[1]) for line in file if line.startswith("Pid:")]
    return max(0, *found) if found else 0


def _file_system_bytes(fd: int) -> int:
    seen = os.fstatvfs(fd)
    return (seen.f_blocks - seen.f_bfree) * seen.f_frsize
