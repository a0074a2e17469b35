"""Volume rows: volumes, their versions and the names of these, as rows of the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from squall.model.ids import CommitId, VolumeId
from squall.state.connection import Connection
from squall.state.volumes.records import Keeping, Put, PutVersion, VolumeLabel, VolumeRecord, VolumeVersion

_VOLUME: Final = "id, environment, name, created_s"
_VERSION: Final = "volume, number, manifest, parent, made_by, at_s, who, why, entries, size_bytes"


def put_volume(db: Connection, wanted: VolumeRecord, first: VolumeVersion, most: int) -> VolumeRecord | None:
    """The volume that is there, or this one, added; None where there are too many."""
    known = get_by_id(db, wanted.id) or get_volume(db, wanted.environment, wanted.name)
    if known is not None:
        return known
    (count,) = db.execute("SELECT count(*) FROM volumes").fetchone()
    if count >= most:
        return None
    db.execute(
        f"INSERT INTO volumes ({_VOLUME}) VALUES (?, ?, ?, ?)",  # noqa: S608 - our own columns
        (wanted.id, wanted.environment, wanted.name, wanted.created_s),
    )
    _insert(db, first)
    return wanted


def get_volume(db: Connection, environment: str, name: str) -> VolumeRecord | None:
    """The volume of this name."""
    row = db.execute(
        f"SELECT {_VOLUME} FROM volumes WHERE environment = ? AND name = ? AND name <> ''",  # noqa: S608 - our own columns
        (environment, name),
    ).fetchone()
    return _volume(row) if row else None


def get_by_id(db: Connection, of: VolumeId) -> VolumeRecord | None:
    """The volume of this id."""
    row = db.execute(f"SELECT {_VOLUME} FROM volumes WHERE id = ?", (of,)).fetchone()  # noqa: S608 - our own columns
    return _volume(row) if row else None


def list_volumes(db: Connection) -> tuple[tuple[VolumeRecord, VolumeVersion], ...]:
    """Every volume with its head."""
    rows = db.execute(
        "SELECT o.id, o.environment, o.name, o.created_s, v.volume, v.number, v.manifest, v.parent, v.made_by,"
        " v.at_s, v.who, v.why, v.entries, v.size_bytes"
        " FROM volumes o JOIN volume_versions v ON v.volume = o.id"
        " WHERE v.number = (SELECT max(newest.number) FROM volume_versions newest WHERE newest.volume = v.volume)"
        " ORDER BY o.name = '', o.environment, o.name, o.id"
    ).fetchall()
    labels: dict[tuple[str, int], list[str]] = {}
    for volume, number, label in db.execute("SELECT volume, number, label FROM volume_labels ORDER BY label"):
        labels.setdefault((volume, number), []).append(label)
    return tuple(
        (_volume(row[:4]), _version(row[4:], tuple(labels.get((row[4], row[5]), ())))) for row in rows
    )


def set_name(db: Connection, of: VolumeId, name: str) -> bool:
    """Gives a volume another name; whether it has it now."""
    known = get_by_id(db, of)
    if known is None:
        return False
    holder = get_volume(db, known.environment, name)
    if holder is not None:
        return holder.id == of
    return db.execute("UPDATE volumes SET name = ? WHERE id = ?", (name, of)).rowcount == 1


def drop_volume(db: Connection, of: VolumeId) -> bool:
    """Removes a volume with all that is known of it; whether it was there."""
    db.execute("DELETE FROM volume_labels WHERE volume = ?", (of,))
    db.execute("DELETE FROM volume_versions WHERE volume = ?", (of,))
    return db.execute("DELETE FROM volumes WHERE id = ?", (of,)).rowcount == 1


def get_head(db: Connection, of: VolumeId) -> VolumeVersion | None:
    """The newest version."""
    return _one(db, "volume = ? ORDER BY number DESC LIMIT 1", of)


def get_version(db: Connection, of: VolumeId, number: int) -> VolumeVersion | None:
    """The version of this number."""
    return _one(db, "volume = ? AND number = ?", of, number)


def get_labelled(db: Connection, of: VolumeId, label: str) -> VolumeVersion | None:
    """The version of this name."""
    number = _number_of(db, of, label)
    return None if number is None else get_version(db, of, number)


def get_commit(db: Connection, of: VolumeId, commit: CommitId) -> VolumeVersion | None:
    """The version that this commit made."""
    return _one(db, "volume = ? AND made_by = ? AND made_by <> ''", of, commit)


def list_versions(db: Connection, of: VolumeId, most: int, before: int | None) -> tuple[VolumeVersion, ...]:
    """The versions of a volume, the newest first."""
    rows = db.execute(
        f"SELECT {_VERSION} FROM volume_versions WHERE volume = :of"  # noqa: S608 - our own columns
        " AND (CAST(:before AS BIGINT) IS NULL OR number < :before) ORDER BY number DESC LIMIT :most",
        {"of": of, "before": before, "most": most},
    ).fetchall()
    return tuple(_version(row, _labels(db, of, row[1])) for row in rows)


def put_version(db: Connection, version: VolumeVersion) -> PutVersion:
    """Adds the version after its parent, where that is the head and the commit is a new one."""
    known = get_commit(db, version.volume, version.commit)
    if known is not None:
        return PutVersion(put=Put.DONE, version=known)
    head = get_head(db, version.volume)
    if head is None:
        return PutVersion(put=Put.GONE)
    if head.number != version.parent:
        return PutVersion(put=Put.MOVED, version=head)
    added = replace(version, number=head.number + 1, labels=())
    _insert(db, added)
    return PutVersion(put=Put.DONE, version=added)


def put_label(db: Connection, wanted: VolumeLabel, most: int) -> bool:
    """Gives a version a name; whether it has it now."""
    held = _number_of(db, wanted.volume, wanted.label)
    if held is not None:
        return held == wanted.number
    (count,) = db.execute("SELECT count(*) FROM volume_labels WHERE volume = ?", (wanted.volume,)).fetchone()
    if count >= most or get_version(db, wanted.volume, wanted.number) is None:
        return False
    db.execute(
        "INSERT INTO volume_labels (volume, label, number, at_s) VALUES (?, ?, ?, ?)",
        (wanted.volume, wanted.label, wanted.number, wanted.at_s),
    )
    return True


def drop_label(db: Connection, of: VolumeId, label: str) -> bool:
    """Takes a name away; whether some version had it."""
    gone = db.execute("DELETE FROM volume_labels WHERE volume = ? AND label = ?", (of, label))
    return gone.rowcount == 1


def list_going(db: Connection, keeping: Keeping) -> list[tuple[str, int]]:
    """The versions that do not stay, by volume and number."""
    rows = db.execute(
        "SELECT v.volume, v.number, h.number - v.number, ("
        "SELECT min(later.at_s) FROM volume_versions later WHERE later.volume = v.volume AND later.number > v.number)"
        " FROM volume_versions v JOIN volume_versions h ON h.volume = v.volume AND h.number ="
        " (SELECT max(newest.number) FROM volume_versions newest WHERE newest.volume = v.volume)"
        " WHERE v.number < h.number AND NOT EXISTS ("
        "SELECT 1 FROM volume_labels l WHERE l.volume = v.volume AND l.number = v.number)"
    )
    return [
        (volume, number)
        for volume, number, behind, until_s in rows
        if keeping.goes(behind=int(behind), until_s=until_s)
    ]


def drop_versions(db: Connection, going: Sequence[tuple[str, int]]) -> int:
    """Forgets versions, but none that was given a name meanwhile; how many."""
    gone = 0
    for volume, number in going:
        gone += db.execute(
            "DELETE FROM volume_versions WHERE volume = :of AND number = :number AND NOT EXISTS ("
            "SELECT 1 FROM volume_labels WHERE volume = :of AND number = :number)",
            {"of": volume, "number": number},
        ).rowcount
    return gone


def list_manifests(db: Connection) -> frozenset[str]:
    """The manifests of all versions."""
    return frozenset(row[0] for row in db.execute("SELECT DISTINCT manifest FROM volume_versions"))


def _insert(db: Connection, version: VolumeVersion) -> None:
    db.execute(
        f"INSERT INTO volume_versions ({_VERSION}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - our own columns
        (
            *(version.volume, version.number, version.manifest, version.parent, version.commit),
            *(version.at_s, version.who, version.why, version.entries, version.size_bytes),
        ),
    )


def _one(db: Connection, which: str, of: VolumeId, *values: object) -> VolumeVersion | None:
    row = db.execute(
        f"SELECT {_VERSION} FROM volume_versions WHERE {which}",  # noqa: S608 - our own words
        (of, *values),
    ).fetchone()
    return _version(row, _labels(db, of, row[1])) if row else None


def _number_of(db: Connection, of: VolumeId, label: str) -> int | None:
    row = db.execute(
        "SELECT number FROM volume_labels WHERE volume = ? AND label = ?", (of, label)
    ).fetchone()
    return int(row[0]) if row else None


def _labels(db: Connection, of: VolumeId, number: int) -> tuple[str, ...]:
    rows = db.execute(
        "SELECT label FROM volume_labels WHERE volume = ? AND number = ? ORDER BY label", (of, number)
    )
    return tuple(row[0] for row in rows)


def _volume(row: Any) -> VolumeRecord:
    id_, environment, name, created_s = row
    return VolumeRecord(id=VolumeId(id_), environment=environment, name=name, created_s=created_s)


def _version(row: Any, labels: tuple[str, ...]) -> VolumeVersion:
    volume, number, manifest, parent, made_by, at_s, who, why, entries, size_bytes = row
    return VolumeVersion(
        volume=VolumeId(volume),
        number=number,
        manifest=manifest,
        parent=parent,
        commit=CommitId(made_by),
        at_s=at_s,
        who=who,
        why=why,
        entries=entries,
        size_bytes=size_bytes,
        labels=labels,
    )
