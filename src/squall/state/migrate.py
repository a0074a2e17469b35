"""Migrate: bring a database from the schema that it has to the one that this version writes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources

from squall import faults
from squall.model.errors import StateSchemaError
from squall.state.connection import Transactions

_MIGRATED = faults.declare("state.migrated", "a new schema is written, its transaction not yet committed")
_NAME = re.compile(r"(\d{4})_\w+\.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step forward, to `version`, as SQL text."""

    version: int
    sql: str


def migrations() -> tuple[Migration, ...]:
    """Every step that this version knows, in order."""
    found = [
        Migration(version=int(name[1]), sql=entry.read_text(encoding="utf-8"))
        for entry in resources.files("squall.state.schema").iterdir()
        if (name := _NAME.fullmatch(entry.name))
    ]
    return tuple(sorted(found, key=lambda migration: migration.version))


def steps_from(version: int, known: tuple[Migration, ...]) -> tuple[Migration, ...]:
    """The steps still to take. Raises StateSchemaError for a version that only a newer program knows."""
    newest = known[-1].version if known else 0
    if version > newest:
        raise StateSchemaError(
            f"the record has schema {version}, written by a newer version; this one knows schema {newest}"
        )
    return tuple(migration for migration in known if migration.version > version)


def migrate(connection: Transactions, known: tuple[Migration, ...] | None = None) -> int:
    """Applies what is missing, each step in a transaction of its own; the version it comes to."""
    connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY)")
    (version,) = connection.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()
    for step in steps_from(version, migrations() if known is None else known):
        try:
            connection.begin_with(step.sql)
            connection.execute("INSERT INTO schema_version VALUES (?)", (step.version,))
            faults.point(_MIGRATED)
            connection.commit()
        except BaseException:
            connection.rollback()
            raise
        version = step.version
    return int(version)
