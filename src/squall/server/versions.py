"""Versions: those of deployed apps that this server has to do with, as they are seen, and as they are told to be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from squall.model.call import OutcomeKind
from squall.model.container import ContainerState
from squall.model.deploy import DeployedName, VersionState
from squall.model.errors import DeployFailed, Error
from squall.model.function import Scaling
from squall.scheduling.deploy import Stage, VersionView
from squall.server.records import AppRecord, FunctionRecord, Worker
from squall.state.deploy_records import VersionRecord
from squall.wire.stream import Stream

RETURN_S = 10.0
"""How long a server that is new does not believe that a version has nothing in hand: its callers are still to come back."""


@dataclass(slots=True, eq=False)
class Version:
    """A version of a deployed app in memory.

    row: what is on record of it, without its content. stream: of the client that deploys it and waits. returning_s: until when
    calls that it had under an earlier server may come back. told: what its client has been told that it waits for.
    """

    row: VersionRecord
    app: AppRecord
    state: VersionState = VersionState.PREPARING
    stream: Stream | None = None
    prepared: bool = False
    switching: bool = False
    error: Error | None = None
    returning_s: float = 0.0
    told: str = ""

    @property
    def deployed(self) -> DeployedName:
        """Which app it is a version of."""
        return self.row.deployed

    @property
    def functions(self) -> list[FunctionRecord]:
        """Its functions."""
        return list(self.app.functions.values())

    @property
    def in_hand(self) -> int:
        """The calls that it has to end: in line, on record, or just coming in."""
        return sum(len(one.line.calls) + one.paged + one.entering for one in self.functions)

    def seen(self, now_s: float) -> VersionView:
        """How it looks to the plan."""
        # A class whose parameters have no values has no containers before somebody gives them.
        tried = [one for one in self.functions if one.function.is_bound]
        ready = all(any(_is_up(worker) for worker in one.workers.values()) for one in tried)
        return VersionView(
            app=self.app.id,
            number=self.row.number,
            state=self.state,
            recreate=self.row.strategy == "recreate",
            prepared=self.prepared,
            ready=self.prepared and ready,
            failed=self.failure() is not None,
            switching=self.switching,
            in_hand=self.in_hand + (1 if now_s < self.returning_s else 0),
            containers=sum(len(one.workers) for one in self.functions),
        )

    def failure(self) -> Error | None:
        """Why it can never serve, while it is prepared."""
        if self.error is None and self.state is VersionState.PREPARING:
            for one in self.functions:
                if one.unstartable is not None:
                    self.error = self._never(one.function.name, *one.unstartable)
                    break
        return self.error

    def _never(self, function: str, error: bytes, kind: OutcomeKind) -> DeployFailed:
        told: dict[str, Any] = json.loads(error)
        what = f"version {self.row.number} of {self.deployed} takes no calls"
        facts: dict[str, Any] = {"version": self.row.number, "function": function}
        if kind is OutcomeKind.RAISED:
            text = f"{str(told.get('type')).removeprefix('builtins.')}: {told.get('message')}"
            return DeployFailed(f"{what}: {function} cannot be loaded: {text}", **facts, raised=told)
        cause = Error.from_wire(told)
        return DeployFailed(f"{what}: {cause.message}", remedy=cause.remedy, **facts, cause=told)

    def bound(self, stage: Stage) -> bool:
        """Has its functions keep to what a stage allows; whether that is news."""
        news = False
        for one in self.functions:
            bounds = bounds_of(stage, one.function.scaling)
            news |= bounds != one.bounds
            one.bounds = bounds
        return news

    def idle(self) -> list[Worker]:
        """Its containers that have nothing to do, nor anything to wait for."""
        return [
            worker
            for one in self.functions
            if not one.pending
            for worker in one.workers.values()
            if not worker.retiring and (not worker.ready or worker.state is ContainerState.IDLE)
        ]

    def waits_for(self, others: Sequence[Version]) -> str:
        """What a version that is not ready waits for, in words; empty where it is only a matter of time."""
        if self.row.strategy == "recreate" and not any(one.workers for one in self.functions):
            calls = sum(other.in_hand for other in others if other is not self)
            if calls:
                return f"it waits until the version before has ended its calls ({calls} in hand)"
        for one in self.functions:
            if one.wait_reason in {"no_capacity", "no_node"}:
                return (
                    f"{one.function.name} has no room to be tried beside what runs; the strategy `recreate` starts a version "
                    "once the containers of the one before have gone"
                )
        return ""


def bounds_of(stage: Stage, own: Scaling) -> Scaling | None:
    """What takes the place of a function's own bounds; None where they hold."""
    match stage:
        case Stage.OWN:
            return None
        case Stage.TRIED:
            return replace(own, min_containers=1, buffer_containers=0)
        case _:
            return replace(own, min_containers=0, buffer_containers=0)


def content_of(described: dict[str, Any], root: str) -> str:
    """What is kept of a version, to run it and to go back to it: its functions are nobody's yet."""
    functions = [
        {key: value for key, value in one.items() if key not in {"id", "app"}}
        for one in described["functions"]
    ]
    kept = {
        "functions": functions,
        "installer": described.get("installer", {}),
        "tags": described.get("tags", {}),
        "root": root,
    }
    return json.dumps(kept, ensure_ascii=False)


def without_variants(content: str) -> str:
    """The same content, for a version that nobody has called yet with other options, nor given other bounds."""
    kept = json.loads(content)
    for later in ("variants", "scaled"):
        kept.pop(later, None)
    return json.dumps(kept, ensure_ascii=False)


def _is_up(worker: Worker) -> bool:
    return worker.ready and not worker.retiring and worker.state is not ContainerState.STOPPING
