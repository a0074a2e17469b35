"""Connection: what rows are written and read through, whichever database is behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

Values = Sequence[Any] | Mapping[str, Any]


class Rows(Protocol):
    """What a statement gave. rowcount: how many rows a writing one changed."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """One way into a database, used by one thread.

    Statements are written once, in the SQL that SQLite and Postgres share: parameters stand as `?` or `:name`, ids
    are read back and not returned by the statement that made them, and a parameter of which only IS NULL is asked
    says its type with CAST.
    """

    def execute(self, sql: str, values: Values = (), /) -> Rows:
        """Runs one statement."""
        ...

    def executemany(self, sql: str, values: Iterable[Sequence[Any]], /) -> Any:
        """Runs a writing statement once for each of `values`, on a server in one go."""
        ...

    def each(self, sql: str, values: Sequence[Sequence[Any]], /) -> list[Any]:
        """The rows of a reading statement, run once for each of `values`, on a server in one go."""
        ...

    def close(self) -> None:
        """Ends it; what was not committed is undone."""
        ...


class Transactions(Connection, Protocol):
    """A connection that writes, one transaction at a time."""

    def begin(self) -> None:
        """Begins a transaction, or says why none can begin."""
        ...

    def begin_with(self, script: str, /) -> None:
        """Begins a transaction with a script of statements, which stay uncommitted."""
        ...

    def commit(self) -> None:
        """Returns when what was written is on disk."""
        ...

    def rollback(self) -> None:
        """Undoes what was written; without a transaction it does nothing."""
        ...


class Database(Protocol):
    """Where connections come from, and what their errors mean.

    where: its path, or its URL without a secret. trouble: why writers and readers wait just now; None when nobody does.
    """

    @property
    def where(self) -> str: ...

    @property
    def trouble(self) -> str | None: ...

    def open_writer(self) -> Transactions:
        """The one connection that writes, on a database that was checked and has the newest schema."""
        ...

    def open_reader(self) -> Connection:
        """A connection that only reads, beside the writer."""
        ...

    def named(self, error: Exception, /) -> Exception:
        """The error with a name and a remedy, where it is one of the database; else the same."""
        ...

    def lost(self, error: Exception, /) -> bool:
        """Whether this says that the connection is gone, and another one may do better."""
        ...

    def reopen(self, broken: Transactions, stop: Callable[[], bool], /) -> tuple[Transactions, bool]:
        """A writer in place of one that was lost, and whether that one's last transaction was committed.

        Tries until `stop` says so, or patience is at its end. Raises DatabaseAway, DatabaseTaken.
        """
        ...

    def reopen_reader(self, broken: Connection | None, stop: Callable[[], bool], /) -> Connection:
        """The same for a reader. Raises DatabaseAway."""
        ...
