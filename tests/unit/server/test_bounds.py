"""Bounds that are changed while an app runs: checked as a whole, kept to from then on, and told to the app's client."""

from __future__ import annotations

import json
from typing import Any

import pytest

from squall.blobs.memory_blobs import MemoryBlobs
from squall.model.errors import InvalidError
from squall.model.function import Scaling
from squall.model.ids import AppId
from squall.model.jsonable import to_json
from squall.server.apps import Apps
from squall.server.nodes import AgentNodes
from squall.wire.codec import Frame, Kind
from squall.wire.memory_channel import pair
from squall.wire.session import Session
from squall.wire.stream import Stream
from tests.unit.server.stage import Stage, function, play, settle

APP = AppId(f"ap-{'0' * 32}")


class Desk:
    """The apps of a stage, one of them open, and what its client was told."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.told: list[dict[str, Any]] = []
        nodes = AgentNodes(clock=stage.clock)
        self.apps = Apps(stage.calls, stage.capacity, nodes, MemoryBlobs(), clock=stage.clock)
        left, right = pair()
        found: list[Stream] = []
        Session(right, dialer=False, on_open=lambda stream, _head, _frame: found.append(stream))
        self._session, self._found = Session(left, dialer=True), found

    async def open(self, scaling: Scaling) -> None:
        self._session.open("app", on_frame=lambda frame: self.told.append(frame.head()))
        await settle()
        noun = function("f", scaling=scaling)
        described = {**to_json(noun), "id": f"{APP}/f", "app": APP}
        payload = json.dumps({"functions": [described]}).encode()
        self.apps.open(self._found[-1], {"app": APP, "name": "a"}, Frame(Kind.OPEN, payload=payload))

    @property
    def record(self) -> Any:
        return self.apps.apps[APP].functions["f"]

    async def scale(self, **changed: Any) -> Scaling:
        scaling = self.apps.scale([self.record], changed)
        await settle()
        return scaling


def test_what_is_changed_holds_from_then_on_and_the_rest_stays() -> None:
    async def scene() -> None:
        desk = Desk(Stage())
        await desk.open(Scaling(max_containers=7, scaledown_window_s=30.0))
        after = await desk.scale(min_containers=2)
        assert after == Scaling(min_containers=2, max_containers=7, scaledown_window_s=30.0)
        assert desk.record.function.scaling == after
        desk.stage.capacity.plan_once()
        assert len(desk.record.workers) == 2
        assert desk.told == [{"scaled": "f", "scaling": to_json(after)}]
        row = desk.apps.describe(desk.apps.apps[APP])
        assert row["scaling"]["f"]["min_containers"] == 2

    play(scene)


@pytest.mark.parametrize(
    "changed",
    [
        {"min_containers": 8},
        {"min_containers": -1},
        {"scaledown_window_s": 1.0},
        {"scaledown_window_s": "long"},
        {"max_containers": 0},
        {"containers": 3},
        {"min_containers": True},
    ],
)
def test_bounds_that_do_not_go_together_change_nothing(changed: dict[str, Any]) -> None:
    async def scene() -> None:
        desk = Desk(Stage())
        await desk.open(Scaling(max_containers=7))
        with pytest.raises(InvalidError, match="f cannot be scaled so"):
            await desk.scale(**changed)
        assert desk.record.function.scaling == Scaling(max_containers=7)
        assert desk.told == []

    play(scene)


def test_a_client_that_comes_back_finds_them_as_they_were_changed() -> None:
    async def scene() -> None:
        desk = Desk(Stage())
        await desk.open(Scaling())
        await desk.scale(buffer_containers=3)
        await desk.open(Scaling())
        assert desk.record.function.scaling == Scaling(buffer_containers=3)

    play(scene)
