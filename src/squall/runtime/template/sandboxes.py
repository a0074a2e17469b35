"""The prepared sandboxes of a template: made ahead of requests, kept until one is taken, and buried."""

import os
import selectors
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from squall.runtime import packet
from squall.runtime.cgroups import make_group
from squall.runtime.container import a_line, runner_channels
from squall.runtime.spec import SandboxSpec
from squall.runtime.template.around import Around
from squall.runtime.template.init_link import InitLink
from squall.runtime.template.plan import boxes_of
from squall.runtime.template.pool_plan import Pool, missing, wanted
from squall.runtime.template.prepared import Sandbox, make_directory

_FAILURES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TellOfSandboxes:
    """What whoever has sandboxes made is told.

    prepared: one more is ready. useless: they cannot be made, and why. spoke: the first process of one that was taken has
    said something, which is there to be read.
    """

    prepared: Callable[[], None]
    useless: Callable[[str], None]
    spoke: Callable[[Sandbox], None]


class Sandboxes:
    """Those of one template. spec: what those that are made from now on are like."""

    def __init__(self, spec: SandboxSpec, around: Around, init: InitLink, tell: TellOfSandboxes) -> None:
        self.spec = spec
        self._around = around
        self._init = init
        self._tell = tell
        self._pool: deque[Sandbox] = deque()
        self._making: dict[str, Sandbox] = {}
        self._all: dict[str, Sandbox] = {}
        self._seen = Pool()
        self._count = 0
        self._failures = 0

    @property
    def seen(self) -> Pool:
        """How starts have come so far."""
        return self._seen

    @property
    def ready(self) -> int:
        """How many can be taken."""
        return len(self._pool)

    def count_start(self) -> None:
        """A container was asked for."""
        self._seen = self._seen.started(self._around.now_s())

    def take(self, *, newest: bool = False) -> Sandbox | None:
        """One that is ready, the caller's from now on."""
        if not self._pool:
            return None
        sandbox = self._pool.pop() if newest else self._pool.popleft()
        sandbox.taken = True
        return sandbox

    def fill(self, *, waiting: int) -> None:
        """Have as many made as are wanted; waiting: containers that wait for one."""
        short = missing(
            self._seen,
            now_s=self._around.now_s(),
            ready=len(self._pool),
            making=len(self._making),
            waiting=waiting,
        )
        for _ in range(short):
            try:
                self._make()
            except OSError as problem:
                self._failed(f"{problem}")
                return

    def make_one(self) -> None:
        """Have one made for somebody who takes none that is there."""
        try:
            self._make()
        except OSError as problem:
            self._failed(f"{problem}")

    def trim(self) -> None:
        """End those that nobody has asked for in a while, the oldest first."""
        for _ in range(len(self._pool) - wanted(self._seen, now_s=self._around.now_s())):
            self._pool.popleft().kill()

    def give_up_all(self) -> None:
        """Those that are ready, or will be, are for nobody: whoever let them go ends them, or they do as they are made."""
        self._pool.clear()
        self._making.clear()

    def made(self, name: str, inner_pid: int) -> None:
        """The template's init has forked the first process of this one."""
        self._all[name].inner_pid = inner_pid

    def unmade(self, name: str, why: str) -> None:
        """The template's init could not."""
        self._making.pop(name, None)
        self.bury(self._all[name])
        self._failed(why)

    def by_inner_pid(self, inner_pid: int) -> Sandbox | None:
        """The one whose first process has this pid for the template's init."""
        return next((one for one in self._all.values() if one.inner_pid == inner_pid), None)

    @property
    def all(self) -> list[Sandbox]:
        """Every one that has not ended."""
        return list(self._all.values())

    def ended(self, sandbox: Sandbox) -> None:
        """Its first process has ended, before any container took it."""
        if sandbox in self._pool:
            self._pool.remove(sandbox)
        was_making = self._making.pop(sandbox.id, None) is not None
        self.bury(sandbox)
        if was_making:
            self._failed("its first process ended")

    def leave(self, sandbox: Sandbox) -> None:
        """One that a container took has ended: that container removes what is left of it."""
        self._all.pop(sandbox.id, None)
        self._around.joining.leave(sandbox.id)
        self._around.unlisten(sandbox.line.fileno())

    def bury(self, sandbox: Sandbox) -> None:
        """Remove what is left of one that no container has."""
        self.leave(sandbox)
        sandbox.discard()
        if sandbox.group is not None:
            self._around.remove_group(sandbox.group)
        self._around.sweep(sandbox.scratch)

    def _make(self) -> None:
        host = self._around.host
        self._count += 1
        name = f"{self.spec.id}.{self._count}"
        path = f"{boxes_of(self.spec.scratch)}/{self._count}"
        hold = make_directory(path, self.spec.uid_base if host.privileged else None)
        line, inner = a_line()
        sandbox = Sandbox(
            id=name,
            scratch=path,
            hold=hold,
            line=line,
            inner=inner,
            group=None,
            asked_at=self._around.now_s(),
        )
        try:
            if host.cgroup.usable:
                sandbox.group = make_group(host.cgroup, self._around.group_name(name), self.spec.limits)
            self._init.say({"t": "sandbox", "sandbox": name, "scratch": path}, (inner.fileno(),))
        except (BrokenPipeError, ConnectionResetError):
            # That init has ended, as the next look at its pidfd shows: no failure of a sandbox.
            self.bury(sandbox)
            return
        except OSError:
            self.bury(sandbox)
            raise
        self._making[name] = self._all[name] = sandbox
        self._around.joining.want(name, self.spec)
        self._around.selector.register(line, selectors.EVENT_READ, lambda: self._hear(sandbox))

    def _hear(self, sandbox: Sandbox) -> None:
        if sandbox.taken:
            self._tell.spoke(sandbox)
            return
        try:
            got = packet.receive(sandbox.line)
        except (BlockingIOError, ValueError, OSError):
            return
        if got is None:
            self._around.unlisten(sandbox.line.fileno())
            return
        try:
            self._take(sandbox, got.message, got)
        except OSError:
            # It has ended in between, which the template's init tells.
            sandbox.kill()
        finally:
            for fd in got.fds:
                os.close(fd)

    def _take(self, sandbox: Sandbox, message: dict[str, Any], got: packet.Packet) -> None:
        match message.get("t"):
            case "ready":
                sandbox.pid = got.sender
                sandbox.pidfd = os.pidfd_open(got.sender)
                if sandbox.id not in self._making:
                    sandbox.kill()
                    return
                if not self._around.host.cgroup.limits_memory:
                    sandbox.tmpfs = tuple(os.dup(fd) for fd in got.fds)
                if sandbox.group is not None and self._init.attacher is not None:
                    self._init.attacher.attach(sandbox.group, sandbox.pid)
                self._around.joining.join(
                    sandbox.id, self.spec, sandbox.pid, lambda why: self._joined(sandbox, why)
                )
            case "prepared" if sandbox.id in self._making:
                sandbox.namespaces = tuple(os.dup(fd) for fd in got.fds)
                sandbox.rests = bool(message.get("rests"))
                sandbox.channels = runner_channels()
                self._making.pop(sandbox.id, None)
                self._failures = 0
                self._pool.append(sandbox)
                self._tell.prepared()
            case "failed":
                self._failed(str(message["step"]))

    def _joined(self, sandbox: Sandbox, why: str) -> None:
        """Its network is joined to the host's, or why not: what is left to be done in it can be done now."""
        if self._all.get(sandbox.id) is not sandbox:
            return
        sandbox.veth = self._around.joining.veth_of(sandbox.id)
        if why:
            self._making.pop(sandbox.id, None)
            sandbox.kill()
            self._failed(f"its network could not be joined to the host's: {why}")
            return
        try:
            packet.send(sandbox.line, {"t": "go"})
        except OSError:
            # It has ended in between, which the template's init tells.
            sandbox.kill()

    def _failed(self, why: str) -> None:
        """One could not be made. Several in a row, and the template is of no use."""
        self._failures += 1
        if self._failures >= _FAILURES:
            self._tell.useless(why)
        else:
            self._tell.prepared()
