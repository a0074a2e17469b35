"""Descriptors: what a server and its agents hold open at rest, against those that have just taken their place."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from squall.settings.process import ProcessMark
from squall.testing.chaos.house import LocalHouse, eventually, kill

ROLES: Final = ("server", "agent")
# What answers a question, or says that it lives, is open for a moment only: what stays open is open all this time.
_REST_S: Final = 2.0
_LOOKS: Final = 20
_BACK_S: Final = 30.0

Open = Counter[str]


def left_open(house: LocalHouse) -> tuple[str, ...]:
    """What the server and the agents of a house without apps hold open, and would not hold had they just begun.

    Each of them is killed for that, and whoever takes its place is given time and a call. A line for a process that holds more.
    """
    old = {role: house.processes(role) for role in ROLES}
    worn = {role: [at_rest(house, mark) for mark in old[role]] for role in ROLES}
    launchers = len(house.processes("launcher"))
    for mark in (mark for marks in old.values() for mark in marks):
        kill(mark)
    if not eventually(lambda: _replaced(house, old), _BACK_S):
        return (f"nobody has taken the place of a killed server or agent within {_BACK_S:g} s",)
    if house.client("after", {"call": 1}).wait(_BACK_S):
        return ("a call after the storm has failed",)
    if not eventually(house.is_empty, _BACK_S):
        return (f"an app is left {_BACK_S:g} s after its client",)
    fresh = {role: [at_rest(house, mark) for mark in house.processes(role)] for role in ROLES}
    # An agent has a way to each of its launchers.
    spare = max(0, launchers - len(house.processes("launcher")))
    allowed = {"server": Open(), "agent": Open({"socket": spare})}
    return tuple(line for role in ROLES for line in more(role, worn[role], fresh[role], allowed[role]))


def more(
    role: str,
    worn: Sequence[Mapping[str, int]],
    fresh: Sequence[Mapping[str, int]],
    allowed: Mapping[str, int],
) -> Iterable[str]:
    """A line for each process that has more of a kind open than any of the fresh ones, and than it is allowed beside that."""
    kinds = sorted({kind for counts in worn for kind in counts})
    for kind in kinds:
        most = max((counts.get(kind, 0) for counts in fresh), default=0) + allowed.get(kind, 0)
        for counts in worn:
            if counts.get(kind, 0) > most:
                yield f"{role}: {counts[kind]} of {kind}, where a fresh one has {most}"


def at_rest(house: LocalHouse, mark: ProcessMark) -> Open:
    """How many of each kind a process has open, at the least within two seconds."""
    looks = [Open(house.descriptors(mark))]
    for _ in range(_LOOKS):
        time.sleep(_REST_S / _LOOKS)
        looks.append(Open(house.descriptors(mark)))
    least = looks[0]
    for look in looks[1:]:
        least &= look
    return least


def _replaced(house: LocalHouse, old: Mapping[str, Sequence[ProcessMark]]) -> bool:
    """Whether as many of each role live as there were, and none of those."""
    for role, marks in old.items():
        found = house.processes(role)
        if len(found) != len(marks) or set(found) & set(marks):
            return False
    return True
