"""Measurement: rounds of turns in fresh processes, medians with their spread, and the one JSON shape all benches print."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
Samples = dict[str, list[float]]

TURN_LIMIT_S = 420.0
PHASE = "phase_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How one metric of one contender came out; a rate's samples are its repeats, a latency's are single calls."""

    unit: str
    p50: float
    p95: float
    p99: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one contender measured in one round, or why it could not."""

    samples: Samples = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    skipped: str = ""
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A figure the product has to reach: `ours` at most (or at least) `factor` times `theirs`, or times one.

    what: which figure of ours, "p50", "p95" or "p99"; of theirs it is always the median.
    """

    metric: str
    factor: float
    at_least: bool = False
    who: str = "squall"
    theirs: str = ""
    what: str = "p50"


def percentile(samples: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of `samples` lie, on a straight line between neighbours.

    Raises ValueError for no samples.
    """
    if not samples:
        raise ValueError("no samples, no percentile")
    ordered = sorted(samples)
    place = share * (len(ordered) - 1)
    low, high = math.floor(place), math.ceil(place)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def summarise(samples: Sequence[float], unit: str) -> Summary:
    """The median and the tail of `samples`, rounded to five significant digits."""
    return Summary(
        unit=unit,
        p50=significant(statistics.median(samples)),
        p95=significant(percentile(samples, 0.95)),
        p99=significant(percentile(samples, 0.99)),
        n=len(samples),
    )


def significant(value: float, digits: int = 5) -> float:
    """`value` to so many significant digits: more would only show the noise of the clock."""
    return float(f"{value:.{digits}g}")


def merge(turns: Iterable[Turn]) -> Samples:
    """All samples of one contender, over its turns."""
    pooled: Samples = {}
    for turn in turns:
        for metric, samples in turn.samples.items():
            pooled.setdefault(metric, []).extend(samples)
    return pooled


def results_of(
    turns: Mapping[str, Sequence[Turn]], units: Mapping[str, str]
) -> dict[str, dict[str, Summary]]:
    """WHO, then METRIC, then its summary; a contender that measured nothing is left out."""
    table: dict[str, dict[str, Summary]] = {}
    for who, taken in turns.items():
        pooled = merge(taken)
        if pooled:
            table[who] = {name: summarise(pooled[name], units[name]) for name in units if pooled.get(name)}
    return table


def as_json(results: Mapping[str, Mapping[str, Summary]], machine: Mapping[str, object]) -> dict[str, Any]:
    """The object that `--json` prints: the machine, and each figure under WHO and METRIC."""
    rows = {
        who: {
            name: {"unit": s.unit, "p50": s.p50, "p95": s.p95, "p99": s.p99, "n": s.n}
            for name, s in metrics.items()
        }
        for who, metrics in results.items()
    }
    return {"machine": dict(machine), "results": rows}


def judge(bar: Bar, results: Mapping[str, Mapping[str, Summary]]) -> tuple[bool | None, str]:
    """Whether `bar` is met (None: a figure is missing), and the line that says so."""
    ours = results.get(bar.who, {}).get(bar.metric)
    theirs = results.get(bar.theirs, {}).get(bar.metric) if bar.theirs else None
    sign = ">=" if bar.at_least else "<="
    bound = f"{bar.factor:g} x {bar.theirs}" if bar.theirs else f"{bar.factor:g}"
    asked = f"{bar.who} {bar.metric}{'' if bar.what == 'p50' else f' {bar.what}'} {sign} {bound}"
    if ours is None or (bar.theirs and theirs is None):
        return None, f"not measured: {asked}"
    limit = bar.factor * (theirs.p50 if theirs else 1.0)
    is_now = float(getattr(ours, bar.what))
    met = is_now >= limit if bar.at_least else is_now <= limit
    return met, f"{'met' if met else 'MISSED'}: {asked} (is {is_now:g}, bound {limit:.4g} {ours.unit})"


def table(results: Mapping[str, Mapping[str, Summary]], *, reference: str) -> list[str]:
    """Lines for people: each metric with median, p95, p99, and the median as a multiple of the reference's.

    Phases of another figure, which are many, are for machines only.
    """
    lines = [f"{'metric':<28} {'who':<22} {'p50':>11} {'p95':>11} {'p99':>11} {'n':>6}  unit   x {reference}"]
    metrics = dict.fromkeys(name for rows in results.values() for name in rows)
    for name in metrics:
        if name.startswith(PHASE):
            continue
        for who, rows in results.items():
            if name not in rows:
                continue
            s, own = rows[name], results.get(reference, {}).get(name)
            ratio = f"{s.p50 / own.p50:8.2f}" if own and own.p50 else "       -"
            lines.append(
                f"{name:<28} {who:<22} {s.p50:>11.5g} {s.p95:>11.5g} {s.p99:>11.5g} {s.n:>6}  {s.unit:<5} {ratio}"
            )
    return lines


def machine() -> dict[str, object]:
    """What a reader has to know of this computer to compare figures."""
    cpu = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        "",
    )
    memory_kib = next(
        (int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0
    )
    return {
        "cpu": cpu or platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_kib / 2**20, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_1m": os.getloadavg()[0],
        "uid": os.getuid(),
        "realtime": os.sched_getscheduler(0) == os.SCHED_RR,
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def say(text: str) -> None:
    """One line of progress, on standard error, so that standard output stays one JSON object."""
    print(text, file=sys.stderr, flush=True)


def arguments(
    description: str,
    contenders: Sequence[str],
    more: Callable[[argparse.ArgumentParser], None] = lambda _parser: None,
) -> argparse.Namespace:
    """The options every bench takes. `turn` is how a bench calls itself for one contender in a fresh process.

    more: adds those of one bench alone.
    """
    parser = argparse.ArgumentParser(description=description)
    more(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds and repeats: a look, not a figure to quote"
    )
    parser.add_argument("--rounds", type=int, default=0, help="rounds to run (default 5, quick 1)")
    parser.add_argument("--only", default="", metavar="WHO,...", help=f"of {','.join(contenders)}")
    parser.add_argument("--turn", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 5)
    chosen = [who for who in options.only.split(",") if who] or list(contenders)
    if unknown := sorted(set(chosen) - set(contenders)):
        parser.error(f"--only: {', '.join(unknown)} unknown, of {', '.join(contenders)}")
    options.contenders = [who for who in contenders if who in chosen]
    return options


def run_rounds(script: str, options: argparse.Namespace) -> dict[str, list[Turn]]:
    """Every contender's turns, interleaved; the order turns by one each round, so that no one always goes first."""
    turns: dict[str, list[Turn]] = {who: [] for who in options.contenders}
    absent: set[str] = set()
    for number in range(options.rounds):
        shift = number % len(options.contenders)
        for who in options.contenders[shift:] + options.contenders[:shift]:
            if who in absent:
                continue
            started = time.monotonic()
            turn = take_turn(script, who, quick=options.quick)
            if turn.skipped:
                absent.add(who)
                turns[who].append(turn)
                say(f"skipped {who}: {turn.skipped}")
                continue
            turns[who].append(turn)
            said = "; ".join(turn.notes)
            load = f"load {os.getloadavg()[0]:.1f}"
            say(
                f"round {number + 1}/{options.rounds} {who}: {time.monotonic() - started:.1f} s, {load} {said}"
            )
    return turns


def report_rounds(
    script: str,
    options: argparse.Namespace,
    units: Mapping[str, str],
    *,
    reference: str,
    bars: Mapping[str, Sequence[Bar]] | None = None,
) -> None:
    """Runs the rounds and prints the figures, then which bars they meet. Raises SystemExit where a contender failed."""
    turns = run_rounds(script, options)
    report(results_of(turns, units), reference=reference, bars=bars, json_too=options.json)
    if any(turn.failed for taken in turns.values() for turn in taken):
        raise SystemExit("a contender failed: see its line above")


def report(
    results: Mapping[str, Mapping[str, Summary]],
    *,
    reference: str,
    bars: Mapping[str, Sequence[Bar]] | None = None,
    json_too: bool = False,
) -> None:
    """Prints the table and the verdicts for people, and the one JSON object where it is asked for."""
    for line in table(results, reference=reference):
        say(line)
    for kind, members in (bars or {}).items():
        for bar in members:
            say(f"{kind} {judge(bar, results)[1]}")
    if json_too:
        print(json.dumps(as_json(results, machine())))


def take_turn(script: str, who: str, *, quick: bool) -> Turn:
    """One contender's measurement in a process of its own, so that no peer's threads or memory sit in another's client."""
    command = [sys.executable, script, "--turn", who, *(["--quick"] if quick else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True, text=True) as child:
        try:
            out, _ = child.communicate(timeout=TURN_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            return Turn(skipped=f"FAILED, no end within {TURN_LIMIT_S:g} s", failed=True)
        except BaseException:
            os.killpg(child.pid, signal.SIGTERM)
            raise
    if child.returncode != 0:
        return Turn(skipped=f"FAILED, its process ended with {child.returncode}", failed=True)
    got = json.loads(out.splitlines()[-1])
    return Turn(samples=got["samples"], notes=tuple(got["notes"]), skipped=got["skipped"])


def report_turn(turn: Turn) -> None:
    """The line that `take_turn` reads, written by the child."""
    print(json.dumps({"samples": turn.samples, "notes": turn.notes, "skipped": turn.skipped}), flush=True)


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds that one run of `work` takes, and what it gave."""
    started = time.perf_counter()
    value = work()
    return time.perf_counter() - started, value


def seconds(work: Callable[[], object]) -> float:
    """Seconds that one run of `work` takes."""
    return timed(work)[0]
