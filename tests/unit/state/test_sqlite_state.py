from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import squall
from squall import faults
from squall.model.call import CallState, OutcomeKind, Verb
from squall.model.errors import (
    CallConflict,
    DiskFull,
    StateCorrupt,
    StateDirectoryBusy,
    StateDirectoryError,
    StateSchemaError,
    StoreClosed,
)
from squall.model.ids import CallId, ContainerId, FunctionId, NamingId
from squall.state.naming_rows import namings_at_rest
from squall.state.records import CallRecord, ContainerRecord, InputChunk, Naming, OutcomeRecord
from squall.state.sqlite_file import DatabaseOptions
from squall.state.sqlite_state import SqliteState

SOURCE = Path(squall.__file__).parent.parent
CHUNK = InputChunk(start=0, lengths=(2, 3), payload=b"abcde")


def call(name: str = "fc-1", inputs: int = 2) -> CallRecord:
    return CallRecord(
        id=CallId(name), function=FunctionId("fu"), verb=Verb.SPAWN_MAP, created_s=1.0, inputs=inputs
    )


def outcome(index: int) -> OutcomeRecord:
    return OutcomeRecord(index=index, attempt=1, kind=OutcomeKind.RETURNED, ended_s=2.0, payload=b"r")


def with_state(
    database: Path, work: Callable[[SqliteState], Awaitable[None]], options: DatabaseOptions | None = None
) -> None:
    async def run() -> None:
        state = await SqliteState.open(database, options)
        try:
            await work(state)
        finally:
            await state.close()

    asyncio.run(run())


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "state" / "squall.db"


async def fill(state: SqliteState) -> None:
    await state.record_call(call(), [CHUNK])
    await state.record_outcomes(CallId("fc-1"), [outcome(0)])


async def check(state: SqliteState) -> None:
    (kept,) = await state.open_calls()
    assert (kept.call.done, kept.missing) == (1, ((1, 2),))
    assert await state.inputs(CallId("fc-1"), start=0, stop=9) == (CHUNK,)
    assert await state.outcomes(CallId("fc-1"), start=0, stop=9) == (outcome(0),)


def test_a_restart_finds_everything(database: Path) -> None:
    with_state(database, fill)
    with_state(database, check)
    with_state(database, check)


def test_history_that_was_taken_is_recorded_at_the_close(database: Path) -> None:
    async def take(state: SqliteState) -> None:
        state.history([ContainerRecord(id=ContainerId("co"), function=FunctionId("fu"), started_s=1.0)])

    async def look(state: SqliteState) -> None:
        assert len(await state.containers()) == 1

    with_state(database, take)
    with_state(database, look)


def test_history_is_recorded_after_a_moment_without_a_flush(database: Path) -> None:
    async def work(state: SqliteState) -> None:
        state.history([ContainerRecord(id=ContainerId("co"), function=FunctionId("fu"), started_s=1.0)])
        async with asyncio.timeout(30):
            while not await state.containers():
                pass

    with_state(database, work)


def test_only_the_owner_reads_the_record(database: Path) -> None:
    with_state(database, fill)
    assert stat.S_IMODE(database.stat().st_mode) == 0o600
    assert stat.S_IMODE(database.parent.stat().st_mode) == 0o700


def test_waiters_share_a_commit_and_one_call_into_the_loop(database: Path) -> None:
    async def work(state: SqliteState) -> None:
        loop = asyncio.get_running_loop()
        before, called = state.commits, 0
        real = loop.call_soon_threadsafe

        def counting(*args: object, **kwargs: object) -> object:
            nonlocal called
            called += 1
            return real(*args, **kwargs)  # type: ignore[arg-type] # passed on as they came

        loop.call_soon_threadsafe = counting  # type: ignore[method-assign,assignment] # counted, nothing else
        await asyncio.gather(*(state.record_call(call(f"fc-{n}"), [CHUNK]) for n in range(200)))
        # All 200 were sent in one turn of the loop: 400 rows, one transaction, one answer.
        assert (state.commits - before, called) == (1, 1)
        await asyncio.gather(*(state.record_call(call(f"fd-{n}"), [CHUNK]) for n in range(1000)))
        assert state.commits - before == 1 + 4

    with_state(database, work)


def test_large_writes_do_not_pile_up_in_one_transaction(database: Path) -> None:
    chunk = InputChunk(start=0, lengths=(1 << 20,), payload=b"x" * (1 << 20))

    async def work(state: SqliteState) -> None:
        before = state.commits
        await asyncio.gather(*(state.record_call(call(f"fc-{n}", 1), [chunk]) for n in range(20)))
        assert state.commits - before >= 3

    with_state(database, work)


def test_a_write_that_fails_is_undone_alone(database: Path) -> None:
    async def work(state: SqliteState) -> None:
        await state.record_call(call(), [CHUNK])
        beyond = InputChunk(start=1, lengths=(1, 1, 1), payload=b"xyz")
        results = await asyncio.gather(
            state.record_call(call("fc-2"), [CHUNK]),
            state.record_call(call(), [beyond]),
            state.record_call(call("fc-3"), [CHUNK]),
            return_exceptions=True,
        )
        assert [type(one) for one in results] == [type(None), CallConflict, type(None)]
        assert await state.inputs(CallId("fc-1"), start=0, stop=9) == (CHUNK,)
        assert len(await state.open_calls()) == 3

    with_state(database, work)


def test_a_second_server_on_the_directory_is_refused(database: Path) -> None:
    async def work(state: SqliteState) -> None:
        with pytest.raises(StateDirectoryBusy) as caught:
            await SqliteState.open(database)
        assert caught.value.code == "SQ-1606"
        assert f"process {os.getpid()}" in str(caught.value)

    with_state(database, work)
    with_state(database, fill)


def test_the_lock_goes_with_a_killed_process(database: Path) -> None:
    done = run_writer(database, "state.committed:3")
    assert done.returncode == faults.EXIT_CODE
    with_state(database, fill)


@pytest.mark.parametrize("damage", ["not a database", "cut short", "bytes inside"])
def test_a_damaged_record_is_named_and_left_alone(database: Path, damage: str) -> None:
    async def much(state: SqliteState) -> None:
        await asyncio.gather(*(state.record_call(call(f"fc-{n}"), [CHUNK]) for n in range(500)))

    with_state(database, much)
    raw = bytearray(database.read_bytes())
    if damage == "not a database":
        raw[:100] = b"x" * 100
    elif damage == "cut short":
        del raw[len(raw) // 2 :]
    else:
        raw[20_000:24_096] = os.urandom(4096)
    database.write_bytes(raw)

    async def run() -> None:
        with pytest.raises(StateCorrupt) as caught:
            await SqliteState.open(database)
        assert caught.value.code == "SQ-1901"
        assert str(database) in str(caught.value)

    asyncio.run(run())
    assert database.read_bytes() == raw
    database.unlink()
    with_state(database, fill)  # the lock was let go


def test_a_record_of_a_newer_version_is_refused(database: Path) -> None:
    with_state(database, fill)
    connection = sqlite3.connect(database)
    connection.execute("INSERT INTO schema_version VALUES (999)")
    connection.commit()
    connection.close()

    async def run() -> None:
        with pytest.raises(StateSchemaError, match="999"):
            await SqliteState.open(database)

    asyncio.run(run())


def test_a_full_disk_is_named_and_nothing_half_is_kept(database: Path) -> None:
    chunk = InputChunk(start=0, lengths=(40_000, 40_000), payload=b"x" * 80_000)

    async def work(state: SqliteState) -> None:
        kept = []
        with pytest.raises(DiskFull) as caught:
            for number in range(100):
                await state.record_call(call(f"fc-{number:02}"), [chunk])
                kept.append(f"fc-{number:02}")
        assert caught.value.code == "SQ-1403"
        assert kept
        assert [one.call.id for one in await state.open_calls()] == kept
        # What asks for no more room goes on, and so does everything once there is room again.
        assert await state.end_call(CallId(kept[0]), state=CallState.CANCELLED, at_s=1.0)
        assert (await state.sweep(ended_before_s=9.0)).calls == 1
        await state.record_call(call("fc-again"), [chunk])

    with_state(database, work, DatabaseOptions(max_bytes=1 << 20))


def test_a_full_disk_stops_the_large_writer_and_not_the_small_one_beside_it(database: Path) -> None:
    large = InputChunk(start=0, lengths=(3 << 20,), payload=b"x" * (3 << 20))

    async def work(state: SqliteState) -> None:
        results = await asyncio.gather(
            state.record_call(call("fc-large", 1), [large]),
            state.record_call(call("fc-small"), [CHUNK]),
            return_exceptions=True,
        )
        assert [type(one) for one in results] == [DiskFull, type(None)]
        assert [one.call.id for one in await state.open_calls()] == ["fc-small"]

    with_state(database, work, DatabaseOptions(max_bytes=1 << 20))


def test_history_on_a_full_disk_is_lost_and_counted(database: Path) -> None:
    async def work(state: SqliteState) -> None:
        record = ContainerRecord(
            id=ContainerId("co"), function=FunctionId("fu"), started_s=1.0, reason="r" * (2 << 20)
        )
        state.history([record])
        await state.flush()
        assert state.history_lost == 1
        assert await state.containers() == ()

    with_state(database, work, DatabaseOptions(max_bytes=1 << 20))


@pytest.mark.parametrize("where", ["below a file", "read-only"])
def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path, where: str) -> None:
    directory = tmp_path / "file"
    if where == "below a file":
        directory.write_text("")
        code = "SQ-1605"
    else:
        directory, code = Path("/sys/kernel"), "SQ-1900"  # nobody, not even root, makes files there

    async def run() -> None:
        with pytest.raises(StateDirectoryError) as caught:
            await SqliteState.open(directory / "squall.db")
        assert caught.value.code == code
        assert str(directory) in str(caught.value)

    asyncio.run(run())


def test_what_is_sent_while_closing_is_written_or_refused(database: Path) -> None:
    async def run() -> None:
        state = await SqliteState.open(database)
        writing = [asyncio.ensure_future(state.record_call(call(f"fc-{n}"), [CHUNK])) for n in range(50)]
        await asyncio.sleep(0)
        await asyncio.gather(state.close(), *writing)
        with pytest.raises(StoreClosed):
            await state.record_call(call(), [CHUNK])
        with pytest.raises(StoreClosed):
            state.history([])

    asyncio.run(run())

    async def look(state: SqliteState) -> None:
        assert len(await state.open_calls()) == 50

    with_state(database, look)


WRITER = """
import asyncio, pathlib, sys
from squall.model.call import OutcomeKind, Verb
from squall.state.records import CallRecord, InputChunk, OutcomeRecord
from squall.state.sqlite_state import SqliteState

async def run():
    state = await SqliteState.open(pathlib.Path(sys.argv[1]))
    async def one(number):
        call = CallRecord(id=f"fc-{number:03}", function="fu", verb=Verb.SPAWN_MAP, created_s=1.0, inputs=4)
        for start in (0, 2):
            await state.record_call(call, [InputChunk(start=start, lengths=(3, 3), payload=b"abcdef")])
            print("inputs", call.id, start, flush=True)
        items = [OutcomeRecord(index=i, attempt=1, kind=OutcomeKind.RETURNED, ended_s=2.0) for i in (1, 3)]
        await state.record_outcomes(call.id, items)
        print("outcomes", call.id, 0, flush=True)
    for batch in range(4):
        await asyncio.gather(*(one(batch * 10 + number) for number in range(10)))
    await state.close()
asyncio.run(run())
"""


def run_writer(database: Path, fault: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, faults.VARIABLE: fault, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", WRITER, str(database)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("hit", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("place", ["state.applied", "state.committed"])
def test_what_was_acknowledged_survives_and_what_is_there_is_whole(
    database: Path, place: str, hit: int
) -> None:
    died = run_writer(database, f"{place}:{hit}")
    assert died.returncode == faults.EXIT_CODE, died.stderr
    told = [line.split() for line in died.stdout.splitlines()]

    async def look(state: SqliteState) -> None:
        kept = {one.call.id: one for one in await state.open_calls()}
        for what, name, start in told:
            have = kept[CallId(name)]
            spans = await state.inputs(have.call.id, start=int(start), stop=int(start) + 2)
            assert [chunk.each() for chunk in spans] == [[b"abc", b"def"]]
            if what == "outcomes":
                assert have.call.done == 2
        for one in kept.values():
            recorded = await state.outcomes(one.call.id, start=0, stop=4)
            assert len(recorded) == one.call.done
            assert one.call.done in {0, 2}
            held = sum(len(c.lengths) for c in await state.inputs(one.call.id, start=0, stop=4))
            assert held in {2, 4}

    with_state(database, look)
    # The client sends everything again, and it is as if nothing had happened.
    again = run_writer(database, "")
    assert again.returncode == 0, again.stderr

    async def complete(state: SqliteState) -> None:
        calls = await state.open_calls()
        assert [(one.call.done, one.missing) for one in calls] == [(2, ((0, 1), (2, 3)))] * 40

    with_state(database, complete)


@pytest.mark.parametrize("fault", ["state.migrated", "state.migrated:2"])
def test_a_migration_that_dies_is_done_again(database: Path, fault: str) -> None:
    assert run_writer(database, fault).returncode == faults.EXIT_CODE
    with_state(database, fill)
    with_state(database, check)


NAMER = """
import asyncio, pathlib, sys
from squall.state.records import Naming
from squall.state.sqlite_state import SqliteState

async def run():
    state = await SqliteState.open(pathlib.Path(sys.argv[1]))
    for number in range(6):
        naming = Naming(id=f"na-{number}", name="base:1", key="ab"[number % 2] * 64 if number != 4 else "", at_s=float(number))
        await state.record_naming(naming)
        print(number, flush=True)
    await state.close()
asyncio.run(run())
"""


@pytest.mark.parametrize("hit", [2, 3, 5, 6, 7])
@pytest.mark.parametrize("place", ["state.applied", "state.committed"])
def test_a_name_means_the_old_image_or_the_new_one_whenever_its_writer_dies(
    database: Path, place: str, hit: int
) -> None:
    env = {**os.environ, faults.VARIABLE: f"{place}:{hit}", "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", NAMER, str(database)]
    died = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert died.returncode == faults.EXIT_CODE, died.stderr
    told = len(died.stdout.split())
    # The first transaction only opens the database.
    assert told == hit - 2
    known = told + (place == "state.committed")
    keys = ["a" * 64, "b" * 64, "a" * 64, "b" * 64, "", "b" * 64][:known]
    assert [one.key for one in reversed(namings_at_rest(database, "base:1"))] == keys

    async def look(state: SqliteState) -> None:
        assert [one.key for one in reversed(await state.namings("base:1"))] == keys
        assert [one.key for one in await state.image_names()] == list(filter(None, keys[-1:]))

    with_state(database, look)


def test_names_are_read_where_nobody_has_the_record_open(database: Path) -> None:
    assert namings_at_rest(database) == namings_at_rest(database, "base:1") == ()
    assert not database.exists()
    database.parent.mkdir()
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE an_older_one (x)")
    connection.close()
    assert namings_at_rest(database) == namings_at_rest(database, "base:1") == ()
    database.unlink()
    naming = Naming(id=NamingId("na-1"), name="base:1", key="a" * 64, at_s=1.0)

    async def name(state: SqliteState) -> None:
        assert await state.record_naming(naming)
        assert namings_at_rest(database) == (naming,)

    with_state(database, name)
    assert namings_at_rest(database) == namings_at_rest(database, "base:1") == (naming,)
    database.write_bytes(b"x" * 8192)
    with pytest.raises(StateCorrupt):
        namings_at_rest(database)


def test_the_record_unpickles_nothing() -> None:
    code = "import json, sys, squall.state.sqlite_state; print(json.dumps(sorted(sys.modules)))"
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert not {"cloudpickle", "shelve", "squall.wire.payload"} & set(json.loads(loaded.stdout))
