from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from squall.model.errors import StateSchemaError
from squall.state.migrate import Migration, migrate, migrations, steps_from
from squall.state.sqlite_file import SqliteConnection

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
