"""Sweeps: what is past its time goes."""

from __future__ import annotations

import asyncio

from squall.model.call import OutcomeKind, Verb
from squall.model.ids import CallId, FunctionId
from squall.server.sweeps import Sweeps
from squall.settings.options import Options
from squall.state.memory_state import MemoryState
from squall.state.records import CallRecord, InputChunk, OutcomeRecord


class Logs:
    def __init__(self) -> None:
        self.swept = 0

    async def sweep(self) -> int:
        self.swept += 1
        return 0


def test_ended_calls_go_when_their_results_have_been_kept_long_enough() -> None:
    async def scene() -> None:
        state = MemoryState()
        call = CallRecord(
            id=CallId("fc-1"), function=FunctionId("ap-9/g"), verb=Verb.SPAWN, created_s=0.0, inputs=1
        )
        await state.record_call(call, [InputChunk(start=0, lengths=(1,), payload=b"x")])
        ended = OutcomeRecord(index=0, attempt=1, kind=OutcomeKind.RETURNED, ended_s=100.0)
        await state.record_outcomes(call.id, [ended])
        logs = Logs()
        sweeps = Sweeps(state, logs, Options(result_keep_s=60.0))
        await sweeps.once(now_s=150.0)
        assert await state.call(call.id) is not None
        await sweeps.once(now_s=161.0)
        assert await state.call(call.id) is None
        assert logs.swept == 2

    asyncio.run(scene())
