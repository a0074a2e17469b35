"""FunctionCall: a call that was made earlier, here or elsewhere, and whose outcomes are fetched by its id."""

from __future__ import annotations

import asyncio
import builtins
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any, Generic, TypeVar

from squall.model import errors
from squall.model.errors import InvalidError
from squall.model.ids import CALL, is_id
from squall.sdk.call_records import CallNode, DeadLetter, call_tree
from squall.sdk.client import Client
from squall.sdk.face import Face, ItemsFace
from squall.sdk.outcome import Failure, outcomes_in

R = TypeVar("R")
DEAD_AT_ONCE = 1000


async def _gather(*calls: FunctionCall[Any]) -> list[Any]:
    """The values of several calls, in their order, waited for together. Raises the first exception."""
    return list(await asyncio.gather(*(call.value() for call in calls)))


class FunctionCall(Generic[R]):
    """A call by its id, made by `.spawn` or `.spawn_map`, here or elsewhere; outcomes are kept for 7 days.

    get(timeout=None, *, index=0): the value of one input, waited for at most `timeout` seconds; 0 only asks.
    iter(start=0, end=None): the values of inputs start to end, in order.
    cancel(terminate_containers=False): ends the call. num_inputs(): how many inputs it has.
    dead_letters(): its inputs that ended without a value, and were not cancelled. replay(indexes=None): has them run again.
    get_call_graph(): itself, with the calls that its inputs have made.
    gather(*calls): the values of several calls. object_id: its id, for `FunctionCall.from_id` in another program.
    Each has an awaited form: `await call.get.aio()`.
    """

    gather = Face(_gather)

    def __init__(self, call: str, *, root: str | None = None) -> None:
        if not is_id(call, CALL):
            raise InvalidError(
                f"{call!r} is no id of a call", remedy="pass `call.object_id`, as `.spawn` gave it"
            )
        self.object_id = call
        self._root = root
        self.get = Face(self.value)
        self.iter = ItemsFace(self._iter)
        self.cancel = Face(self._cancel)
        self.num_inputs = Face(self._num_inputs)
        self.dead_letters = Face(self._dead_letters)
        self.replay = Face(self._replay)
        self.get_call_graph = Face(self._graph)

    def __repr__(self) -> str:
        return f"FunctionCall({self.object_id!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Its id is all that travels."""
        return FunctionCall, (self.object_id,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FunctionCall) and other.object_id == self.object_id

    def __hash__(self) -> int:
        return hash(self.object_id)

    @staticmethod
    def from_id(call: str) -> FunctionCall[Any]:
        """The call of this id, made by any process of this user. Raises InvalidError when it is no id."""
        return FunctionCall(call)

    async def value(self, timeout: float | None = None, *, index: int = 0) -> R:
        """The value of one input, waited for at most `timeout` seconds; 0 asks without waiting, None waits on.

        index: which input of a map. Raises what the function raised, TimeoutError when it is not there in time,
        OutputExpired when it is gone, InputCancelled when the call was cancelled.
        """
        head = {"call": self.object_id, "index": index, "wait": timeout is None or timeout > 0}
        try:
            async with asyncio.timeout(timeout or None):
                frame = await Client.here().ask_surely("call.get", head)
        except builtins.TimeoutError:
            late = f"input {index} of {self.object_id} has no outcome after {timeout:g} s"
            raise errors.TimeoutError(late) from None
        answer = frame.head()
        if "o" not in answer:
            raise errors.TimeoutError(f"input {index} of {self.object_id} has no outcome yet")
        ((_index, value),) = outcomes_in(frame, answer["o"], root=self._root)
        if type(value) is Failure:
            raise value.error
        result: R = value
        return result

    async def _iter(self, start: int = 0, end: int | None = None) -> AsyncIterator[R]:
        """The values of inputs start to end (None: all that follow), in order, each as soon as it is there."""
        stop = await self._num_inputs() if end is None else end
        for index in range(start, stop):
            yield await self.value(index=index)

    async def _cancel(self, terminate_containers: bool = False) -> None:  # noqa: FBT001, FBT002 - as users know it
        """Ends the call: what waits is dropped, and InputCancelled is raised in the function that runs.

        terminate_containers: the containers that run it are killed, whatever they do.
        """
        head = {"call": self.object_id, "terminate": terminate_containers}
        await Client.here().ask_surely("call.cancel", head)

    async def _num_inputs(self) -> int:
        """How many inputs the call has."""
        frame = await Client.here().ask_surely("call.info", {"call": self.object_id})
        return int(frame.head()["inputs"])

    async def _dead_letters(self) -> list[DeadLetter]:
        """The inputs that ended without a value and were not cancelled, by their index; `get(index=...)` raises each one's error."""
        found: list[DeadLetter] = []
        while True:
            start = found[-1].index + 1 if found else 0
            head = {"call": self.object_id, "start": start, "limit": DEAD_AT_ONCE}
            rows = json.loads(bytes((await Client.here().ask_surely("call.dead", head)).payload))
            found += [DeadLetter.read(row) for row in rows]
            if len(rows) < DEAD_AT_ONCE:
                return found

    async def _replay(self, indexes: Iterable[int] | None = None) -> int:
        """Has dead letters run again, all of them or those of `indexes`; how many. They keep their place in the call.

        What they end with then takes the place of their error. Raises ConflictError while the call has not ended, or after
        it was cancelled; FunctionNotFound when its app does not run any more.
        """
        payload = b"" if indexes is None else json.dumps(sorted(set(indexes))).encode()
        frame = await Client.here().ask_surely("call.replay", {"call": self.object_id}, payload)
        return int(frame.head()["inputs"])

    async def _graph(self) -> CallNode:
        """This call with the calls that its inputs have made, and theirs, down to 10,000 of them."""
        frame = await Client.here().ask_surely("call.graph", {"call": self.object_id})
        return call_tree(json.loads(bytes(frame.payload)))
