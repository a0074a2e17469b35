"""Plays many seeds of the simulation with faults, checks every invariant after every event, and prints failing seeds."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src")]

from squall.simulation.sweep import run_seed  # noqa: E402 - of this clone, not of the interpreter

TOLD_EVERY_S = 10.0


def main() -> int:
    """0 where everything held, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000, help="how many seeds (default 10000)")
    parser.add_argument(
        "--first", type=int, default=0, help="the first seed: one that failed is played again"
    )
    parser.add_argument("--most", type=int, default=5, help="stop after so many failing seeds (default 5)")
    options = parser.parse_args()
    began_s = told_s = time.monotonic()
    events = failed = 0
    for played, seed in enumerate(range(options.first, options.first + options.seeds), 1):
        ran = run_seed(seed)
        events += ran.events
        if ran.found is not None:
            failed += 1
            print(f"FAILED {ran.found}\nagain: python3 scripts/sweep.py --first {seed} --seeds 1", flush=True)
        if failed >= options.most or played == options.seeds or time.monotonic() - told_s > TOLD_EVERY_S:
            told_s = time.monotonic()
            took = f"{told_s - began_s:.0f} s"
            print(f"{played} seeds, {events} events, {failed} failed, {took}", file=sys.stderr, flush=True)
        if failed >= options.most:
            break
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())
