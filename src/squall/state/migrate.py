"""Migrate: bring a database from the schema that it has to the one that this version writes, or back to an older one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final, Protocol

from squall import faults
from squall.model.errors import StateSchemaError
from squall.state.connection import Transactions

_MIGRATED = faults.declare("state.migrated", "a new schema is written, its transaction not yet committed")
_NAME = re.compile(r"(\d{4})_\w+\.sql")
OLDEST: Final = 1  # there is no way back from the first schema


class Reading(Protocol):
    """What a schema's version is read through."""

    def execute(self, sql: str, /) -> Any: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step forward, to `version`, as SQL text, and the step back from it; the first one has none."""

    version: int
    sql: str
    back: str = ""


def migrations() -> tuple[Migration, ...]:
    """Every step that this version knows, in order."""
    files = {entry.name: entry for entry in resources.files("squall.state.schema").iterdir()}
    found = []
    for name, entry in files.items():
        if number := _NAME.fullmatch(name):
            back = files.get(name.replace(".sql", ".down.sql"))
            text = back.read_text(encoding="utf-8") if back is not None else ""
            sql = entry.read_text(encoding="utf-8")
            found.append(Migration(version=int(number[1]), sql=sql, back=text))
    return tuple(sorted(found, key=lambda migration: migration.version))


def known_version() -> int:
    """The schema that this version writes."""
    return migrations()[-1].version


def steps_from(version: int, known: tuple[Migration, ...]) -> tuple[Migration, ...]:
    """The steps still to take. Raises StateSchemaError for a version that only a newer program knows."""
    newest = known[-1].version if known else 0
    if version > newest:
        raise StateSchemaError(
            f"the record has schema {version}, written by a newer version; this one knows schema {newest}",
            remedy=f"start that version again; or, with it, run `squall migrate --to {newest}`, and then start this one",
        )
    return tuple(migration for migration in known if migration.version > version)


def steps_back(version: int, to: int, known: tuple[Migration, ...]) -> tuple[Migration, ...]:
    """The steps to take back from `version`, the newest first. Raises StateSchemaError where there is no way."""
    steps_from(version, known)
    if not OLDEST <= to <= version:
        raise StateSchemaError(
            f"the record has schema {version}, and there is no way back from it to schema {to}",
            remedy=f"give a schema from {OLDEST} to {version}",
        )
    return tuple(step for step in reversed(known) if to < step.version <= version)


def schema_version(connection: Reading) -> int:
    """The schema that a database has, which has had one; 0 before the first."""
    (version,) = connection.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()
    return int(version)


def migrate(
    connection: Transactions,
    known: tuple[Migration, ...] | None = None,
    *,
    before: Callable[[int], None] | None = None,
) -> int:
    """Applies what is missing, each step in a transaction of its own; the version it comes to.

    before: called first where there is a record and a step to take, with the version that it will come to.
    """
    connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY)")
    version = schema_version(connection)
    steps = steps_from(version, migrations() if known is None else known)
    if steps and version and before is not None:
        before(steps[-1].version)
    for step in steps:
        _take(connection, step.sql, "INSERT INTO schema_version VALUES (?)", step.version)
        version = step.version
    return version


def migrate_back(connection: Transactions, to: int, known: tuple[Migration, ...] | None = None) -> int:
    """Takes steps back, each in a transaction of its own, until the schema is `to`; the version it comes to.

    What the newer schemas alone can hold is gone then. Raises StateSchemaError where there is no way.
    """
    version = schema_version(connection)
    for step in steps_back(version, to, migrations() if known is None else known):
        _take(connection, step.back, "DELETE FROM schema_version WHERE version = ?", step.version)
        version = step.version - 1
    return version


def _take(connection: Transactions, script: str, note: str, version: int) -> None:
    try:
        connection.begin_with(script)
        connection.execute(note, (version,))
        faults.point(_MIGRATED)
        connection.commit()
    except BaseException:
        connection.rollback()
        raise
