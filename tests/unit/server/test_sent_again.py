"""A call that its client sends again: what its first connection says afterwards ends nothing, and adds nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from squall.model.ids import CALL, CallId, make_id
from squall.server.api import connect
from squall.server.house import House
from squall.server.records import FunctionRecord
from squall.wire.codec import Frame, Kind
from squall.wire.memory_channel import pair
from squall.wire.session import Session
from squall.wire.stream import Stream
from tests.unit.server.stage import function, play, settle
from tests.unit.server.standing import standing


class Caller:
    """A client that has sent a call on a connection of its own. heard: the frames that came."""

    def __init__(self, house: House, call: CallId, record: FunctionRecord) -> None:
        near, far = pair()
        connect(house, far)
        self.heard: list[Kind] = []
        self.session = Session(near, dialer=True)
        head = {"call": call, "fn": record.function.id, "verb": "map", "start": 0, "d": [1, 1]}
        self.stream: Stream = self.session.open("call", head, b"ab", on_frame=self._take)

    def _take(self, frame: Frame) -> None:
        self.heard.append(frame.kind)


@pytest.mark.parametrize("last", ["its connection ends", "it is cancelled there", "inputs come there"])
def test_a_call_that_was_sent_again_hears_no_more_of_where_it_was_sent_first(
    tmp_path: Path, last: str
) -> None:
    async def scene() -> None:
        async with standing(tmp_path) as house:
            noun = function("f")
            record = house.calls.functions[noun.id] = FunctionRecord(noun)
            call = CallId(make_id(CALL, now_ms=1, randomness=bytes(10)))
            first = Caller(house, call, record)
            await settle()
            second = Caller(house, call, record)
            await settle()
            taken = house.calls.calls[call]
            if last == "its connection ends":
                first.session.close()
            elif last == "it is cancelled there":
                first.stream.cancel()
            else:
                first.stream.send({"start": 2, "d": [1]}, b"c")
            await settle()
            assert house.calls.calls[call] is taken
            assert record.line.waiting == 2
            assert second.heard == []
            second.stream.cancel()
            await settle()
            assert not house.calls.calls
            assert second.heard == [Kind.FAIL]

    play(scene)


def test_a_call_whose_client_has_all_its_outcomes_ends_where_it_is_sent_again(tmp_path: Path) -> None:
    async def scene() -> None:
        async with standing(tmp_path) as house:
            noun = function("f")
            record = house.calls.functions[noun.id] = FunctionRecord(noun)
            near, far = pair()
            connect(house, far)
            call = CallId(make_id(CALL, now_ms=1, randomness=bytes(10)))
            head = {
                "call": call,
                "fn": noun.id,
                "verb": "map",
                "start": 0,
                "d": [],
                "skip": [[0, 2]],
                "total": 2,
            }
            heard: list[Kind] = []
            Session(near, dialer=True).open("call", head, on_frame=lambda frame: heard.append(frame.kind))
            await settle()
            assert heard == [Kind.END]
            assert not house.calls.calls
            assert record.line.waiting == 0

    play(scene)
