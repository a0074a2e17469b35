"""The init of a template: trusted first process of the namespaces in which a template and its sandboxes live."""

import os
import signal
import socket
import time
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from squall.runtime import children, init, overlay, packet, resting, syscalls
from squall.runtime.apply import NAMESPACES, Site, StepError
from squall.runtime.children import BROKEN
from squall.runtime.host import Host
from squall.runtime.init import Birth, await_word, leave_the_launcher
from squall.runtime.namespaces import write_map
from squall.runtime.spec import Mount, SandboxSpec
from squall.runtime.template import process
from squall.runtime.template.plan import TemplatePlan, plan_nested, plan_own_root

Message = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateBirth:
    """What the init of a template is born with. spec: of the template's own root; line: its socket to the launcher; ids: as for
    the Site in which its plan is carried out.
    """

    spec: SandboxSpec
    plan: TemplatePlan
    host: Host
    line: socket.socket
    ids: int | None = None


def live(birth: TemplateBirth) -> NoReturn:
    """Make the workshop, then the template and sandboxes as the launcher asks; ends with it, and all of them with it."""
    try:
        _settle(birth)
        _TemplateInit(birth).serve()
    except StepError as problem:
        _tell(birth.line, {"t": "failed", "why": str(problem)})
    except BaseException as problem:  # noqa: BLE001 - nothing may unwind into the launcher's own stack
        _tell(birth.line, {"t": "failed", "why": f"{type(problem).__name__}: {problem}"})
    finally:
        os._exit(BROKEN)


def _settle(birth: TemplateBirth) -> None:
    ids = () if birth.ids is None else (birth.ids,)
    leave_the_launcher((birth.line.fileno(), *ids), "squall-template-init")
    syscalls.die_with_parent(signal.SIGKILL)
    if "user" in birth.plan.namespaces:
        await_word(birth.line, "mapped")
    os.umask(0o022)
    site = Site(ids=birth.ids)
    site.carry_out(birth.plan.workshop)
    for fd in ids:
        os.close(fd)
    packet.send(birth.line, {"t": "ready", "at": time.monotonic()})
    await_word(birth.line, "go")
    site.carry_out(birth.plan.settle)
    syscalls.set_no_new_privileges()
    # The ids of a sandbox can be mapped only while its first process, a fork of this one, is open to its own user. The
    # template is no such user: the kernel lets nobody look into a process with more powers.
    syscalls.set_dumpable(dumpable=True)
    packet.send(birth.line, {"t": "settled", "at": time.monotonic()})


class _TemplateInit:
    """Waits for the launcher's words and for its children: the template, first processes of sandboxes, and orphans."""

    def __init__(self, birth: TemplateBirth) -> None:
        self._birth = birth
        self._line = birth.line
        self._use(birth.spec)
        self._resting = resting.program_file(birth.host.machine)
        with open("/proc/self/uid_map", encoding="ascii") as file:
            self._ids = [(int(first), int(count)) for first, _, count in map(str.split, file)]

    def serve(self) -> NoReturn:
        children.serve(children.wake_for_children(), self._line, obey=self._obey, take=self._take)
        os._exit(0)

    def _take(self, one: children.Ended) -> None:
        packet.send(self._line, {"t": "ended", "pid": one.pid, "status": one.status, "cpu_s": one.cpu_s})

    def _use(self, spec: SandboxSpec) -> None:
        """The template and the sandboxes that are made from here on are like this."""
        self._spec = spec
        self._ways = overlay.ways_to(
            spec.lowers,
            (*spec.mounts, *(Mount(source=one.source, target=one.target) for one in spec.served)),
            owned=spec.owned,
        )

    def _obey(self) -> bool:
        got = packet.receive(self._line)
        match got and got.message.get("t"):
            case "template" if got is not None:
                self._start_template(got)
            case "sandbox" if got is not None:
                self._make_sandbox(got)
            case "spec" if got is not None:
                self._use(SandboxSpec.from_json(got.message["spec"]))
            case "door" if got is not None:
                self._make_door(got)
            case "kill" if got is not None:
                _kill(got.message["pid"])
            case _:
                return False
        for fd in got.fds if got is not None else ():
            os.close(fd)
        return True

    def _start_template(self, got: packet.Packet) -> None:
        control, out, err, *more = got.fds
        packages = more.pop(0) if got.message["packages"] else None
        if (pid := os.fork()) == 0:
            process.live(
                process.TemplateStart(
                    spec=self._spec,
                    build=plan_own_root(self._spec, self._birth.host, self._ways),
                    confine=self._birth.plan.confine,
                    load=got.message["load"],
                    code=more[0] if more else None,
                    control=control,
                    out=out,
                    err=err,
                    packages=packages,
                )
            )
        packet.send(self._line, {"t": "template", "pid": pid, "number": got.message["number"]})

    def _make_door(self, got: packet.Packet) -> None:
        """Have the root of a template made by a child, which hands out the way into it and ends."""
        if os.fork() == 0:
            process.make_door(self._spec, plan_own_root(self._spec, self._birth.host, self._ways), got.fds[0])

    def _make_sandbox(self, got: packet.Packet) -> None:
        message = got.message
        spec = replace(self._spec, id=message["sandbox"], scratch=message["scratch"], uid_base=None)
        plan = plan_nested(spec, self._birth.host, self._ways)
        flags = 0
        for name in plan.namespaces:
            flags |= NAMESPACES[name]
        mapped, map_done = os.pipe2(os.O_CLOEXEC)
        told: Message = {"t": "made", "sandbox": spec.id}
        try:
            pid = syscalls.clone(flags)
            if pid == 0:
                line = socket.socket(fileno=got.fds[0])
                birth = Birth(
                    spec=spec, plan=plan, line=line, ends=None, mapped=mapped, resting=self._resting
                )
                init.live(birth)
            self._map_ids(pid)
            os.write(map_done, b"x")
        except OSError as problem:
            told = {"t": "unmade", "sandbox": spec.id, "why": str(problem)}
        finally:
            os.close(mapped)
            os.close(map_done)
        if told["t"] == "made":
            told["pid"] = pid
        packet.send(self._line, told)

    def _map_ids(self, pid: int) -> None:
        """Each id of ours is the same id in a sandbox, whose root is then nobody's but this template's."""
        whole = "".join(f"{first} {first} {count}\n" for first, count in self._ids)
        alone = self._ids == [(0, 1)]
        if alone:
            write_map(pid, "setgroups", "deny")
        write_map(pid, "uid_map", whole)
        write_map(pid, "gid_map", whole)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # It has ended, which the launcher has not heard yet.


def _tell(line: socket.socket, message: Message) -> None:
    try:
        packet.send(line, message)
    except OSError:
        pass  # The launcher is gone: nobody is left to tell.
