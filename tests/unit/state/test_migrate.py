from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from squall.model.call import OutcomeKind, Verb
from squall.model.errors import StateSchemaError
from squall.model.ids import AppId, CallId, ContainerId, FunctionId, NamingId
from squall.state.connection import Connection, Rows, Transactions
from squall.state.migrate import (
    OLDEST,
    Migration,
    known_version,
    migrate,
    migrate_back,
    migrations,
    schema_version,
    steps_back,
    steps_from,
)
from squall.state.postgres_address import PostgresAddress
from squall.state.postgres_database import Patience, PostgresDatabase
from squall.state.postgres_state import PostgresState
from squall.state.records import (
    AppKind,
    AppRecord,
    CallRecord,
    ContainerRecord,
    FunctionRecord,
    InputChunk,
    LayerRecord,
    LayerState,
    Naming,
    OutcomeRecord,
)
from squall.state.sqlite_file import DatabaseOptions, SqliteConnection, open_writer
from squall.state.sqlite_state import SqliteState
from squall.state.state_store import StateStore

FIRST = Migration(version=1, sql="CREATE TABLE a (x); INSERT INTO a VALUES (1)")
SECOND = Migration(version=2, sql="ALTER TABLE a ADD COLUMN y; UPDATE a SET y = x + 1;")


@pytest.fixture
def db() -> Iterator[SqliteConnection]:
    connection = sqlite3.connect(":memory:", isolation_level=None, factory=SqliteConnection)
    yield connection
    connection.close()


def test_the_steps_are_numbered_without_a_gap() -> None:
    versions = [migration.version for migration in migrations()]
    assert versions == list(range(1, len(versions) + 1))


def test_only_what_is_missing_is_applied(db: SqliteConnection) -> None:
    assert migrate(db, (FIRST,)) == 1
    assert migrate(db, (FIRST, SECOND)) == 2
    assert migrate(db, (FIRST, SECOND)) == 2
    assert db.execute("SELECT x, y FROM a").fetchall() == [(1, 2)]


def test_a_step_that_fails_leaves_the_schema_before_it(db: SqliteConnection) -> None:
    broken = Migration(version=2, sql="ALTER TABLE a ADD COLUMN y; SELECT nonsense")
    with pytest.raises(sqlite3.OperationalError):
        migrate(db, (FIRST, broken))
    assert db.execute("SELECT * FROM a").fetchall() == [(1,)]
    assert migrate(db, (FIRST, SECOND)) == 2


def test_a_newer_schema_is_refused() -> None:
    assert steps_from(1, (FIRST, SECOND)) == (SECOND,)
    assert steps_from(0, ()) == ()
    with pytest.raises(StateSchemaError, match="schema 3"):
        steps_from(3, (FIRST, SECOND))


def test_an_older_version_is_told_the_command_that_brings_the_record_back_to_it() -> None:
    with pytest.raises(StateSchemaError) as caught:
        steps_from(3, (FIRST, SECOND))
    assert "squall migrate --to 2" in caught.value.remedy


def test_each_step_but_the_first_has_a_way_back() -> None:
    assert [step.version for step in migrations() if not step.back] == [OLDEST]


def test_steps_back_are_the_steps_there_in_reverse(db: SqliteConnection) -> None:
    second = replace(SECOND, back="ALTER TABLE a DROP COLUMN y")
    third = Migration(version=3, sql="CREATE TABLE b (z)", back="DROP TABLE b")
    known = (FIRST, second, third)
    assert migrate(db, known) == 3
    assert migrate_back(db, 3, known) == 3
    assert migrate_back(db, 1, known) == 1
    assert db.execute("SELECT * FROM a").fetchall() == [(1,)]
    assert migrate(db, known) == 3
    assert db.execute("SELECT x, y FROM a").fetchall() == [(1, 2)]


@pytest.mark.parametrize("to", [0, -1, 3])
def test_there_is_no_way_back_to_before_the_first_schema_or_ahead(to: int) -> None:
    with pytest.raises(StateSchemaError, match="no way back"):
        steps_back(2, to, (FIRST, SECOND))


def test_a_step_back_that_fails_leaves_the_newer_schema(db: SqliteConnection) -> None:
    broken = replace(SECOND, back="ALTER TABLE a DROP COLUMN y; SELECT nonsense")
    migrate(db, (FIRST, SECOND))
    with pytest.raises(sqlite3.OperationalError):
        migrate_back(db, 1, (FIRST, broken))
    assert migrate(db, (FIRST, SECOND)) == 2
    assert db.execute("SELECT x, y FROM a").fetchall() == [(1, 2)]


def test_only_a_record_that_is_there_is_backed_up_before_it_changes(db: SqliteConnection) -> None:
    asked: list[int] = []
    migrate(db, (FIRST,), before=asked.append)
    migrate(db, (FIRST,), before=asked.append)
    assert asked == []
    migrate(db, (FIRST, SECOND), before=asked.append)
    assert asked == [2]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_full_record_goes_back_and_forth_and_keeps_what_both_schemas_hold(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "sqlite":
        asyncio.run(_fill(SqliteState.open(tmp_path / "squall.db")))
        writer: Transactions = open_writer(tmp_path / "squall.db", DatabaseOptions())
    else:
        address = PostgresAddress(url=request.getfixturevalue("postgres_address"))
        asyncio.run(_fill(PostgresState.open(address)))
        writer = PostgresDatabase(address, Patience()).open_writer()
    try:
        newest = _content(writer)
        filled = {table for (table, _), rows in newest.items() if rows}
        assert filled >= {
            "apps",
            "calls",
            "chunks",
            "containers",
            "functions",
            "layers",
            "namings",
            "outcomes",
        }
        for version in range(known_version() - 1, OLDEST - 1, -1):
            assert migrate_back(writer, version) == schema_version(writer) == version
            older = _content(writer)
            assert "calls" in {table for table, _ in older}
            for (table, columns), rows in older.items():
                assert rows == _rows(newest, table, columns)
            assert migrate(writer) == known_version()
            again = _content(writer)
            assert again.keys() == newest.keys()
            assert {key: again[key] for key in older.keys() & again.keys()} == {
                key: older[key] for key in older.keys() & again.keys()
            }
    finally:
        writer.close()


def test_a_schema_is_the_same_from_either_side(tmp_path: Path) -> None:
    for version in range(OLDEST, known_version()):
        with _database() as there, _database() as back:
            migrate(there, migrations()[:version])
            migrate(back)
            migrate_back(back, version)
            assert _shape(there) == _shape(back)


Content = dict[tuple[str, tuple[str, ...]], list[tuple[object, ...]]]


async def _fill(opening: Awaitable[StateStore]) -> None:
    """Something of every noun that the first schemas know."""
    store = await opening
    app = AppRecord(id=AppId("ap"), name="a", kind=AppKind.DEPLOYED, created_s=1.0)
    await store.record_app(app, [FunctionRecord(id=FunctionId("fu"), app=app.id, name="f", definition="{}")])
    for number in range(20):
        call = CallRecord(
            id=CallId(f"fc-{number}"), function=FunctionId("fu"), verb=Verb.SPAWN_MAP, created_s=1.0, inputs=3
        )
        await store.record_call(
            call, [InputChunk(start=0, lengths=(1, 0, 2), payload=b"\0ab", blobs={1: "d" * 64})]
        )
        items = [
            OutcomeRecord(index=index, attempt=1, kind=OutcomeKind.RETURNED, ended_s=2.0, payload=b"\xff")
            for index in range(number % 4)
        ]
        await store.record_outcomes(call.id, items[:3])
    store.history(
        [ContainerRecord(id=ContainerId("co"), function=FunctionId("fu"), started_s=1.0, cpu_s=0.5)]
    )
    await store.record_layer(LayerRecord(key="k", recipe="{}", state=LayerState.READY, size_bytes=1 << 40))
    await store.record_naming(Naming(id=NamingId("na"), name="base:1", key="a" * 64, at_s=1.0))
    await store.flush()
    await store.close()


def _content(connection: Connection) -> Content:
    """The rows of each table, by its name and its columns."""
    found: Content = {}
    for table in sorted(_tables(connection) - {"schema_version", "leader"}):
        columns = _columns(connection, table)
        rows = connection.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
        found[table, columns] = sorted((tuple(row) for row in rows), key=repr)
    return found


def _tables(connection: Connection) -> set[str]:
    rows: Rows
    if isinstance(connection, sqlite3.Connection):
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    else:
        rows = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        )
    return {row[0] for row in rows}


def _columns(connection: Connection, table: str) -> tuple[str, ...]:
    rows: Rows
    if isinstance(connection, sqlite3.Connection):
        rows = connection.execute(f"SELECT name FROM pragma_table_info('{table}')")
    else:
        rows = connection.execute(
            "SELECT CAST(column_name AS TEXT) FROM information_schema.columns WHERE CAST(table_name AS TEXT) = ?",
            (table,),
        )
    return tuple(sorted(row[0] for row in rows))


def _rows(content: Content, table: str, columns: tuple[str, ...]) -> list[tuple[object, ...]]:
    """What a table held, as far as these columns go."""
    for (name, wider), rows in content.items():
        if name == table:
            places = [wider.index(column) for column in columns]
            return sorted((tuple(row[place] for place in places) for row in rows), key=repr)
    raise AssertionError(f"the older schema has a table more: {table}")


@contextlib.contextmanager
def _database() -> Iterator[SqliteConnection]:
    connection = sqlite3.connect(":memory:", isolation_level=None, factory=SqliteConnection)
    yield connection
    connection.close()


def _shape(connection: SqliteConnection) -> object:
    """Tables with their columns, and indexes."""
    tables = {
        table: connection.execute(
            f"SELECT name, type, \"notnull\", pk FROM pragma_table_info('{table}')"
        ).fetchall()
        for table in _tables(connection)
    }
    indexes = connection.execute(
        "SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'index' ORDER BY name"
    )
    return tables, indexes.fetchall()
