"""SQLite state: a state store in one file, for one server."""

from __future__ import annotations

import asyncio
from pathlib import Path

from squall.state.row_state import RowState
from squall.state.sqlite_backup import back_up_and_keep
from squall.state.sqlite_file import DatabaseOptions, SqliteDatabase, lock_directory


class SqliteState(RowState):
    """A StateStore in an SQLite database, made by `open`.

    The lock on the directory is held until `close`, or until the process ends.
    """

    @classmethod
    async def open(cls, database: Path, options: DatabaseOptions | None = None) -> SqliteState:
        """The store in this file, which is made, checked, and brought to the newest schema.

        Raises StateDirectoryBusy while another process has it open, StateCorrupt, StateSchemaError (a newer
        version wrote it), DiskFull, StateDirectoryReadOnly, StateDirectoryError.
        """
        lock = await asyncio.to_thread(lock_directory, database)
        state = cls(SqliteDatabase(database, options or DatabaseOptions()), readers=1, free=lock.close)
        await state.start()
        return state

    async def back_up(self, directory: Path, *, keep: int) -> Path:
        return await asyncio.to_thread(back_up_and_keep, Path(self.where), directory, keep=keep)
