"""The sweep of crash points: one run of the same load for each point, and for each pair of the hottest, a process dying there."""

from __future__ import annotations

import itertools
import random
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from squall import faults
from squall.testing.chaos.counting import Account, count
from squall.testing.chaos.house import SOURCES, LocalHouse
from squall.testing.chaos.ledger import outcomes_s
from squall.testing.chaos.report import Report, recoveries, together

LOAD: Final[Mapping[str, Any]] = {"map": 200, "spawn": 50, "gen": 2, "nest": 2, "large": 2, "call": 10}
HOTTEST: Final = 10
PATIENCE_S: Final = 60.0
# Points that are passed only once another process, or the one before, has died.
AFTER: Final[Mapping[str, str]] = {
    "agent/adopt.listed": "agent/relay.passed:9",
    "agent/adopt.attached": "agent/relay.passed:9",
    "server/call.reviving": "server/outcome.taken:2",
}
_CLIENT: Final = "one"


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a sweep does. armed: the settings of its runs, in their order; each is "role/name:n", or several with commas."""

    armed: tuple[str, ...]

    @property
    def singles(self) -> int:
        """How many of them arm one point."""
        return sum("," not in setting for setting in self.armed)


def planned(passed: Mapping[str, int], *, seed: int) -> Sweep:
    """Each point that the load passes, at one of its passes; each that is passed after another; each pair of the hottest.

    passed: how often each is passed in a run in which nobody dies.
    """
    dice = random.Random(seed)  # noqa: S311 - equal seeds give equal sweeps

    def one_of(name: str) -> str:
        # What comes late may not come at all in a run that went another way: the first three quarters do.
        return f"{name}:{dice.randint(1, max(1, passed[name] * 3 // 4))}"

    hottest = sorted(passed, key=lambda name: (-passed[name], name))[:HOTTEST]
    singles = [one_of(name) for name in sorted(passed)]
    later = [f"{first},{name}" for name, first in sorted(AFTER.items())]
    pairs = [f"{one_of(one)},{one_of(other)}" for one, other in itertools.combinations(hottest, 2)]
    return Sweep((*singles, *later, *pairs))


def part_of(sweep: Sweep, most: int, *, seed: int) -> Sweep:
    """At most so many runs of a sweep, drawn by the seed: those of one point first."""
    dice = random.Random(seed)  # noqa: S311 - the same
    singles = [setting for setting in sweep.armed if "," not in setting]
    rest = [setting for setting in sweep.armed if "," in setting]
    dice.shuffle(singles)
    dice.shuffle(rest)
    return Sweep((*singles, *rest)[:most])


def sweep_points(
    *, seed: int, most: int | None = None, beside: int = 2, say: Callable[[str], None] = lambda _line: None
) -> Report:
    """The sweep's report. most: runs, all where it is None. beside: how many houses stand at once. say: told of each run."""
    began_s = time.monotonic()
    sweep = planned(census(), seed=seed)
    if most is not None:
        sweep = part_of(sweep, most, seed=seed)

    def one(setting: str) -> Report:
        report = run_armed(setting)
        say(f"{'+' if report.holds else '-'} {setting}  {report.seconds:.1f} s, {report.points} hit")
        return report

    with ThreadPoolExecutor(max_workers=beside) as pool:
        reports = list(pool.map(one, sweep.armed))
    whole = together(reports)
    figures = {
        "crash points": f"{len(sweep.armed)} runs, {sweep.singles} of one point each, {len(whole.faults)} points struck, "
        f"{_unstruck(reports)} runs in which none did",
        "crash points in": f"{time.monotonic() - began_s:.0f} s",
    }
    return together([whole, Report(figures=figures)])


def census() -> dict[str, int]:
    """How often the load passes each point when nobody dies."""
    house = LocalHouse.made(armed=faults.COUNT)
    try:
        _waited_for(house.client(_CLIENT, LOAD))
        return faults.passed(str(house.notes))
    finally:
        house.down()


def run_armed(setting: str, *, patience_s: float = PATIENCE_S, sources: Path = SOURCES) -> Report:
    """One run of the load in a house that is armed so. patience_s: after which its client is stuck. sources: what runs there."""
    began_s = time.monotonic()
    house = LocalHouse.made(armed=setting, sources=sources)
    try:
        code = _waited_for(house.client(_CLIENT, LOAD), patience_s)
        account = house.account(frozenset({_CLIENT}))
        struck = faults.struck(str(house.notes))
        logs = house.logs()
    finally:
        left = house.down()
    broken = _broken(account, code)
    report = _report(account, struck, left, [f"{setting}: {line}" for line in broken])
    if not report.holds:
        report = together([report, Report(broken=(f"{setting}: {_tail(logs)}",))])
    return together([report, Report(seconds=time.monotonic() - began_s)])


def _report(
    account: Account, struck: Mapping[str, float], left: Mapping[str, tuple[str, ...]], broken: Sequence[str]
) -> Report:
    counts = count(account)
    return Report(
        faults=dict.fromkeys(struck, 1),
        accepted=counts.accepted,
        lost=counts.lost,
        doubled=counts.doubled,
        again=counts.again,
        stuck=counts.stuck,
        named=counts.named,
        killed=len(struck),
        points=len(struck),
        recoveries_s=recoveries(list(struck.values()), outcomes_s(account)),
        left=left,
        broken=(*counts.broken, *broken),
    )


def _broken(account: Account, code: int | None) -> list[str]:
    if code is None:
        return ["the client has not ended in time"]
    wanted = sum(LOAD.values())
    if code or len(account.accepted) != wanted:
        return [f"the client ended with {code}, {len(account.accepted)} of {wanted} inputs accepted"]
    return []


def _unstruck(reports: Sequence[Report]) -> int:
    return sum(not report.points for report in reports)


def _waited_for(client: subprocess.Popen[bytes], patience_s: float = PATIENCE_S) -> int | None:
    try:
        return client.wait(patience_s)
    except subprocess.TimeoutExpired:
        return None


def _tail(logs: str, most: int = 6000) -> str:
    return logs[-most:]
