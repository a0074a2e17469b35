"""Watch: carry out the supervisor's plan, and wait for what happens next."""

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from squall import faults
from squall.settings.lock import open_holder
from squall.settings.paths import StatePaths
from squall.settings.process import own_mark
from squall.settings.process_log import ProcessLog
from squall.settings.record import Record, read_record, write_record
from squall.settings.version import VERSION
from squall.supervisor import processes
from squall.supervisor.plan import (
    Aim,
    Ending,
    Finish,
    House,
    Start,
    Step,
    Sweep,
    Tell,
    after_end,
    effective_aim,
    plan,
    started,
    told,
    wake_at,
)
from squall.supervisor.processes import Process
from squall.supervisor.sweep import sweep, sweep_network, sweep_scratch

_AIMS = {signal.SIGTERM: Aim.LEAVE, signal.SIGINT: Aim.DOWN}
_ORDER = list(Aim)
# One that has just been made is held to be another's for a second.
_SCRATCH_S = 2.0

_BORN = faults.declare("member.started", "a server or an agent has been started, and no record names it")
_WRITING = faults.declare("record.writing", "the record is about to be written anew")
_WRITTEN = faults.declare("record.written", "the record is written")


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What one supervisor is charged with. commands: the command line of each process by name."""

    paths: StatePaths
    commands: Mapping[str, Sequence[str]]
    executable: str


class Watch:
    """One supervisor at work: holds the processes, and changes what it knows only through the plan's functions."""

    def __init__(self, charge: Charge, log: ProcessLog, house: House) -> None:
        self._charge = charge
        self._log = log
        self._house = house
        self._processes: dict[str, Process] = {}
        self._mark = own_mark()
        self._last_words = ""

    def run(self, ready: Callable[[], None]) -> int:
        """The supervisor's exit status, once nothing is left to supervise.

        ready: called when the record is written and signals are heard.
        """
        with _signals() as (wakeup, arrived):
            self._adopt_living()
            ready()
            while True:
                now_s = time.monotonic()
                steps = plan(self._house, now_s)
                for step in steps:
                    if isinstance(step, Finish):
                        self._log.write("finished", code=step.code)
                        self._write_down(failed=self._last_words if step.code else "")
                        return step.code
                    self._apply(step, now_s)
                if steps:
                    self._write_down()
                    self._log.turn_over()
                else:
                    self._wait(wakeup, arrived, wake_at(self._house, now_s))

    def _adopt_living(self) -> None:
        """Take over what an earlier supervisor started: by its record, else by the locks that are held."""
        record = read_record(self._charge.paths.supervisor_record)
        known = {} if record is None else record.members
        for name in self._charge.commands:
            mark = known.get(name)
            process = None if mark is None else processes.adopt(mark)
            process = process or self._lock_holder(name)
            if process is not None:
                self._take(name, process, "adopted")
        if "server" not in self._processes:
            # Under our lock, and nobody serves: whatever lies there is stale.
            self._charge.paths.server_socket.unlink(missing_ok=True)
        self._write_down()

    def _lock_holder(self, name: str) -> Process | None:
        found = open_holder(self._charge.paths.member_lock(name))
        return None if found is None else Process(mark=found[0], pidfd=found[1], child=False)

    def _take(self, name: str, process: Process, how: str) -> None:
        self._processes[name] = process
        member = started(self._house.member(name), time.monotonic())
        self._house = self._house.with_member(name, member)
        self._log.write(f"{name} {how}", pid=process.mark.pid, failures=member.failures)

    def _apply(self, step: Step, now_s: float) -> None:
        match step:
            case Start(name=name):
                self._start(name, now_s)
            case Tell(name=name, signal=what):
                processes.tell(self._processes[name], what)
                self._house = self._house.with_member(name, told(self._house.member(name), what, now_s))
                self._log.write(f"{name} told", signal=what.value)
            case Sweep():
                swept = sweep(self._charge.paths.launchers, grace_s=self._house.grace_s)
                self._house = replace(self._house, swept=True)
                self._log.write("launchers ended", pids=swept)
                if refused := sweep_scratch(self._charge.paths, within_s=_SCRATCH_S):
                    self._log.write("what containers left stays", level="error", why=refused)
                if refused := sweep_network(self._charge.paths):
                    self._log.write("the network stays as it is", level="error", why=refused)

    def _start(self, name: str, now_s: float) -> None:
        try:
            process = processes.start(self._charge.commands[name], self._charge.paths.log(name))
        except OSError as problem:
            self._house = after_end(self._house, name, Ending.FELL, now_s)
            self._log.write(f"{name} could not be started", level="error", why=str(problem))
        else:
            faults.point(_BORN)
            self._take(name, process, "started")

    def _wait(self, wakeup: int, arrived: list[int], until_s: float | None) -> None:
        """Sleep until a signal, the end of a process, or until_s (monotonic); nothing is looked at before."""
        poll = select.poll()
        poll.register(wakeup, select.POLLIN)
        for process in self._processes.values():
            poll.register(process.pidfd, select.POLLIN)
        rest_ms = None if until_s is None else max(0.0, until_s - time.monotonic()) * 1000 + 1
        ready = {descriptor for descriptor, _ in poll.poll(rest_ms)}
        if wakeup in ready:
            _drain(wakeup)
        while arrived:
            self._aim(_AIMS.get(signal.Signals(arrived.pop(0))))
        for name in [name for name, process in self._processes.items() if process.pidfd in ready]:
            self._ended(name)

    def _aim(self, aim: Aim | None) -> None:
        if aim is not None and _ORDER.index(aim) > _ORDER.index(self._house.aim):
            self._log.write("asked to stop", aim=aim.value)
            self._house = replace(self._house, aim=aim)

    def _ended(self, name: str) -> None:
        process = self._processes.pop(name)
        how, words = processes.bury(process, self._charge.paths.member_lock(name))
        self._house = after_end(self._house, name, how, time.monotonic())
        level = "info" if how is Ending.ENDED else "warning"
        if how in {Ending.FELL, Ending.HOPELESS} and not self._stopping():
            self._last_words = f"the {name} {words}"
        self._log.write(f"{name} {words}", level=level, pid=process.mark.pid)
        holder = self._lock_holder(name) if how is Ending.TAKEN else None
        if holder is not None:
            self._take(name, holder, "adopted")
        self._write_down()

    def _stopping(self) -> bool:
        return self._house.aim is not Aim.KEEP

    def _write_down(self, *, failed: str = "") -> None:
        record = Record(
            supervisor=self._mark,
            version=VERSION,
            executable=self._charge.executable,
            members={name: process.mark for name, process in self._processes.items()},
            ending=effective_aim(self._house) is not Aim.KEEP,
            failed=failed,
        )
        faults.point(_WRITING)
        try:
            write_record(self._charge.paths.supervisor_record, record)
        except OSError as problem:
            # A full disk must not end what runs; the locks say the same as the record.
            self._log.write("record not written", level="error", why=str(problem))
        faults.point(_WRITTEN)


@contextlib.contextmanager
def _signals() -> Iterator[tuple[int, list[int]]]:
    """A descriptor that becomes readable when a signal has come, and the list of those that came."""
    wakeup, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    arrived: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda came, _: arrived.append(came))
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield wakeup, arrived
    finally:
        signal.set_wakeup_fd(-1)
        os.close(wakeup)
        os.close(writer)


def _drain(wakeup: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(wakeup, 512):
            pass
