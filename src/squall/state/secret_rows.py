"""Secret rows: sealed secrets as rows of the database, written and read."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any, Final

from squall.model.ids import AppId, SecretId
from squall.state.connection import Connection
from squall.state.secret_records import Rewrapped, SecretRecord

_COLUMNS: Final = "id, environment, name, number, app, created_s, variables, uses, sealed, wrapped, master"


def put_secret(db: Connection, secret: SecretRecord, keep: int) -> bool:
    """Adds a version, and removes those that are too old; whether it is new, and later than those that are there."""
    if db.execute("SELECT 1 FROM secrets WHERE id = ?", (secret.id,)).fetchone() is not None:
        return False
    if secret.name:
        (last,) = db.execute(
            "SELECT coalesce(max(number), 0) FROM secrets WHERE environment = ? AND name = ?",
            (secret.environment, secret.name),
        ).fetchone()
        if last >= secret.number:
            return False
    db.execute(
        f"INSERT INTO secrets ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - names of columns
        (
            *(secret.id, secret.environment, secret.name, secret.number, secret.app, secret.created_s),
            *(json.dumps(secret.variables), json.dumps(secret.uses)),
            *(secret.sealed, secret.wrapped, secret.master),
        ),
    )
    if secret.name:
        db.execute(
            "DELETE FROM secrets WHERE environment = ? AND name = ? AND number <= ?",
            (secret.environment, secret.name, secret.number - keep),
        )
    return True


def list_secrets(db: Connection) -> tuple[SecretRecord, ...]:
    """Everything, by environment, name, number and id."""
    rows = db.execute(f"SELECT {_COLUMNS} FROM secrets ORDER BY environment, name, number, id")  # noqa: S608 - names of columns
    return tuple(_secret(*row) for row in rows)


def drop_secret(db: Connection, environment: str, name: str) -> bool:
    """Removes every version of a secret; whether there was one."""
    gone = db.execute(
        "DELETE FROM secrets WHERE environment = ? AND name = ? AND name <> ''", (environment, name)
    )
    return gone.rowcount > 0


def drop_of_apps(db: Connection, apps: Collection[AppId]) -> int:
    """Removes what came with apps; how many rows."""
    return sum(db.execute("DELETE FROM secrets WHERE app = ? AND app <> ''", (app,)).rowcount for app in apps)


def put_rewrapped(db: Connection, items: Sequence[Rewrapped]) -> int:
    """Changes what keys are under; how many were under what they were thought to be."""
    return sum(
        db.execute(
            "UPDATE secrets SET wrapped = ?, master = ? WHERE id = ? AND master = ?",
            (item.wrapped, item.master, item.id, item.before),
        ).rowcount
        for item in items
    )


def _secret(*row: Any) -> SecretRecord:
    name, environment, secret, number, app, created_s, variables, uses, sealed, wrapped, master = row
    return SecretRecord(
        id=SecretId(name),
        environment=environment,
        name=secret,
        number=number,
        app=AppId(app),
        created_s=created_s,
        variables=tuple(json.loads(variables)),
        uses=tuple(json.loads(uses)),
        sealed=bytes(sealed),
        wrapped=bytes(wrapped),
        master=master,
    )
