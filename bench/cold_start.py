"""Cold starts: from the request to the first line of user code and to its result, by each rung of Squall and by its peers."""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import container_peers
import end_to_end
import launcher_peer
from container_peers import Starter
from heavy_modules import default_folder, heavy_modules
from measure import PHASE, Bar, Samples, Turn, arguments, report, results_of, say
from scene import KINDS, AbsentError, Sample, Scene, a_scene
from undisturbed import ahead, be_undisturbed

T = TypeVar("T")
SLOW_MS = 400.0
SLOW_EVERY = 5
PAUSE_S = 0.02
RATE_S = 3.0
UNITS = {
    **{f"{part}_{kind}_ms": "ms" for kind in KINDS for part in ("first_line", "result")},
    "starts_per_s": "1/s",
    "starts_per_s_torch": "1/s",
    **end_to_end.UNITS,
}
BARS = (
    Bar(metric="first_line_bare_ms", factor=5.0, who="squall_template"),
    Bar(metric="first_line_torch_ms", factor=8.0, who="squall_template"),
    Bar(metric="first_line_bare_ms", factor=0.25, who="squall_template", theirs="bwrap"),
    Bar(metric="first_line_bare_ms", factor=1.0, who="squall_spare"),
    Bar(metric="end_to_end_bare_ms", factor=15.0),
    Bar(metric="end_to_end_bare_ms", factor=60.0, what="p99"),
    Bar(metric="end_to_end_torch_ms", factor=15.0),
    Bar(metric="end_to_end_torch_ms", factor=60.0, what="p99"),
    Bar(metric="burst_100_s", factor=2.0),
    Bar(metric="burst_100_left", factor=0.0),
)
AIMS = (
    *(
        Bar(metric=f"first_line_{kind}_ms", factor=3.0, who="squall_template", theirs="os_fork")
        for kind in KINDS
    ),
    Bar(metric="first_line_bare_ms", factor=0.5, who="squall_spare"),
    Bar(metric="end_to_end_bare_ms", factor=5.0),
    Bar(metric="burst_100_s", factor=0.5),
)
PARTS = ("starts", "rates", "end_to_end", "burst")
# Rounds of one kind for each of `--rounds`: what takes longer is measured less often.
ROUNDS = {"bare": 20, "numpy": 15, "torch": 10}
WARM_UP = 2

Contender = Callable[[Scene, str], AbstractContextManager[Starter]]
CONTENDERS: dict[str, Contender] = {
    **{who: partial(launcher_peer.squall, who) for who in launcher_peer.RUNGS},
    "bwrap": container_peers.bwrap,
    **{who: partial(container_peers.oci, who) for who in ("crun", "runc", "runsc")},
    "process": container_peers.process,
    "os_fork": container_peers.os_fork,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be measured."""

    contenders: tuple[str, ...]
    kinds: tuple[str, ...]
    parts: tuple[str, ...]
    rounds: int


def takes_part(number: int, last_ms: float) -> bool:
    """Whether a contender whose last result took so long is asked in this round: slow ones are asked in every fifth."""
    return last_ms < SLOW_MS or number % SLOW_EVERY == 0


def in_turn(contenders: Sequence[str], number: int) -> list[str]:
    """The order of round `number`: it moves on by one each time, so that nobody always comes after the same."""
    shift = number % len(contenders) if contenders else 0
    return [*contenders[shift:], *contenders[:shift]]


class Roll:
    """Who still takes part, and who broke. A contender that cannot be measured is left out of all that follows."""

    def __init__(self) -> None:
        self.out: set[str] = set()
        self.broken: set[str] = set()

    def attempt(self, who: str, what: str, work: Callable[[], T]) -> T | None:
        """What `work` gives; None, and a line that says why, where what it needs is absent or the contender broke."""
        try:
            return work()
        except AbsentError as problem:
            say(f"skipped {who}, {what}: {problem}")
        except (RuntimeError, OSError, ValueError) as problem:
            say(f"FAILED {who}, {what}: {problem}")
            self.broken.add(who)
        self.out.add(who)
        return None


def measure_starts(starters: Mapping[str, Starter], rounds: int, roll: Roll) -> dict[str, list[Sample]]:
    """One start at a time, round robin over the contenders, after rounds that do not count."""
    taken: dict[str, list[Sample]] = {who: [] for who in starters}
    last = dict.fromkeys(starters, 0.0)
    for number in range(-WARM_UP, rounds):
        for who in in_turn(list(starters), number):
            # A slow contender is warm after one start.
            if who in roll.out or not takes_part(number if number >= 0 else number + WARM_UP, last[who]):
                continue
            sample = roll.attempt(who, "a start", starters[who].sample)
            if sample is not None:
                last[who] = sample.result_ms
                if number >= 0:
                    taken[who].append(sample)
            time.sleep(PAUSE_S)
    return taken


def count_for_rate(result_ms: float) -> int:
    """How many starts show a rate: some seconds of them, but neither a handful nor thousands."""
    return round(min(200.0, max(8.0, RATE_S * 1e3 / result_ms)))


def measure_rates(
    starters: Mapping[str, Starter], rounds: int, slowest_ms: float, roll: Roll
) -> dict[str, list[float]]:
    """Starts a second, round robin over the contenders whose starts take no longer than slowest_ms."""
    rates: dict[str, list[float]] = {who: [] for who in starters}
    for number in range(rounds):
        for who in in_turn(list(starters), number):
            starter = starters[who]
            sample = None if who in roll.out else roll.attempt(who, "a start", starter.sample)
            if sample is None or sample.result_ms > slowest_ms:
                continue
            count = count_for_rate(sample.result_ms)
            rate = roll.attempt(who, "a series of starts", partial(starter.starts_per_s, count))
            if rate is not None:
                rates[who].append(rate)
            time.sleep(PAUSE_S)
    return {who: found for who, found in rates.items() if found}


def samples_of(kind: str, taken: Sequence[Sample]) -> Samples:
    """The figures of one contender and one kind, those of Squall's own phases among them."""
    samples: Samples = {
        f"first_line_{kind}_ms": [one.first_ms for one in taken],
        f"result_{kind}_ms": [one.result_ms for one in taken],
    }
    for one in taken:
        for phase, at_ms in one.phases_ms.items():
            samples.setdefault(f"{PHASE}{phase}_{kind}_ms", []).append(at_ms)
    return samples


def unit_of(metric: str) -> str:
    """The unit of a figure; that of a phase is no constant, as a launcher may name new ones."""
    return UNITS.get(metric, "ms")


def measure_kind(scene: Scene, kind: str, asked: Asked, results: dict[str, Samples]) -> set[str]:
    """All that is asked of one kind, with every contender there at once; what is absent is said and left out.

    Gives the contenders that broke.
    """
    roll = Roll()
    with ExitStack() as stack:
        starters: dict[str, Starter] = {}
        for who in asked.contenders:
            enter = partial(stack.enter_context, CONTENDERS[who](scene, kind))
            if (starter := roll.attempt(who, kind, enter)) is not None:
                starters[who] = starter
        stack.enter_context(ahead())
        if "starts" in asked.parts:
            began, rounds = time.monotonic(), asked.rounds * ROUNDS[kind]
            for who, taken in measure_starts(starters, rounds, roll).items():
                if own := by_its_rung(who, kind, taken):
                    results.setdefault(who, {}).update(samples_of(kind, own))
                    say(line_of(who, kind, own))
            took_s, load = time.monotonic() - began, os.getloadavg()[0]
            say(f"{kind}: {rounds} rounds in {took_s:.1f} s, load {load:.1f}")
        if "rates" in asked.parts and kind != "numpy":
            slowest_ms = math.inf if kind == "bare" else SLOW_MS
            name = "starts_per_s" if kind == "bare" else f"starts_per_s_{kind}"
            for who, rates in measure_rates(starters, asked.rounds, slowest_ms, roll).items():
                results.setdefault(who, {})[name] = rates
                say(f"{name} {who}: {statistics.median(rates):.4g}")
    return roll.broken


def measure_at_the_agent(asked: Asked, modules: Path, results: dict[str, Samples]) -> set[str]:
    """Every kind in turn; what could not be installed is said and left out. Gives the contenders that broke."""
    heavy: Path | None = None
    if set(asked.kinds) - {"bare"}:
        heavy, problem = heavy_modules(modules)
        if problem:
            say(f"skipped: {problem}")
    broken: set[str] = set()
    with a_scene(heavy) as scene:
        for kind in asked.kinds:
            if scene.has(kind):
                broken |= measure_kind(scene, kind, asked, results)
            else:
                say(f"skipped {kind}: the package is not there")
    return broken


def by_its_rung(who: str, kind: str, taken: Sequence[Sample]) -> list[Sample]:
    """The starts that took the rung whose name the figures have, and a line where others did; a peer has no rungs."""
    rung = launcher_peer.RUNGS.get(who, "")
    own = [one for one in taken if one.rung == rung]
    if len(own) < len(taken):
        say(f"{who}, {kind}: starts took {dict(Counter(one.rung for one in taken))}, and only its own count")
    return own


def line_of(who: str, kind: str, taken: Sequence[Sample]) -> str:
    """Progress: the medians, and for Squall how far each phase was after how many milliseconds."""
    middle = statistics.median
    first, result = middle(one.first_ms for one in taken), middle(one.result_ms for one in taken)
    names = dict.fromkeys(name for one in taken for name in one.phases_ms)
    phases = [
        f"{name} {middle(one.phases_ms[name] for one in taken if name in one.phases_ms):.1f}"
        for name in names
    ]
    return f"{who}, {kind}: first line {first:.4g} ms, result {result:.4g} ms, n {len(taken)} {', '.join(phases)}"


def chosen(text: str, known: Iterable[str], option: str) -> tuple[str, ...]:
    """The names in a comma-separated option, all of them where it is empty. Raises SystemExit for an unknown one."""
    names = [name for name in text.split(",") if name]
    if unknown := sorted(set(names) - set(known)):
        raise SystemExit(f"{option}: {', '.join(unknown)} unknown, of {', '.join(known)}")
    return tuple(name for name in known if not names or name in names)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kinds", default="", metavar="KIND,...", help=f"of {','.join(KINDS)}")
    parser.add_argument("--parts", default="", metavar="PART,...", help=f"of {','.join(PARTS)}")
    parser.add_argument(
        "--modules", type=Path, default=None, help="folder that has numpy and torch, or gets them installed"
    )
    parser.add_argument(
        "--realtime", action="store_true", help="run before everything else on this machine, as root"
    )


def main() -> None:
    """Measures what is asked and prints it."""
    options = arguments(__doc__ or "", [*CONTENDERS, "squall"], _options)
    if options.realtime:
        be_undisturbed()
    asked = Asked(
        contenders=tuple(who for who in options.contenders if who in CONTENDERS),
        kinds=chosen(options.kinds, KINDS, "--kinds"),
        parts=chosen(options.parts, PARTS, "--parts"),
        rounds=options.rounds,
    )
    results: dict[str, Samples] = {}
    broken: set[str] = set()
    if asked.contenders and {"starts", "rates"} & set(asked.parts):
        broken |= measure_at_the_agent(asked, options.modules or default_folder(), results)
    if "squall" in options.contenders and {"end_to_end", "burst"} & set(asked.parts):
        found = end_to_end.measure_end_to_end(
            asked.kinds, asked.parts, rounds=asked.rounds, quick=options.quick
        )
        for who, samples in found.items():
            results.setdefault(who, {}).update(samples)
    names = list(UNITS) + sorted({name for samples in results.values() for name in samples} - set(UNITS))
    summaries = results_of(
        {who: [Turn(samples=samples)] for who, samples in results.items()},
        {name: unit_of(name) for name in names},
    )
    report(summaries, reference="os_fork", bars={"bar": BARS, "aim": AIMS}, json_too=options.json)
    if broken:
        raise SystemExit(f"failed, see the lines above: {', '.join(sorted(broken))}")


if __name__ == "__main__":
    main()
