"""`squall simulate`: what scaling would do with given traffic, on virtual time."""

import dataclasses
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from squall.cli.screen import coloured, say, say_json, say_table
from squall.model.errors import InvalidError, UsageError
from squall.model.function import Scaling
from squall.simulation.compare import POLICIES, Case, Row, frontier, play
from squall.simulation.nodes import Starts
from squall.simulation.picture import picture
from squall.simulation.report import total
from squall.simulation.run import Watch, World
from squall.simulation.traffic import KINDS, Load, arrivals, read_trace

_COLUMNS = (
    "traffic",
    "policy",
    "inputs",
    "cold",
    "p50",
    "p99",
    "longest",
    "idle/busy",
    "over",
    "flaps/h",
    "map",
)
_SHOWN_EVERY = 2000


@click.command()
@click.option(
    "--traffic", default=",".join(KINDS), metavar="KIND,...", help=f"Of {', '.join(KINDS)}; default all."
)
@click.option("--trace", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE.csv",
              help="Your own traffic instead: lines of an arrival and a duration, in seconds.")  # fmt: skip
@click.option("--policy", default=",".join(POLICIES), show_default=True, metavar="NAME,...",
              help="squall: what the server does; kpa: Knative's autoscaler, re-implemented.")  # fmt: skip
@click.option(
    "--hours", type=click.FloatRange(0.01, 168), default=1.0, show_default=True, help="Length of the traffic."
)
@click.option("--seed", default=0, show_default=True, help="Equal seeds give equal traffic.")
@click.option("--cold-start", "start_s", type=click.FloatRange(0.001, 3600), default=0.5, show_default=True,
              metavar="S", help="Seconds that a container takes to start.")  # fmt: skip
@click.option("--work", "work_s", type=click.FloatRange(0.001, 3600), default=0.3, show_default=True, metavar="S",
              help="Seconds that an input takes on average.")  # fmt: skip
@click.option("--nodes", type=click.IntRange(1, 1000), default=4, show_default=True,
              help="Machines of 16 cores; a container takes one core.")  # fmt: skip
@click.option("--min", "least", default=0, show_default=True, help="min_containers.")
@click.option("--max", "most", type=int, help="max_containers.")
@click.option("--buffer", default=0, show_default=True, help="buffer_containers.")
@click.option("--window", "window_s", type=click.FloatRange(2, 3600), default=60.0, show_default=True, metavar="S",
              help="scaledown_window, in seconds; for kpa its stable window.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--picture", "drawing", type=click.Path(dir_okay=False, writable=True, path_type=Path),
              metavar="FILE.svg", help="Draw what less waiting costs, with windows up to 10 min.")  # fmt: skip
def simulate(*, as_json: bool, drawing: Path | None, policy: str, **wish: Any) -> None:
    """Show how long calls would wait, and what that would cost, under the planner that the server runs.

    Virtual time: an hour takes a second or two. No server is asked, no container is started.

    cold: inputs that met no ready container. p50, p99, longest: seconds of waiting. idle/busy: container seconds without
    work for each with. over: by how many containers outnumbered inputs at most. flaps/h: starts within a minute after a
    container was let go. map: seconds that a map took.
    """
    policies = _named(policy, POLICIES, "policy")
    cases = _cases(wish)
    progress = _Progress(len(cases) * len(policies))
    rows = [play(case, name, progress.of(case, name)) for case in cases for name in policies]
    progress.close()
    if as_json:
        say_json({"setup": _plainly(wish), "rows": [_row(row) for row in rows], "total": _totals(rows)})
    else:
        say_table(map(_cells, rows), _COLUMNS, empty="nothing was simulated")
        for name, sums in _totals(rows).items():
            say(
                f"{name}: {sums['cold_per_input']:.2%} of all inputs cold, "
                f"{sums['cold_per_function']:.2%} on average over the kinds of traffic"
            )
    if drawing is not None:
        _draw(drawing, cases, policies, wish)


def _cases(wish: dict[str, Any]) -> list[Case]:
    scaling = _scaling(wish)
    traffic = {}
    if wish["trace"] is not None:
        try:
            with wish["trace"].open(newline="", encoding="utf-8") as lines:
                traffic["trace"] = read_trace(lines)
        except ValueError as problem:
            raise InvalidError(
                f"{wish['trace']}: {problem}",
                remedy="write lines like 12.5,0.3: arrival and duration in seconds",
            ) from None
    else:
        load = Load(length_s=wish["hours"] * 3600, work_s=wish["work_s"])
        for kind in _named(wish["traffic"], KINDS, "kind of traffic"):
            traffic[kind] = arrivals(kind, load, seed=wish["seed"])
    starts = Starts(pooled_s=wish["start_s"], on_demand_s=wish["start_s"])
    return [
        Case(
            kind=kind, arrivals=calls, scaling=scaling, nodes=wish["nodes"], starts=starts, seed=wish["seed"]
        )
        for kind, calls in traffic.items()
    ]


def _scaling(wish: dict[str, Any]) -> Scaling:
    try:
        return Scaling(
            min_containers=wish["least"],
            max_containers=wish["most"],
            buffer_containers=wish["buffer"],
            scaledown_window_s=wish["window_s"],
        )
    except ValueError as problem:
        raise UsageError(str(problem), remedy="see `squall simulate --help`") from None


def _named(text: str, known: tuple[str, ...], what: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise UsageError(f"there is no {what} {name!r}", remedy=f"choose from {', '.join(known)}")
    return names


def _draw(file: Path, cases: list[Case], policies: list[str], wish: dict[str, Any]) -> None:
    progress = _Progress(len(cases) * len(policies))
    rows: list[Row] = []
    for case in cases:
        for name in policies:
            progress.show(f"drawing {case.kind} under {name}")
            rows += frontier(case, name)
    progress.close()
    below = f"{wish['start_s']:g} s to start, {wish['nodes']} machines, seed {wish['seed']}; windows from 2 s (kpa 6 s) to 10 min"
    file.write_text(picture(rows, usual_s=60.0, below=below), encoding="utf-8")
    say(f"drawn: {file}", err=True)


def _cells(row: Row) -> dict[str, object]:
    told = row.report
    return {
        "traffic": row.kind,
        "policy": row.policy,
        "inputs": told.inputs,
        "cold": f"{told.cold:.2%}",
        "p50": f"{told.p50_wait_s:.3f}",
        "p99": f"{told.p99_wait_s:.3f}",
        "longest": f"{told.longest_wait_s:.3f}",
        "idle/busy": f"{told.idle_per_busy:.2f}",
        "over": told.over_peak,
        "flaps/h": f"{told.flaps_per_hour:.1f}",
        "map": "" if told.drain_s is None else f"{told.drain_s:.2f}",
    }


def _row(row: Row) -> dict[str, object]:
    return {
        "traffic": row.kind,
        "policy": row.policy,
        "window_s": row.window_s,
        **dataclasses.asdict(row.report),
    }


def _totals(rows: list[Row]) -> dict[str, dict[str, float]]:
    return {
        name: dataclasses.asdict(total([row.report for row in rows if row.policy == name]))
        for name in dict.fromkeys(row.policy for row in rows)
    }


def _plainly(wish: dict[str, Any]) -> dict[str, object]:
    return {
        name: value if isinstance(value, int | float | None) else str(value) for name, value in wish.items()
    }


class _Progress:
    """One line on a terminal that says what is being played, and nothing elsewhere."""

    def __init__(self, runs: int) -> None:
        self._live = coloured(sys.stderr)
        self._runs = runs
        self._begun = 0
        self._shown_s = 0.0

    def of(self, case: Case, policy: str) -> Watch:
        """Shows how far a run is."""
        self._begun += 1
        inputs = max(1, sum(len(arrival.work_s) for arrival in case.arrivals))
        what = f"{self._begun}/{self._runs} {case.kind} under {policy}"
        self.show(what)
        return Watch(stepped=self._stepped(inputs, what)) if self._live else Watch()

    def show(self, what: str) -> None:
        """Says what is being done."""
        if self._live:
            sys.stderr.write(f"\r\x1b[2K{click.style(f'⠿ {what}', fg='cyan')}")
            sys.stderr.flush()

    def close(self) -> None:
        """No line is left."""
        if self._live:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()

    def _stepped(self, inputs: int, what: str) -> Callable[[World], None]:
        def stepped(world: World) -> None:
            if world.clock.steps % _SHOWN_EVERY or time.monotonic() - self._shown_s < 0.1:
                return
            self._shown_s = time.monotonic()
            done = sum(len(got.waits_s) + got.failed for got in world.callers.got.values())
            self.show(f"{what}: {math.floor(100 * done / inputs)} %")

        return stepped
