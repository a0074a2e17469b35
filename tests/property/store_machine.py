"""The state machine of a store beside a model, and the kinds of record that one is opened on."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from itertools import count
from pathlib import Path
from typing import Any, Protocol, TypeVar

from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from squall.state.memory_state import MemoryState
from squall.state.postgres_address import PostgresAddress
from squall.state.postgres_state import PostgresState
from squall.state.row_state import RowState
from squall.state.sqlite_state import SqliteState
from squall.state.state_store import StateStore
from tests.postgres import Postgres

T = TypeVar("T")

_numbers = count()


class Record(Protocol):
    """Where a store keeps what it has to."""

    async def open(self) -> StateStore:
        """A store on it, which may be closed and opened again."""
        ...

    def remove(self) -> None:
        """Nothing of it stays; its store is closed."""
        ...


class InMemory:
    """A Record that ends with its store."""

    async def open(self) -> StateStore:
        return MemoryState()

    def remove(self) -> None:
        return None


class InSqlite:
    """A Record in a folder of its own."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()

    async def open(self) -> StateStore:
        return await SqliteState.open(Path(self._folder.name) / "squall.db")

    def remove(self) -> None:
        self._folder.cleanup()


class InPostgres:
    """A Record in a database of its own."""

    def __init__(self, server: Postgres) -> None:
        self._server = server
        self._database = f"machine_{next(_numbers)}"
        server.sql(f"CREATE DATABASE {self._database}")

    async def open(self) -> StateStore:
        return await PostgresState.open(PostgresAddress(url=self._server.address(self._database)))

    def remove(self) -> None:
        self._server.sql(f"DROP DATABASE {self._database} WITH (FORCE)")


class StoreMachine(RuleBasedStateMachine):
    """A store on the record that `make` makes; one that outlives it is opened again now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.kept_in = self.make()
        self.store: StateStore = self.run(self.kept_in.open())

    def make(self) -> Record:
        raise NotImplementedError

    def run(self, doing: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(doing)

    def teardown(self) -> None:
        self.run(self.store.close())
        self.runner.close()
        self.kept_in.remove()

    @precondition(lambda self: isinstance(self.store, RowState))
    @rule()
    def the_server_starts_again(self) -> None:
        self.run(self.store.close())
        self.store = self.run(self.kept_in.open())
