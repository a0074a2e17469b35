"""Levels: what an isolation level costs, from the call of a function without a container to its first line and result."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

import squall
from measure import Samples, Turn, arguments, report_rounds, report_turn, timed
from squall.model.errors import IsolationUnavailable

LEVELS = ("process", "sandbox", "crun", "runc", "gvisor")
UNITS = {"first_line_ms": "ms", "first_call_ms": "ms", "warm_call_ms": "ms", "send_10mb_ms": "ms"}
_NOTHING: Any = None


def now(value: Any = _NOTHING) -> tuple[float, int]:
    """When the first line of this ran, in seconds since 1970, and the size of what came."""
    return time.time(), 0 if value is None else len(value)


def measure_level(level: str, *, quick: bool) -> Turn:
    """Milliseconds of first and later calls of a function at `level`, in a house of its own."""
    samples: Samples = {name: [] for name in UNITS}
    folder = tempfile.mkdtemp(prefix="squall-bench-")
    os.environ["SQUALL_STATE_DIR"] = folder
    try:
        _warm_up()
        for _ in range(3 if quick else 8):
            _once(level, samples)
    except IsolationUnavailable as refused:
        return Turn(skipped=str(refused))
    finally:
        stop(folder)
    return Turn(samples=samples)


def _warm_up() -> None:
    """Server, agent and a parked launcher are there, as they are when a function is called by anybody but the first."""
    app = squall.App("warm-up")
    function = app.function()(now)
    with app.run():
        function.remote()


def _once(level: str, samples: Samples) -> None:
    app = squall.App(f"level-{level}")
    function = app.function(level=level, max_containers=1, serialized=True)(now)
    with app.run():
        # A function's launcher is parked again meanwhile.
        time.sleep(0.5)
        began = time.time()
        at, _ = function.remote()
        ended = time.time()
        samples["first_line_ms"].append((at - began) * 1e3)
        samples["first_call_ms"].append((ended - began) * 1e3)
        for _ in range(50):
            samples["warm_call_ms"].append(timed(function.remote)[0] * 1e3)
        data = bytes(10_000_000)
        for _ in range(5):
            samples["send_10mb_ms"].append(timed(lambda: function.remote(data))[0] * 1e3)


def stop(folder: str) -> None:
    """Ends the server of this state directory, and removes that."""
    command = [sys.executable, "-m", "squall", "down"]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, check=False)
    shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Runs the rounds, or one turn."""
    options = arguments(__doc__ or "", LEVELS)
    if options.turn:
        report_turn(measure_level(options.turn, quick=options.quick))
        return
    report_rounds(__file__, options, UNITS, reference="sandbox")


if __name__ == "__main__":
    main()
