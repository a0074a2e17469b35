"""An app that its client opens again goes on, also while nothing can be made ready for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from squall.model.errors import NotFoundError
from squall.model.ids import APP, AppId, make_id
from squall.model.jsonable import to_json
from squall.server import preparing
from squall.server.api import connect
from squall.wire.codec import Kind
from squall.wire.memory_channel import pair
from squall.wire.session import Session
from tests.unit.server.stage import function, play, until
from tests.unit.server.standing import standing


@pytest.mark.parametrize("again", [False, True])
def test_an_app_that_has_run_does_not_end_because_no_node_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    monkeypatch.setattr(preparing, "NODE_WAIT_S", 0.01)

    async def scene() -> None:
        async with standing(tmp_path) as house:
            app = AppId(make_id(APP, now_ms=1, randomness=bytes(10)))
            noun = {**to_json(function("f")), "app": app, "id": f"{app}/f"}
            heard: list[tuple[Kind, dict[str, Any]]] = []
            near, far = pair()
            connect(house, far)
            head = {"app": app, **({"again": True} if again else {})}
            Session(near, dialer=True).open(
                "app",
                head,
                json.dumps({"functions": [noun]}).encode(),
                on_frame=lambda frame: heard.append((frame.kind, frame.head())),
            )
            last = (Kind.DATA, {"opened": app}) if again else None
            await until(lambda: heard[-1:] == [last] if last else bool(heard) and heard[-1][0] is Kind.FAIL)
            assert (app in house.apps.apps) is again
            assert (f"{app}/f" in house.calls.functions) is again
            if not again:
                assert heard[-1][1]["code"] == NotFoundError.code

    play(scene)
