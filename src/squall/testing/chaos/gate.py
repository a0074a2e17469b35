"""The gate: a chaos proxy in a process of its own, through which some clients and machines reach a server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from squall.testing.chaos_proxy import FAIR, ChaosProxy, Weather

_ENDED_S: Final = 10.0
CLIENTS: Final = "clients"
MACHINES: Final = "machines"


@dataclass(slots=True)
class Gate:
    """The process, as who commands it sees it. Each side of it, clients and machines, has weather of its own."""

    process: subprocess.Popen[bytes]
    counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def opened(cls, wrap: Sequence[str], wish: GateWish, *, environ: dict[str, str]) -> Gate:
        """A gate that listens. wrap: a command that runs it in the network where it belongs. Raises RuntimeError, OSError."""
        process = subprocess.Popen(
            [*wrap, sys.executable, "-m", __name__, json.dumps(asdict(wish))],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        gate = cls(process)
        gate._hear()
        return gate

    def set(self, side: str, weather: Weather) -> None:
        """The weather of one side from now on, both ways."""
        self._tell({"side": side, "weather": asdict(weather)})

    def tear(self, side: str) -> None:
        """Tears every connection of a side."""
        self._tell({"side": side, "tear": True})

    @property
    def disturbed(self) -> int:
        """How many frames and pieces of connections were delayed, held up, torn, lost or repeated, up to the last command."""
        return sum(self.counts.values())

    def close(self) -> Counter[str]:
        """Ends it, and with it every connection; what it did, by kind."""
        if self.process.poll() is None:
            self._tell({"side": CLIENTS, "weather": asdict(FAIR)})
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(_ENDED_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        return self.counts

    def _tell(self, said: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(said).encode() + b"\n")
        self.process.stdin.flush()
        self._hear()

    def _hear(self) -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the gate has ended with {self.process.wait()}")
        self.counts = Counter(json.loads(line))


@dataclass(frozen=True, slots=True, kw_only=True)
class GateWish:
    """What a gate leads where. clients: the socket that it makes, and the server's; machines: where it listens, and the server."""

    seed: int = 0
    clients: tuple[str, str] = ("", "")
    machines: tuple[str, int, str, int] = ("", 0, "", 0)


async def stand(wish: GateWish) -> None:
    """Leads connections until standard input ends, and does what its lines say; each is answered by what was done so far."""
    sides = {CLIENTS: ChaosProxy(seed=wish.seed), MACHINES: ChaosProxy(seed=wish.seed + 1)}
    own, to = wish.clients
    if own:
        sides[CLIENTS].listen_unix(Path(own), Path(to))
    host, port, to_host, to_port = wish.machines
    if port:
        sides[MACHINES].listen_tcp((to_host, to_port), host, port)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    try:
        _say(sides)
        while line := await reader.readline():
            said = json.loads(line)
            proxy = sides[said["side"]]
            if "weather" in said:
                proxy.up = proxy.down = Weather(**said["weather"])
            if said.get("tear"):
                proxy.reset()
            _say(sides)
    finally:
        for proxy in sides.values():
            await proxy.close()


def _say(sides: dict[str, ChaosProxy]) -> None:
    whole: Counter[str] = Counter()
    for proxy in sides.values():
        whole.update(proxy.counts)
    sys.stdout.write(json.dumps(whole) + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """One gate, described as JSON."""
    asyncio.run(stand(GateWish(**json.loads(arguments[0]))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
