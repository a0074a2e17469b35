"""The storm: mixed load for some minutes, a fault each few seconds, and then the account."""

from __future__ import annotations

import random
import subprocess
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from squall.testing.chaos.catalogue import FAULTS
from squall.testing.chaos.counting import Account, count
from squall.testing.chaos.descriptors import left_open
from squall.testing.chaos.house import SOURCES, LocalHouse, eventually
from squall.testing.chaos.ledger import outcomes_s
from squall.testing.chaos.report import Hit, Report, recoveries, slowest, together
from squall.testing.chaos.scene import Fault, Scene
from squall.testing.chaos.town import Town

# Two clients: one whose calls are short, so that outcomes come all the time, and one with something of everything.
STEADY: Final[Mapping[str, Any]] = {"call": 50, "map": 300, "seconds": 0.005}
MIXED: Final[Mapping[str, Any]] = {"map": 60, "spawn": 40, "gen": 3, "nest": 3, "large": 2, "seconds": 0.01}
# And one whose way to the server leads through a gate.
FAR: Final[Mapping[str, Any]] = {"map": 100, "spawn": 20, "gen": 2, "large": 1, "call": 10, "seconds": 0.005}
FIRST_S: Final = 60.0
LAST_S: Final = 90.0
GONE_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How long a storm lasts, and how many seconds lie between two faults. machines: that joined the server; 0: it is alone."""

    minutes: float = 2.0
    seed: int = 0
    least_s: float = 1.0
    most_s: float = 4.0
    faults: Sequence[Fault] = FAULTS
    machines: int = 0


@dataclass(slots=True)
class _Storm:
    scene: Scene
    weather: Weather
    say: Callable[[str], None]
    hits: list[Hit] = field(default_factory=list)

    def rage(self) -> None:
        """Injects faults until the time is over: each of the catalogue in turn, in an order that is drawn anew each time."""
        until_s = time.monotonic() + self.weather.minutes * 60
        for fault in self._drawn():
            time.sleep(self.scene.dice.uniform(self.weather.least_s, self.weather.most_s))
            if time.monotonic() > until_s:
                return
            at_s = fault.inject(self.scene)
            self.say(f"{'' if at_s else 'nothing to do it to: '}{fault.number} {fault.what}")
            if at_s is not None:
                self.hits.append(fault.hit(at_s))

    def _drawn(self) -> Iterator[Fault]:
        deck: deque[Fault] = deque()
        while True:
            if not deck:
                fresh = list(self.weather.faults)
                self.scene.dice.shuffle(fresh)
                deck.extend(fresh)
            yield deck.popleft()


def storm(
    weather: Weather, say: Callable[[str], None] = lambda _line: None, *, sources: Path = SOURCES
) -> Report:
    """The report of one storm. say: told of each fault. sources: the package that runs."""
    began_s = time.monotonic()
    house = _house(weather, sources)
    scene = Scene(house, random.Random(weather.seed))  # noqa: S311 - equal seeds give equal storms
    raging = _Storm(scene, weather, say)
    try:
        account = _under_load(raging)
        scene.broken += _nobody_is_left(house)
        fds = () if scene.broken else left_open(house)
        logs = house.logs()
    finally:
        left = house.down()
    if fds:
        left = {**left, "fds": fds}
    counts = count(account)
    came_s = outcomes_s(account)
    disturbed = house.gate.counts if house.gate is not None else Counter[str]()
    report = Report(
        faults=dict(sorted(Counter(hit.kind for hit in raging.hits).items())),
        accepted=counts.accepted,
        lost=counts.lost,
        doubled=counts.doubled,
        again=counts.again,
        stuck=counts.stuck,
        named=counts.named,
        killed=scene.killed,
        frames=disturbed.total(),
        recoveries_s=recoveries([hit.at_s for hit in raging.hits if hit.breaks], came_s),
        left=left,
        broken=(*counts.broken, *scene.broken),
        figures={
            "storm": f"seed {weather.seed}, {counts.named} generators ended with a named error",
            "slowest recoveries of the storm": slowest(raging.hits, came_s),
            "frames": ", ".join(f"{often} {kind}" for kind, often in sorted(disturbed.items())) or "none",
        },
        seconds=time.monotonic() - began_s,
    )
    return report if report.holds else together([report, Report(broken=(logs[-100_000:],))])


def _house(weather: Weather, sources: Path) -> LocalHouse:
    """Where it rages, with a gate that stands."""
    options = {"idle_s": "0"}
    if weather.machines:
        return Town.built(weather.machines, options=options, seed=weather.seed)
    house = LocalHouse.made(options=options, sources=sources)
    house.open_gate(weather.seed)
    return house


def _under_load(raging: _Storm) -> Account:
    """What all clients have noted, once the storm is over and they have come to their end."""
    scene, house = raging.scene, raging.scene.house
    for_s = raging.weather.minutes * 60
    clients = {
        "steady": house.client("steady", {**STEADY, "for_s": for_s}),
        "mixed": house.client("mixed", {**MIXED, "for_s": for_s}),
    }
    if not eventually(lambda: len(house.account(frozenset(clients)).answers) > 100, FIRST_S):
        scene.broken.append(f"there were no answers within {FIRST_S:g} s of the start")
    # Not before there is a server, and no fault before it has found that: who is told where one is starts none.
    clients["far"] = house.client("far", {**FAR, "for_s": for_s}, by_gate=True)
    if not eventually(lambda: _has_begun(house, "far"), FIRST_S):
        scene.broken.append(f"the client behind the gate has not begun within {FIRST_S:g} s")
    raging.rage()
    scene.broken += _ended({**clients, **scene.helpers}, LAST_S)
    return house.account(frozenset(clients) | frozenset(scene.helpers))


def _has_begun(house: LocalHouse, client: str) -> bool:
    """Whether a client has noted something: it does so once its app is open."""
    path = house.ledger / f"{client}.jsonl"
    return path.exists() and path.stat().st_size > 0


def _ended(clients: Mapping[str, subprocess.Popen[bytes]], within_s: float) -> list[str]:
    """What is wrong with how clients ended, each waited for."""
    until_s = time.monotonic() + within_s
    wrong = []
    for name, client in clients.items():
        try:
            code = client.wait(max(0.1, until_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            wrong.append(f"the client {name} has not ended within {within_s:g} s")
            continue
        if code:
            wrong.append(f"the client {name} ended with {code}")
    return wrong


def _nobody_is_left(house: LocalHouse) -> list[str]:
    """Apps and containers whose clients have all ended, once they were given time to go.

    A machine that was cut off has containers of which the server knows nothing, until it is back and is told to end them.
    """
    if eventually(lambda: house.is_empty() and not house.processes("runner"), GONE_S):
        return []
    found = house.status()
    apps, containers = (len(found.get(what, ())) for what in ("apps", "containers"))
    runners = len(house.processes("runner"))
    return [
        f"{GONE_S:g} s after the last client there are {apps} apps and {containers} containers, and {runners} runners on machines"
    ]
