"""Cold app: functions that need nothing, called from zero containers through client and server."""

import time

import squall

EDITS = 0
app = squall.App("bench-cold")


@app.function(cpu=0.01, memory=(64, 1024), scaledown_window=2)
def first_line() -> tuple[float, int]:
    """When this line ran, on the clock that the machine's processes share, and which edit it is of."""
    return time.monotonic(), EDITS


@app.function(cpu=0.01, memory=(64, 1024), scaledown_window=2)
def hold(seconds: float) -> tuple[float, float]:
    """Keeps a container busy: from when and until when."""
    began = time.monotonic()
    time.sleep(seconds)
    return began, time.monotonic()
