"""Plays many seeds of the simulation with faults, checks every invariant after every event, and prints failing seeds."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src")]

from squall.simulation.many import Count, again  # noqa: E402 - of this clone, not of the interpreter
from squall.testing.abreast import play_abreast  # noqa: E402 - the same

TOLD_EVERY_S = 10.0


def main() -> int:
    """0 where everything held, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000, help="how many seeds (default 10000)")
    parser.add_argument(
        "--first", type=int, default=0, help="the first seed: one that failed is played again"
    )
    parser.add_argument("--most", type=int, default=5, help="stop after so many failing seeds (default 5)")
    parser.add_argument("--jobs", type=int, default=0, help="processes at once (default: one a core)")
    parser.add_argument("--within", type=float, help="begin no seed after so many seconds")
    options = parser.parse_args()
    began_s = told_s = time.monotonic()
    count = Count()
    for part in play_abreast(range(options.first, options.first + options.seeds), jobs=options.jobs):
        count.add(part)
        for found in part.failed:
            print(f"FAILED {found}\nagain: {again(found)}", flush=True)
        if time.monotonic() - told_s > TOLD_EVERY_S:
            told_s = time.monotonic()
            print(f"{count.seeds} seeds, {count.events} events, {len(count.failed)} failed", file=sys.stderr)
        over = options.within is not None and time.monotonic() - began_s > options.within
        if over or len(count.failed) >= options.most:
            break
    print(f"{count}, {time.monotonic() - began_s:.0f} s")
    return int(bool(count.failed))


if __name__ == "__main__":
    raise SystemExit(main())
