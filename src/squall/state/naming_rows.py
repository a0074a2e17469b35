"""Naming rows: what names of images mean and have meant, as rows of the database, written and read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from squall.model.ids import NamingId
from squall.state.connection import Connection
from squall.state.records import MOST_NAMINGS, Naming
from squall.state.sqlite_errors import sqlite_error
from squall.state.sqlite_file import open_reader


def put_naming(db: Connection, naming: Naming) -> bool:
    """Adds what a name means from now on, and drops the oldest of too many; whether it is new."""
    last = db.execute(
        "SELECT key FROM namings WHERE name = ? ORDER BY no DESC LIMIT 1", (naming.name,)
    ).fetchone()
    if naming.key == (last[0] if last else ""):
        return False
    added = db.execute(
        "INSERT INTO namings (id, name, key, at_s, who, what) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        (naming.id, naming.name, naming.key, naming.at_s, naming.who, naming.what),
    )
    if added.rowcount != 1:
        return False
    db.execute(
        "DELETE FROM namings WHERE name = :name AND no <= ("
        "SELECT no FROM namings WHERE name = :name ORDER BY no DESC LIMIT 1 OFFSET :most)",
        {"name": naming.name, "most": MOST_NAMINGS},
    )
    return True


def list_names(db: Connection) -> tuple[Naming, ...]:
    """What every name means that means something, by name."""
    return _namings(
        db.execute(
            "SELECT id, name, key, at_s, who, what FROM namings"
            " WHERE no IN (SELECT max(no) FROM namings GROUP BY name) AND key != '' ORDER BY name"
        )
    )


def list_namings(db: Connection, name: str) -> tuple[Naming, ...]:
    """What a name has meant, the newest first."""
    return _namings(
        db.execute(
            "SELECT id, name, key, at_s, who, what FROM namings WHERE name = ? ORDER BY no DESC", (name,)
        )
    )


def drop_deleted(db: Connection, before_s: float) -> int:
    """Removes names that were deleted before then, with all that they have meant; how many."""
    names = db.execute(
        "SELECT name FROM namings WHERE no IN (SELECT max(no) FROM namings GROUP BY name) AND key = '' AND at_s < ?",
        (before_s,),
    ).fetchall()
    db.executemany("DELETE FROM namings WHERE name = ?", names)
    return len(names)


def namings_at_rest(database: Path, name: str | None = None) -> tuple[Naming, ...]:
    """The same as `list_names`, or `list_namings` of one name, of a record that no server has open.

    Nothing where there is no record yet, or none with names. Raises StateCorrupt and its like.
    """
    if not database.exists():
        return ()
    db = open_reader(database)
    try:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'namings'").fetchone():
            return ()
        return list_names(db) if name is None else list_namings(db, name)
    except sqlite3.Error as error:
        raise sqlite_error(error, str(database)) from error
    finally:
        db.close()


def _namings(rows: Iterable[tuple[Any, ...]]) -> tuple[Naming, ...]:
    return tuple(
        Naming(id=NamingId(id_), name=name, key=key, at_s=at_s, who=who, what=what)
        for id_, name, key, at_s, who, what in rows
    )
