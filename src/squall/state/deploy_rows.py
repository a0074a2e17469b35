"""Deploy rows: versions of deployed apps and environments as rows of the database, written and read."""

from __future__ import annotations

import json
from typing import Any, Final

from squall.model.deploy import VersionState
from squall.model.ids import AppId
from squall.state.connection import Connection
from squall.state.deploy_records import MOST_VERSIONS, EnvironmentRecord, VersionRecord

_COLUMNS: Final = (
    "app, environment, name, number, state, created_s, ended_s, strategy, tag, who, copy_of, why, functions"
)
# Tables with a column `environment`, besides that of versions: what is kept there by its name.
_KEPT: Final = ("shared_objects", "secrets", "volumes")
_ABOUT: Final = ("schedules", "ticks", "budgets")
"""What is said of an environment, and goes with it."""
_IN_ENVIRONMENTS: Final = ("versions", *_ABOUT, *_KEPT)
_OPEN: Final = tuple(str(state) for state in VersionState if state.open)


def put_version(db: Connection, version: VersionRecord) -> int:
    """Adds a version under the next number of its app, which it gives; one that is on record keeps its own."""
    known = db.execute("SELECT number FROM versions WHERE app = ?", (version.app,)).fetchone()
    if known is not None:
        return int(known[0])
    (last,) = db.execute(
        "SELECT coalesce(max(number), 0) FROM versions WHERE environment = ? AND name = ?",
        (version.environment, version.name),
    ).fetchone()
    number = int(last) + 1
    db.execute(
        f"INSERT INTO versions ({_COLUMNS}, content) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - names of columns
        (
            *(version.app, version.environment, version.name, number, version.state),
            *(version.created_s, version.ended_s, version.strategy, version.tag, version.who),
            *(version.copy_of, version.why, json.dumps(version.functions), version.content),
        ),
    )
    db.execute(
        "DELETE FROM versions WHERE environment = ? AND name = ? AND number <= ? AND state NOT IN (?, ?, ?)",
        (version.environment, version.name, number - MOST_VERSIONS, *_OPEN),
    )
    return number


def put_version_state(db: Connection, app: AppId, state: VersionState, at_s: float, why: str) -> bool:
    """Has a version that is not over stand elsewhere; whether it was not over."""
    ended_s = None if state.open else at_s
    changed = db.execute(
        "UPDATE versions SET state = ?, ended_s = ?, why = ? WHERE app = ? AND state IN (?, ?, ?)",
        (state, ended_s, why, app, *_OPEN),
    )
    return changed.rowcount == 1


def put_version_content(db: Connection, app: AppId, content: str) -> None:
    """Changes what a version is made of."""
    db.execute("UPDATE versions SET content = ? WHERE app = ?", (content, app))


def put_switch(db: Connection, app: AppId) -> bool:
    """Has a version take the place of the one that serves, both in one step; whether it serves now."""
    found = db.execute("SELECT environment, name, state FROM versions WHERE app = ?", (app,)).fetchone()
    if found is None or found[2] != VersionState.PREPARING:
        return found is not None and found[2] == VersionState.SERVING
    db.execute(
        "UPDATE versions SET state = ? WHERE environment = ? AND name = ? AND state = ?",
        (VersionState.DRAINING, found[0], found[1], VersionState.SERVING),
    )
    db.execute("UPDATE versions SET state = ? WHERE app = ?", (VersionState.SERVING, app))
    return True


def list_versions(db: Connection, environment: str | None, name: str | None) -> tuple[VersionRecord, ...]:
    """Versions without their content, by environment and app, the newest first."""
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM versions"  # noqa: S608 - names of columns
        " WHERE (CAST(:environment AS TEXT) IS NULL OR environment = :environment)"
        " AND (CAST(:name AS TEXT) IS NULL OR name = :name) ORDER BY environment, name, number DESC",
        {"environment": environment, "name": name},
    )
    return tuple(_version(*row) for row in rows)


def get_version(db: Connection, app: AppId) -> VersionRecord | None:
    """A version with its content."""
    row = db.execute(
        f"SELECT {_COLUMNS}, content FROM versions WHERE app = ?",  # noqa: S608 - names of columns
        (app,),
    ).fetchone()
    return None if row is None else _version(*row)


def list_contents(db: Connection) -> tuple[str, ...]:
    """What every version on record is made of."""
    return tuple(row[0] for row in db.execute("SELECT content FROM versions"))


def put_environment(db: Connection, environment: EnvironmentRecord) -> bool:
    """Adds an environment; whether it is new."""
    added = db.execute(
        "INSERT INTO environments (name, created_s) VALUES (?, ?) ON CONFLICT (name) DO NOTHING",
        (environment.name, environment.created_s),
    )
    return added.rowcount == 1


def list_environments(db: Connection) -> tuple[EnvironmentRecord, ...]:
    """Those that were made, by name."""
    rows = db.execute("SELECT name, created_s FROM environments ORDER BY name")
    return tuple(EnvironmentRecord(name=name, created_s=created_s) for name, created_s in rows)


def put_environment_name(db: Connection, name: str, new: str) -> bool:
    """Gives an environment another name, everywhere in one step; whether it was there, and none of the new name."""
    taken = db.execute("SELECT 1 FROM environments WHERE name = ?", (new,)).fetchone()
    if taken or db.execute("UPDATE environments SET name = ? WHERE name = ?", (new, name)).rowcount != 1:
        return False
    for table in _ABOUT:
        # Of one that had the new name before.
        db.execute(f"DELETE FROM {table} WHERE environment = ?", (new,))  # noqa: S608 - our own names
    for table in _IN_ENVIRONMENTS:
        db.execute(f"UPDATE {table} SET environment = ? WHERE environment = ?", (new, name))  # noqa: S608 - our own names
    return True


def drop_environment(db: Connection, name: str) -> bool:
    """Removes an environment and what is remembered of its apps, unless one of them has something to do, or anything else is in it.

    Whether it was there.
    """
    (busy,) = db.execute(
        "SELECT count(*) FROM versions WHERE environment = ? AND state IN (?, ?, ?)", (name, *_OPEN)
    ).fetchone()
    for table in _KEPT:
        busy += db.execute(
            f"SELECT count(*) FROM {table} WHERE environment = ? AND name <> ''",  # noqa: S608 - our own names
            (name,),
        ).fetchone()[0]
    if busy or db.execute("DELETE FROM environments WHERE name = ?", (name,)).rowcount != 1:
        return False
    for table in ("versions", *_ABOUT):
        db.execute(f"DELETE FROM {table} WHERE environment = ?", (name,))  # noqa: S608 - our own names
    return True


def _version(*row: Any) -> VersionRecord:
    app, environment, name, number, state, created_s, ended_s, strategy, tag, who, copy_of, why, functions = (
        row[:13]
    )
    return VersionRecord(
        app=AppId(app),
        environment=environment,
        name=name,
        number=number,
        state=VersionState(state),
        created_s=created_s,
        ended_s=ended_s,
        strategy=strategy,
        tag=tag,
        who=who,
        copy_of=copy_of,
        why=why,
        functions=tuple(json.loads(functions)),
        content=row[13] if len(row) > 13 else "",
    )
