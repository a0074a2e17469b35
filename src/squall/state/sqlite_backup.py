"""SQLite backup: copies of a record that are whole, made beside its writer, kept, and put back in its place."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from squall import faults
from squall.blobs.disk_errors import disk_error
from squall.model.errors import BackupUnusable, StateCorrupt
from squall.state.migrate import known_version, schema_version
from squall.state.sqlite_errors import sqlite_error

_NAME: Final = re.compile(r"squall-(\d{8}T\d{6}Z)(-before-schema-\d+)?\.db")
_BESIDE: Final = ("", "-wal", "-shm")
_PUTTING_BACK = faults.declare(
    "state.restoring", "the old record is put aside, and the backup is not in its place yet"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A copy of the record. at_s: seconds since 1970; before: the schema that it was made before, "" for none."""

    path: Path
    at_s: float
    before: str = ""


def backups_in(directory: Path) -> tuple[Backup, ...]:
    """The backups that were made there, the newest first."""
    found = []
    for path in directory.glob("squall-*.db"):
        name = _NAME.fullmatch(path.name)
        if name is not None:
            at = datetime.strptime(name[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            found.append(Backup(path=path, at_s=at.timestamp(), before=name[2] or ""))
    return tuple(sorted(found, key=lambda one: (one.at_s, one.path.name), reverse=True))


def name_for(now_s: float, before: int | None = None) -> str:
    """The name of a backup made now; before: the schema to which the record is about to be brought."""
    at = datetime.fromtimestamp(now_s, UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"squall-{at}.db" if before is None else f"squall-{at}-before-schema-{before}.db"


def back_up(database: Path, to: Path) -> None:
    """Copies the record, as it is at one instant, into the new file `to`; it has its name once it is whole and on disk.

    A writer goes on meanwhile. Raises StateCorrupt where the record is damaged, BackupUnusable where `to` is there
    already, DiskFull and its like.
    """
    if to.exists():
        raise BackupUnusable(
            f"{to} is there already", remedy="give a path where nothing is yet", path=str(to)
        )
    partial = to.with_name(f".{to.name}.partial")
    try:
        to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        _copy(database, partial)
        wrong = _wrong_with(partial)
        if wrong:
            raise StateCorrupt(f"{database} is damaged: {wrong}", path=str(database))
        os.rename(partial, to)
        _to_disk(to.parent)
    except sqlite3.Error as error:
        raise sqlite_error(error, str(database)) from error
    except OSError as error:
        raise disk_error(error, to.parent) from error
    finally:
        partial.unlink(missing_ok=True)


def back_up_and_keep(
    database: Path, directory: Path, *, keep: int, clock: Callable[[], float] = time.time
) -> Path:
    """A backup in `directory`, beside the last `keep` ones, which include it; where it is."""
    to = directory / name_for(clock())
    back_up(database, to)
    for old in [one for one in backups_in(directory) if not one.before][keep:]:
        old.path.unlink(missing_ok=True)
    return to


def check_backup(path: Path) -> int:
    """The schema of a backup that can be put back. Raises BackupUnusable."""
    try:
        wrong = _wrong_with(path) if path.is_file() else "no such file"
        version = 0 if wrong else _version(path)
    except sqlite3.Error as error:
        wrong, version = str(error), 0
    if not wrong and version == 0:
        wrong = "it is no record of Squall"
    if not wrong and version > known_version():
        wrong = f"it has schema {version}, and this version knows schema {known_version()}"
    if wrong:
        raise BackupUnusable(f"{path} cannot be put back: {wrong}", path=str(path))
    return version


def put_back(backup: Path, database: Path, *, clock: Callable[[], float] = time.time) -> Path | None:
    """Puts a backup, which was checked, in the record's place; where the old record's files are now, if there were any.

    The caller holds the lock on the directory. One that dies half-way leaves a note, with which no server starts.
    """
    fresh, note = database.with_name("squall.db.fresh"), restore_note(database)
    aside = _aside(database, clock())
    try:
        for beside in _BESIDE:
            Path(f"{fresh}{beside}").unlink(missing_ok=True)
        os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        _copy(backup, fresh)
        note.write_text(str(backup), encoding="utf-8")
        _to_disk(database.parent)
        moved = _put_aside(database, aside)
        faults.point(_PUTTING_BACK)
        os.rename(fresh, database)
        _to_disk(database.parent)
        note.unlink()
        _to_disk(database.parent)
    except sqlite3.Error as error:
        raise sqlite_error(error, str(backup)) from error
    except OSError as error:
        raise disk_error(error, database.parent) from error
    return aside if moved else None


def cut_log(database: Path, *, clock: Callable[[], float] = time.time) -> Path:
    """Takes a record whose log is damaged as it was before the damage; where its files are now, as they were.

    The caller holds the lock on the directory. Raises StateCorrupt where the record itself is damaged too.
    """
    aside = _aside(database, clock())
    try:
        aside.mkdir(mode=0o700)
        for beside in _BESIDE[:2]:
            if Path(f"{database}{beside}").exists():
                shutil.copy2(f"{database}{beside}", aside / f"{database.name}{beside}")
        connection = sqlite3.connect(database, timeout=10.0, isolation_level=None)
        try:
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if verdict != "ok":
                raise StateCorrupt(f"{database} is damaged: {verdict}", path=str(database))
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise sqlite_error(error, str(database)) from error
    except OSError as error:
        raise disk_error(error, database.parent) from error
    return aside


def backup_directory(database: Path) -> Path:
    """Where backups of a record are kept if nobody says otherwise."""
    return database.parent / "backups"


def restore_note(database: Path) -> Path:
    """The file that is there while a backup is being put back."""
    return database.with_name("restoring")


def _aside(database: Path, now_s: float) -> Path:
    return database.parent / f"damaged-{datetime.fromtimestamp(now_s, UTC).strftime('%Y%m%dT%H%M%S.%fZ')}"


def _put_aside(database: Path, aside: Path) -> bool:
    there = [beside for beside in _BESIDE if Path(f"{database}{beside}").exists()]
    if there:
        aside.mkdir(mode=0o700)
    for beside in reversed(there):
        os.rename(f"{database}{beside}", aside / f"{database.name}{beside}")
    return bool(there)


def _copy(source: Path, target: Path) -> None:
    """Copies one database into another file, which is one file then, and on disk."""
    reading = sqlite3.connect(
        f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=10.0, isolation_level=None
    )
    try:
        writing = sqlite3.connect(target, isolation_level=None)
        try:
            # In one go: a writer's commits would make one in pieces begin anew, for ever.
            reading.backup(writing)
            writing.execute("PRAGMA journal_mode = DELETE")
        finally:
            writing.close()
    finally:
        reading.close()
    descriptor = os.open(target, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _wrong_with(path: Path) -> str:
    """What an integrity check finds; "" for nothing."""
    checking = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        (verdict,) = checking.execute("PRAGMA integrity_check(1)").fetchone()
    finally:
        checking.close()
    return "" if verdict == "ok" else str(verdict)


def _version(path: Path) -> int:
    looking = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        known = looking.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_version'").fetchone()
        return schema_version(looking) if known else 0
    finally:
        looking.close()


def _to_disk(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
