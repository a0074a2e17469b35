"""The launcher's half of a template: starts its init, has the code loaded and sandboxes prepared, and sends forks out."""

import os
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from squall.runtime import namespaces, packet, scratch, syscalls
from squall.runtime.apply import NAMESPACES
from squall.runtime.attacher import Attacher
from squall.runtime.cgroups import Group, make_group
from squall.runtime.container import Container, a_line, open_or_end
from squall.runtime.host import Host
from squall.runtime.spec import SandboxSpec
from squall.runtime.template import init
from squall.runtime.template.joined import JoinedContainer
from squall.runtime.template.plan import boxes_of, plan_template
from squall.runtime.template.pool_plan import Pool, missing
from squall.runtime.template.prepared import Sandbox, make_directory
from squall.runtime.timers import Timers

Message = dict[str, Any]
State = Literal["building", "ready", "refused", "gone"]

_REMOVE_AGAIN_S = 0.02
_READ = 16 * 1024
# A template that does not take up the end of what it has forked keeps the container's namespaces from ending.
_REAP_PATIENCE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What a keeper lives among. sweep: removes a directory beside everything else; changed: its state is another;
    printed: its code has printed this to 1 or 2; begun: a container has its sandbox; heard: the first process of a container says something; ended: one has
    ended; fell: one could not be sent out, and why.
    """

    host: Host
    instance: str
    selector: selectors.BaseSelector
    timers: Timers
    sweep: Callable[[str], None]
    changed: Callable[["Keeper"], None]
    printed: Callable[[int, bytes], None]
    begun: Callable[[JoinedContainer], None]
    heard: Callable[[JoinedContainer], None]
    ended: Callable[[JoinedContainer], None]
    fell: Callable[[JoinedContainer, str], None]


class Keeper:
    """One template, its prepared sandboxes, and the containers that were forked from it."""

    def __init__(self, spec: SandboxSpec, load: Mapping[str, Any], around: Around) -> None:
        self.spec = spec
        self.state: State = "building"
        self.why: Message = {}
        self.pid = 0
        self._printed: dict[int, int] = {}
        self._load = dict(load)
        self._around = around
        self._top = spec.scratch
        self._plan = plan_template(spec, around.host, top=self._top)
        self._pool: deque[Sandbox] = deque()
        self._making: dict[str, Sandbox] = {}
        self._all: dict[str, Sandbox] = {}
        self._pool_seen = Pool()
        self._waiting: deque[JoinedContainer] = deque()
        self._containers: dict[str, JoinedContainer] = {}
        self._runners: dict[int, JoinedContainer] = {}
        self._count = 0
        self._failures = 0
        self._closing = False
        self._init_pid = 0
        self._init_pidfd = -1
        self._template_inner_pid = 0
        self._group: Group | None = None
        self._attacher: Attacher | None = None
        self._hold = -1
        self._line: socket.socket
        self._control: socket.socket | None = None

    # its life

    def start(self) -> None:
        """Begin; what follows is told through `changed`. Raises OSError where not even its init could be made."""
        host = self._around.host
        owner = self.spec.uid_base if host.privileged else None
        self._hold = scratch.make(self._top)
        for path in (boxes_of(self._top), self._own_spec().scratch):
            os.mkdir(path, 0o700)
            if owner is not None:
                os.chown(path, owner, owner)
        if host.cgroup.usable:
            self._group = make_group(host.cgroup, self._group_name(self.spec.id), self.spec.limits)
            self._attacher = Attacher()
        self._line, inner = a_line()
        flags = 0
        for name in self._plan.namespaces:
            flags |= NAMESPACES[name]
        try:
            self._init_pid = syscalls.clone(flags)
            if self._init_pid == 0:
                init.live(init.TemplateBirth(spec=self._own_spec(), plan=self._plan, host=host, line=inner))
            self._init_pidfd = open_or_end(self._init_pid)
        finally:
            inner.close()
        if "user" in self._plan.namespaces:
            namespaces.write_id_maps(self._init_pid, host, uid_base=self.spec.uid_base)
            packet.send(self._line, {"t": "mapped"})
        if self._group is not None:
            self._group.add(self._init_pid)
        selector = self._around.selector
        selector.register(self._line, selectors.EVENT_READ, self._hear_init)
        selector.register(self._init_pidfd, selectors.EVENT_READ, self._init_ended)

    def close(self) -> None:
        """Send nothing out any more; it goes with the last of its containers."""
        if self._closing:
            return
        self._closing = True
        if self.state in {"building", "ready"}:
            self.state = "gone"
        self._drop_template()
        for sandbox in list(self._all.values()):
            if not sandbox.taken:
                sandbox.kill()
        self._end_if_unused()

    @property
    def is_live(self) -> bool:
        """Whether its init has not been reaped yet."""
        return self._init_pidfd >= 0

    # what it is asked for

    def fits(self, spec: SandboxSpec) -> bool:
        """Whether containers like `spec` are what this template is for."""
        own = self.spec
        return replace(spec, id=own.id, scratch=own.scratch, env=own.env) == own

    def send_out(self, container: JoinedContainer) -> None:
        """Fork the template into a prepared sandbox for `container`, as soon as there is one."""
        self._pool_seen = self._pool_seen.started(time.monotonic())
        container.attacher = self._attacher
        self._containers[container.spec.id] = container
        if self._pool and container.demanded != "on_demand":
            self._fork(container, self._pool.popleft())
        else:
            container.made_for = container.demanded != "pooled"
            self._waiting.append(container)
        self._fill()

    def forget(self, container: Container) -> None:
        """A container that waits for its sandbox is not wanted any more."""
        self._waiting = deque(one for one in self._waiting if one is not container)
        if self._containers.get(container.spec.id) is container:
            del self._containers[container.spec.id]

    def _fork(self, container: JoinedContainer, sandbox: Sandbox) -> None:
        control = self._control
        sandbox.taken = True
        ends = container.take(sandbox)
        try:
            if control is None:
                raise BrokenPipeError("the template is gone")
            message = {"t": "fork", "container": container.spec.id, "env": dict(container.spec.env)}
            fds = (*sandbox.namespaces, *ends.all(), sandbox.inner.fileno())
            packet.send(control, message, fds)
            self._around.begun(container)
        except (OSError, ValueError) as problem:
            self._fall(container, f"{problem}")
        finally:
            ends.close()
            sandbox.close_doors()

    def _fall(self, container: JoinedContainer, why: str) -> None:
        """The template could not send this one out; its sandbox goes, and the launcher starts it another way."""
        self._containers.pop(container.spec.id, None)
        sandbox = container.give_up_sandbox()
        if sandbox is not None:
            sandbox.taken = False
            sandbox.kill()
        self._around.fell(container, why)

    # prepared sandboxes

    def _fill(self) -> None:
        if self._closing or self.state not in {"building", "ready"} or not self.pid:
            return
        wanted = missing(
            self._pool_seen,
            now_s=time.monotonic(),
            ready=len(self._pool),
            making=len(self._making),
            waiting=len(self._waiting),
        )
        for _ in range(wanted):
            try:
                self._prepare()
            except OSError as problem:
                self._unmade(f"{problem}")
                return

    def _prepare(self) -> None:
        host = self._around.host
        self._count += 1
        name = f"{self.spec.id}.{self._count}"
        path = f"{boxes_of(self._top)}/{self._count}"
        hold = make_directory(path, self.spec.uid_base if host.privileged else None)
        line, inner = a_line()
        sandbox = Sandbox(
            id=name, scratch=path, hold=hold, line=line, inner=inner, group=None, asked_at=time.monotonic()
        )
        try:
            if host.cgroup.usable:
                sandbox.group = make_group(host.cgroup, self._group_name(name), self.spec.limits)
            packet.send(self._line, {"t": "sandbox", "sandbox": name, "scratch": path}, (inner.fileno(),))
        except OSError:
            self._bury(sandbox)
            raise
        self._making[name] = self._all[name] = sandbox
        self._around.selector.register(line, selectors.EVENT_READ, lambda: self._hear_sandbox(sandbox))

    def _hear_sandbox(self, sandbox: Sandbox) -> None:
        """What the first process of a sandbox says before a container takes it over."""
        if sandbox.taken:
            container = next((c for c in self._containers.values() if c.sandbox is sandbox), None)
            if container is not None:
                self._around.heard(container)
            return
        try:
            got = packet.receive(sandbox.line)
        except (BlockingIOError, ValueError, OSError):
            return
        if got is None:
            self._unlisten(sandbox.line)
            return
        match got.message.get("t"):
            case "ready":
                sandbox.pid = got.sender
                sandbox.pidfd = os.pidfd_open(got.sender)
                if not self._around.host.cgroup.limits_memory:
                    sandbox.tmpfs = tuple(os.dup(fd) for fd in got.fds)
                if sandbox.group is not None and self._attacher is not None:
                    self._attacher.attach(sandbox.group, sandbox.pid)
                packet.send(sandbox.line, {"t": "go"})
            case "prepared":
                sandbox.namespaces = tuple(os.dup(fd) for fd in got.fds)
                sandbox.built_ms = (got.message["at"] - sandbox.asked_at) * 1000
                self._making.pop(sandbox.id, None)
                self._failures = 0
                self._pool.append(sandbox)
                # The newest first: who waits asked for one that was not there.
                self._serve_waiting()
            case "failed":
                self._unmade(str(got.message["step"]))
        for fd in got.fds:
            os.close(fd)

    def _serve_waiting(self) -> None:
        while self.state == "ready" and self._waiting and self._pool:
            self._fork(self._waiting.popleft(), self._pool.pop())
        self._fill()

    def _unmade(self, why: str) -> None:
        """A sandbox could not be made. Several in a row, and this template is of no use."""
        self._failures += 1
        if self._failures >= 3:
            self._refuse({"reason": "sandbox", "why": f"its sandboxes cannot be made: {why}"})
        else:
            self._fill()

    # what its init says

    def _hear_init(self) -> None:
        while True:
            try:
                got = packet.receive(self._line)
            except BlockingIOError:
                return
            except (OSError, ValueError):
                got = None
            if got is None:
                self._unlisten(self._line)
                return
            self._take_from_init(got.message)

    def _take_from_init(self, message: Message) -> None:
        match message.get("t"):
            case "ready":
                if self._around.host.privileged:
                    namespaces.write_id_maps(self._init_pid, self._around.host, uid_base=self.spec.uid_base)
                packet.send(self._line, {"t": "go"})
            case "settled":
                self._start_template()
            case "template":
                self._template_inner_pid = message["pid"]
                self.pid = self.pid or -1
                self._fill()
            case "made":
                self._making[message["sandbox"]].inner_pid = message["pid"]
            case "unmade":
                self._bury(self._all[message["sandbox"]])
                self._unmade(str(message["why"]))
            case "failed":
                self._refuse({"reason": "sandbox", "why": str(message["why"])})
            case "ended":
                self._ended(message["pid"], int(message["status"]), float(message["cpu_s"]))

    def _start_template(self) -> None:
        control, inner = a_line()
        self._control = control
        (out, inner_out), (err, inner_err) = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
        try:
            packet.send(
                self._line, {"t": "template", "load": self._load}, (inner.fileno(), inner_out, inner_err)
            )
        finally:
            inner.close()
            os.close(inner_out)
            os.close(inner_err)
        selector = self._around.selector
        selector.register(control, selectors.EVENT_READ, self._hear_template)
        for stream, fd in ((1, out), (2, err)):
            os.set_blocking(fd, False)
            self._printed[fd] = stream
            selector.register(fd, selectors.EVENT_READ, partial(self._read_printed, fd))

    def _read_printed(self, fd: int) -> None:
        """What the user's code prints while it is loaded: read also where nobody asks, so that it does not wait."""
        data = os.read(fd, _READ)
        if data:
            self._around.printed(self._printed[fd], data)
        else:
            self._close_printed(fd)

    def _close_printed(self, fd: int) -> None:
        del self._printed[fd]
        self._around.selector.unregister(fd)
        os.close(fd)

    def _ended(self, inner_pid: int, status: int, cpu_s: float) -> None:
        """A child of its init has ended: the template, the first process of a sandbox, or a runner that it inherited."""
        if inner_pid == self._template_inner_pid:
            self._template_ended(status)
            return
        if (container := self._runners.pop(inner_pid, None)) is not None:
            container.runner_ended(status, cpu_s)
            return
        for sandbox in list(self._all.values()):
            if sandbox.inner_pid == inner_pid:
                sandbox.cpu_s, sandbox.ended = cpu_s, True
                self._sandbox_ended(sandbox)
                return

    def _sandbox_ended(self, sandbox: Sandbox) -> None:
        self._all.pop(sandbox.id, None)
        container = next((c for c in self._containers.values() if c.sandbox is sandbox), None)
        if container is not None:
            # What the template has said of its child may still be on its way.
            self._hear_template()
            self._unlisten(sandbox.line)
            self._containers.pop(container.spec.id, None)
            self._around.ended(container)
        else:
            if sandbox in self._pool:
                self._pool.remove(sandbox)
            self._bury(sandbox)
            if self._making.pop(sandbox.id, None) is not None:
                self._unmade("the first process ended")
            else:
                self._fill()
        self._end_if_unused()

    def _bury(self, sandbox: Sandbox) -> None:
        """Remove what is left of a sandbox that no container has taken."""
        self._all.pop(sandbox.id, None)
        self._unlisten(sandbox.line)
        sandbox.discard()
        if sandbox.group is not None:
            self._remove_group(sandbox.group)
        self._around.sweep(sandbox.scratch)

    # what the template says

    def _hear_template(self) -> None:
        while self._control is not None:
            try:
                got = packet.receive(self._control)
            except BlockingIOError:
                return
            except (OSError, ValueError):
                got = None
            if got is None:
                self._close_control()
                return
            for fd in got.fds:
                os.close(fd)
            try:
                self._take_from_template(got)
            except (KeyError, TypeError, ValueError):
                # User code runs in there: what makes no sense ends the template, and nothing else.
                self._kill_template()

    def _take_from_template(self, got: packet.Packet) -> None:
        message = got.message
        match message.get("t"):
            case "ready" if self.state == "building":
                self.pid = got.sender
                self.state, self.why = "ready", message
                self._around.changed(self)
                self._serve_waiting()
            case "refused" if self.state == "building":
                self._refuse(message)
            case "forked":
                container = self._containers.get(str(message["container"]))
                if container is None:
                    return
                if "why" in message:
                    self._fall(container, str(message["why"]))
                else:
                    self._runners[int(message["pid"])] = container
            case "ended":
                container = self._runners.pop(int(message["pid"]), None)
                if container is not None:
                    container.runner_ended(int(message["status"]), float(message["cpu_s"]))

    def _refuse(self, why: Message) -> None:
        if self.state not in {"building", "ready"}:
            return
        self.state, self.why = "refused", why
        self._drop_waiting(str(why.get("why", "")))
        self._around.changed(self)
        self.close()

    def _template_ended(self, status: int) -> None:
        """Its containers go on: only nothing is forked from it any more."""
        self._hear_template()
        self._template_inner_pid = 0
        self._close_control()
        if self.state in {"building", "ready"}:
            over = self._group is not None and self._group.oom_kills() > 0
            ended = _how(status)
            why = "it ran out of memory while it loaded the code" if over else f"it {ended}"
            building = self.state == "building"
            self.state = "refused" if building else "gone"
            self.why = {"reason": "ended", "why": why}
            self._drop_waiting(why)
            self._around.changed(self)
        self.close()

    def _drop_waiting(self, why: str) -> None:
        while self._waiting:
            self._fall(self._waiting.popleft(), why)
        for container in [c for c in self._containers.values() if c.phase == "building"]:
            self._fall(container, why)

    def _drop_template(self) -> None:
        self._drop_waiting("its template is closed")
        # At the end of its socket it ends by itself, unless it hangs.
        self._close_control()
        self._kill_template()

    def _kill_template(self) -> None:
        if self._template_inner_pid and self.is_live:
            packet.send(self._line, {"t": "kill", "pid": self._template_inner_pid})

    def _close_control(self) -> None:
        if self._control is not None:
            self._around.selector.unregister(self._control)
            self._control.close()
            self._control = None

    # its end

    def watch_end_of(self, container: JoinedContainer) -> None:
        """A container was killed: if its end is not taken up in time, the template is what holds it."""

        def look() -> None:
            if container.is_live and self._template_inner_pid:
                self._kill_template()

        self._around.timers.at(time.monotonic() + _REAP_PATIENCE_S, look)

    def _end_if_unused(self) -> None:
        if self._closing and not self._containers and self.is_live:
            signal.pidfd_send_signal(self._init_pidfd, signal.SIGKILL)

    def _init_ended(self) -> None:
        """All that was below it has ended with it."""
        self._hear_init()
        selector = self._around.selector
        selector.unregister(self._init_pidfd)
        self._unlisten(self._line)
        os.waitpid(self._init_pid, 0)
        os.close(self._init_pidfd)
        self._init_pidfd = -1
        self._line.close()
        self._close_control()
        told = self.state in {"building", "ready"}
        if told:
            self.state = "refused" if self.state == "building" else "gone"
            self.why = self.why or {"reason": "ended", "why": "its init ended"}
        self._closing = True
        self._drop_waiting("the init of its template ended")
        for sandbox in list(self._all.values()):
            sandbox.ended = True
            self._sandbox_ended(sandbox)
        for fd in list(self._printed):
            self._close_printed(fd)
        os.close(self._hold)
        if self._attacher is not None:
            self._attacher.close()
        if self._group is not None:
            self._remove_group(self._group)
        self._around.sweep(self._top)
        if told:
            self._around.changed(self)

    def _unlisten(self, line: socket.socket) -> None:
        if line.fileno() in self._around.selector.get_map():
            self._around.selector.unregister(line)

    def _remove_group(self, group: Group) -> None:
        try:
            removed = group.remove()
        except OSError:
            return  # The next launcher's sweep finds it.
        if not removed:
            self._around.timers.at(time.monotonic() + _REMOVE_AGAIN_S, lambda: self._remove_group(group))

    def _own_spec(self) -> SandboxSpec:
        return replace(self.spec, scratch=f"{boxes_of(self._top)}/template")

    def _group_name(self, name: str) -> str:
        return f"squall-{self._around.instance}-{name}"


def _how(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"was ended by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exited with code {os.WEXITSTATUS(status)}"
