"""Postgres state: a state store in a database of a Postgres server, for one server of ours at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from squall.model.errors import FeatureUnavailable
from squall.state.postgres_address import PostgresAddress
from squall.state.postgres_connection import library
from squall.state.postgres_database import Patience, PostgresDatabase
from squall.state.row_state import RowState

_READERS: Final = 4


class PostgresState(RowState):
    """A StateStore in a Postgres database, made by `open`.

    While the database is away, as in a restart, writers and readers wait for it, for a minute at most, and go on
    where they were: what was committed is not written again.
    """

    @classmethod
    async def open(cls, address: PostgresAddress, patience: Patience | None = None) -> PostgresState:
        """The store in this database, which is brought to the newest schema.

        Raises DatabaseBusy while another server leads there, DatabaseAway, DatabaseRefused, DatabaseFailed,
        StateSchemaError (a newer version wrote it), FeatureUnavailable without the library.
        """
        library()
        state = cls(PostgresDatabase(address, patience or Patience()), readers=_READERS, free=lambda: None)
        await state.start()
        return state

    async def back_up(self, directory: Path, *, keep: int) -> Path:  # noqa: ARG002 - the Protocol's
        raise FeatureUnavailable(
            f"the record in {self.where} is backed up by whoever runs that database",
            remedy=f"use its own tools: `pg_dump --format=custom --file=record.dump {self.where}`",
            feature="backup",
        )
