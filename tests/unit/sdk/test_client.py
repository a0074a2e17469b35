"""The client makes a connection again that ends while it is being made, and says everything there that was wanted."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import dataclass, field
from typing import Any

import pytest

from squall.sdk import client as client_module
from squall.sdk.calls import OneCall, Target
from squall.sdk.client import Client
from squall.sdk.items import ItemCall
from squall.sdk.maps import MapCall
from squall.sdk.running import RunningApp
from squall.settings.options import Options
from squall.wire.codec import Frame
from squall.wire.memory_channel import MemoryChannel, pair
from squall.wire.session import Session
from squall.wire.stream import Stream


@dataclass
class Door:
    """The way to a server in this process, which answers each call with 7.

    ends_early: so many connections end as they are introduced. noticed: they are known to have ended before they are in use.
    """

    ends_early: int
    noticed: bool = False
    dialled: int = 0
    asked: list[str] = field(default_factory=list)
    servers: list[Session] = field(default_factory=list)

    async def dial(self) -> MemoryChannel:
        self.dialled += 1
        ours, theirs = pair()
        self.servers.append(Session(theirs, dialer=False, on_open=self._answer))
        return ours

    async def introduce(self, session: Session) -> None:
        if self.dialled <= self.ends_early:
            session.channel.close()
            if self.noticed:
                await asyncio.sleep(0)

    def _answer(self, stream: Stream, head: dict[str, Any], _frame: Frame) -> None:
        self.asked.append(head["t"])
        if head["t"] == "app":
            stream.send({"opened": "a"})
            return
        value = pickle.dumps(7, 5)
        stream.end({"o": [0, [len(value)], 0]}, value)


@dataclass
class Home:
    door: Door
    socket: None = None
    pool_bytes: None = None
    is_ours: bool = False
    options: Options = field(default_factory=Options)
    largest_value: int = 2**30


@pytest.mark.parametrize("noticed", [False, True])
@pytest.mark.parametrize("ends_early", [0, 1, 3])
def test_what_was_wanted_while_a_connection_ended_is_said_on_the_next_one(
    ends_early: int, noticed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        door = Door(ends_early, noticed)
        client = Client(Home(door))  # type: ignore[arg-type]  # a server in this process has no address
        monkeypatch.setattr(client_module, "_here", client)
        app = RunningApp(client, {}, {"functions": [], "installer": {}}, lambda _event, _payload: None)
        call = OneCall(Target("f", None, None), (1,), {})
        done = asyncio.Event()
        call.on_done = done.set
        opening = asyncio.ensure_future(app.open())
        call.start()
        async with asyncio.timeout(10):
            await opening
            await done.wait()
        assert call.result() == 7
        assert door.asked == ["app", "call"]
        assert door.dialled == ends_early + 1

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", [MapCall, ItemCall])
def test_neither_a_map_nor_a_generator_fails_as_a_connection_ends(
    kind: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        door = Door(ends_early=1)
        client = Client(Home(door))  # type: ignore[arg-type]  # as above
        monkeypatch.setattr(client_module, "_here", client)
        target = Target("f", None, None)
        call = MapCall(target, iter(())) if kind is MapCall else ItemCall(target, (1,), {})
        if isinstance(call, MapCall):
            call._started = True
        call.start()
        async with asyncio.timeout(10):
            while not door.asked:
                await asyncio.sleep(0)
        assert door.asked == ["call"]
        assert door.dialled == 2

    asyncio.run(scenario())
