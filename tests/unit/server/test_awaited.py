"""What a container that outlived a server asks for waits for the client of its app, which may be slower to come back than its machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from squall.model.errors import FunctionNotFound, TooManyInputs, TunnelUnavailable
from squall.model.ids import APP, CALL, AppId, CallId, FunctionId, make_id
from squall.model.jsonable import to_json
from squall.server import awaited, node_events, preparing
from squall.server.api import connect
from squall.server.house import House
from squall.wire.codec import Kind
from squall.wire.memory_channel import pair
from squall.wire.session import Session
from squall.wire.stream import Stream
from tests.unit.server.stage import NODE, function, play, settle, until
from tests.unit.server.standing import standing

APP_ID = AppId(make_id(APP, now_ms=1, randomness=bytes(10)))
ROUTE = 5


@pytest.fixture(autouse=True)
def _wait_for_no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "NODE_WAIT_S", 0.01)


class Machine:
    """An agent that has joined with one container of an app that nobody has told of. heard: what its calls were told."""

    def __init__(self, house: House, of: str = "outer") -> None:
        near, far = pair()
        connect(house, far)
        self.heard: list[tuple[Kind, dict[str, Any]]] = []
        self.session = Session(near, dialer=True, on_open=lambda stream, _head, _frame: stream.end({}))
        row = {"container": "co-old", "function": f"{APP_ID}/{of}", "pid": 7}
        self._joined = self.session.open("join", {"node": to_json(NODE), "containers": [row]})
        self._row = row

    def tell_of_its_container(self) -> None:
        """As agents do once they have joined: from here on the server knows who speaks over its route."""
        self._joined.send({"t": "event", "event": "started", **self._row, "route": ROUTE})

    def ask(self, name: str, head: dict[str, Any], payload: bytes = b"") -> Stream:
        """Something that its container wants."""
        return self.session.open(
            name,
            head,
            payload,
            route=ROUTE,
            on_frame=lambda frame: self.heard.append((frame.kind, frame.head())),
        )

    def call(self, number: int, name: str = "inner", app: AppId = APP_ID) -> CallId:
        call = CallId(make_id(CALL, now_ms=number, randomness=bytes(10)))
        head = {"call": call, "fn": f"{app}/{name}", "verb": "map", "start": 0, "d": [1]}
        stream = self.ask("call", head, b"a")
        stream.send({"start": 1, "d": [1], "total": 2}, b"b")
        return call

    def failures(self) -> list[str]:
        return [str(head["code"]) for kind, head in self.heard if kind is Kind.FAIL]


def open_app(house: House) -> Session:
    near, far = pair()
    connect(house, far)
    nouns = [
        {**to_json(function(name)), "app": APP_ID, "id": f"{APP_ID}/{name}"} for name in ("outer", "inner")
    ]
    client = Session(near, dialer=True)
    client.open("app", {"app": APP_ID, "again": True}, json.dumps({"functions": nouns}).encode())
    return client


def test_they_go_on_with_all_that_came_once_the_client_is_back(tmp_path: Path) -> None:
    async def scene() -> None:
        async with standing(tmp_path) as house:
            machine = Machine(house)
            call = machine.call(1)
            await settle()
            assert machine.heard == []
            client = open_app(house)
            await until(lambda: call in house.calls.calls)
            await settle()
            assert machine.failures() == []
            assert house.calls.functions[FunctionId(f"{APP_ID}/inner")].line.waiting == 2
            client.close()
            machine.session.close()
            await settle()

    play(scene)


def test_they_end_by_name_where_nobody_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_events, "ORPHAN_GRACE_S", 0.02)

    async def scene() -> None:
        async with standing(tmp_path) as house:
            machine = Machine(house)
            machine.call(1)
            await settle()
            assert machine.heard == []
            await until(lambda: machine.failures() == [FunctionNotFound.code])
            machine.session.close()
            await settle()

    play(scene)


def test_calls_of_what_nobody_waits_for_end_at_once(tmp_path: Path) -> None:
    other = AppId(make_id(APP, now_ms=2, randomness=bytes(10)))

    async def scene() -> None:
        async with standing(tmp_path) as house:
            machine = Machine(house)
            machine.call(1, app=other)
            await settle()
            assert machine.failures() == [FunctionNotFound.code]
            machine.session.close()
            await settle()

    play(scene)


def test_what_an_app_makes_known_as_it_is_called_is_not_waited_for_once_the_app_is_there(
    tmp_path: Path,
) -> None:
    async def scene() -> None:
        async with standing(tmp_path) as house:
            client = open_app(house)
            await until(lambda: APP_ID in house.apps.apps)
            machine = Machine(house, of="outer@5")
            await until(lambda: bool(house.node_events.orphans))
            machine.call(1, "outer@5")
            await settle()
            assert machine.failures() == [FunctionNotFound.code], "it is looked for at once"
            client.close()
            machine.session.close()
            await settle()

    play(scene)


@pytest.mark.parametrize(("bound", "value"), [("MOST_CALLS", 2), ("MOST_BYTES", 2)])
def test_no_more_are_held_than_there_is_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    monkeypatch.setattr(awaited, bound, value)

    async def scene() -> None:
        async with standing(tmp_path) as house:
            machine = Machine(house)
            for number in range(3):
                machine.call(number)
            await settle()
            assert machine.failures() == [TooManyInputs.code]
            open_app(house)
            await until(lambda: len(house.calls.calls) == 2)
            machine.call(7)
            await until(lambda: len(house.calls.calls) == 3)
            machine.session.close()
            await settle()

    play(scene)


def test_who_asks_is_known_before_it_is_answered(tmp_path: Path) -> None:
    async def scene() -> None:
        async with standing(tmp_path) as house:
            machine = Machine(house)
            machine.tell_of_its_container()
            machine.ask("tunnel.open", {"port": 8000})
            await settle()
            assert machine.heard == []
            client = open_app(house)
            # The machine opens it.
            await until(lambda: machine.heard == [(Kind.END, {})])
            assert "co-old" in house.calls.workers
            client.close()
            machine.session.close()
            await settle()

    play(scene)


def test_where_nobody_comes_it_is_answered_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_events, "ORPHAN_GRACE_S", 0.02)

    async def scene() -> None:
        async with standing(tmp_path) as house:
            machine = Machine(house)
            machine.tell_of_its_container()
            machine.ask("tunnel.open", {"port": 8000})
            await until(lambda: machine.failures() == [TunnelUnavailable.code])
            machine.session.close()
            await settle()

    play(scene)
