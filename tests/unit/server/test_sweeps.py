"""Sweeps: what is past its time goes, and nothing that a running app or a record names."""

from __future__ import annotations

import asyncio

from squall.blobs.digest import Digest, digest_of
from squall.blobs.memory_blobs import MemoryBlobs
from squall.blobs.sweep import GRACE_S
from squall.blobs.tree import File, encode_tree, tree_of
from squall.model.call import OutcomeKind, Verb
from squall.model.function import Code, Function
from squall.model.ids import AppId, CallId, FunctionId
from squall.server.sweeps import Sweeps, digests_in
from squall.settings.options import Options
from squall.state.memory_state import MemoryState
from squall.state.records import CallRecord, InputChunk, OutcomeRecord


class Logs:
    def __init__(self) -> None:
        self.swept = 0

    async def sweep(self) -> int:
        self.swept += 1
        return 0


def function(source: Digest, added: Digest) -> Function:
    return Function(
        id=FunctionId("ap-1/f"),
        app=AppId("ap-1"),
        name="f",
        code=Code(module="m", qualname="f", source=source),
        image={"steps": [{"kind": "local", "tree": added}]},
    )


def test_blobs_that_nobody_names_go_after_their_grace_and_no_other() -> None:
    async def scene() -> None:
        now = [1000.0]
        blobs, state, logs = MemoryBlobs(clock=lambda: now[0]), MemoryState(), Logs()
        kept: list[Digest] = []
        trees: list[Digest] = []
        for name in ("source", "added"):
            text = name.encode()
            kept.append(await blobs.put(text))
            tree = tree_of([File(path=f"{name}.py", digest=digest_of(text), size=len(text))])
            trees.append(await blobs.put(encode_tree(tree)))
        argument = await blobs.put(b"argument of an open call")
        forgotten = await blobs.put(b"nobody's")
        call = CallRecord(
            id=CallId("fc-1"), function=FunctionId("ap-9/g"), verb=Verb.SPAWN, created_s=1000.0, inputs=1
        )
        await state.record_call(call, [InputChunk(start=0, lengths=(0,), blobs={0: argument})])
        sweeps = Sweeps(state, blobs, logs, Options())
        running = [function(trees[0], trees[1])]
        assert await sweeps.once(running, now_s=1000.0 + GRACE_S) == 0, "within the grace nothing goes"
        now[0] += GRACE_S
        young = await blobs.put(b"put just now")
        assert await sweeps.once(running, now_s=now[0] + 1) == 1
        everything = {*kept, *trees, argument, young}
        assert await blobs.has_many({*everything, forgotten}) == everything
        assert logs.swept == 2

    asyncio.run(scene())


def test_ended_calls_go_when_their_results_have_been_kept_long_enough() -> None:
    async def scene() -> None:
        state = MemoryState()
        call = CallRecord(
            id=CallId("fc-1"), function=FunctionId("ap-9/g"), verb=Verb.SPAWN, created_s=0.0, inputs=1
        )
        await state.record_call(call, [InputChunk(start=0, lengths=(1,), payload=b"x")])
        ended = OutcomeRecord(index=0, attempt=1, kind=OutcomeKind.RETURNED, ended_s=100.0)
        await state.record_outcomes(call.id, [ended])
        sweeps = Sweeps(state, MemoryBlobs(), Logs(), Options(result_keep_s=60.0))
        await sweeps.once([], now_s=150.0)
        assert await state.call(call.id) is not None
        await sweeps.once([], now_s=161.0)
        assert await state.call(call.id) is None

    asyncio.run(scene())


def test_whatever_looks_like_a_digest_is_one() -> None:
    one, other = digest_of(b"1"), digest_of(b"2")
    plain = {"a": [1, None, {"b": f"/trees/{one}/x"}], other: True}
    assert set(digests_in(plain)) == {one, other}
