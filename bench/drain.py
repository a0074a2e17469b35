"""Drain: how fast spawned inputs are worked off, few and many, and what the many cost the server in memory."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Final

import squall
from levels import stop
from measure import Bar, Samples, Turn, arguments, report_rounds, report_turn
from squall.sdk.client import Client

SIZES: Final = {"of_1k": 1_000, "of_100k": 100_000}
UNITS = {"drain_per_s": "1/s", "spawn_s": "s", "server_mb": "MB", "server_growth_mb": "MB"}
BARS = (
    Bar(metric="drain_per_s", factor=0.9, at_least=True, who="of_100k", theirs="of_1k"),
    Bar(metric="server_growth_mb", factor=64.0, who="of_100k"),
)


def following(value: int) -> int:
    """The smallest real work."""
    return value + 1


def measure_drain(inputs: int, repeats: int) -> Turn:
    """Inputs a second from the spawn to the last outcome on record, on a server of its own with two containers."""
    samples: Samples = {name: [] for name in UNITS}
    folder = tempfile.mkdtemp(prefix="squall-bench-")
    os.environ["SQUALL_STATE_DIR"] = folder
    try:
        app = squall.App("drain")
        function = app.function(max_containers=2, serialized=True)(following)
        with app.run():
            list(function.map(range(2_000)))
            server = int(Client.here().request("status")["server"]["pid"])
            for _ in range(repeats):
                before = resident_mb(server)
                started = time.perf_counter()
                call = function.spawn_map(range(inputs))
                samples["spawn_s"].append(time.perf_counter() - started)
                top = until_done(call.object_id, inputs, server)
                samples["drain_per_s"].append(inputs / (time.perf_counter() - started))
                samples["server_mb"].append(top)
                samples["server_growth_mb"].append(top - before)
                assert call.get(index=inputs - 1) == inputs
    finally:
        stop(folder)
    return Turn(samples=samples)


def until_done(call: str, inputs: int, server: int) -> float:
    """Waits for the last outcome; the most memory that was seen of the server meanwhile, in MB."""
    top = 0.0
    while True:
        top = max(top, resident_mb(server))
        if Client.here().request("call.info", {"call": call})["done"] == inputs:
            return top
        time.sleep(0.01)


def resident_mb(process: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    return 0.0


def main() -> None:
    """Runs the rounds and prints the figures."""
    options = arguments(__doc__ or "", list(SIZES))
    if options.turn:
        inputs = SIZES[options.turn]
        few = 10 if options.quick else 30
        report_turn(measure_drain(inputs, repeats=few if inputs < 10_000 else 2))
        return
    report_rounds(__file__, options, UNITS, reference="of_1k", bars={"bar": BARS})


if __name__ == "__main__":
    main()
