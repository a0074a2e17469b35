"""A town: a server and machines that joined it, each in a network of its own on one switch, as a fault suite meets them."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from squall.sdk.local_server import end_server
from squall.settings.paths import StatePaths, make_directories
from squall.settings.process import ProcessMark
from squall.testing import leaks
from squall.testing.chaos.house import LocalHouse, eventually

SERVER: Final = "10.78.0.1"
PORT: Final = 7443
GATE: Final = 7444
_JOINED_S: Final = 30.0
_ENDED_S: Final = 30.0


@dataclass(slots=True)
class Holder:
    """A network that lives as long as a process in it. port: its name on the switch."""

    process: subprocess.Popen[bytes]
    port: str = ""

    @property
    def enter(self) -> tuple[str, ...]:
        """What a command is run through there."""
        return ("nsenter", f"--net=/proc/{self.process.pid}/ns/net")

    def end(self) -> None:
        """The network goes, and what is joined to it."""
        self.process.kill()
        self.process.wait()


@dataclass(slots=True)
class Town(LocalHouse):
    """A server that runs no containers, and machines that do; needs root, `ip`, `nsenter` and `unshare`.

    The first machine reaches the server through a gate. The processes of a role are those of all machines, but for supervisors:
    nobody but an operator starts one of those again on a machine that joined.
    """

    machines: list[StatePaths] = field(default_factory=list)
    holders: list[Holder] = field(default_factory=list)

    @classmethod
    def built(cls, machines: int, *, options: dict[str, str] | None = None, seed: int = 0) -> Town:
        """A server that listens, and so many machines that have joined it. seed: of its gate. Raises OSError, CalledProcessError."""
        folder = Path(tempfile.mkdtemp(prefix="squall-f-"))
        before = leaks.look(frozenset({folder}))
        town = cls(folder, "", {**(options or {}), "agent_here": "0"}, _before=before)
        town.ledger.mkdir()
        town.notes.mkdir()
        make_directories(town.paths)
        try:
            town._build(machines, seed)
        except BaseException:
            town.down()
            raise
        return town

    def wrapped(self, argv: Sequence[str]) -> list[str]:
        """A command of the server's machine."""
        return [*self.holders[0].enter, *argv]

    def links(self) -> list[Holder]:
        """The ways to the machines that joined."""
        return self.holders[1:]

    def link(self, holder: Holder, *command: str) -> None:
        """Changes a machine's way, at the switch: `ip link set PORT …`."""
        self._run([*self.holders[0].enter, "ip", "link", "set", holder.port, *command])

    def hold_back(self, holder: Holder, *, there: bool, kind: str = "") -> None:
        """Holds back what goes to a machine (there), or comes from it: all of it, or by `kind` of a queue of the kernel; "" ends it.

        Raises CalledProcessError.
        """
        side, device = (self.holders[0], holder.port) if there else (holder, "out0")
        with contextlib.suppress(subprocess.CalledProcessError):
            self._run([*side.enter, "tc", "qdisc", "del", "dev", device, "root"])
        if kind:
            self._run([*side.enter, "tc", "qdisc", "add", "dev", device, "root", *kind.split()])

    def processes(self, role: str) -> list[ProcessMark]:
        if role in {"supervisor", "server"}:
            return LocalHouse.processes(self, role)
        houses = [LocalHouse(paths.state.parent) for paths in self.machines]
        found = [mark for house in houses for mark in house.processes(role)]
        return sorted(found, key=lambda mark: (mark.started, mark.pid))

    def logs(self) -> str:
        own = [LocalHouse.logs(self)]
        return "\n".join([*own, *(LocalHouse(paths.state.parent).logs() for paths in self.machines)])

    def down(self) -> dict[str, tuple[str, ...]]:
        for client in self._clients:
            with contextlib.suppress(ProcessLookupError):
                client.kill()
            client.wait()
        late = [str(paths.state) for paths in self.machines if not end_server(paths, within_s=_ENDED_S)]
        # The server before the networks: what is below it goes with the holders.
        end_server(self.paths, within_s=_ENDED_S)
        for holder in self.holders:
            holder.end()
        self.holders.clear()
        found = LocalHouse.down(self)
        if late:
            found["procs"] = (*found.get("procs", ()), *(f"{state} has not ended" for state in late))
        return found

    def _build(self, machines: int, seed: int) -> None:
        hub = self._network()
        script = f"ip link add switch type bridge; ip addr add {SERVER}/24 dev switch; ip link set switch up"
        self._run([*hub.enter, "sh", "-ec", script])
        self._squall(self.paths, hub, "up", "--listen", f"{SERVER}:{PORT}")
        self.open_gate(seed, (SERVER, GATE, SERVER, PORT))
        for number in range(machines):
            self._add(number + 2, GATE if number == 0 else PORT)
        if not eventually(lambda: len(self.processes("agent")) == machines, _JOINED_S):
            raise TimeoutError(f"{machines} machines have not joined within {_JOINED_S:g} s")

    def _add(self, number: int, by: int) -> None:
        holder, port = self._network(), f"port{number}"
        holder.port = port
        script = f"""
        ip link add {port} type veth peer name out0 netns {holder.process.pid}
        ip link set {port} master switch up
        nsenter --net=/proc/{holder.process.pid}/ns/net sh -ec '
          ip addr add 10.78.0.{number}/24 dev out0
          ip link set out0 up
          ip route add default via {SERVER}'
        """
        self._run(self.wrapped(["sh", "-ec", script]))
        (self.folder / port).mkdir()
        paths = make_directories(StatePaths(state=self.folder / port / "state"))
        token = self._squall(self.paths, self.holders[0], "token", "new", "--join").strip()
        self._squall(paths, holder, "join", f"{SERVER}:{by}", "--name", port, token=token)
        self.machines.append(paths)

    def _network(self) -> Holder:
        process = subprocess.Popen(
            ["unshare", "-n", "sh", "-c", "ip link set lo up; echo up; exec sleep infinity"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        self.holders.append(Holder(process))
        return self.holders[-1]

    def _squall(self, paths: StatePaths, where: Holder, *arguments: str, token: str = "") -> str:
        environ = {**self.environ, "SQUALL_STATE_DIR": str(paths.state), "SQUALL_TOKEN": token}
        done = subprocess.run(
            [*where.enter, sys.executable, "-m", "squall", *arguments],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode:
            raise RuntimeError(f"squall {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def _run(self, argv: Sequence[str]) -> None:
        subprocess.run(argv, check=True, capture_output=True, stdin=subprocess.DEVNULL)


def why_no_town() -> str | None:
    """Why this machine can have none; None where it can."""
    if os.geteuid():
        return "machines in networks of their own need root"
    missing = [name for name in ("ip", "tc", "nsenter", "unshare") if shutil.which(name) is None]
    if importlib.util.find_spec("cryptography") is None:
        missing.append("cryptography (pip install 'squall[cluster]')")
    return f"{', '.join(missing)} is not installed" if missing else None
