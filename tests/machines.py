"""Machines of the tests' own: each in a network of its own, all on one switch, one of them with the server."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.end_to_end.terminal import Said, Terminal, fresh_folder
from tests.networks import a_network, enter

T = TypeVar("T")
PORT = 7443
SERVER = "10.77.0.1"


@dataclass(slots=True)
class Machine:
    """One machine. holder: a process in its network; address: its own there."""

    holder: int
    address: str
    terminal: Terminal

    def squall(self, *arguments: str, **environ: str) -> Said:
        """`squall`, typed there."""
        return self.terminal.squall(*arguments, within_s=60.0, cwd=None, **environ)

    def network(self, *command: str) -> None:
        """A command in its network."""
        subprocess.run([*enter(self.holder), *command], check=True, capture_output=True)


@dataclass(slots=True)
class Machines:
    """A server's machine, others with agents, and as many as one likes that only call."""

    server: Machine
    stack: ExitStack
    agents: list[Machine] = field(default_factory=list)
    _made: int = 1

    @property
    def address(self) -> str:
        """Where the server listens."""
        return f"{SERVER}:{PORT}"

    def machine(self) -> Machine:
        """One more machine on the switch, on which nothing runs."""
        self._made += 1
        return self.stack.enter_context(_machine(self._made, self.server.holder))

    def token(self, *arguments: str) -> str:
        """A new token."""
        said = self.server.squall("token", "new", *arguments)
        assert said.status == 0, said
        return said.out.strip()

    def join(self) -> Machine:
        """One more machine, whose agent is there when this returns."""
        machine = self.machine()
        said = machine.squall("join", self.address, "--json", SQUALL_TOKEN=self.token("--join"))
        assert said.status == 0, said
        node = json.loads(said.out)["node"]
        wait_for(lambda: self.node(node)["state"] == "alive")
        self.agents.append(machine)
        return machine

    def node(self, name: str) -> dict[str, Any]:
        """What the server says of a machine."""
        return next((row for row in self.nodes() if row["id"] == name), {"state": "unknown"})

    def nodes(self) -> list[dict[str, Any]]:
        """All that the server knows of."""
        said = self.server.squall("node", "list", "--json")
        assert said.status == 0, said
        rows: list[dict[str, Any]] = json.loads(said.out)["nodes"]
        return rows

    def cut(self, machine: Machine) -> None:
        """From now on nothing passes between this machine and the others, and nobody is told."""
        subprocess.run(
            [*enter(self.server.holder), "ip", "link", "set", _port_of(machine.address), "down"], check=True
        )

    def mend(self, machine: Machine) -> None:
        """All passes again."""
        subprocess.run(
            [*enter(self.server.holder), "ip", "link", "set", _port_of(machine.address), "up"], check=True
        )


@contextmanager
def machines(agents: int = 0, **environ: str) -> Iterator[Machines]:
    """A server that listens and so many machines that have joined it; everything ends with the block.

    environ: variables that the server's own processes see.
    """
    with ExitStack() as stack:
        server = stack.enter_context(_machine(1, None))
        server.terminal.environ |= environ
        server.network("ip", "link", "add", "switch", "type", "bridge")
        server.network("ip", "addr", "add", f"{SERVER}/24", "dev", "switch")
        server.network("ip", "link", "set", "switch", "up")
        made = Machines(server, stack)
        said = server.squall("up", "--listen", made.address)
        assert said.status == 0, said
        for _ in range(agents):
            made.join()
        yield made


def wait_for(look: Callable[[], T | None], within_s: float = 30.0) -> T:
    """The first answer that is true."""
    until_s = time.monotonic() + within_s
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < until_s, "it did not come to this"
        time.sleep(0.05)


@contextmanager
def _machine(number: int, switch: int | None) -> Iterator[Machine]:
    folder = fresh_folder()
    with a_network() as holder:
        address = f"10.77.0.{number}"
        if switch is not None:
            script = f"""
            ip link add {_port_of(address)} type veth peer name out0 netns {holder}
            ip link set {_port_of(address)} master switch up
            nsenter --net=/proc/{holder}/ns/net sh -ec '
              ip addr add {address}/24 dev out0
              ip link set out0 up
              ip route add default via {SERVER}'
            """
            subprocess.run([*enter(switch), "sh", "-ec", script], check=True)
        terminal = Terminal(
            folder=folder,
            wrapper=enter(holder),
            environ={"XDG_CONFIG_HOME": str(folder / "config"), "HOME": str(folder)},
        )
        try:
            yield Machine(holder, address, terminal)
        finally:
            terminal.squall("down", "--force", SQUALL_SERVER="local")
            shutil.rmtree(folder, ignore_errors=True)


def _port_of(address: str) -> str:
    return f"port{address.rpartition('.')[2]}"
