"""A container whose runner is forked from a template and enters a sandbox that was prepared for it."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from squall.runtime import packet
from squall.runtime.attacher import Attacher
from squall.runtime.command import Command
from squall.runtime.container import Channels, Container, Held
from squall.runtime.ladder import Rung
from squall.runtime.spec import SandboxSpec
from squall.runtime.template import commands
from squall.runtime.template.prepared import Sandbox


@dataclass(slots=True)
class JoinedContainer(Container):
    """As its launcher holds it, in phase "waiting" until it has a sandbox.

    made_for: its sandbox was only made when it was asked for. spare: it is forked already, and waits to be asked for.
    was_spare: it did; doomed: nobody will. demanded: the only rung that will do. asked_spec: as it was asked for; its directory is the sandbox's. killed: who is to be told when it is killed. beside: has a child do something.
    """

    sandbox: Sandbox | None = None
    demanded: Rung | None = None
    asked_spec: SandboxSpec = field(init=False)
    attacher: Attacher | None = None
    on_entered: Callable[["JoinedContainer", int, int], None] | None = None
    made_for: bool = False
    spare: bool = False
    doomed: bool = False
    was_spare: bool = False
    killed: Callable[["JoinedContainer"], None] | None = None
    beside: Callable[[Callable[[], int]], None] | None = None
    _commands: dict[str, int] = field(default_factory=dict)
    _runner_fd: int = -1
    _runner_cpu_s: float = 0.0

    def __post_init__(self) -> None:
        self.phase = "waiting"
        self.asked_spec = self.spec

    def take(self, sandbox: Sandbox, channels: Channels) -> None:
        """Have this sandbox for its own, and our ends of the channels that its runner is given."""
        self.sandbox = sandbox
        self.phase = "building"
        self.spec = replace(self.spec, scratch=sandbox.scratch, veth=sandbox.veth)
        self.held = Held(
            line=sandbox.line, control=channels.control, pidfd=sandbox.pidfd, readable=channels.readable
        )
        self.init_pid = sandbox.pid
        self.group = sandbox.group
        self.tmpfs = sandbox.tmpfs
        self._hold = sandbox.hold
        self._mark("sandbox")

    def give_up_sandbox(self) -> Sandbox | None:
        """The sandbox that it had, which goes back to whoever gave it; its own channels are closed."""
        sandbox, self.sandbox = self.sandbox, None
        if sandbox is not None:
            self.held.control.close()
            self.held.close_readable()
        self._close_runner()
        return sandbox

    @property
    def rung(self) -> str:
        """Whether it was forked already, its sandbox was ready, or that was made on demand."""
        if self.was_spare:
            return "spare"
        return "on_demand" if self.made_for else "pooled"

    def become(
        self, spec: SandboxSpec, asked_at: float, announce: Callable[[dict[str, Any], tuple[int, ...]], None]
    ) -> None:
        """Be the container that was asked for, in place of a spare. Raises OSError where the spare has ended."""
        assert self.sandbox is not None, "a spare has its sandbox"
        packet.send(self.held.control, {"t": "begin", "env": changed_env(self.spec, spec)})
        self.spare, self.was_spare = False, True
        self.asked_spec, self.asked_at = spec, asked_at
        self.spec = replace(spec, scratch=self.sandbox.scratch, veth=self.sandbox.veth)
        self._marks.clear()
        self._mark("running")
        self._announce_started(announce)

    def _announce_started(self, announce: Callable[[dict[str, Any], tuple[int, ...]], None]) -> None:
        if not self.spare:
            Container._announce_started(self, announce)

    @property
    def is_own_child(self) -> bool:
        """It is the template's init that takes up its end."""
        return False

    @property
    def roots(self) -> tuple[int, ...]:
        """Its runner is a child of the template, and its commands are children of the launcher's children."""
        return (self.init_pid, *((self.pid,) if self.pid else ()), *self._commands.values())

    @property
    def addresses(self) -> dict[str, str]:
        """The sandbox's, and until it runs its own too: it may yet have to start without a template."""
        found = {}
        if self.sandbox is not None and self.sandbox.veth is not None:
            found[self.sandbox.id] = self.sandbox.veth.address
        if self.phase in {"waiting", "building"} and self.asked_spec.veth is not None:
            found[self.asked_spec.id] = self.asked_spec.veth.address
        return found

    def stop(self) -> None:
        """Ask the runner to end."""
        self.stop_asked = True
        if self._runner_fd >= 0:
            try:
                signal.pidfd_send_signal(self._runner_fd, signal.SIGTERM)
            except ProcessLookupError:
                pass  # It has ended by itself.

    def kill(self, *, asked: bool = True) -> None:
        """End the container at once."""
        self.stop_asked = self.stop_asked or asked
        if self.sandbox is not None:
            self.sandbox.kill()
        if self.killed is not None:
            self.killed(self)

    def execute(self, asked: Command) -> None:
        """Run a command beside the runner; a first process that rests starts none, so a child of the launcher does."""
        sandbox = self.sandbox
        if sandbox is None or not sandbox.rests or self.beside is None:
            Container.execute(self, asked)
            return
        entry = commands.Entry(
            spec=self.spec,
            host=self.host,
            pid=sandbox.pid,
            pidfd=sandbox.pidfd,
            group=self.group,
            line=sandbox.inner,
        )
        self.beside(lambda: commands.run(entry, asked))

    def runner_ended(self, status: int, cpu_s: float) -> None:
        """The runner has ended: the rest of the container goes with it."""
        if self._status is None:
            self._status = status
        self._runner_cpu_s += cpu_s
        if self.sandbox is not None:
            self.sandbox.kill()

    def entered(self, pid: int, inner_pid: int) -> None:
        """The runner has said its first word: it has this pid. inner_pid: as it says that the template's init counts."""
        if self.on_entered is not None:
            self.on_entered(self, pid, inner_pid)
        try:
            self._runner_fd = os.pidfd_open(pid)
        except ProcessLookupError:
            # It has ended already. How is told by who took that up; if that is gone too, it is lost.
            if self.sandbox is not None:
                self.sandbox.kill()
            return
        if self.group is not None and self.attacher is not None:
            # Until then it counts in the group of its template, which has the same limits.
            self.attacher.attach(self.group, pid)

    def _take(self, got: Any, announce: Callable[[dict[str, Any], tuple[int, ...]], None]) -> None:
        match got.message.get("t"):
            case "running" if self.phase == "building":
                self.entered(got.sender, int(got.message.get("inner_pid", 0)))
            case "execed":
                self._commands[got.message["exec"]] = got.sender
            case "exec_ended":
                self._commands.pop(got.message["exec"], None)
                self._runner_cpu_s += float(got.message.get("cpu_s", 0.0))
        Container._take(self, got, announce)

    def _close_runner(self) -> None:
        if self._runner_fd >= 0:
            os.close(self._runner_fd)
            self._runner_fd = -1

    def _reap(self) -> float:
        self._close_runner()
        if self.sandbox is not None:
            self.sandbox.inner.close()
        return self._runner_cpu_s + (0.0 if self.sandbox is None else self.sandbox.cpu_s)


def changed_env(had: SandboxSpec, wanted: SandboxSpec) -> dict[str, str]:
    """What of the environment that is wanted a process with the other one still has to be told."""
    return {name: value for name, value in wanted.env.items() if had.env.get(name) != value}
