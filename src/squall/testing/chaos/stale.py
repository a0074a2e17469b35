"""Stale things: an agent and its launchers killed again and again, and what is left in the end; nothing of others is touched."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL
from typing import Final

from squall.runtime.cgroups import remove_group
from squall.runtime.probe import probe
from squall.testing.chaos.counting import count
from squall.testing.chaos.house import LocalHouse, eventually, kill
from squall.testing.chaos.ledger import outcomes_s
from squall.testing.chaos.report import Report, recoveries

BACK_S: Final = 60.0
END_S: Final = 120.0
_CLIENT: Final = "long"


def stale(times: int = 20) -> Report:
    """The report of a load during which agent and launchers are killed together so often."""
    began_s = time.monotonic()
    house = LocalHouse.made()
    broken: list[str] = []
    kills_s: list[float] = []
    killed = 0
    try:
        with _foreign(str(house.paths.state)) as others:
            client = house.client(_CLIENT, {"map": 40, "spawn": 20, "seconds": 0.02, "for_s": 6.0 * times})
            for _ in range(times):
                if not _goes_on(house, client):
                    broken.append(f"there were no answers again within {BACK_S:g} s")
                    break
                marks = [*house.processes("agent"), *house.processes("launcher")]
                killed += sum(kill(mark, SIGKILL) for mark in marks)
                kills_s.append(time.monotonic())
                time.sleep(0.5)
            if code := client.wait(END_S + 6.0 * times):
                broken.append(f"the client ended with {code}")
            account = house.account(frozenset({_CLIENT}))
            left = house.down()
            broken += [f"{path} was removed, and is another's" for path in others if not path.exists()]
    finally:
        if house.folder.exists():
            house.down()
    counts = count(account)
    return Report(
        faults={"F35 agent and launchers killed together": len(kills_s)},
        accepted=counts.accepted,
        lost=counts.lost,
        doubled=counts.doubled,
        again=counts.again,
        stuck=counts.stuck,
        named=counts.named,
        killed=killed,
        recoveries_s=recoveries(kills_s, outcomes_s(account)),
        left=left,
        broken=(*counts.broken, *broken),
        figures={
            "stale things": f"after {len(kills_s)} times {sum(map(len, left.values()))} left, none of others removed"
        },
        seconds=time.monotonic() - began_s,
    )


def _goes_on(house: LocalHouse, client: subprocess.Popen[bytes]) -> bool:
    """Whether there are answers again, or none are to come any more."""

    def answers() -> int:
        return len(house.account(frozenset({_CLIENT})).answers)

    before = answers()
    return bool(eventually(lambda: answers() > before or client.poll() is not None, BACK_S))


@contextmanager
def _foreign(state: str) -> Iterator[list[Path]]:
    """Control groups as another state directory has them, where this user may make some."""
    chosen = probe(state).cgroup
    name = f"squall-{secrets.token_hex(6)}-co-foreign"
    paths = [Path(base) / name for base in sorted(set(dict(chosen.bases).values()))]
    for path in paths:
        os.makedirs(path, exist_ok=True)
    try:
        yield paths
    finally:
        remove_group(chosen, name)
