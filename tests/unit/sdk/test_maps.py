"""Outcomes of a map, as they come: once, twice, and some of each."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

from squall.sdk.calls import Target
from squall.sdk.maps import MapCall, _Sent
from squall.wire.codec import Frame, Kind, write_head
from squall.wire.memory_channel import pair
from squall.wire.session import Session
from squall.wire.stream import Stream


def outcomes(start: int, values: list[int]) -> Frame:
    """A frame of returned values from `start` on."""
    parts = [pickle.dumps(value, 5) for value in values]
    head = write_head({"o": [start, [len(part) for part in parts], 0]})
    return Frame(Kind.DATA, 1, header=head, payload=b"".join(parts))


def test_an_outcome_that_came_before_is_taken_once_and_those_beside_it_are_not_lost() -> None:
    target = Target("app/f", None, None)
    call = MapCall(target, iter(()))
    call._sent.append(_Sent(0, [1, 1, 1], [], ()))
    call._ended.extend(bytes(3))
    call._on_frame(outcomes(1, [11]))
    assert call.arrived(wait=False) == [(1, 11)]
    call._on_frame(outcomes(0, [10, 11, 12]))
    assert call.arrived(wait=False) == [(0, 10), (2, 12)]
    assert not call._sent


def test_a_map_whose_outcomes_are_all_in_says_on_a_new_connection_that_there_are_no_more() -> None:
    async def scene() -> None:
        heads: list[dict[str, Any]] = []

        def take(stream: Stream, head: dict[str, Any], _frame: Frame) -> None:
            heads.append(head)
            stream.end({})

        near, far = pair()
        server = Session(far, dialer=False, on_open=take)
        call = MapCall(Target("app/f", None, None), iter(()))
        call._started, call.total = True, 2
        call._sent.append(_Sent(0, [1, 1], [], ()))
        call._ended.extend(bytes(2))
        call._on_frame(outcomes(0, [10, 11]))
        assert call.arrived(wait=False) == [(0, 10), (1, 11)]
        assert call.arrived(wait=False) == []
        call.attach(Session(near, dialer=True))
        async with asyncio.timeout(10):
            while call.arrived(wait=False) is not None:
                await asyncio.sleep(0)
        assert [(head["skip"], head["total"]) for head in heads] == [([[0, 2]], 2)]
        server.close()

    asyncio.run(scene())
