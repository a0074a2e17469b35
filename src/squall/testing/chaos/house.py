"""A house: one server with its machines, as a fault suite meets it; and the one of a single machine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from squall import faults
from squall.runtime.process_tree import parent_of
from squall.sdk.local_server import end_server
from squall.settings.paths import StatePaths, make_directories
from squall.settings.process import ProcessMark, is_alive, mark_of
from squall.settings.record import read_record
from squall.testing import leaks
from squall.testing.chaos import ledger
from squall.testing.chaos.counting import Account
from squall.testing.chaos.gate import Gate, GateWish

T = TypeVar("T")
SOURCES: Final = Path(__file__).parents[3]
_PATIENCE_S: Final = 10.0
_STANDING: Final = ("supervisor", "server", "agent")


class House(Protocol):
    """What faults are injected into. Processes are told by role: supervisor, server, agent, launcher, init, template, runner."""

    def processes(self, role: str) -> list[ProcessMark]:
        """The live processes of a role, of every machine, the oldest first."""
        ...

    def client(self, name: str, wish: Mapping[str, Any]) -> subprocess.Popen[bytes]:
        """The load, begun; see `load`."""
        ...

    def account(self, clients: frozenset[str]) -> Account:
        """What these clients and the containers have noted."""
        ...

    def logs(self) -> str:
        """What server, agents and supervisors have written down."""
        ...

    def down(self) -> dict[str, tuple[str, ...]]:
        """Ends everything and removes it; what is left all the same, by its kind."""
        ...


@dataclass(slots=True)
class LocalHouse:
    """One state directory on this machine, in a folder of its own. armed: crash points, as SQUALL_FAULT has them.

    containers: how many the load's widest function has. sources: the directory with the package that runs. gate: the way of the
    clients that go through one; see `open_gate`.
    """

    folder: Path
    armed: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    containers: int = 1
    sources: Path = SOURCES
    gate: Gate | None = None
    _before: leaks.Seen = field(default_factory=leaks.Seen)
    _clients: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @classmethod
    def made(
        cls, *, armed: str = "", options: Mapping[str, str] | None = None, sources: Path = SOURCES
    ) -> LocalHouse:
        """A new one, in which nothing runs yet."""
        folder = Path(tempfile.mkdtemp(prefix="squall-f-"))
        house = cls(folder, armed, options or {}, sources=sources, _before=leaks.look(frozenset({folder})))
        house.ledger.mkdir()
        house.notes.mkdir()
        make_directories(house.paths)
        return house

    @property
    def paths(self) -> StatePaths:
        return StatePaths(state=self.folder / "state")

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger"

    @property
    def notes(self) -> Path:
        """Where crash points say that they struck."""
        return self.folder / "notes"

    @property
    def environ(self) -> dict[str, str]:
        """What programs of this house are started with."""
        own = {
            "SQUALL_STATE_DIR": str(self.paths.state),
            "PYTHONPATH": str(self.sources),
            "NO_COLOR": "1",
            "CHAOS_CONTAINERS": str(self.containers),
            **{f"SQUALL_{name.upper()}": value for name, value in self.options.items()},
        }
        armed = {faults.VARIABLE: self.armed, faults.NOTES_VARIABLE: str(self.notes)} if self.armed else {}
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SQUALL_")}
        return {**clean, **own, **armed}

    def open_gate(self, seed: int, machines: tuple[str, int, str, int] = ("", 0, "", 0)) -> Gate:
        """The gate of this house, from now on: clients go through its socket. machines: see `GateWish`. Raises RuntimeError."""
        clients = (str(self.folder / "gate.sock"), str(self.paths.server_socket))
        wish = GateWish(seed=seed, clients=clients, machines=machines)
        self.gate = Gate.opened(self.wrapped([]), wish, environ=self.environ)
        return self.gate

    def wrapped(self, argv: Sequence[str]) -> list[str]:
        """A command as it is run on the machine of this house's server."""
        return list(argv)

    def processes(self, role: str) -> list[ProcessMark]:
        if role in _STANDING:
            return self._standing(role)
        if role == "launcher":
            return self._launchers()
        below = _below({mark.pid for mark in self._launchers()})
        marks = [mark_of(pid) for pid in below if _name(pid) == f"squall-{role}"]
        return sorted((mark for mark in marks if mark is not None), key=lambda mark: (mark.started, mark.pid))

    def client(self, name: str, wish: Mapping[str, Any], *, by_gate: bool = False) -> subprocess.Popen[bytes]:
        return self.program("load.py", name, json.dumps(wish), by_gate=by_gate)

    def program(self, file: str, name: str, wish: str, *, by_gate: bool = False) -> subprocess.Popen[bytes]:
        """A program of this package, begun beside the state directory; what it prints is kept under its name.

        by_gate: it reaches the server through the gate, and starts none.
        """
        way = {"SQUALL_SERVER": f"unix:{self.folder / 'gate.sock'}"} if by_gate else {}
        # In a directory of its own: all that lies beside a program is its source, and is sent with it.
        path = self.folder / "programs" / file
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            shutil.copy(Path(__file__).with_name(file), path)
        with (self.folder / f"{name}.said").open("wb") as said:
            client = subprocess.Popen(
                self.wrapped([sys.executable, str(path), str(self.ledger), name, wish]),
                env={**self.environ, **way},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._clients.append(client)
        return client

    def account(self, clients: frozenset[str]) -> Account:
        return ledger.read(self.ledger, self.paths.logs / "apps", clients)

    def descriptors(self, mark: ProcessMark) -> list[str]:
        """What one of its processes has open; see `leaks.descriptors`."""
        return leaks.descriptors(mark.pid)

    def status(self) -> dict[str, Any]:
        """What `squall status --json` prints; empty where it prints nothing."""
        done = subprocess.run(
            self.wrapped([sys.executable, "-m", "squall", "status", "--json"]),
            env=self.environ,
            capture_output=True,
            check=False,
            timeout=60,
        )
        found: dict[str, Any] = json.loads(done.stdout or b"{}")
        return found

    def is_empty(self) -> bool:
        """Whether its server has no app and no container."""
        found = self.status()
        return not found.get("apps") and not found.get("containers")

    def logs(self) -> str:
        files = [*sorted(self.paths.logs.glob("*.log")), *sorted(self.folder.glob("*.said"))]
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')}" for path in files)

    def down(self) -> dict[str, tuple[str, ...]]:
        for client in self._clients:
            with contextlib.suppress(ProcessLookupError):
                client.kill()
            client.wait()
        if self.gate is not None:
            self.gate.close()
        ended = end_server(self.paths, within_s=30.0)
        until_s = time.monotonic() + _PATIENCE_S
        while True:
            found: dict[str, tuple[str, ...]] = {}
            if not ended:
                found["procs"] = ("not everything has ended within 30 s",)
            unswept = [line for line in leaks.unswept(self.paths.state) if not line.endswith(".json")]
            seen = leaks.look(frozenset({self.folder}))
            found |= _by_kind(leaks.left(self._before, seen), self.folder, unswept)
            if not found or time.monotonic() > until_s:
                break
            time.sleep(0.05)
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.exists():
            found["tmp"] = (*found.get("tmp", ()), str(self.folder))
        return found

    def _standing(self, role: str) -> list[ProcessMark]:
        record = read_record(self.paths.supervisor_record)
        if record is None:
            return []
        mark = record.supervisor if role == "supervisor" else record.members.get(role)
        return [mark] if mark is not None and is_alive(mark) else []

    def _launchers(self) -> list[ProcessMark]:
        own = str(self.paths.launchers).encode()
        found = [pid for pid in _pids() if own in _command_line(pid)]
        return [mark for pid in found if (mark := mark_of(pid)) is not None]


def eventually(look: Callable[[], T], within_s: float) -> T | None:
    """What `look` gives once it is something; None where that takes longer."""
    until_s = time.monotonic() + within_s
    while not (found := look()):
        if time.monotonic() > until_s:
            return None
        time.sleep(0.01)
    return found


def kill(mark: ProcessMark, number: signal.Signals = signal.SIGKILL) -> bool:
    """Whether exactly this process was there to be sent the signal."""
    try:
        pidfd = os.pidfd_open(mark.pid)
    except ProcessLookupError:
        return False
    try:
        if mark_of(mark.pid) != mark:
            return False
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)
    return True


def _by_kind(lines: list[str], folder: Path, unswept: list[str]) -> dict[str, tuple[str, ...]]:
    """What is left, under the report's names; the folder itself is removed after."""
    names = {
        "processes": "procs",
        "namespaces": "netns",
        "control groups": "cgroups",
        "mounts": "mounts",
        "network devices": "netns",
    }
    found: dict[str, tuple[str, ...]] = {}
    for line in lines:
        kind, _, what = line.partition(": ")
        if what != str(folder):
            name = names.get(kind, "tmp")
            found[name] = (*found.get(name, ()), what)
    if unswept:
        found["tmp"] = (*found.get("tmp", ()), *unswept)
    return found


def _pids() -> list[int]:
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def _below(tops: set[int]) -> list[int]:
    """The descendants of these processes."""
    parents = {pid: parent for pid in _pids() if (parent := parent_of(pid)) is not None}
    found = set(tops)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - tops)


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


@contextlib.contextmanager
def standing(*, armed: str = "", options: Mapping[str, str] | None = None) -> Iterator[LocalHouse]:
    """A house that is ended whatever happens; what it leaves behind is lost sight of where its end raises."""
    house = LocalHouse.made(armed=armed, options=options)
    try:
        yield house
    finally:
        if house.folder.exists():
            house.down()
