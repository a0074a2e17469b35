"""Outcomes of a map, as they come: once, twice, and some of each."""

from __future__ import annotations

import pickle

from squall.sdk.calls import Target
from squall.sdk.maps import MapCall, _Sent
from squall.wire.codec import Frame, Kind, write_head


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
