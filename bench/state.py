"""State: how fast a call is durable, with one waiter and with many, against plain SQLite with a commit for each."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import (
    Samples,
    Turn,
    arguments,
    report_rounds,
    report_turn,
)
from squall.model.call import CallState, OutcomeKind, Verb
from squall.model.ids import CallId, FunctionId
from squall.state.records import CallRecord, InputChunk, OutcomeRecord
from squall.state.sqlite_file import DatabaseOptions, Synchronous
from squall.state.sqlite_state import SqliteState

WAITERS = (1, 32, 500)
PAYLOAD = b"p" * 200
UNITS = {
    **{f"enqueue_{waiters}_per_s": "1/s" for waiters in WAITERS},
    "enqueue_ms": "ms",
    "rows_a_commit_32": "rows",
    "rows_a_commit_500": "rows",
    "wakes_a_commit_500": "calls",
    "outcomes_per_s": "1/s",
    "history_per_s": "1/s",
    "inputs_in_chunks_per_s": "1/s",
    "restart_100k_inputs_s": "s",
}
_FUNCTION = FunctionId("fu-bench")


def call(name: str, inputs: int = 1) -> CallRecord:
    return CallRecord(
        id=CallId(name), function=_FUNCTION, verb=Verb.SPAWN_MAP, created_s=time.time(), inputs=inputs
    )


async def enqueue(state: SqliteState, waiters: int, count: int) -> Samples:
    """`count` calls of one input each, so many waiting at any time; each is one user's `.spawn`."""
    loop = asyncio.get_running_loop()
    wakes, real = 0, loop.call_soon_threadsafe

    def counting(*args: Any, **kwargs: Any) -> asyncio.Handle:
        nonlocal wakes
        wakes += 1
        return real(*args, **kwargs)

    setattr(loop, "call_soon_threadsafe", counting)  # noqa: B010 - the one thing that a thread may ask of the loop
    chunk = InputChunk(start=0, lengths=(len(PAYLOAD),), payload=PAYLOAD)
    took: list[float] = []

    async def waiter(number: int) -> None:
        for turn in range(count // waiters):
            started = time.perf_counter()
            await state.record_call(call(f"fc-{waiters}-{number}-{turn}"), [chunk])
            took.append((time.perf_counter() - started) * 1e3)

    before, started = state.commits, time.perf_counter()
    await asyncio.gather(*(waiter(number) for number in range(waiters)))
    elapsed, commits = time.perf_counter() - started, state.commits - before
    setattr(loop, "call_soon_threadsafe", real)  # noqa: B010 - as above
    samples = {f"enqueue_{waiters}_per_s": [len(took) / elapsed]}
    if waiters == 1:
        return {**samples, "enqueue_ms": took}
    samples[f"rows_a_commit_{waiters}"] = [len(took) / commits]
    if waiters == 500:
        samples["wakes_a_commit_500"] = [wakes / commits]
    return samples


async def large_call(state: SqliteState, inputs: int) -> Samples:
    """One call of many inputs in chunks of 500, then its outcomes, and what a restart asks."""
    chunk_of = 500
    started = time.perf_counter()
    for start in range(0, inputs, chunk_of):
        chunk = InputChunk(start=start, lengths=(200,) * chunk_of, payload=PAYLOAD * chunk_of)
        await state.record_call(call("fc-large", inputs), [chunk])
    recorded_s = time.perf_counter() - started
    started = time.perf_counter()
    for start in range(0, inputs // 2, chunk_of):
        items = [
            OutcomeRecord(
                index=index, attempt=1, kind=OutcomeKind.RETURNED, ended_s=1.0, payload=PAYLOAD[:50]
            )
            for index in range(start, start + chunk_of)
        ]
        await state.record_outcomes(CallId("fc-large"), items)
    outcomes_s = time.perf_counter() - started
    started = time.perf_counter()
    (_,) = [one for one in await state.open_calls() if one.call.id == "fc-large"]
    return {
        "inputs_in_chunks_per_s": [inputs / recorded_s],
        "outcomes_per_s": [inputs / 2 / outcomes_s],
        "restart_100k_inputs_s": [time.perf_counter() - started],
    }


async def history(state: SqliteState, count: int) -> Samples:
    """Summaries of calls that nobody waits for, as fast as they are taken and written."""
    started = time.perf_counter()
    for number in range(0, count, 100):
        state.history(
            [
                CallRecord(
                    id=CallId(f"fh-{number + one}"),
                    function=_FUNCTION,
                    verb=Verb.REMOTE,
                    created_s=1.0,
                    inputs=1,
                    done=1,
                    state=CallState.ENDED,
                    ended_s=2.0,
                )
                for one in range(100)
            ]
        )
    await state.flush()
    return {"history_per_s": [(count - state.history_lost) / (time.perf_counter() - started)]}


def squall_turn(synchronous: Synchronous, *, quick: bool) -> Samples:
    scale = 1 if quick else 4
    count = 500 * scale if synchronous is Synchronous.FULL else 2_000 * scale

    async def run(directory: Path) -> Samples:
        state = await SqliteState.open(directory / "squall.db", DatabaseOptions(synchronous=synchronous))
        samples: Samples = {}
        for waiters in WAITERS:
            samples |= await enqueue(state, waiters, count if waiters == 1 else max(count, 4 * waiters))
        samples |= await large_call(state, 100_000)
        samples |= await history(state, 5_000 * scale)
        await state.close()
        return samples

    return in_directory(lambda directory: asyncio.run(run(directory)))


def plain_turn(synchronous: Synchronous, *, quick: bool) -> Samples:
    """The same rows with the standard library alone: each waiter its own transaction, through one lock."""
    scale = 1 if quick else 4
    count = 400 * scale if synchronous is Synchronous.FULL else 2_000 * scale

    def run(directory: Path) -> Samples:
        db = sqlite3.connect(directory / "plain.db", isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {synchronous.value}")
        db.execute(
            "CREATE TABLE calls (no INTEGER PRIMARY KEY, id TEXT UNIQUE, function TEXT, created_s REAL)"
        )
        db.execute(
            "CREATE TABLE inputs (call_no INTEGER, place INTEGER, payload BLOB, PRIMARY KEY (call_no, place))"
        )
        lock = threading.Lock()

        def one(name: str) -> None:
            with lock:
                db.execute("BEGIN IMMEDIATE")
                no = db.execute(
                    "INSERT INTO calls (id, function, created_s) VALUES (?, ?, ?)", (name, _FUNCTION, 1.0)
                ).lastrowid
                db.execute("INSERT INTO inputs VALUES (?, 0, ?)", (no, PAYLOAD))
                db.execute("COMMIT")

        async def enqueue_plain(waiters: int) -> Samples:
            took: list[float] = []

            async def waiter(number: int) -> None:
                for turn in range(max(1, count // waiters)):
                    started = time.perf_counter()
                    await asyncio.to_thread(one, f"fc-{waiters}-{number}-{turn}")
                    took.append((time.perf_counter() - started) * 1e3)

            started = time.perf_counter()
            await asyncio.gather(*(waiter(number) for number in range(waiters)))
            rate = len(took) / (time.perf_counter() - started)
            return {f"enqueue_{waiters}_per_s": [rate], **({"enqueue_ms": took} if waiters == 1 else {})}

        samples: Samples = {}
        for waiters in WAITERS:
            samples |= asyncio.run(enqueue_plain(waiters))
        db.close()
        return samples

    return in_directory(run)


def in_directory(work: Callable[[Path], Samples]) -> Samples:
    directory = Path(tempfile.mkdtemp(prefix="squall-bench-"))
    try:
        return work(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


CONTENDERS: dict[str, Callable[[bool], Samples]] = {
    "squall": lambda quick: squall_turn(Synchronous.NORMAL, quick=quick),
    "squall_full": lambda quick: squall_turn(Synchronous.FULL, quick=quick),
    "plain_sqlite": lambda quick: plain_turn(Synchronous.NORMAL, quick=quick),
    "plain_sqlite_full": lambda quick: plain_turn(Synchronous.FULL, quick=quick),
}


def main() -> None:
    """Runs the rounds and prints the figures."""
    options = arguments(__doc__ or "", list(CONTENDERS))
    if options.turn:
        report_turn(Turn(samples=CONTENDERS[options.turn](options.quick)))
        return
    report_rounds(__file__, options, UNITS, reference="plain_sqlite")


if __name__ == "__main__":
    main()
