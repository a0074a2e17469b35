"""SQLite state: a state store in one file, for one server."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from squall.blobs.threads import in_thread
from squall.model.call import CallState
from squall.model.errors import StoreClosed
from squall.model.ids import AppId, CallId, FunctionId, NodeId, TokenId
from squall.settings.lock import Lock
from squall.state import access_rows, call_rows, naming_rows, noun_rows
from squall.state.group_commit import GroupCommit
from squall.state.records import (
    AppRecord,
    CallRecord,
    ContainerRecord,
    FunctionRecord,
    History,
    InputChunk,
    LayerRecord,
    Naming,
    NodeRecord,
    OpenCall,
    OutcomeRecord,
    Swept,
    TokenRecord,
)
from squall.state.sqlite_errors import sqlite_error
from squall.state.sqlite_file import DatabaseOptions, lock_directory, open_reader, open_writer
from squall.state.write_behind import WriteBehind

T = TypeVar("T")

_SWEPT_AT_ONCE: Final = 200


class SqliteState:
    """A StateStore in an SQLite database, made by `open`.

    One thread writes, in group commits; one other reads, so that a long read holds up no commit. The lock on the
    directory is held until `close`, or until the process ends.
    """

    def __init__(self, database: Path, options: DatabaseOptions, lock: Lock) -> None:
        self._database = database
        self._lock = lock
        self._writer = GroupCommit(partial(open_writer, database, options), str(database))
        self._reader: sqlite3.Connection | None = None
        self._reading = ThreadPoolExecutor(max_workers=1, thread_name_prefix="state-reader")
        self._behind: WriteBehind[History] = WriteBehind(
            lambda batch: self._writer.send_behind(lambda db: _put_history(db, batch))
        )
        self._closed = False

    @classmethod
    async def open(cls, database: Path, options: DatabaseOptions | None = None) -> SqliteState:
        """The store in this file, which is made, checked, and brought to the newest schema.

        Raises StateDirectoryBusy while another process has it open, StateCorrupt, StateSchemaError (a newer
        version wrote it), DiskFull, StateDirectoryReadOnly, StateDirectoryError.
        """
        lock = await asyncio.to_thread(lock_directory, database)
        try:
            state = cls(database, options or DatabaseOptions(), lock)
            await state._writer.start()
        except BaseException:
            lock.close()
            raise
        return state

    async def record_app(self, app: AppRecord, functions: Sequence[FunctionRecord] = ()) -> None:
        size = sum(len(one.definition) for one in functions)
        await self._writer.send(
            lambda db: noun_rows.put_app(db, app, functions), rows=1 + len(functions), size=size
        )

    async def end_app(self, app: AppId, *, at_s: float) -> bool:
        return await self._writer.send(lambda db: noun_rows.put_app_end(db, app, at_s))

    async def apps(self, *, ended: bool = False) -> tuple[AppRecord, ...]:
        return await self._read(lambda db: noun_rows.list_apps(db, ended=ended))

    async def functions(self, app: AppId) -> tuple[FunctionRecord, ...]:
        return await self._read(lambda db: noun_rows.list_functions(db, app))

    async def record_call(self, call: CallRecord, chunks: Sequence[InputChunk] = ()) -> None:
        if not call.durable:
            raise ValueError(f"a {call.verb} is not durable: its summary goes to the history")
        size = sum(len(chunk.payload) for chunk in chunks)
        await self._writer.send(
            lambda db: call_rows.put_call(db, call, chunks), rows=1 + len(chunks), size=size
        )

    async def record_outcomes(self, call: CallId, items: Sequence[OutcomeRecord]) -> tuple[int, ...]:
        size = sum(len(item.payload) for item in items)
        return await self._writer.send(
            lambda db: call_rows.put_outcomes(db, call, items), rows=len(items), size=size
        )

    async def end_call(self, call: CallId, *, state: CallState, at_s: float) -> bool:
        if state is CallState.OPEN:
            raise ValueError("a call does not end as open")
        return await self._writer.send(lambda db: call_rows.put_end(db, call, state, at_s))

    async def call(self, call: CallId) -> CallRecord | None:
        return await self._read(lambda db: call_rows.get_call(db, call))

    async def calls(self, *, function: FunctionId | None = None, limit: int = 100) -> tuple[CallRecord, ...]:
        return await self._read(lambda db: call_rows.list_calls(db, function, limit))

    async def open_calls(self, *, function: FunctionId | None = None) -> tuple[OpenCall, ...]:
        return await self._read(lambda db: call_rows.list_open(db, function))

    async def inputs(self, call: CallId, *, start: int, stop: int) -> tuple[InputChunk, ...]:
        return await self._read(lambda db: call_rows.list_inputs(db, call, start, stop))

    async def outcomes(self, call: CallId, *, start: int, stop: int) -> tuple[OutcomeRecord, ...]:
        return await self._read(lambda db: call_rows.list_outcomes(db, call, start, stop))

    def history(self, batch: Sequence[History]) -> None:
        if self._closed:
            raise StoreClosed
        for one in batch:
            if isinstance(one, CallRecord) and one.durable:
                raise ValueError(f"a {one.verb} is durable: it is recorded with `record_call`")
        self._behind.take(batch)

    @property
    def history_lost(self) -> int:
        return self._behind.lost

    @property
    def commits(self) -> int:
        """How many transactions there were since `open`."""
        return self._writer.commits

    async def containers(
        self, *, function: FunctionId | None = None, limit: int = 100
    ) -> tuple[ContainerRecord, ...]:
        return await self._read(lambda db: noun_rows.list_containers(db, function, limit))

    async def record_layer(self, layer: LayerRecord) -> None:
        await self._writer.send(lambda db: noun_rows.put_layer(db, layer))

    async def use_layers(self, keys: Collection[str], *, at_s: float) -> None:
        await self._writer.send(lambda db: noun_rows.put_layer_use(db, keys, at_s), rows=len(keys))

    async def forget_layer(self, key: str) -> bool:
        return await self._writer.send(lambda db: noun_rows.drop_layer(db, key))

    async def layers(self) -> tuple[LayerRecord, ...]:
        return await self._read(noun_rows.list_layers)

    async def record_naming(self, naming: Naming) -> bool:
        return await self._writer.send(lambda db: naming_rows.put_naming(db, naming))

    async def image_names(self) -> tuple[Naming, ...]:
        return await self._read(naming_rows.list_names)

    async def namings(self, name: str) -> tuple[Naming, ...]:
        return await self._read(lambda db: naming_rows.list_namings(db, name))

    async def record_token(self, token: TokenRecord) -> None:
        await self._writer.send(lambda db: access_rows.put_token(db, token))

    async def tokens(self) -> tuple[TokenRecord, ...]:
        return await self._read(access_rows.list_tokens)

    async def revoke_token(self, token: TokenId, *, at_s: float) -> bool:
        return await self._writer.send(lambda db: access_rows.put_revoked(db, token, at_s))

    async def use_token(self, token: TokenId, *, by: str, at_s: float) -> bool:
        return await self._writer.send(lambda db: access_rows.put_used(db, token, by, at_s))

    async def record_node(self, node: NodeRecord) -> None:
        await self._writer.send(lambda db: access_rows.put_node(db, node))

    async def node_records(self) -> tuple[NodeRecord, ...]:
        return await self._read(access_rows.list_nodes)

    async def remove_node(self, node: NodeId, *, at_s: float) -> bool:
        return await self._writer.send(lambda db: access_rows.put_removed(db, node, at_s))

    async def blob_refs(self) -> frozenset[str]:
        return await self._read(call_rows.list_blobs)

    async def sweep(self, *, ended_before_s: float) -> Swept:
        calls = containers = apps = 0
        while old := await self._read(lambda db: call_rows.list_ended(db, ended_before_s, _SWEPT_AT_ONCE)):
            gone = await asyncio.gather(
                *(self._writer.send(partial(call_rows.drop_call, no=no)) for no in old)
            )
            calls += sum(gone)
        while dropped := await self._writer.send(lambda db: noun_rows.drop_containers(db, ended_before_s)):
            containers += dropped
        while spent := await self._read(lambda db: noun_rows.list_spent_apps(db, ended_before_s)):
            await asyncio.gather(*(self._writer.send(partial(noun_rows.drop_app, app=app)) for app in spent))
            apps += len(spent)
        names = await self._writer.send(lambda db: naming_rows.drop_deleted(db, ended_before_s))
        return Swept(calls=calls, containers=containers, apps=apps, names=names)

    async def flush(self) -> None:
        await self._behind.flush()

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await self._behind.flush()
            await self._read_last(self._close_reader)
            self._reading.shutdown(wait=False)
            await self._writer.close()
            self._lock.close()

    async def _read(self, look: Callable[[sqlite3.Connection], T]) -> T:
        """The one place from which reads leave for a thread; writes leave by `GroupCommit`."""
        if self._closed:
            raise StoreClosed
        return await self._read_last(lambda: look(self._opened_reader()))

    async def _read_last(self, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await in_thread(loop.run_in_executor(self._reading, work))
        except sqlite3.Error as error:
            raise sqlite_error(error, str(self._database)) from error

    # Both run in the reading thread.

    def _opened_reader(self) -> sqlite3.Connection:
        if self._reader is None:
            self._reader = open_reader(self._database)
        return self._reader

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()


def _put_history(db: sqlite3.Connection, batch: Sequence[History]) -> None:
    call_rows.put_summaries(db, [one for one in batch if isinstance(one, CallRecord)])
    noun_rows.put_containers(db, [one for one in batch if isinstance(one, ContainerRecord)])
