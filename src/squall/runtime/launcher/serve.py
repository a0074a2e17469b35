"""What a launcher does: obeys one agent at a time, and holds the containers whether there is one or not."""

import os
import selectors
import signal
import socket
import sys
import time
from dataclasses import replace
from functools import partial
from typing import Any

from squall import faults
from squall.model.errors import (
    AlreadyExistsError,
    ContainerStartError,
    Error,
    InvalidError,
    IsolationUnavailable,
    NotFoundError,
)
from squall.runtime import packet
from squall.runtime.agent_line import AgentLine
from squall.runtime.command import Command, set_size
from squall.runtime.container import Container
from squall.runtime.disk_use import takes_more_than, written_below
from squall.runtime.host import Host
from squall.runtime.id_maps import IdMaps
from squall.runtime.ladder import RUNGS, Alone, Cannot, Rung, Template, Wait, next_step
from squall.runtime.launcher.beside import Beside
from squall.runtime.launcher.guard import guarded
from squall.runtime.launcher.templates import OnContainers, Templates, Wish
from squall.runtime.launcher.volumes import Volumes
from squall.runtime.memory_watch import MemoryWatch
from squall.runtime.network.joining import Joining
from squall.runtime.spec import SandboxSpec
from squall.runtime.template.around import Around
from squall.runtime.template.joined import JoinedContainer
from squall.runtime.template.keeper import Keeper
from squall.runtime.timers import Timers

Message = dict[str, Any]

# A launcher without an agent ends: soon when it holds nothing, late when somebody may still want its containers.
_IDLE_WITHOUT_AGENT_S = 60.0
_BUSY_WITHOUT_AGENT_S = 3600.0
_REMOVE_AGAIN_S = 0.02
_SAMPLE_S = 0.05
_LOOK_AT_DISK_S = 1.0
_LISTED_BYTES = 60_000
_LET_GO = "it was let go before it started"

_FORKED = faults.declare(
    "fork.forked", "a container's first process is there, and its launcher does not know it"
)
_SENDING = faults.declare("fork.sending", "a template is about to be asked for a container")
_EXITED = faults.declare(
    "exit.taken", "a container's exit status is taken from the kernel, and nobody was told"
)
_TOLD = faults.declare("exit.told", "the agent was told how a container ended, and what it left is there")

# What a child that measures a disk ends with.
_OVER = 1


class Launcher:
    """One poll loop over an agent's connection and the containers. Single-threaded, as it forks."""

    def __init__(self, listener: socket.socket, host: Host, instance: str) -> None:
        self._listener = listener
        self._host = host
        self._instance = instance
        self._selector = selectors.DefaultSelector()
        self._timers = Timers()
        self._containers: dict[str, Container] = {}
        self._events: dict[str, int] = {}
        self._agent: AgentLine | None = None
        self._agent_gone_at = time.monotonic()
        self._watch = MemoryWatch()
        self._sampling = False
        self._beside = Beside(self._selector, self._timers, host, instance)
        self._id_maps = IdMaps(self._timers)
        self._joining = Joining(self._selector, tell=self._tell, beside=self._beside.do)
        self._volumes = Volumes(host, self._id_maps, self._beside, self._tell)
        around = Around(
            host=host,
            instance=instance,
            selector=self._selector,
            timers=self._timers,
            joining=self._joining,
            id_maps=self._id_maps,
            sweep=self._beside.sweep,
            beside=self._beside.do,
            now_s=time.monotonic,
        )
        on_containers = OnContainers(
            begun=self._watch_limits, heard=self._hear, ended=self._finish, fell=self._fell
        )
        self._templates = Templates(around, on_containers, self._tell, self._begin)
        self._quitting = False

    def run(self) -> None:
        """Serve until told to quit, or until nobody needs it any more."""
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(woken, selectors.EVENT_READ, lambda: self._on_signal(woken))
        signal.signal(signal.SIGTERM, _wake_only)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._timers.at(time.monotonic() + _IDLE_WITHOUT_AGENT_S, self._look_for_agent)
        guarded(self._beside.begin)
        while not (
            self._quitting and not self._live() and not self._templates.live and not self._beside.busy
        ):
            for key, _ in self._selector.select(self._timers.next_in(time.monotonic())):
                # One callback may have ended what the next one is about.
                if self._selector.get_map().get(key.fd) is key:
                    guarded(key.data, then=partial(self._selector.unregister, key.fileobj))
            guarded(lambda: self._timers.run_due(time.monotonic()))
        self._beside.close()
        if self._agent is not None:
            self._agent.close()

    # the agent

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        newer = AgentLine.of(connection, self._selector, on_packet=self._obey, on_lost=self._lose_agent)
        if newer is None:
            return
        if self._agent is not None:
            self._agent.close()
            self._let_go_of_agent()
        self._agent = newer
        for container in self._containers.values():
            if container.exited is not None:
                newer.send(container.exited)
        self._joining.ask_again()

    def _lose_agent(self, line: AgentLine) -> None:
        if line is self._agent:
            self._agent = None
            self._agent_gone_at = time.monotonic()
            self._let_go_of_agent()
            self._timers.at(self._agent_gone_at + _IDLE_WITHOUT_AGENT_S, self._look_for_agent)

    def _look_for_agent(self) -> None:
        if self._agent is not None or self._quitting:
            return
        patience = _BUSY_WITHOUT_AGENT_S if self._live() else _IDLE_WITHOUT_AGENT_S
        due = self._agent_gone_at + patience
        if time.monotonic() >= due:
            self._quit()
        else:
            self._timers.at(min(due, time.monotonic() + _IDLE_WITHOUT_AGENT_S), self._look_for_agent)

    def _let_go_of_agent(self) -> None:
        """Nobody waits for what an agent that is gone has asked for: the next one asks anew."""
        for container in self._containers.values():
            container.hang_up()
        self._templates.drop_waiting()
        for container in [one for one in self._containers.values() if one.phase == "waiting"]:
            self._unstart(container)

    def _tell(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        if self._agent is not None:
            self._agent.send(message, fds)

    def _obey(self, got: packet.Packet) -> None:
        message = got.message
        about: Message = {name: message[name] for name in ("container", "exec") if name in message}
        try:
            self._carry_out(message, got.fds)
        except Error as problem:
            self._tell({"t": "refused", **about, **problem.to_wire()})
        except Exception as problem:  # noqa: BLE001 - whatever it is: who asked waits for an answer, and asks for more
            refused = InvalidError(f"this message makes no sense, or cannot be followed: {problem!r}")
            self._tell({"t": "refused", **about, **refused.to_wire()})
        finally:
            for fd in got.fds:
                os.close(fd)

    def _carry_out(self, message: Message, fds: tuple[int, ...]) -> None:
        match message.get("t"):
            case "start":
                self._start(message)
            case "attach":
                told, fds, channel = self._named(message).attach()
                with channel:
                    self._tell(told, fds)
            case "template" if self._quitting:
                raise ContainerStartError("this launcher is ending")
            case "template":
                self._beside.tidy(
                    os.path.dirname(
                        str((message.get("spec") or {}).get("scratch") or self._listener.getsockname())
                    )
                )
                self._templates.declare(message, code=fds[0] if fds else None)
            case "volumes":
                self._volumes.mount(self._named(message), message)
            case "veth":
                self._joining.given(message)
            case "drop_template":
                self._templates.close()
            case "rest":
                self._templates.rest()
            case "stop" | "kill" if self._templates.drop_waiting(str(message.get("container"))):
                raise ContainerStartError(_LET_GO)
            case "stop":
                self._stop(self._named(message), float(message.get("grace_s", 0.0)))
            case "kill":
                self._kill(self._named(message))
            case "exec":
                self._execute(self._named(message), message)
            case "resize":
                self._resize(message)
            case "list":
                self._list()
            case "forget":
                self._forget(self._named(message))
            case "quit":
                self._quit()
            case unknown:
                raise InvalidError(f"a launcher knows no message {unknown!r}")

    def _list(self) -> None:
        """Live containers first, in as few packets as hold them; `more` says that another one follows."""
        known = [c for c in self._containers.values() if c.phase != "waiting"]
        described = [c.describe() for c in sorted(known, key=lambda c: not c.is_live)]
        parts: list[list[Message]] = [[]]
        room = _LISTED_BYTES
        for one in described:
            size = len(packet.encode(one)) + 1
            if size > room:
                parts.append([])
                room = _LISTED_BYTES
            parts[-1].append(one)
            room -= size
        taken = {name for one in described for name in one["addresses"]}
        rest = {name: address for name, address in self._joining.held().items() if name not in taken}
        for number, part in enumerate(parts, 1):
            about: Message = {
                "more": number < len(parts),
                "spares": self._templates.spares,
                "addresses": rest,
            }
            self._tell({"t": "containers", "containers": part} | about)

    def _named(self, message: Message) -> Container:
        found = self._containers.get(str(message.get("container")))
        if found is None:
            raise NotFoundError(f"this launcher holds no container {message.get('container')!r}")
        return found

    # what it is told

    def _start(self, message: Message) -> None:
        asked_at = time.monotonic()
        try:
            spec = SandboxSpec.from_json(message.get("spec") or {})
        except ValueError as problem:
            raise InvalidError(str(problem)) from problem
        if spec.id in self._containers:
            raise AlreadyExistsError(f"this launcher already holds a container {spec.id!r}")
        if refused := self._host.refuses(spec):
            raise IsolationUnavailable(refused)
        if spec.network == "veth" and spec.veth is None:
            raise InvalidError("a container that is joined by veth has one described")
        if self._quitting:
            raise ContainerStartError("this launcher is ending")
        self._beside.tidy(os.path.dirname(spec.scratch))
        demanded = message.get("path")
        if demanded is not None and demanded not in RUNGS:
            raise InvalidError(f"a container starts by one of {', '.join(RUNGS)}, not {demanded!r}")
        self._begin(Wish(spec=spec, asked_at=asked_at, demanded=demanded))

    def _begin(self, wish: Wish) -> None:
        """Start a container, or have it wait for its template."""
        keeper = self._templates.for_spec(wish.spec)
        state = keeper.state if keeper is not None else "none"
        why_none = str(keeper.why.get("why", "")) if keeper is not None else ""
        match next_step(wish.spec, state, demanded=wish.demanded, why_none=why_none):
            case Wait():
                self._templates.wait(wish)
            case Template() if keeper is not None:
                self._send_out(wish, keeper)
            case Alone(rung=rung):
                self._start_alone(wish, rung)
            case Cannot(why=why):
                raise ContainerStartError(why)

    def _start_alone(self, wish: Wish, rung: Rung) -> None:
        spec = wish.spec
        if rung == "exec" and spec.argv is None and spec.interpreter is None:
            spec = replace(spec, interpreter=self._host.python)
        container = Container(spec, self._host, self._instance, wish.asked_at)
        container.id_maps = self._id_maps
        try:
            container.start()
        except OSError as problem:
            raise ContainerStartError(f"the container could not be started: {problem}") from problem
        faults.point(_FORKED)
        self._containers[spec.id] = container
        held = container.held
        self._selector.register(held.line, selectors.EVENT_READ, lambda: self._hear(container))
        self._selector.register(held.pidfd, selectors.EVENT_READ, lambda: self._finish(container))
        self._watch_limits(container)
        if spec.carrier is not None:
            self._joining.lead_out(spec.carrier, container.init_pid, container.joined)

    def _send_out(self, wish: Wish, keeper: Keeper) -> None:
        if wish.demanded in {None, "spare"} and self._take_spare(wish, keeper):
            return
        if wish.demanded == "spare":
            self._templates.wait(wish)
            return
        container = JoinedContainer(wish.spec, self._host, self._instance, wish.asked_at)
        container.demanded = wish.demanded
        self._containers[wish.spec.id] = container
        faults.point(_SENDING)
        keeper.send_out(container)

    def _take_spare(self, wish: Wish, keeper: Keeper) -> bool:
        """Whether one that is forked already has become the container."""
        while (spare := keeper.take_spare()) is not None:
            self._containers[wish.spec.id] = spare
            try:
                spare.become(wish.spec, wish.asked_at, self._tell)
            except OSError:
                # It has ended just now: its sandbox follows it.
                del self._containers[wish.spec.id]
                spare.kill()
                continue
            spare.demanded = wish.demanded
            keeper.rename(spare)
            self._watch_limits(spare)
            return True
        return False

    def _fell(self, container: JoinedContainer, why: str) -> None:
        """Its template could not send it out: it starts without one, unless it was to have one."""
        del self._containers[container.spec.id]
        self._unwatch(container)
        wish = Wish(spec=container.asked_spec, asked_at=container.asked_at, demanded=container.demanded)
        try:
            if container.stop_asked:
                raise ContainerStartError(_LET_GO)
            if wish.demanded is not None:
                raise ContainerStartError(f"its template could not send it out: {why}")
            self._start_alone(wish, "parked")
        except ContainerStartError as failure:
            self._tell({"t": "refused", "container": wish.spec.id, **failure.to_wire()})

    def _unstart(self, container: Container) -> None:
        """Drop one that has no sandbox yet."""
        for keeper in self._templates.all:
            keeper.forget(container)
        del self._containers[container.spec.id]

    def _kill(self, container: Container) -> None:
        if container.phase == "waiting":
            self._unstart(container)
            raise ContainerStartError(_LET_GO)
        container.kill()

    def _watch_limits(self, container: Container) -> None:
        spec = container.spec
        if container.group is not None and (event := container.group.memory_event()) is not None:
            self._events[spec.id] = event
            self._selector.register(event, selectors.EVENT_READ, lambda: self._out_of_memory(container))
        if spec.limits.disk_bytes is not None and self._host.upper_on_disk and spec.level != "process":
            self._timers.at(time.monotonic() + _LOOK_AT_DISK_S, lambda: self._measure_disk(container))
        if not self._host.cgroup.limits_memory and not self._sampling:
            self._sampling = True
            self._timers.at(time.monotonic() + _SAMPLE_S, self._sample_memory)

    def _unwatch(self, container: Container) -> None:
        if (event := self._events.pop(container.spec.id, None)) is not None:
            self._selector.unregister(event)
            os.close(event)

    def _stop(self, container: Container, grace_s: float) -> None:
        if container.phase == "waiting":
            self._kill(container)
        container.stop()
        self._timers.at(time.monotonic() + grace_s, lambda: self._kill_if_alive(container))

    def _kill_if_alive(self, container: Container) -> None:
        if container.is_live:
            container.kill()

    def _execute(self, container: Container, message: Message) -> None:
        if container.phase != "running":
            raise NotFoundError(f"the container {container.spec.id!r} is not running")
        try:
            own = {"cwd": container.spec.workdir, "env": {**container.spec.env, **(message.get("env") or {})}}
            container.execute(Command.from_json({**own, **message, "env": own["env"]}))
        except (ValueError, OSError) as problem:
            raise InvalidError(f"the command cannot be run: {problem}") from problem

    def _resize(self, message: Message) -> None:
        for container in self._containers.values():
            terminal = container.terminals.get(str(message.get("exec")))
            if terminal is not None:
                set_size(terminal, rows=int(message["rows"]), cols=int(message["cols"]))

    def _forget(self, container: Container) -> None:
        if container.is_live:
            raise InvalidError(f"the container {container.spec.id!r} still runs: stop it first")
        container.held.close_readable()
        del self._containers[container.spec.id]

    def _on_signal(self, woken: int) -> None:
        os.read(woken, 4096)
        self._quit()

    def _quit(self) -> None:
        if self._quitting:
            return
        self._quitting = True
        self._templates.close()
        for container in self._live():
            container.kill()

    def _live(self) -> list[Container]:
        return [one for one in self._containers.values() if one.is_live and one.phase != "waiting"]

    # what its containers do

    def _hear(self, container: Container) -> None:
        container.hear(self._tell)

    def _finish(self, container: Container) -> None:
        if container.is_own_child:
            self._selector.unregister(container.held.line)
            self._selector.unregister(container.held.pidfd)
        self._unwatch(container)
        container.finish(self._tell)
        faults.point(_EXITED)
        if container.exited is not None:
            self._tell(container.exited)
        else:
            failure = ContainerStartError(f"the container could not be started: {container.refusal}")
            self._tell({"t": "refused", "container": container.spec.id, **failure.to_wire()})
            del self._containers[container.spec.id]
        faults.point(_TOLD)
        self._remove_group(container)
        self._beside.sweep(container.spec.scratch)

    def _remove_group(self, container: Container) -> None:
        try:
            removed = container.group is None or container.group.remove()
        except OSError as problem:
            print(f"the group of {container.spec.id} stays: {problem}", file=sys.stderr, flush=True)
            return
        if not removed:
            again = time.monotonic() + _REMOVE_AGAIN_S
            self._timers.at(again, lambda: self._remove_group(container))

    def _measure_disk(self, container: Container) -> None:
        limit = container.spec.limits.disk_bytes
        if limit is None or not container.is_live:
            return
        before = time.monotonic()

        def take_up(code: int) -> None:
            if code == _OVER and container.is_live:
                container.over_disk = True
                container.kill(asked=False)
            # Looking takes a tenth of the time at most, however many files there are.
            pause = max(_LOOK_AT_DISK_S, 10 * (time.monotonic() - before))
            self._timers.at(time.monotonic() + pause, lambda: self._measure_disk(container))

        paths = written_below(container.spec)
        self._beside.do(lambda: _OVER if takes_more_than(paths, limit) else 0, then=take_up)

    def _out_of_memory(self, container: Container) -> None:
        """Version 1 kills one process only; here, as with version 2, a container out of memory ends as a whole."""
        os.eventfd_read(self._events[container.spec.id])
        if container.is_live:
            container.over_memory = True
            container.kill(asked=False)

    def _sample_memory(self) -> None:
        live = self._live()
        self._sampling = bool(live)
        if live:
            self._timers.at(time.monotonic() + _SAMPLE_S, self._sample_memory)
        for container in live:
            self._watch.look(container)


def _wake_only(_number: int, _frame: object) -> None:
    """SIGTERM needs a handler, so that it wakes the poll, where it means to quit."""
