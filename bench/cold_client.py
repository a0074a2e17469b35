"""Cold client: a program of its own that opens an app and calls it from zero containers; prints one JSON object."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import leak_count
from squall.model.errors import Error
from squall.sdk.client import Client
from squall.settings.paths import find_state

SETTLE_S = 0.15
WAIT_S = 60.0
TEMPLATE_S = 10.0
LEFT_S = 20.0
# As long as inputs that are worth a container each: the planner learns from it how long they take.
HOLD_WARM_S = 1.0
TEMPLATE_RUNGS = {"spare", "pooled", "on_demand"}


def rows(function: str) -> list[dict[str, Any]]:
    """The containers of one function, as the server lists them."""
    found = Client.here().request("container.list")["containers"]
    return [row for row in found if row["function"] == function]


def empty(function: str) -> None:
    """Stops the function's containers, and returns when none is left and the machine has had a moment."""
    until = time.monotonic() + WAIT_S
    for row in rows(function):
        try:
            Client.here().request("container.stop", {"container": row["id"]})
        except Error:
            continue  # it went by itself
    while rows(function):
        if time.monotonic() > until:
            raise RuntimeError(f"containers of {function} do not go")
        time.sleep(0.005)
    time.sleep(SETTLE_S)


def call(app: Any) -> dict[str, Any]:
    """One call of a function without containers: milliseconds to its first line and its result, its rung and phases."""
    asked = time.monotonic()
    at, edits = app.first_line.remote()
    got_at = time.monotonic()
    row = (rows("first_line") or [{}])[0]
    return {
        "first_ms": (at - asked) * 1e3,
        "result_ms": (got_at - asked) * 1e3,
        "rung": row.get("rung", ""),
        "phases_ms": row.get("phases_ms", {}),
        "edits": edits,
    }


def wait_for_template(function: str, call_it: Callable[[], object]) -> None:
    """Calls until a container comes from a template; a server that makes none has had the time to."""
    until = time.monotonic() + TEMPLATE_S
    while time.monotonic() < until:
        call_it()
        rungs = {row["rung"] for row in rows(function)}
        empty(function)
        if rungs & TEMPLATE_RUNGS:
            return
        time.sleep(0.5)


def restart_server() -> None:
    """Kills the server, and returns when the one after it answers."""
    before = Client.here().request("status")["server"]["pid"]
    os.kill(before, signal.SIGKILL)
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        try:
            if Client.here().request("status")["server"]["pid"] != before:
                return
        except (Error, OSError):
            time.sleep(0.005)
    raise RuntimeError("the server did not come back")


def things() -> dict[str, int]:
    """What this Squall has on the machine now."""
    status = Client.here().request("status")
    roots = [row["pid"] for row in (status["server"], status["agent"], *status["launchers"])]
    return leak_count.look(find_state().state, roots)


def settled_things() -> dict[str, int]:
    """The same, once nothing is made any more for the start that was just now."""
    seen = things()
    while True:
        time.sleep(2 * SETTLE_S)
        before, seen = seen, things()
        if seen == before:
            return seen


def left_after(before: dict[str, int]) -> dict[str, int]:
    """What there is more of than before, once all that goes by itself has had the time to."""
    until = time.monotonic() + LEFT_S
    while (more := leak_count.more_than(before, things())) and time.monotonic() < until:
        time.sleep(0.1)
    return more


def burst(app: Any, width: int, hold_s: float) -> dict[str, Any]:
    """A map that needs `width` containers at once, from none; then how long it takes until none is left."""
    wait_for_template("hold", lambda: app.hold.remote(HOLD_WARM_S))
    before = settled_things()
    asked = time.monotonic()
    held: list[tuple[float, float]] = []
    alive: list[dict[str, Any]] = []
    for began, ended in app.hold.map([hold_s] * width, order_outputs=False):
        held.append((began, ended))
        alive = alive or rows("hold")
    done_at = time.monotonic()
    all_at, first_end = max(began for began, _ in held), min(ended for _, ended in held)
    rungs = Counter(row["rung"] for row in alive)
    while rows("hold"):
        if time.monotonic() > done_at + WAIT_S:
            raise RuntimeError("containers of hold do not go")
        time.sleep(0.01)
    return {
        "burst_s": all_at - asked,
        "together": all_at < first_end,
        "first_s": min(began for began, _ in held) - asked,
        "containers": len(alive),
        "rungs": rungs,
        "to_zero_s": time.monotonic() - done_at,
        "left": left_after(before),
    }


def main() -> None:
    """Opens the app, makes its first call, then what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module")
    parser.add_argument("--calls", type=int, default=0, help="calls from zero containers")
    parser.add_argument("--restart", action="store_true", help="a call after the server was killed")
    parser.add_argument("--burst", type=int, default=0, help="containers at once")
    parser.add_argument("--hold", type=float, default=3.0, help="seconds that each of them is kept")
    options = parser.parse_args()
    sys.path.insert(0, os.getcwd())
    app = importlib.import_module(options.module)
    began = time.monotonic()
    with app.app.run():
        found: dict[str, Any] = {"open_ms": (time.monotonic() - began) * 1e3, "first": call(app), "calls": []}
        if options.calls:
            wait_for_template("first_line", app.first_line.remote)
        for _ in range(options.calls):
            empty("first_line")
            found["calls"].append(call(app))
        if options.restart:
            empty("first_line")
            restart_server()
            found["restarted"] = call(app)
        if options.burst:
            empty("first_line")
            found["burst"] = burst(app, options.burst, options.hold)
        empty("first_line")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
