"""Spawn: calls that outlive their caller; on disk before the id is given out."""

from __future__ import annotations

from itertools import islice
from typing import Any

from squall.context.fresh import fresh_id
from squall.model.call import Verb
from squall.model.ids import CALL
from squall.sdk.blocking import run_blocking
from squall.sdk.calls import Packed, Target
from squall.sdk.function_call import FunctionCall
from squall.sdk.maps import BATCH, BATCH_BYTES, Inputs
from squall.wire import payload


def spawn(target: Target, args: tuple[Any, ...], kwargs: dict[str, Any]) -> FunctionCall[Any]:
    """Records one input, and gives its call."""
    packed = Packed(target, args, kwargs)
    call = fresh_id(CALL)
    head = {"call": call, "fn": target.function, "verb": Verb.SPAWN, "d": [packed.size], "start": 0, "total": 1}
    try:
        run_blocking(target.client.ask("call", head, *packed.buffers, fds=packed.fds))
    finally:
        packed.close()
    return FunctionCall(call, root=target.root)


def spawn_map(target: Target, inputs: Inputs, *, verb: Verb) -> FunctionCall[Any]:
    """Records all inputs, chunk by chunk, and gives their call; it runs from the first chunk on."""
    call = fresh_id(CALL)
    at, mean = 0, 1
    done = False
    while not done:
        most = max(1, min(BATCH, BATCH_BYTES // mean))
        batch = list(islice(inputs, most))
        done = len(batch) < most
        many = payload.pack_many(batch, role="call", main=target.main)
        mean = max(1, len(many.buffer) // max(1, len(batch)))
        head: dict[str, Any] = {"call": call, "fn": target.function, "verb": verb, "d": many.lengths, "start": at}
        at += len(batch)
        if done:
            head["total"] = at
        run_blocking(target.client.ask("call", head, many.buffer))
    return FunctionCall(call, root=target.root)
