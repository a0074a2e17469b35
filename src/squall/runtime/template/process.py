"""The process of a template: loads the user's code once, and forks it into prepared sandboxes."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from squall.runtime import children, packet, syscalls
from squall.runtime.apply import NAMESPACES, Site
from squall.runtime.children import BROKEN
from squall.runtime.init import joined_namespaces, leave_the_launcher
from squall.runtime.plan import ScopeSockets, Step
from squall.runtime.runner_start import (
    OWN_FDS,
    RUNNER_NAME,
    Arrival,
    Ends,
    Run,
    Sent,
    hold_low_numbers,
    place,
    run_arrived,
)
from squall.runtime.spec import PRELOAD_ENTRY, RENEW_ENTRY, SandboxSpec
from squall.runtime.template import canary, collapse, gate, observe, packages, quiet, reopen
from squall.runtime.template.packages import CONTROL_FD, PACKAGES_FD, find
from squall.runtime.template.plan import is_strict, template_namespaces

Message = dict[str, Any]
_FORK_FDS = 10  # about as many as come with a word to fork


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateStart:
    """What the process of a template starts with.

    build, confine: how it gets a root like that of its containers, and gives up its powers. load: what the entry named
    in it is called with, which imports the user's code. code: a file with what of it travels by value, which is in
    load as "pickled" then. control, out, err: its ends of the launcher's socket and pipes. packages: a socket for its packages,
    if they may stay for later versions.
    """

    spec: SandboxSpec
    build: tuple[Step, ...]
    confine: tuple[Step, ...]
    load: Mapping[str, Any]
    code: int | None
    control: int
    out: int
    err: int
    packages: int | None = None


def live(start: TemplateStart) -> NoReturn:
    """Become the template, then fork whenever the launcher asks; never returns."""
    control = start.control
    try:
        load = packages.with_code(start.load, start.code)
        _become(start)
        control = CONTROL_FD
        settings = quiet.before_imports(os.environ)
        if start.packages is None:
            grown = packages.Grown(load=load, before=observe.look())
        else:
            grown = _grow(load, start.spec.workdir)
        _serve(socket.socket(fileno=CONTROL_FD), start, grown, settings)
    except BaseException as problem:  # noqa: BLE001 - nothing may unwind into the init's own stack
        with contextlib.suppress(OSError), socket.socket(fileno=control) as line:
            packet.send(
                line, {"t": "refused", "reason": "broken", "why": f"{type(problem).__name__}: {problem}"}
            )
    finally:
        os._exit(BROKEN)


def make_door(spec: SandboxSpec, build: tuple[Step, ...], line_fd: int) -> NoReturn:
    """Make the root of a template in a mount namespace that nobody is in, and hand that out; never returns."""
    try:
        leave_the_launcher((line_fd,), "squall-template-root")
        with socket.socket(fileno=line_fd) as line:
            try:
                _have_own_root(spec, build)
                door = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
                packet.send(line, {"t": "door"}, (door,))
            except OSError as problem:
                packet.send(line, {"t": "no_door", "why": str(problem)})
    finally:
        os._exit(0)


def _grow(load: Mapping[str, Any], workdir: str) -> packages.Grown:
    """Its packages first; where they are not what the code would have, another process loads all of it by itself."""
    try:
        return packages.grow(load, workdir)
    except BaseException as problem:  # noqa: BLE001 - packages end here, and what they say is no fault yet
        with socket.socket(fileno=CONTROL_FD) as line:
            packet.send(line, {"t": "unfit", "why": f"{type(problem).__name__}: {problem}"[:500]})
        os._exit(0)


def _have_own_root(spec: SandboxSpec, build: tuple[Step, ...]) -> None:
    flags = 0
    for name in template_namespaces(spec):
        flags |= NAMESPACES[name]
    syscalls.unshare(flags)
    site = Site()
    os.umask(0)
    site.carry_out(build)
    os.umask(0o022)
    for fd in site.memory_fds:
        os.close(fd)


def _become(start: TemplateStart) -> None:
    packages_fd = {} if start.packages is None else {PACKAGES_FD: start.packages}
    leave_the_launcher((start.control, start.out, start.err, *packages_fd.values()), "squall-template")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _have_own_root(start.spec, start.build)
    Site().carry_out(start.confine)
    syscalls.set_dumpable(dumpable=True)
    null = os.open("/dev/null", os.O_RDONLY)
    place({0: null, 1: start.out, 2: start.err, CONTROL_FD: start.control, **packages_fd})
    hold_low_numbers()
    os.chdir(start.spec.workdir)
    os.environ.clear()
    os.environ.update(start.spec.env)


def _serve(
    line: socket.socket, start: TemplateStart, grown: packages.Grown, settings: tuple[quiet.Setting, ...]
) -> None:
    began = time.monotonic()
    preload = find(str(grown.load.get("entry", PRELOAD_ENTRY)))
    told: Message = preload(grown.load)
    loaded_s = grown.seconds + time.monotonic() - began
    if told["t"] == "ready":
        verdict = gate.judge(grown.before, observe.look())
        child = _Child(start, (*grown.keep, *verdict.keep), quiet.after_imports())
        quiet.restore(settings, os.environ)
        notes = [*grown.notes, *(str(one) for one in verdict.warnings)]
        told = _refusal(verdict, told.get("hooks", [])) or _settle(child) or {**told, "notes": notes}
    packet.send(line, {**told, "seconds": round(loaded_s, 6), "took_s": round(time.monotonic() - began, 6)})
    if told["t"] == "ready":
        _Forks(line, child).serve()


def _found(entry: str) -> Run | None:
    """What the entry of the runners names; None where each of them is to say why it cannot be found."""
    try:
        return find(entry)
    except (ImportError, AttributeError):
        return None


def _refusal(verdict: gate.Verdict, hooks: list[str]) -> Message | None:
    if verdict.safe:
        return None
    first = verdict.reasons[0]
    # Nobody knows whether an import made it or a hook.
    ran = (
        f" (if {', '.join(hooks)} made it: without snap=True, each container runs that itself)"
        if hooks
        else ""
    )
    return {"t": "refused", "reason": first.word, "why": first.found, "hint": f"{first.remedy}{ran}"}


def _settle(child: "_Child") -> Message | None:
    """Make this process cheap to fork, and see that its forks live; why they do not, if so."""
    collapse.settle()
    seen = canary.try_fork(child.renew)
    if seen.lives:
        return None
    hint = "find what of it does not outlive os.fork(), and make that inside the function"
    return {"t": "refused", "reason": f"canary_{seen.health}", "why": seen.why[:2000], "hint": hint}


class _Child:
    """What each fork of a template does for itself, before the user's code runs in it."""

    def __init__(
        self,
        start: TemplateStart,
        keep: tuple[int, ...],
        wakers: tuple[quiet.Waker, ...],
    ) -> None:
        self.joined = joined_namespaces(start.spec)
        self._arrival = Arrival(
            entry=start.spec.entry,
            run=_found(start.spec.entry),
            workdir=start.spec.workdir,
            session=syscalls.own_session(RUNNER_NAME),
            alone=syscalls.only(OWN_FDS),
            renew=self.renew,
        )
        self._powerless = syscalls.kept_capabilities(0, securebits=syscalls.SECUREBITS_NO_ROOT)
        self.strict = is_strict(start.spec)
        self._scoped = any(isinstance(step, ScopeSockets) for step in start.confine)
        self._keep = keep
        self._wakers = wakers
        self._own_pid = os.getpid()
        self._renew: Callable[[int], object] = find(str(start.load.get("renew", RENEW_ENTRY)))
        cpu = start.spec.limits.cpu_milli
        self._threads = len(os.sched_getaffinity(0)) if cpu is None else max(1, -(-cpu // 1000))

    def renew(self) -> None:
        """Have no random state and no lock in common with the template, and as many native threads as one may."""
        self._renew(self._own_pid)
        quiet.wake(self._wakers, os.environ, threads=self._threads)

    def live(self, sent: Sent, namespaces: Mapping[str, int]) -> NoReturn:
        """Enter the sandbox and be its runner."""
        kept = reopen.reopen(self._keep) if self._keep else ()
        self._join(namespaces, sent.told)
        run_arrived(self._arrival, sent, kept, inner_pid=_fork_again() if self.strict else 0)

    def _join(self, namespaces: Mapping[str, int], told: int) -> None:
        """Enter a prepared sandbox and give up every power; ends the process where it cannot."""
        try:
            for fd in namespaces.values():
                syscalls.setns(fd, 0)
            if self._scoped:
                # What confines the template keeps its children from the host, and not from each other.
                syscalls.scope_abstract_sockets()
            self._powerless.make()
        except BaseException as problem:  # noqa: BLE001 - nothing may unwind into the template's own stack
            with contextlib.suppress(OSError), socket.socket(fileno=told) as line:
                packet.send(line, {"t": "failed", "step": f"entering the sandbox: {problem}"})
            os._exit(BROKEN)


class _Forks:
    """Waits for the launcher's words and for its children. Single-threaded, as it forks."""

    def __init__(self, line: socket.socket, child: _Child) -> None:
        self._line = line
        self._child = child

    def serve(self) -> None:
        woken = children.wake_for_children()
        children.serve(woken, self._line, obey=self._obey, take=self._take, rest=self._rehearse)

    def _rehearse(self) -> None:
        """After a fork each page that is written to is copied first: those of the way to the next one are, before it counts."""
        with contextlib.suppress(OSError):
            ours, theirs = packet.pair()
            with ours, theirs:
                packet.send(theirs, {"t": "rehearsal"}, (0,) * _FORK_FDS)
                self._obey_next(ours)
            observe.is_single()

    def _obey(self) -> bool:
        return self._obey_next(self._line)

    def _obey_next(self, line: socket.socket) -> bool:
        got = packet.receive(line)
        if got is None:
            return False
        try:
            if got.message.get("t") == "fork":
                self._fork(got)
        finally:
            for fd in got.fds:
                os.close(fd)
        return True

    def _fork(self, got: packet.Packet) -> None:
        message = got.message
        joined = self._child.joined
        namespaces = dict(zip(joined, got.fds, strict=False))
        *ends, told = got.fds[len(joined) :]
        sent = Sent(message["env"], Ends(*ends), told, bool(message["spare"]))
        answer: Message = {"t": "forked", "container": message["container"]}
        try:
            if not observe.is_single():
                raise RuntimeError("a thread has come up in the template")
            if not self._child.strict:
                # Of this process it says only where its children begin.
                syscalls.setns(namespaces.pop("pid"), syscalls.CLONE_NEWPID)
            pid = os.fork()
        except (OSError, RuntimeError) as problem:
            packet.send(self._line, {**answer, "why": f"{problem}"})
            return
        if pid == 0:
            self._child.live(sent, namespaces)
        packet.send(self._line, {**answer, "pid": pid})

    def _take(self, one: children.Ended) -> None:
        packet.send(self._line, {"t": "ended", "pid": one.pid, "status": one.status, "cpu_s": one.cpu_s})


def _fork_again() -> int:
    """Be in the pid namespace that was entered, as a child of the template's init; the pid that one knows this process by."""
    read, write = os.pipe()
    if (pid := os.fork()) != 0:
        os.write(write, b"%d" % pid)
        os._exit(0)
    os.close(write)
    inner_pid = int(os.read(read, 16))
    os.close(read)
    return inner_pid
