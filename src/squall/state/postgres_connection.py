"""Postgres connection: one way into a database server, used by one thread. Only this file knows asyncpg."""

from __future__ import annotations

import contextlib
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final, TypeVar

from squall.model.errors import Error, FeatureUnavailable, StateDirectoryError
from squall.settings.event_loop import loop_factory
from squall.state.connection import Values
from squall.state.dialect import arranged, many_rows, numbered, postgres_schema
from squall.state.postgres_address import PostgresAddress
from squall.state.postgres_errors import ConnectionGone, away, is_lost, postgres_error

T = TypeVar("T")

CONNECT_S: Final = 5.0
ANSWER_S: Final = 60.0  # a statement that takes longer is taken for one that will never end
# A server whose machine vanished is noticed after half a minute, and so is a client that did.
_KEEPALIVE: Final = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "4"}


@dataclass(frozen=True, slots=True)
class PostgresRows:
    """What a statement gave."""

    rows: list[Any]
    rowcount: int

    def fetchone(self) -> Any:
        return self.rows[0] if self.rows else None

    def fetchall(self) -> list[Any]:
        return self.rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)


class PostgresConnection:
    """A connection whose thread waits for each answer.

    name: what the server shows of us. Raises ConnectionGone wherever another connection may do better, DatabaseRefused
    and its like where none would, FeatureUnavailable without the library.
    """

    def __init__(self, address: PostgresAddress, *, name: str, reads_only: bool = False) -> None:
        self.address = address
        self._library = library()
        self._statements: dict[str, Any] = {}
        self._loop = loop_factory()()
        settings = {"application_name": name, **_KEEPALIVE}
        if reads_only:
            settings["default_transaction_read_only"] = "on"
        self._db: Any = None
        try:
            self._db = self._answer(self._connected(settings))
        except BaseException:
            self._loop.close()
            raise

    # -- statements

    def execute(self, sql: str, values: Values = (), /) -> PostgresRows:
        text, ordered = arranged(sql, values)

        async def asked() -> tuple[list[Any], str]:
            statement = await self._prepared(text)
            return await statement.fetch(*ordered), statement.get_statusmsg()

        rows, status = self._answer(asked())
        count = status.rpartition(" ")[2]
        return PostgresRows(rows, int(count) if count.isdigit() else -1)

    def executemany(self, sql: str, values: Iterable[Sequence[Any]], /) -> None:
        rows = list(values)

        async def asked() -> None:
            statement = await self._prepared(numbered(sql)[0])
            types = tuple(one.name for one in statement.get_parameters())
            whole = many_rows(sql, types) if len(rows) > 1 else None
            if whole is None:
                await statement.executemany(rows)
            else:
                columns = (list(column) for column in zip(*rows, strict=True))
                await (await self._prepared(whole)).fetch(*columns)

        if rows:
            self._answer(asked())

    def each(self, sql: str, values: Sequence[Sequence[Any]], /) -> list[Any]:
        async def asked() -> list[Any]:
            found: list[Any] = await (await self._prepared(numbered(sql)[0])).fetchmany(values)
            return found

        return self._answer(asked()) if values else []

    # -- transactions

    def begin(self) -> None:
        self._answer(self._db.execute("BEGIN"))

    def begin_with(self, script: str, /) -> None:
        self.begin()
        self._answer(self._db.execute(postgres_schema(script)))

    def commit(self) -> None:
        self._answer(self._db.execute("COMMIT"))

    def rollback(self) -> None:
        with contextlib.suppress(Exception):  # a connection in trouble: the next transaction says so
            self._answer(self._db.execute("ROLLBACK"))

    def close(self) -> None:
        if self._loop.is_closed():
            return
        with contextlib.suppress(Exception):
            self._loop.run_until_complete(self._db.close(timeout=2.0))
        with contextlib.suppress(Exception):
            self._db.terminate()
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    # -- inside

    async def _connected(self, settings: dict[str, str]) -> Any:
        secret = {} if self.address.password_file is None else {"password": self._password()}
        return await self._library.connect(
            self.address.url, timeout=CONNECT_S, command_timeout=ANSWER_S, server_settings=settings, **secret
        )

    def _password(self) -> str:
        path = self.address.password_file
        assert path is not None
        try:
            return path.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise StateDirectoryError(
                f"the database's password cannot be read from {path}: {why}",
                remedy="name a file that the server may read, with the password as its one line",
                path=str(path),
            ) from None

    async def _prepared(self, text: str) -> Any:
        found = self._statements.get(text)
        if found is None:
            found = self._statements[text] = await self._db.prepare(text)
        return found

    def _answer(self, asked: Coroutine[Any, Any, T]) -> T:
        """What the server answers, which this thread waits for."""
        if self._loop.is_closed():
            asked.close()
            raise ConnectionGone("the connection is closed")
        try:
            return self._loop.run_until_complete(asked)
        except Error:
            raise
        except OSError as error:  # also one of time
            raise ConnectionGone(str(error) or "no answer in time") from error
        except self._library.PostgresError as error:
            if is_lost(error.sqlstate or "") or (self._db is not None and self._gone):
                raise ConnectionGone(" ".join(str(error).split())) from error
            raise
        except self._library.ClientConfigurationError as error:
            raise postgres_error("28000", str(error), str(self.address)) from error
        except (self._library.InterfaceError, self._library.InternalClientError) as error:
            if self._gone:
                raise ConnectionGone(str(error)) from error
            raise

    @property
    def _gone(self) -> bool:
        return self._db is None or self._db.is_closed()


def named(error: Exception, where: str) -> Exception:
    """The error with a name and a remedy, where it is one of a connection to the database at `where`."""
    if isinstance(error, ConnectionGone):
        return _from(error, away(str(error), where))
    state = getattr(error, "sqlstate", None)
    if isinstance(state, str) and not isinstance(error, Error):
        return _from(error, postgres_error(state, str(error), where))
    return error


def library() -> ModuleType:
    """The library, asyncpg. Raises FeatureUnavailable where it is not installed."""
    try:
        import asyncpg
    except ImportError:
        raise FeatureUnavailable(
            "the record cannot be kept in Postgres: asyncpg is not installed",
            remedy="install it on the server's machine: pip install 'squall[postgres]'",
            feature="postgres",
        ) from None
    found: ModuleType = asyncpg
    return found


def _from(cause: Exception, error: Error) -> Error:
    error.__cause__ = cause
    return error
