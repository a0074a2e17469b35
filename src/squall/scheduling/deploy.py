"""Deploy: how the versions of one app take each other's place, decided at one instant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from squall.model.deploy import VersionState
from squall.model.ids import AppId


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionView:
    """A version as it is seen.

    recreate: it starts once the containers of others have gone. prepared: its images and its source are there. ready: each of
    its functions has a container that has loaded its code. failed: it can never be ready. switching: that it serves is being
    recorded. in_hand: calls that it has to end, or that may still turn out to be its own. containers: how many it has.
    """

    app: AppId
    number: int
    state: VersionState
    recreate: bool = False
    prepared: bool = False
    ready: bool = False
    failed: bool = False
    switching: bool = False
    in_hand: int = 0
    containers: int = 0


class Stage(StrEnum):
    """How many containers a version may have: none yet, one of each function to be tried, its own bounds, or only those at work."""

    ASLEEP = "asleep"
    TRIED = "tried"
    OWN = "own"
    LEAVING = "leaving"


@dataclass(frozen=True, slots=True)
class Switch:
    """It takes every new call from now on."""

    app: AppId


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It never serves: it failed, or a newer one serves already."""

    app: AppId
    superseded: bool


@dataclass(frozen=True, slots=True)
class Forget:
    """It has ended all that it had in hand."""

    app: AppId


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows: a stage for each version, steps, and whether new calls wait until a version has taken over."""

    stages: dict[AppId, Stage]
    steps: tuple[Switch | GiveUp | Forget, ...]
    holds: bool


def plan_deploy(versions: Sequence[VersionView]) -> Decision:
    """What becomes of the versions of one app.

    A version serves once it is ready, and never after a newer one has served. The one that served before ends what it has in
    hand, and is forgotten then.
    """
    serving = next((one for one in versions if one.state is VersionState.SERVING), None)
    coming = [one for one in versions if one.state is VersionState.PREPARING]
    late = [one for one in coming if serving is not None and one.number < serving.number]
    hopeful = [one for one in coming if not one.failed and one not in late]
    steps: list[Switch | GiveUp | Forget] = [
        GiveUp(one.app, superseded=not one.failed)
        for one in coming
        if (one.failed or one in late) and not one.switching
    ]
    # A version that waits for others to go has new calls wait for it: they would keep the others here. Of several it is the
    # newest, or they would wait for each other.
    first = max(
        (one for one in hopeful if one.recreate and one.prepared), key=lambda one: one.number, default=None
    )
    ready = [one for one in hopeful if one.ready and _has_room(one, versions)]
    if ready and not any(one.switching for one in coming):
        steps.append(Switch(max(ready, key=lambda one: one.number).app))
    drained = [one for one in versions if one.state is VersionState.DRAINING and not one.in_hand]
    steps += [Forget(one.app) for one in drained]
    stages = {one.app: _stage(one, versions, first) for one in versions}
    return Decision(stages, tuple(steps), holds=first is not None and serving is not None)


def _stage(one: VersionView, versions: Sequence[VersionView], first: VersionView | None) -> Stage:
    makes_way = first is not None and one.number < first.number
    match one.state:
        case VersionState.SERVING:
            return Stage.LEAVING if makes_way else Stage.OWN
        case VersionState.PREPARING if not one.failed and not makes_way:
            return Stage.TRIED if one.prepared and _has_room(one, versions) else Stage.ASLEEP
        case _:
            return Stage.LEAVING


def _has_room(one: VersionView, versions: Sequence[VersionView]) -> bool:
    """Whether nobody is there whose end it waits for."""
    return not one.recreate or not any(
        other.containers or other.in_hand for other in versions if other.app != one.app
    )
