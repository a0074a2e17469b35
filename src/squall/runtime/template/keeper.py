"""The launcher's half of a template: has the code loaded and sandboxes prepared, and sends forks out."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from squall.runtime.container import Container
from squall.runtime.spec import SandboxSpec
from squall.runtime.template.around import Around
from squall.runtime.template.init_link import InitLink
from squall.runtime.template.joined import JoinedContainer, changed_env
from squall.runtime.template.packages_link import PackagesLink
from squall.runtime.template.plan import is_strict, without_source
from squall.runtime.template.pool_plan import LEAST, WINDOW_S, spares_wanted
from squall.runtime.template.prepared import Sandbox
from squall.runtime.template.runners import Runners, how_ended
from squall.runtime.template.sandboxes import Sandboxes, TellOfSandboxes
from squall.runtime.template.template_link import TemplateLink

Message = dict[str, Any]
State = Literal["building", "ready", "refused", "gone", "resting"]

# A template that does not take up the end of what it has forked keeps the container's namespaces from ending.
REAP_PATIENCE_S = 2.0
_REFILL_AFTER_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """What a keeper tells its launcher.

    changed: its state is another. spare: one is there to be taken. printed: its code has printed this to 1 or 2. begun: a container has its sandbox; heard:
    the first process of one says something; ended: one has ended; fell: one could not be sent out, and why.
    """

    changed: Callable[["Keeper"], None]
    spare: Callable[["Keeper"], None]
    printed: Callable[[int, bytes], None]
    begun: Callable[[JoinedContainer], None]
    heard: Callable[[JoinedContainer], None]
    ended: Callable[[JoinedContainer], None]
    fell: Callable[[JoinedContainer, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """What a template is made of.

    spec: of the containers that are forked from it; load: what its entry is called with, and code a file with what of that travels
    by value, which stays the caller's. source: that of the lower directories which a later version has another of, if one may follow.
    """

    spec: SandboxSpec
    load: Mapping[str, Any]
    code: int | None = None
    source: str | None = None


class Keeper:
    """One template, its prepared sandboxes, and the containers that were forked from it.

    While its packages stay, another version can take the place of one that nobody wants any more.
    """

    def __init__(self, version: Version, around: Around, tell: Tell) -> None:
        self.spec = spec = version.spec
        self._shared = without_source(spec, version.source)
        self.state: State = "building"
        self.why: Message = {}
        self.pid = 0
        self._around = around
        self._tell = tell
        self._init = InitLink(
            spec,
            around,
            source=None if self._shared is None else version.source,
            hear=self._hear_init,
            ended=self._init_ended,
        )
        told = TellOfSandboxes(prepared=self._go_on, useless=self._no_sandboxes, spoke=self._spoke)
        self._sandboxes = Sandboxes(spec, around, self._init, told)
        self._waiting: deque[JoinedContainer] = deque()
        self._containers: dict[str, JoinedContainer] = {}
        self._runners = Runners()
        self._template = TemplateLink(
            around, self._init, hear=self._take, born=self._template_born, printed=tell.printed
        )
        self._template.load_next(spec, version.load, version.code, may_stay=self._shared is not None)
        self._closing = False
        self._trims = False
        self._fills = False

    # its life

    def start(self) -> None:
        """Begin; what follows is told. Raises OSError where not even its init could be made."""
        try:
            self._init.start()
        except OSError:
            self._template.close()
            raise

    def close(self) -> None:
        """Send nothing out any more; it goes with the last of its containers."""
        self.packages.close()
        if self.state in {"building", "ready"}:
            self.state = "gone"
        self._let_go()
        self._end_if_unused()

    def rest(self) -> None:
        """Keep nothing but the packages, for a later version; without them it is closed."""
        if not self.packages.stays:
            self.close()
            return
        self.state = "resting"
        self._let_go()

    def can_renew(self, version: Version) -> bool:
        """Whether this version can take the place of the one before."""
        shared = without_source(version.spec, version.source)
        left = all(one.doomed for one in self._containers.values())
        idle = self._closing and left and self.is_live and self.packages.stays
        return idle and shared is not None and shared == self._shared

    def renew(self, version: Version) -> None:
        """Become the template of another version, from the packages that stay."""
        self.spec = replace(version.spec, id=self.spec.id, scratch=self.spec.scratch)
        self._sandboxes.spec = self.spec
        self.state, self.why, self.pid = "building", {}, 0
        self._closing = False
        try:
            self._template.load_next(self.spec, version.load, version.code, may_stay=True)
            self._template.start_from_packages()
        except (OSError, ValueError):
            # What its init cannot be told any more ends with it.
            self._init.kill()

    def _let_go(self) -> None:
        """No template any more, and no sandbox but those that containers are in."""
        if self._closing:
            return
        self._closing = True
        self._drop_waiting("its template is closed")
        self._template.hang_up()
        self._template.kill()
        for container in self._containers.values():
            container.doomed = container.spare
        in_use = [one.sandbox for one in self._containers.values() if not one.spare]
        for sandbox in self._sandboxes.all:
            if sandbox not in in_use:
                sandbox.kill()
        self._sandboxes.give_up_all()

    @property
    def is_live(self) -> bool:
        """Whether anything of it runs."""
        return self._init.is_live

    @property
    def packages(self) -> PackagesLink:
        """Those from which a later version may come."""
        return self._template.packages

    # what it is asked for

    def fits(self, spec: SandboxSpec) -> bool:
        """Whether containers like `spec` are what this template is for."""
        return spec.like(self.spec)

    def send_out(self, container: JoinedContainer) -> None:
        """Fork the template into a prepared sandbox for `container`, as soon as there is one."""
        self._sandboxes.count_start()
        self._equip(container)
        self._containers[container.spec.id] = container
        sandbox = self._sandboxes.take() if container.demanded != "on_demand" else None
        if sandbox is not None:
            self._fork(container, sandbox)
            self._fill_later()
        else:
            container.made_for = container.demanded != "pooled"
            self._waiting.append(container)
            if container.demanded == "on_demand":
                self._sandboxes.make_one()
            self._fill()

    def forget(self, container: Container) -> None:
        """A container that waits for its sandbox is not wanted any more."""
        self._waiting = deque(one for one in self._waiting if one is not container)
        if self._containers.get(container.spec.id) is container:
            del self._containers[container.spec.id]

    @property
    def spares(self) -> int:
        """How many forks wait to be asked for."""
        return len(self._idle_spares)

    @property
    def _idle_spares(self) -> list[JoinedContainer]:
        return [
            one
            for one in self._containers.values()
            if one.spare and one.phase == "running" and not one.doomed
        ]

    @property
    def _spares_wanted(self) -> int:
        return spares_wanted(self._sandboxes.seen, now_s=self._around.now_s())

    def take_spare(self) -> JoinedContainer | None:
        """One that is forked already and waits, if there is one: the caller's from now on, under its own name."""
        found = next(iter(self._idle_spares), None)
        if found is not None:
            self._sandboxes.count_start()
            del self._containers[found.spec.id]
        return found

    def rename(self, container: JoinedContainer) -> None:
        """A spare has become this container."""
        self._containers[container.spec.id] = container
        self._fill_later()

    # forks

    def _go_on(self) -> None:
        """There may be one more sandbox: for those who wait first."""
        while self.state == "ready" and self._waiting:
            # The newest: who waits asked for one that was not there.
            sandbox = self._sandboxes.take(newest=True)
            if sandbox is None:
                break
            self._fork(self._waiting.popleft(), sandbox)
        self._fill()

    def _fill_later(self) -> None:
        """Not beside a start that is under way: it would have to share the cores, and the kernel's locks."""
        if not self._fills:
            self._fills = True
            self._around.timers.at(self._around.now_s() + _REFILL_AFTER_S, self._fill)

    def _fill(self) -> None:
        self._fills = False
        if self._closing or not self._template.inner_pid:
            return
        self._sandboxes.fill(waiting=len(self._waiting))
        if not self._trims and (self._sandboxes.ready > LEAST or self.spares > 1):
            self._trims = True
            self._around.timers.at(self._around.now_s() + 2 * WINDOW_S, self._trim)
        if self.state == "ready" and not self._waiting:
            self._keep_spares()

    def _trim(self) -> None:
        self._trims = False
        if not self._closing:
            self._sandboxes.trim()
            for spare in self._idle_spares[self._spares_wanted :]:
                spare.kill()
            self._fill()

    def _keep_spares(self) -> None:
        spares = sum(one.spare and not one.doomed for one in self._containers.values())
        for _ in range(self._spares_wanted - spares):
            sandbox = self._sandboxes.take()
            if sandbox is None:
                return
            spec = replace(self.spec, id=sandbox.id)
            spare = JoinedContainer(spec, self._around.host, self._around.instance, self._around.now_s())
            spare.spare = True
            self._equip(spare)
            self._containers[spec.id] = spare
            self._fork(spare, sandbox)

    def _equip(self, container: JoinedContainer) -> None:
        container.attacher = self._init.attacher
        container.killed = self._watch_end_of
        container.on_entered = self._runners.entered
        container.beside = self._around.beside

    def _fork(self, container: JoinedContainer, sandbox: Sandbox) -> None:
        channels = sandbox.take_channels()
        why = ""
        try:
            message: Message = {"t": "fork", "container": container.spec.id, "spare": container.spare}
            message["env"] = changed_env(self.spec, container.spec)
            self._template.send(message, (*sandbox.namespaces, *channels.ends, sandbox.inner.fileno()))
        except (OSError, ValueError) as problem:
            why = f"{problem}"
        # The template is at work from here on: what else is to be done is done beside it.
        container.take(sandbox, channels)
        channels.ends.close()
        sandbox.close_doors()
        if why:
            self._fall(container, why)
        elif not container.spare:
            self._tell.begun(container)

    def _fall(self, container: JoinedContainer, why: str) -> None:
        """The template could not send this one out; its sandbox goes, and the launcher starts it another way."""
        self._containers.pop(container.spec.id, None)
        sandbox = container.give_up_sandbox()
        if sandbox is not None:
            sandbox.kill()
        if not container.spare:
            self._tell.fell(container, why)

    def _drop_waiting(self, why: str) -> None:
        while self._waiting:
            self._fall(self._waiting.popleft(), why)
        for container in [one for one in self._containers.values() if one.phase == "building"]:
            self._fall(container, why)

    def _spoke(self, sandbox: Sandbox) -> None:
        container = self._holder_of(sandbox)
        if container is not None and container.spare:
            container.hear(lambda _message, _fds: None)
            if container.phase == "running":
                self._tell.spare(self)
        elif container is not None:
            self._tell.heard(container)

    def _holder_of(self, sandbox: Sandbox) -> JoinedContainer | None:
        return next((one for one in self._containers.values() if one.sandbox is sandbox), None)

    def _watch_end_of(self, container: JoinedContainer) -> None:
        """A container was killed: if its end is not taken up in time, the template is what holds it."""

        def look() -> None:
            if any(one is container for one in self._containers.values()):
                self._template.kill()

        self._around.timers.at(self._around.now_s() + REAP_PATIENCE_S, look)

    # what its init says

    def _hear_init(self, message: Message) -> None:
        match message.get("t"):
            case "ready":
                self._init.map_ids()
            case "settled":
                self._template.start()
            case "template":
                self._template.forked(message)
            case "made":
                self._sandboxes.made(message["sandbox"], message["pid"])
            case "unmade":
                self._sandboxes.unmade(message["sandbox"], str(message["why"]))
            case "failed":
                self._refuse({"reason": "sandbox", "why": str(message["why"])})
            case "ended":
                self._ended(message["pid"], int(message["status"]), float(message["cpu_s"]))

    def _ended(self, inner_pid: int, status: int, cpu_s: float) -> None:
        """A child of its init has ended: the template, the first process of a sandbox, or a runner that it inherited."""
        if inner_pid == self._template.inner_pid:
            self._template_ended(status)
        elif inner_pid == self.packages.inner_pid:
            self.packages.ended()
            self._end_if_unused()
        elif self._runners.ended(inner_pid, status, cpu_s):
            pass
        elif (sandbox := self._sandboxes.by_inner_pid(inner_pid)) is not None:
            sandbox.cpu_s = cpu_s
            self._sandbox_ended(sandbox)
        else:
            self._runners.ended_early(inner_pid, status, cpu_s)

    def _sandbox_ended(self, sandbox: Sandbox) -> None:
        if self._holder_of(sandbox) is not None:
            # What the template has said of its child may still be on its way, or that it could make none.
            self._template.listen()
        container = self._holder_of(sandbox)
        if container is None:
            self._sandboxes.ended(sandbox)
        else:
            del self._containers[container.spec.id]
            if container.spare:
                container.give_up_sandbox()
                self._sandboxes.ended(sandbox)
            else:
                self._sandboxes.leave(sandbox)
                self._tell.ended(container)
                # The container has closed it; what the template says later of the runner must not reach another's.
                sandbox.pidfd = -1
        self._fill()
        self._end_if_unused()

    def _end_if_unused(self) -> None:
        unused = all(one.spare for one in self._containers.values())
        if self._closing and self.is_live and unused and not self.packages.stays:
            self._init.kill()

    def _init_ended(self) -> None:
        """All that was below it has ended with it."""
        self._template.close()
        told = self.state in {"building", "ready"}
        if told:
            self.state = "refused" if self.state == "building" else "gone"
            self.why = self.why or {"reason": "ended", "why": "its init ended"}
        self._closing = True
        self._drop_waiting("the init of its template ended")
        for sandbox in self._sandboxes.all:
            self._sandbox_ended(sandbox)
        if told:
            self._tell.changed(self)

    # the template

    def _template_born(self) -> None:
        """It is there, and what it loads is under way: sandboxes can be made meanwhile."""
        self._fill()
        if (end := self._runners.take_early(self._template.inner_pid)) is not None:
            self._template_ended(end[0])

    def _take(self, message: Message, sender: int) -> None:
        match message.get("t"):
            case "ready" if self.state == "building":
                self.pid = sender
                self.state, self.why = "ready", message
                self._tell.changed(self)
                self._go_on()
            case "refused" if self.state == "building":
                self._refuse(message)
            case "forked":
                container = self._containers.get(str(message["container"]))
                if container is not None and "why" in message and container.phase == "building":
                    self._fall(container, str(message["why"]))
                elif container is not None and not is_strict(self.spec):
                    self._runners.forked(int(message["pid"]), container)
            case "ended":
                self._runners.ended(int(message["pid"]), int(message["status"]), float(message["cpu_s"]))

    def _refuse(self, why: Message) -> None:
        if self.state in {"building", "ready"}:
            self.state, self.why = "refused", why
            self._drop_waiting(str(why.get("why", "")))
            self._tell.changed(self)
            if why.get("reason") == "sandbox":
                self.packages.close()
            self._let_go()
            self._end_if_unused()

    def _no_sandboxes(self, why: str) -> None:
        self._refuse({"reason": "sandbox", "why": f"its sandboxes cannot be made: {why}"})

    def _template_ended(self, status: int) -> None:
        """Its containers go on: only nothing is forked from it any more."""
        self._template.listen()
        self._template.inner_pid = 0
        self._template.hang_up()
        if self.state in {"building", "ready"}:
            why = (
                "it ran out of memory while it loaded the code"
                if self._init.ran_out_of_memory()
                else how_ended(status)
            )
            self.state = "refused" if self.state == "building" else "gone"
            self.why = {"reason": "ended", "why": why}
            self._drop_waiting(why)
            self._tell.changed(self)
            self.close()
        self._end_if_unused()
