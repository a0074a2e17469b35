"""A house to test in: a state directory whose server and agent are stand-ins, and all of it ended afterwards."""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from squall.sdk.local_server import ensure_server
from squall.settings.options import Options
from squall.settings.paths import StatePaths, open_state
from squall.settings.process import ProcessMark, is_alive, mark_of
from squall.settings.record import Record, read_record
from squall.settings.start import command

T = TypeVar("T")
STAND_IN = Path(__file__).with_name("stand_in.py")


class TestHouse:
    """One state directory. server, agent: further arguments of the stand-ins."""

    __test__ = False

    def __init__(self, state: Path, server: tuple[str, ...] = (), agent: tuple[str, ...] = ()) -> None:
        self.paths: StatePaths = open_state(state)
        self.options = Options(stop_grace_s=0.2, start_deadline_s=10.0)
        self.server, self.agent = server, agent

    def supervisor(self) -> list[str]:
        commands = {
            role: [sys.executable, str(STAND_IN), role, "--state", str(self.paths.state), *more]
            for role, more in (("server", self.server), ("agent", self.agent))
        }
        return [
            *command("squall.supervisor", "--state", str(self.paths.state), "--detach", bare=True),
            "--commands",
            json.dumps(commands),
        ]

    def ensure(self, progress: Callable[[str], None] | None = None) -> Path:
        return ensure_server(self.paths, self.options, progress, supervisor=self.supervisor())

    def record(self) -> Record:
        record = read_record(self.paths.supervisor_record)
        assert record is not None
        return record

    def both(self) -> Record:
        """The record, once server and agent both stand in it, live, and hear signals."""

        def look() -> Record | None:
            record = read_record(self.paths.supervisor_record)
            if record is None or not is_alive(record.supervisor) or len(record.members) < 2:
                return None
            notes = self.notes()
            up = all(f"{role} up {mark.pid}" in notes for role, mark in record.members.items())
            return record if up and all(map(is_alive, record.members.values())) else None

        return wait_for(look)

    def both_but(self, gone: ProcessMark) -> Record:
        """The record, once server and agent both live and neither is `gone`."""

        def look() -> Record | None:
            record = self.both()
            return None if gone in record.members.values() else record

        return wait_for(look)

    def notes(self) -> list[str]:
        try:
            return (self.paths.state / "notes").read_text().splitlines()
        except FileNotFoundError:
            return []

    def supervisors(self) -> list[ProcessMark]:
        """Every live supervisor of this directory, recorded or not."""
        return [mark for mark in self.living() if b"squall.supervisor" in _command_line(mark.pid)]

    def living(self) -> list[ProcessMark]:
        """Every live process that was told this state directory."""
        own = str(self.paths.state).encode()
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
        marks = [mark_of(pid) for pid in pids if own in _command_line(pid).split(b"\0")]
        return [mark for mark in marks if mark is not None]

    def end(self) -> None:
        for _ in range(3):
            for mark in self.living():
                kill(mark)


def kill(mark: ProcessMark, number: signal.Signals = signal.SIGKILL) -> None:
    """Send the signal; a SIGKILL is waited for."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(mark.pid, number)
    if number is signal.SIGKILL:
        wait_for(lambda: not is_alive(mark))


def wait_for(look: Callable[[], T | None], within_s: float = 20.0) -> T:
    """The first answer of `look` that is true; looks again and again, since what is watched is nobody's child."""
    until_s = time.monotonic() + within_s
    while time.monotonic() < until_s:
        seen = look()
        if seen:
            return seen
        time.sleep(0.01)
    raise AssertionError("it did not happen in time")


@contextlib.contextmanager
def house_in(state: Path, server: tuple[str, ...] = (), agent: tuple[str, ...] = ()) -> Iterator[TestHouse]:
    house = TestHouse(state, server, agent)
    try:
        yield house
    finally:
        house.end()


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
