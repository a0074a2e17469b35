"""Call questions: what may be asked of calls on record, and done to them, by clients and by code inside containers."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from typing import Any, Final

from squall.model.errors import InvalidError
from squall.model.ids import CallId
from squall.server.house import House
from squall.state.records import CallRecord
from squall.wire.stream import Stream

Ask = Callable[[House, Stream, dict[str, Any], bytes], Coroutine[Any, Any, None]]

MOST_ROWS: Final = 10_000
"""Dead letters, or calls of a graph, that one answer has at most."""


async def get(house: House, stream: Stream, head: dict[str, Any], _payload: bytes) -> None:
    """The outcome of one input of a durable call."""
    await house.durable.answer(stream, CallId(head["call"]), int(head["index"]), wait=bool(head["wait"]))


async def cancel(house: House, stream: Stream, head: dict[str, Any], _payload: bytes) -> None:
    """Ends a call and those that its inputs have made; with "terminate", the containers that have any of them in hand."""
    name = CallId(head["call"])
    holders = house.calls.holders(name) if head.get("terminate") else []
    await house.durable.cancel(name)
    for worker in holders:
        house.capacity.kill(worker)
    stream.end({})


async def info(house: House, stream: Stream, head: dict[str, Any], _payload: bytes) -> None:
    """What is known of a durable call."""
    stream.end(await house.durable.info(CallId(head["call"])))


async def dead(house: House, stream: Stream, head: dict[str, Any], _payload: bytes) -> None:
    """Dead letters: of one call ("call", from the input "start" on), or of functions of one name ("name"), or all."""
    call, name, start, limit = (
        head.get("call"),
        head.get("name"),
        head.get("start", 0),
        head.get("limit", 100),
    )
    if type(start) is not int or type(limit) is not int or not 1 <= limit <= MOST_ROWS:
        raise InvalidError(f"from 1 to {MOST_ROWS} dead letters are told of at once, not {limit!r}")
    found = await house.state.dead_letters(
        call=None if call is None else CallId(str(call)),
        name=None if name is None else str(name),
        start=start,
        limit=limit,
    )
    stream.end({}, json.dumps([asdict(one) for one in found]).encode())


async def replay(house: House, stream: Stream, head: dict[str, Any], payload: bytes) -> None:
    """Dead letters of a call run again: all, or those whose indexes are the payload."""
    indexes = [int(index) for index in json.loads(payload)] if payload else None
    call = CallId(head["call"])
    function = house.calls.functions.get((await house.durable.known(call)).function)
    if function is not None:
        house.budgets.admit(function, inputs=1)
    again = await house.durable.replay(call, indexes)
    stream.end({"inputs": len(again)}, json.dumps(again).encode())


async def graph(house: House, stream: Stream, head: dict[str, Any], _payload: bytes) -> None:
    """A call, and below it those that its inputs have made, parents first."""
    root = CallId(head["call"])
    await house.state.flush()
    known = await house.durable.known(root)
    rows, ahead = [_row(known)], [root]
    while ahead and len(rows) < MOST_ROWS:
        below: list[CallRecord] = []
        for call in ahead:
            below += await house.state.children(call, limit=MOST_ROWS - len(rows) - len(below))
        seen = {child.id for child in below}
        running = [child for call in ahead for child in house.durable.running(call) if child.id not in seen]
        rows += map(_row, (*below, *running))
        ahead = [child.id for child in (*below, *running)]
    stream.end({}, json.dumps(rows[:MOST_ROWS]).encode())


def _row(call: CallRecord) -> dict[str, Any]:
    return {
        "call": call.id,
        "function": call.function.partition("/")[2],
        "verb": call.verb,
        "parent": call.parent,
        "state": call.state,
        "inputs": call.inputs,
        "done": call.done,
        "failed": call.failed,
        "created_s": call.created_s,
        "ended_s": call.ended_s,
    }


QUESTIONS: Final[dict[str, Ask]] = {
    "call.get": get,
    "call.cancel": cancel,
    "call.info": info,
    "call.dead": dead,
    "call.replay": replay,
    "call.graph": graph,
}
