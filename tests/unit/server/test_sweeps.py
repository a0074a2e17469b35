"""Sweeps: what is past its time goes."""

from __future__ import annotations

import asyncio

from squall.model.call import OutcomeKind, Verb
from squall.model.ids import CallId, CommitId, FunctionId, VolumeId
from squall.server.sweeps import YOUNG_S, Sweeps
from squall.settings.options import Options
from squall.state.memory_state import MemoryState
from squall.state.records import CallRecord, InputChunk, OutcomeRecord
from squall.state.volumes.records import VolumeLabel, VolumeRecord, VolumeVersion


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


def test_old_versions_of_volumes_go_but_for_the_newest_and_those_with_a_name() -> None:
    async def scene() -> None:
        state = MemoryState()
        of = VolumeId("vo-1")
        first = VolumeVersion(volume=of, number=0, manifest="m0", at_s=0.0)
        await state.open_volume(VolumeRecord(id=of, name="data", created_s=0.0), first, most=1)
        for parent in range(5):
            at_s = (parent + 1) * 1000.0
            await state.put_version(
                VolumeVersion(
                    volume=of,
                    number=parent + 1,
                    manifest="m",
                    parent=parent,
                    at_s=at_s,
                    commit=CommitId(f"cm-{parent}"),
                )
            )
        await state.put_label(VolumeLabel(volume=of, label="good", number=1, at_s=1.0), most=9)
        sweeps = Sweeps(state, Logs(), Options(volume_versions=2, volume_keep_s=7200.0))

        async def kept(now_s: float) -> list[int]:
            await sweeps.once(now_s=now_s)
            return [one.number for one in await state.volume_history(of, most=9)]

        assert await kept(3000.0) == [5, 4, 3, 2, 1, 0]  # all of them were the newest in the last hour
        assert await kept(1000.0 + YOUNG_S + 1) == [5, 4, 3, 2, 1]
        assert await kept(5000.0 + YOUNG_S + 1) == [5, 4, 1]
        assert await kept(5000.0 + 7201.0) == [5, 1]

    asyncio.run(scene())
