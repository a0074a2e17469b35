"""Noun rows: apps, functions, containers and layers as rows of the database, written and read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from squall.model.ids import AppId, ContainerId, FunctionId
from squall.state.connection import Connection
from squall.state.records import (
    AppKind,
    AppRecord,
    AppState,
    ContainerRecord,
    FunctionRecord,
    LayerRecord,
    LayerState,
)
from squall.state.usage_rows import labels_in, labels_text, put_days

_AT_ONCE: Final = 1_000
_CONTAINER: Final = (
    "id, function, started_s, ended_s, reason, peak_memory_bytes, cpu_s,"
    " cpu_kept_s, memory_byte_s, memory_kept_byte_s, gpu_s, gpu_type, labels"
)


def put_app(db: Connection, app: AppRecord, functions: Sequence[FunctionRecord]) -> None:
    """Adds or replaces an app and functions of it."""
    db.execute(
        "INSERT INTO apps (id, name, kind, state, created_s, ended_s, owner) VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET name = excluded.name, kind = excluded.kind, state = excluded.state,"
        " created_s = excluded.created_s, ended_s = excluded.ended_s, owner = excluded.owner",
        (app.id, app.name, app.kind, app.state, app.created_s, app.ended_s, app.owner),
    )
    db.executemany(
        "INSERT INTO functions (id, app, name, definition) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
        " app = excluded.app, name = excluded.name, definition = excluded.definition",
        [(one.id, one.app, one.name, one.definition) for one in functions],
    )


def put_app_end(db: Connection, app: AppId, at_s: float) -> bool:
    """Stops an app; whether it was running."""
    changed = db.execute(
        "UPDATE apps SET state = ?, ended_s = ? WHERE id = ? AND state = ?",
        (AppState.STOPPED, at_s, app, AppState.RUNNING),
    )
    return changed.rowcount == 1


def list_apps(db: Connection, *, ended: bool) -> tuple[AppRecord, ...]:
    """The running apps, or all, oldest first."""
    rows = db.execute(
        "SELECT id, name, kind, state, created_s, ended_s, owner FROM apps"
        " WHERE ? OR state = ? ORDER BY created_s, id",
        (ended, AppState.RUNNING),
    )
    return tuple(
        AppRecord(
            id=AppId(app),
            name=name,
            kind=AppKind(kind),
            state=AppState(state),
            created_s=created_s,
            ended_s=ended_s,
            owner=owner,
        )
        for app, name, kind, state, created_s, ended_s, owner in rows
    )


def list_functions(db: Connection, app: AppId) -> tuple[FunctionRecord, ...]:
    """The functions of an app, by name."""
    rows = db.execute("SELECT id, name, definition FROM functions WHERE app = ? ORDER BY name, id", (app,))
    return tuple(
        FunctionRecord(id=FunctionId(one), app=app, name=name, definition=definition)
        for one, name, definition in rows
    )


def list_spent_apps(db: Connection, before_s: float) -> tuple[AppId, ...]:
    """The apps that ended before then and have no call on record."""
    rows = db.execute(
        "SELECT id FROM apps WHERE ended_s < ? AND id NOT IN"
        " (SELECT app FROM functions WHERE id IN (SELECT function FROM calls)) LIMIT ?",
        (before_s, _AT_ONCE),
    )
    return tuple(AppId(row[0]) for row in rows)


def drop_app(db: Connection, app: AppId) -> None:
    """Removes an app and its functions."""
    db.execute("DELETE FROM functions WHERE app = ?", (app,))
    db.execute("DELETE FROM apps WHERE id = ?", (app,))


def put_containers(db: Connection, containers: Sequence[ContainerRecord]) -> None:
    """Adds or replaces containers, and counts what they took on their days."""
    now = {one.id: one for one in containers}
    was = list(_known(db, now))
    # What stands fast of one that is on record is not replaced, and counts as it is there.
    now |= {one.id: replace(now[one.id], function=one.function, started_s=one.started_s) for one in was}
    put_days(db, was, now.values())
    later = ", ".join(f"{name} = excluded.{name}" for name in _CONTAINER.split(", ")[3:])
    db.executemany(
        f"INSERT INTO containers ({_CONTAINER}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - our own columns
        f" ON CONFLICT (id) DO UPDATE SET {later}",
        [
            (
                *(c.id, c.function, c.started_s, c.ended_s, c.reason, c.peak_memory_bytes, c.cpu_s),
                *(
                    c.cpu_kept_s,
                    c.memory_byte_s,
                    c.memory_kept_byte_s,
                    c.gpu_s,
                    c.gpu_type,
                    labels_text(c.labels),
                ),
            )
            for c in containers
        ],
    )


def list_containers(db: Connection, function: FunctionId | None, limit: int) -> tuple[ContainerRecord, ...]:
    """The containers recorded last, the newest first."""
    rows = db.execute(
        f"SELECT {_CONTAINER} FROM containers"  # noqa: S608 - our own columns
        " WHERE CAST(:function AS TEXT) IS NULL OR function = :function ORDER BY no DESC LIMIT :limit",
        {"function": function, "limit": limit},
    )
    return tuple(map(_container, rows))


def _known(db: Connection, names: Collection[ContainerId]) -> Iterator[ContainerRecord]:
    for row in db.each(f"SELECT {_CONTAINER} FROM containers WHERE id = ?", [(name,) for name in names]):  # noqa: S608 - our own columns
        yield _container(row)


def _container(row: Sequence[Any]) -> ContainerRecord:
    (
        container,
        of,
        started_s,
        ended_s,
        reason,
        peak,
        cpu_s,
        cpu_kept_s,
        byte_s,
        kept_byte_s,
        gpu_s,
        gpu_type,
        labels,
    ) = row
    return ContainerRecord(
        id=ContainerId(container),
        function=FunctionId(of),
        started_s=started_s,
        ended_s=ended_s,
        reason=reason,
        peak_memory_bytes=peak,
        cpu_s=cpu_s,
        cpu_kept_s=cpu_kept_s,
        memory_byte_s=byte_s,
        memory_kept_byte_s=kept_byte_s,
        gpu_s=gpu_s,
        gpu_type=gpu_type,
        labels=labels_in(labels),
    )


def drop_containers(db: Connection, before_s: float) -> int:
    """Removes containers that ended before then, as many as one step may; how many."""
    return db.execute(
        "DELETE FROM containers WHERE no IN (SELECT no FROM containers WHERE ended_s < ? ORDER BY no LIMIT ?)",
        (before_s, _AT_ONCE),
    ).rowcount


def put_layer(db: Connection, layer: LayerRecord) -> None:
    """Adds or replaces a layer."""
    db.execute(
        "INSERT INTO layers (key, recipe, state, size_bytes, used_s) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (key) DO UPDATE SET recipe = excluded.recipe, state = excluded.state,"
        " size_bytes = excluded.size_bytes, used_s = excluded.used_s",
        (layer.key, layer.recipe, layer.state, layer.size_bytes, layer.used_s),
    )


def put_layer_use(db: Connection, keys: Collection[str], at_s: float) -> None:
    """Records that layers were used; never earlier than is on record."""
    db.executemany(
        "UPDATE layers SET used_s = ? WHERE key = ? AND used_s < ?", [(at_s, key, at_s) for key in keys]
    )


def drop_layer(db: Connection, key: str) -> bool:
    """Removes a layer; whether it was there."""
    return db.execute("DELETE FROM layers WHERE key = ?", (key,)).rowcount == 1


def list_layers(db: Connection) -> tuple[LayerRecord, ...]:
    """Every layer, the longest unused first."""
    rows = db.execute("SELECT key, recipe, state, size_bytes, used_s FROM layers ORDER BY used_s, key")
    return tuple(
        LayerRecord(key=key, recipe=recipe, state=LayerState(state), size_bytes=size_bytes, used_s=used_s)
        for key, recipe, state, size_bytes, used_s in rows
    )
