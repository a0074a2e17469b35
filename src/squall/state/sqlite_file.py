"""SQLite file: open one database for one writer and one reader, checked and of the right schema."""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Final

from squall.blobs.disk_errors import disk_error
from squall.model.errors import StateCorrupt, StateDirectoryBusy
from squall.settings.lock import Lock, last_holder
from squall.state.connection import Connection, Transactions
from squall.state.migrate import migrate
from squall.state.sqlite_backup import back_up, backup_directory, name_for, restore_note
from squall.state.sqlite_errors import sqlite_error
from squall.state.sqlite_wal import wal_damage

# Reading 200 MB takes half a second: a larger record is not read through at each start. Damage in it is named when the
# damaged page is met, or by the next backup, which is read through whatever its size.
CHECKED_BYTES: Final = 256 << 20
UNFORCED_EXIT: Final = 74  # EX_IOERR of sysexits.h


_UNFORCED: Final = frozenset({sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC})


def end_process(error: sqlite3.Error) -> None:
    """Ends this process at once, and says why.

    After a failed fsync the kernel takes the pages that it could not write for written: a second fsync succeeds, and what is
    on the disk nobody knows. The next process reads the record anew, and senders send again what was not answered.
    """
    print(
        f"the disk did not take the record ({error}): this process ends, and the next one reads it anew",
        file=sys.stderr,
        flush=True,
    )
    os._exit(UNFORCED_EXIT)


class Synchronous(StrEnum):
    """What a commit waits for: NORMAL survives the death of every process, FULL also a power cut."""

    NORMAL = "normal"
    FULL = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseOptions:
    """How a database is used.

    max_bytes: it never grows beyond (None: as far as the disk goes). unforced: what is done when the disk fails to take a commit.
    """

    synchronous: Synchronous = Synchronous.FULL
    max_bytes: int | None = None
    unforced: Callable[[sqlite3.Error], None] = end_process


class SqliteConnection(sqlite3.Connection):
    """A connection of the standard library, with what a server's connection has besides.

    unforced: told of a disk that could not be waited for.
    """

    unforced: Callable[[sqlite3.Error], None] = staticmethod(lambda _error: None)

    def commit(self) -> None:
        try:
            super().commit()
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) in _UNFORCED:
                self.unforced(error)
            raise

    def each(self, sql: str, values: Sequence[Sequence[Any]], /) -> list[Any]:
        return [row for one in values for row in self.execute(sql, one)]

    def begin(self) -> None:
        self.execute("BEGIN IMMEDIATE")

    def begin_with(self, script: str, /) -> None:
        # One script: executescript would commit a transaction begun before it.
        self.executescript(f"BEGIN IMMEDIATE; {script};")

    def rollback(self) -> None:
        try:
            if self.in_transaction:
                self.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # the database is in trouble: the next transaction cannot begin either, and says so


@dataclass(frozen=True, slots=True)
class SqliteDatabase:
    """A Database in one file; its connections are never lost."""

    path: Path
    options: DatabaseOptions = DatabaseOptions()

    @property
    def where(self) -> str:
        return str(self.path)

    @property
    def trouble(self) -> str | None:
        return None

    def open_writer(self) -> SqliteConnection:
        return open_writer(self.path, self.options)

    def open_reader(self) -> SqliteConnection:
        return open_reader(self.path)

    def named(self, error: Exception, /) -> Exception:
        if isinstance(error, sqlite3.Error):
            named = sqlite_error(error, str(self.path))
            named.__cause__ = error
            return named
        return error

    def lost(self, _error: Exception, /) -> bool:
        return False

    def reopen(self, _broken: Transactions, _stop: Callable[[], bool], /) -> tuple[Transactions, bool]:
        raise AssertionError("a file is not lost")

    def reopen_reader(self, _broken: Connection | None, _stop: Callable[[], bool], /) -> Connection:
        raise AssertionError("a file is not lost")


def lock_directory(database: Path) -> Lock:
    """The lock on the directory of this database, which is made.

    Raises StateDirectoryBusy where another process holds it, StateDirectoryReadOnly, StateDirectoryError.
    """
    path = database.parent / "state.lock"
    try:
        database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = Lock.take(path)
    except OSError as error:
        raise disk_error(error, database.parent) from error
    if lock is None:
        holder = last_holder(path)
        who = f"process {holder.mark.pid}" if holder is not None else "another process"
        raise StateDirectoryBusy(f"{who} uses the record in {database.parent}", path=str(database.parent))
    return lock


def open_writer(database: Path, options: DatabaseOptions) -> SqliteConnection:
    """The connection that writes, on a database that was checked and has the newest schema.

    Raises StateCorrupt, StateSchemaError, DiskFull, StateDirectoryReadOnly, StateDirectoryError.
    """
    if restore_note(database).exists():
        raise StateCorrupt(
            f"a backup was being put in the place of {database}, and that was broken off",
            remedy="run `squall restore` again",
            path=str(database),
        )
    check_whole(database)
    connection = _connect(database)
    connection.unforced = options.unforced
    try:
        os.chmod(database, 0o600)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {options.synchronous.value}")
        connection.execute("PRAGMA wal_autocheckpoint = 4000")  # pages: 16 MiB
        connection.execute("PRAGMA journal_size_limit = 67108864")
        connection.execute("PRAGMA cache_size = -16384")
        if options.max_bytes is not None:
            (page,) = connection.execute("PRAGMA page_size").fetchone()
            connection.execute(f"PRAGMA max_page_count = {max(1, options.max_bytes // page)}")
        migrate(connection, before=partial(_back_up_before, database))
    except sqlite3.Error as error:
        connection.close()
        raise sqlite_error(error, str(database)) from error
    except BaseException:
        connection.close()
        raise
    return connection


def check_whole(database: Path) -> None:
    """Looks for damage in a record that nobody has open, and changes nothing. Raises StateCorrupt and its like."""
    if not database.exists():
        return
    # One that only reads: the last writer to close puts into the database what of a log is whole, and removes the log.
    connection = _connect(database, reads_only=True)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # reads the log
        wrong = wal_damage(database)
        if wrong:
            raise StateCorrupt(
                f"{database} is damaged: {wrong}",
                remedy="`squall restore --latest` puts the newest backup in its place; `squall restore --cut` keeps the "
                "record and drops what was committed after the damage",
                path=str(database),
            )
        if database.stat().st_size <= CHECKED_BYTES:
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if verdict != "ok":
                raise StateCorrupt(f"{database} is damaged: {verdict}", path=str(database))
    except sqlite3.Error as error:
        raise sqlite_error(error, str(database)) from error
    finally:
        connection.close()


def _back_up_before(database: Path, version: int) -> None:
    back_up(database, backup_directory(database) / name_for(time.time(), before=version))


def open_reader(database: Path) -> SqliteConnection:
    """A connection that only reads, beside the writer or alone."""
    return _connect(database, reads_only=True)


def _connect(database: Path, *, reads_only: bool = False) -> SqliteConnection:
    try:
        # Transactions are begun and ended in words: the module's own are neither immediate nor where one expects.
        return sqlite3.connect(
            f"{database.absolute().as_uri()}{'?mode=ro' if reads_only else ''}",
            timeout=10.0,
            isolation_level=None,
            check_same_thread=False,
            factory=SqliteConnection,
            uri=True,
        )
    except sqlite3.Error as error:
        raise sqlite_error(error, str(database)) from error
