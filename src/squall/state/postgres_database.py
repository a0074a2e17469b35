"""Postgres database: connections to one database for its one leader, and new ones when they are lost."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from squall.model.errors import DatabaseBusy, DatabaseFailed
from squall.state.connection import Connection, Transactions
from squall.state.migrate import migrate
from squall.state.postgres_address import PostgresAddress
from squall.state.postgres_connection import PostgresConnection, named
from squall.state.postgres_errors import ConnectionGone

T = TypeVar("T")

_FIRST_PAUSE_S: Final = 0.02
_LONGEST_PAUSE_S: Final = 0.5
_OLDEST: Final = 130_000  # Postgres 13, the oldest that was tried
_LOCK: Final = 0x5371_7561_6C6C  # of the database's advisory locks the one that its leader holds
_log = logging.getLogger("squall.state")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a database that is away is waited for. start_s: at a start, also for a leader that may just be ending."""

    away_s: float = 60.0
    start_s: float = 5.0


class PostgresWriter(PostgresConnection):
    """The leader's connection: each of its transactions has a number, which it leaves on record.

    So whoever comes after a lost connection knows whether its last transaction was committed. The server's own
    numbers would not do: after a crash it may give one of them again.
    """

    epoch = 0
    number = 0

    def begin(self) -> None:
        """Raises DatabaseBusy where another has led meanwhile."""
        self.number += 1
        super().begin()
        if self.epoch:
            mine = self.execute("UPDATE leader SET writes = ? WHERE epoch = ?", (self.number, self.epoch))
            if mine.rowcount != 1:
                self.rollback()
                raise self.taken()

    def takes_lock(self) -> bool:
        """Whether this connection is the leader's from now on."""
        (taken,) = self.execute("SELECT pg_try_advisory_lock(?)", (_LOCK,)).fetchone()
        return bool(taken)

    def taken(self) -> DatabaseBusy:
        """The error that says who leads."""
        try:
            row = self.execute("SELECT who FROM leader").fetchone()
        except Exception:  # noqa: BLE001 - whoever leads is still making its tables
            row = None
        who = row[0] if row else "another server"
        return DatabaseBusy(f"{who} keeps its record in {self.address}", database=str(self.address))


class PostgresDatabase:
    """A Database on a Postgres server.

    Its writer holds an advisory lock, so that there is one leader; whoever leads next makes the epoch on record one
    higher, so that one who was away meanwhile never writes again.
    """

    def __init__(self, address: PostgresAddress, patience: Patience) -> None:
        self._address = address
        self._patience = patience
        self._who = f"process {os.getpid()} on {socket.gethostname()}"
        self._epoch = 0
        self.where = str(address)
        self.trouble: str | None = None

    def open_writer(self) -> PostgresWriter:
        """Raises DatabaseBusy while another server leads, DatabaseAway, DatabaseRefused, StateSchemaError."""
        until = time.monotonic() + self._patience.start_s
        writer = self._patiently(self._connected, until, lambda: False)
        try:
            _check(writer)
            while not writer.takes_lock():
                if time.monotonic() > until:
                    raise writer.taken()
                time.sleep(_LONGEST_PAUSE_S / 2)
            migrate(writer)
            self._epoch = self._lead(writer)
        except Exception as error:
            writer.close()
            raise self.named(error) from error
        except BaseException:
            writer.close()
            raise
        return writer

    def open_reader(self) -> PostgresConnection:
        return PostgresConnection(self._address, name=f"squall, reads: {self._who}", reads_only=True)

    def named(self, error: Exception, /) -> Exception:
        return named(error, self.where)

    def lost(self, error: Exception, /) -> bool:
        return isinstance(error, ConnectionGone)

    def reopen(self, broken: Transactions, stop: Callable[[], bool], /) -> tuple[Transactions, bool]:
        assert isinstance(broken, PostgresWriter)
        broken.close()
        until = time.monotonic() + self._patience.away_s
        writer = self._patiently(self._leading_again, until, stop)
        return writer, writer.number == broken.number

    def reopen_reader(self, broken: Connection | None, stop: Callable[[], bool], /) -> Connection:
        if broken is not None:
            broken.close()
        return self._patiently(self.open_reader, time.monotonic() + self._patience.away_s, stop)

    def _connected(self) -> PostgresWriter:
        writer = PostgresWriter(self._address, name=f"squall: {self._who}")
        # What waits for more than this server's own disk is the operator's choice; what waits for less is not.
        writer.execute(
            "SELECT set_config('synchronous_commit', 'on', FALSE)"
            " WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')"
        )
        return writer

    def _leading_again(self) -> PostgresWriter:
        """A writer that goes on with our epoch. Raises DatabaseBusy once another has led meanwhile."""
        writer = self._connected()
        try:
            if not writer.takes_lock():
                if _epoch(writer) != self._epoch:
                    raise writer.taken()
                raise ConnectionGone("the connection that was lost still holds the lock")
            if _epoch(writer) != self._epoch:
                raise writer.taken()
            (writer.number,) = writer.execute("SELECT writes FROM leader").fetchone()
        except BaseException:
            writer.close()
            raise
        writer.epoch = self._epoch
        return writer

    def _lead(self, writer: PostgresWriter) -> int:
        """Makes the epoch on record one higher; whoever led before it never writes again."""
        writer.begin_with(
            "CREATE TABLE IF NOT EXISTS leader (epoch INTEGER PRIMARY KEY, writes INTEGER NOT NULL, who TEXT NOT NULL)"
        )
        epoch = _epoch(writer) + 1
        writer.execute("DELETE FROM leader")
        writer.execute("INSERT INTO leader (epoch, writes, who) VALUES (?, 0, ?)", (epoch, self._who))
        writer.commit()
        writer.number, writer.epoch = 0, epoch
        return epoch

    def _patiently(self, connect: Callable[[], T], until_s: float, stop: Callable[[], bool]) -> T:
        """What `connect` gives, once it does not lose its connection. Raises DatabaseAway at `until_s`."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                found = connect()
            except ConnectionGone as error:
                if self.trouble is None:
                    _log.warning("%s does not answer, and is asked again: %s", self.where, error)
                self.trouble = f"{self.where} does not answer: {error}"
                if stop() or time.monotonic() + pause_s > until_s:
                    raise self.named(error) from error
            except Exception as error:
                raise self.named(error) from error
            else:
                if self.trouble is not None:
                    _log.warning("%s answers again", self.where)
                self.trouble = None
                return found
            time.sleep(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)


def _epoch(writer: PostgresWriter) -> int:
    (epoch,) = writer.execute("SELECT coalesce(max(epoch), 0) FROM leader").fetchone()
    return int(epoch)


def _check(writer: PostgresWriter) -> None:
    (number, version) = writer.execute(
        "SELECT CAST(current_setting('server_version_num') AS INTEGER), current_setting('server_version')"
    ).fetchone()
    if number < _OLDEST:
        raise DatabaseFailed(
            f"{writer.address} is Postgres {version}, and 13 is the oldest that will do",
            remedy="keep the record in a newer Postgres",
            database=str(writer.address),
        )
