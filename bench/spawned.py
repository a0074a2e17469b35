"""Spawned: how much memory the server takes for a hundred thousand spawned inputs, and how fast they drain against a thousand."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import Bar, Samples, Turn, arguments, report_rounds, report_turn

MB = 1e6
DATA = 1024
"""Bytes of each input."""
WORK_S = 0.0005
"""How long each takes: a thousand that take no time are through before the clock is read."""
AT_ONCE = 200
UNITS = {
    "drain_per_s": "1/s",
    "spawn_per_s": "1/s",
    "grown_mb": "MB",
    "grown_while_draining_mb": "MB",
}
BARS = (
    Bar(metric="drain_per_s", factor=0.9, at_least=True, who="map_100k", theirs="map_1k"),
    Bar(metric="grown_mb", factor=64.0, who="map_100k"),
    Bar(metric="grown_mb", factor=192.0, who="calls_100k"),
)


class Server:
    """The memory of one process, watched."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._most = self.now()
        self._over = threading.Event()
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()

    def now(self) -> int:
        """Bytes that it has in memory."""
        fields = Path(f"/proc/{self._pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def most(self) -> int:
        """The most that it had since the last question."""
        found, self._most = self._most, self.now()
        return found

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self._most = max(self._most, self.now())

    def close(self) -> None:
        self._over.set()
        self._watching.join()


def measured(count: int, times: int, *, single: bool) -> Samples:
    """`count` inputs, spawned while both containers are kept busy, and then drained; so many times."""
    import squall
    from squall.sdk.blocking import run_blocking
    from squall.sdk.client import Client

    app = squall.App("spawned")

    @app.function(serialized=True, max_containers=2, min_containers=2, name="quick")
    def quick(data: bytes, seconds: float = WORK_S) -> int:
        time.sleep(seconds)
        return len(data)

    async def each() -> list[squall.FunctionCall[int]]:
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> squall.FunctionCall[int]:
            async with turn:
                return await quick.spawn.aio(b"%d" % number + b"x" * DATA)

        return list(await asyncio.gather(*(one(number) for number in range(count))))

    samples: Samples = {name: [] for name in UNITS}
    with app.run():
        list(quick.map([b"warm"] * 500))
        status = Client.here().request("status")
        server = Server(int(status["server"]["pid"]))
        for _ in range(times):
            before = server.now()
            server.most()
            hold_s = 1.0 + count / (2500 if single else 20_000)
            # Slow inputs first, so that each of those that hold a container is given out alone.
            list(quick.map([b"slow"] * 8, kwargs={"seconds": 0.05}))
            held = [quick.spawn(b"held", hold_s) for _ in range(2)]
            time.sleep(0.2)
            started = time.perf_counter()
            if single:
                last = asyncio.run(each())[-1]
            else:
                last = quick.spawn_map([b"%d" % number + b"x" * DATA for number in range(count)])
            samples["spawn_per_s"].append(count / (time.perf_counter() - started))
            samples["grown_mb"].append((server.most() - before) / MB)
            for one in held:
                one.get()
            released = time.perf_counter()
            while _is_busy(Client.here().request("status")):
                time.sleep(0.01)
            info = run_blocking(Client.here().ask("call.info", {"call": last.object_id})).head()
            assert info["state"] == "ended", info
            samples["drain_per_s"].append(count / (time.perf_counter() - released))
            samples["grown_while_draining_mb"].append((server.most() - before) / MB)
        server.close()
    return samples


def _is_busy(status: dict[str, Any]) -> bool:
    return bool(status["calls"] or status.get("on_record") or status["unrecorded"]["inputs"])


CONTENDERS: dict[str, Callable[[bool], Samples]] = {
    "map_1k": lambda quick: measured(1000, 3 if quick else 20, single=False),
    "map_100k": lambda quick: measured(20_000 if quick else 100_000, 1 if quick else 3, single=False),
    "calls_1k": lambda quick: measured(1000, 3 if quick else 10, single=True),
    "calls_100k": lambda quick: measured(10_000 if quick else 100_000, 1, single=True),
}


def turn(who: str, *, quick: bool) -> Turn:
    """One contender with a server of its own."""
    folder = tempfile.mkdtemp(prefix="squall-bench-")
    os.environ["SQUALL_STATE_DIR"] = f"{folder}/state"
    try:
        return Turn(samples=CONTENDERS[who](quick))
    finally:
        from squall.cli.main import run_command

        run_command(["down"])
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Runs the rounds and prints the figures."""
    options = arguments(__doc__ or "", list(CONTENDERS))
    if options.turn:
        report_turn(turn(options.turn, quick=options.quick))
        return
    report_rounds(__file__, options, UNITS, reference="map_1k", bars={"bars": BARS})


if __name__ == "__main__":
    main()
