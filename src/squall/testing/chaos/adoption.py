"""Adoption: a wide map goes on while the server, or the agent, is killed; its containers are the same before and after."""

from __future__ import annotations

import itertools
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from squall.testing.chaos.counting import count
from squall.testing.chaos.house import SOURCES, LocalHouse, eventually, kill
from squall.testing.chaos.ledger import outcomes_s
from squall.testing.chaos.report import Report, recoveries, together

RECOVERED_WITHIN_S: Final = 3.0
BEGIN_S: Final = 120.0
END_S: Final = 300.0
_CLIENT: Final = "wide"


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """The map under way. seconds: how long each input takes. begun: the share of its results after which the kill comes."""

    inputs: int = 10_000
    containers: int = 20
    seconds: float = 0.02
    begun: float = 0.2


def adoption(
    role: str, wide: Map, *, recovered_within_s: float = RECOVERED_WITHIN_S, sources: Path = SOURCES
) -> Report:
    """The report of one map during which a process of this role is killed."""
    began_s = time.monotonic()
    house = LocalHouse.made(sources=sources)
    house.containers = wide.containers
    broken: list[str] = []
    ended = False
    before: Mapping[str, int] = {}
    after: Mapping[str, int] = {}
    killed_s = 0.0
    try:
        client = house.client(_CLIENT, {"wide": wide.inputs, "seconds": wide.seconds})
        if eventually(lambda: _is_wide(house, wide), BEGIN_S):
            before = _containers(house)
            ended = kill(house.processes(role)[0], signal.SIGKILL)
            killed_s = time.monotonic()
            seen = len(house.account(frozenset({_CLIENT})).answers)
            eventually(
                lambda: len(house.account(frozenset({_CLIENT})).answers) > seen + wide.containers, BEGIN_S
            )
            after = _containers(house)
        else:
            broken.append(f"there were not {wide.containers} containers within {BEGIN_S:g} s")
        broken += _ended(client)
        account = house.account(frozenset({_CLIENT}))
        logs = house.logs()
    finally:
        left = house.down()
    counts = count(account)
    recovery = recoveries([killed_s], outcomes_s(account)) if ended else ()
    kept = sum(after.get(name) == pid for name, pid in before.items())
    if kept < len(before) or len(before) < wide.containers:
        broken.append(f"{kept} of {len(before)} containers have kept their pids")
    if not recovery or recovery[0] > recovered_within_s:
        broken.append(f"recovery took {recovery}, and at most {recovered_within_s:g} s are due")
    if not _in_order([answer.key for answer in account.answers]):
        broken.append("results came in another order than that of the inputs")
    report = Report(
        faults={f"{'F03' if role == 'server' else 'F07'} {role} killed during a map": int(ended)},
        accepted=counts.accepted,
        lost=counts.lost,
        doubled=counts.doubled,
        again=counts.again,
        stuck=counts.stuck,
        named=counts.named,
        killed=int(ended),
        recoveries_s=recovery,
        left=left,
        broken=(*counts.broken, *broken),
        figures={
            f"{role} killed during a map": f"{wide.inputs} inputs, {kept} of {wide.containers} containers kept their "
            f"pids, recovery {', '.join(f'{one:.2f} s' for one in recovery)}"
        },
        seconds=time.monotonic() - began_s,
    )
    return report if report.holds else together([report, Report(broken=(logs[-4000:],))])


def _is_wide(house: LocalHouse, wide: Map) -> bool:
    answers = len(house.account(frozenset({_CLIENT})).answers)
    return answers >= wide.inputs * wide.begun and len(_containers(house)) >= wide.containers


def _containers(house: LocalHouse) -> dict[str, int]:
    """The pid of each container that runs, by its id."""
    return {row["id"]: row["pid"] for row in house.status().get("containers", ()) if row.get("pid")}


def _ended(client: subprocess.Popen[bytes]) -> list[str]:
    try:
        code = client.wait(END_S)
    except subprocess.TimeoutExpired:
        return [f"the client has not ended within {END_S:g} s"]
    return [f"the client ended with {code}"] if code else []


def _in_order(keys: list[str]) -> bool:
    numbers = [int(key.rpartition("/")[2]) for key in keys]
    return all(one < other for one, other in itertools.pairwise(numbers))
