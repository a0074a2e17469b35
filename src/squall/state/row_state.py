"""Row state: a state store in a database, whichever it is: one writer in group commits, readers beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Final

from squall.model.call import CallState
from squall.model.errors import StoreClosed
from squall.model.ids import AppId, CallId, FunctionId, NodeId, TokenId
from squall.state import access_rows, call_rows, dead_rows, naming_rows, noun_rows, usage_rows
from squall.state.connection import Connection, Database
from squall.state.deploy_store import RowDeploys
from squall.state.group_commit import GroupCommit
from squall.state.readers import Readers
from squall.state.records import (
    AppRecord,
    BusyRecord,
    CallRecord,
    ContainerRecord,
    DeadLetter,
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
    Usage,
)
from squall.state.sharing.row_sharing import RowSharing
from squall.state.volumes.row_volumes import RowVolumes
from squall.state.write_behind import WriteBehind

_SWEPT_AT_ONCE: Final = 200


class RowState(RowDeploys, RowSharing, RowVolumes):
    """A StateStore in a database.

    One thread writes, in group commits; others read, so that a long read holds up no commit. `free` is called once
    it is closed.
    """

    def __init__(self, database: Database, *, readers: int, free: Callable[[], object]) -> None:
        self._database = database
        self._free = free
        self._writer = GroupCommit(database)
        self._readers = Readers(database, readers)
        self._behind: WriteBehind[History] = WriteBehind(
            lambda batch: self._writer.send_behind(lambda db: _put_history(db, batch))
        )
        self._closed = False

    async def start(self) -> None:
        """Opens the database, checked and of the newest schema. Raises what opening it raises."""
        try:
            await self._writer.start()
        except BaseException:
            await self._readers.close()
            self._free()
            raise

    async def record_app(self, app: AppRecord, functions: Sequence[FunctionRecord] = ()) -> None:
        size = sum(len(one.definition) for one in functions)
        await self._writer.send(
            lambda db: noun_rows.put_app(db, app, functions), rows=1 + len(functions), size=size
        )

    async def end_app(self, app: AppId, *, at_s: float) -> bool:
        return await self._writer.send(lambda db: noun_rows.put_app_end(db, app, at_s))

    async def apps(self, *, ended: bool = False) -> tuple[AppRecord, ...]:
        return await self._readers.read(lambda db: noun_rows.list_apps(db, ended=ended))

    async def functions(self, app: AppId) -> tuple[FunctionRecord, ...]:
        return await self._readers.read(lambda db: noun_rows.list_functions(db, app))

    async def record_call(self, call: CallRecord, chunks: Sequence[InputChunk] = ()) -> None:
        if not call.durable:
            raise ValueError(f"a {call.verb} is not durable: its summary goes to the history")
        size = sum(len(chunk.payload) for chunk in chunks)
        await self._writer.send_item(call_rows.put_calls, (call, chunks), rows=1 + len(chunks), size=size)

    async def record_outcomes(self, call: CallId, items: Sequence[OutcomeRecord]) -> tuple[int, ...]:
        size = sum(len(item.payload) for item in items)
        return await self._writer.send_item(call_rows.put_outcomes, (call, items), rows=len(items), size=size)

    async def dead_letters(
        self, *, call: CallId | None = None, name: str | None = None, start: int = 0, limit: int = 100
    ) -> tuple[DeadLetter, ...]:
        return await self._readers.read(lambda db: dead_rows.list_dead(db, call, name, start, limit))

    async def replay(self, call: CallId, *, indexes: Collection[int] | None = None) -> tuple[int, ...]:
        return await self._writer.send(lambda db: dead_rows.put_replay(db, call, indexes))

    async def children(self, call: CallId, *, start: int = 0, limit: int = 1000) -> tuple[CallRecord, ...]:
        return await self._readers.read(lambda db: call_rows.list_children(db, call, start, limit))

    async def end_call(self, call: CallId, *, state: CallState, at_s: float) -> bool:
        if state is CallState.OPEN:
            raise ValueError("a call does not end as open")
        return await self._writer.send(lambda db: call_rows.put_end(db, call, state, at_s))

    async def call(self, call: CallId) -> CallRecord | None:
        return await self._readers.read(lambda db: call_rows.get_call(db, call))

    async def calls(self, *, function: FunctionId | None = None, limit: int = 100) -> tuple[CallRecord, ...]:
        return await self._readers.read(lambda db: call_rows.list_calls(db, function, limit))

    async def open_calls(
        self, *, function: FunctionId | None = None, call: CallId | None = None
    ) -> tuple[OpenCall, ...]:
        return await self._readers.read(lambda db: call_rows.list_open(db, function, call))

    async def inputs(self, call: CallId, *, start: int, stop: int) -> tuple[InputChunk, ...]:
        return await self._readers.read(lambda db: call_rows.list_inputs(db, call, start, stop))

    async def outcomes(self, call: CallId, *, start: int, stop: int) -> tuple[OutcomeRecord, ...]:
        return await self._readers.read(lambda db: call_rows.list_outcomes(db, call, start, stop))

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
    def where(self) -> str:
        return self._database.where

    @property
    def trouble(self) -> str | None:
        return self._database.trouble

    @property
    def commits(self) -> int:
        """How many transactions there were since `open`."""
        return self._writer.commits

    async def containers(
        self, *, function: FunctionId | None = None, limit: int = 100
    ) -> tuple[ContainerRecord, ...]:
        return await self._readers.read(lambda db: noun_rows.list_containers(db, function, limit))

    async def busy(self, call: CallId) -> tuple[BusyRecord, ...]:
        return await self._readers.read(lambda db: usage_rows.list_busy(db, call))

    async def usage(self, *, since_s: float, until_s: float) -> tuple[Usage, ...]:
        return await self._readers.read(lambda db: usage_rows.list_usage(db, since_s, until_s))

    async def record_layer(self, layer: LayerRecord) -> None:
        await self._writer.send(lambda db: noun_rows.put_layer(db, layer))

    async def use_layers(self, keys: Collection[str], *, at_s: float) -> None:
        await self._writer.send(lambda db: noun_rows.put_layer_use(db, keys, at_s), rows=len(keys))

    async def forget_layer(self, key: str) -> bool:
        return await self._writer.send(lambda db: noun_rows.drop_layer(db, key))

    async def layers(self) -> tuple[LayerRecord, ...]:
        return await self._readers.read(noun_rows.list_layers)

    async def record_naming(self, naming: Naming) -> bool:
        return await self._writer.send(lambda db: naming_rows.put_naming(db, naming))

    async def image_names(self) -> tuple[Naming, ...]:
        return await self._readers.read(naming_rows.list_names)

    async def namings(self, name: str) -> tuple[Naming, ...]:
        return await self._readers.read(lambda db: naming_rows.list_namings(db, name))

    async def record_token(self, token: TokenRecord) -> None:
        await self._writer.send(lambda db: access_rows.put_token(db, token))

    async def tokens(self) -> tuple[TokenRecord, ...]:
        return await self._readers.read(access_rows.list_tokens)

    async def revoke_token(self, token: TokenId, *, at_s: float) -> bool:
        return await self._writer.send(lambda db: access_rows.put_revoked(db, token, at_s))

    async def use_token(self, token: TokenId, *, by: str, at_s: float) -> bool:
        return await self._writer.send(lambda db: access_rows.put_used(db, token, by, at_s))

    async def record_node(self, node: NodeRecord) -> None:
        await self._writer.send(lambda db: access_rows.put_node(db, node))

    async def node_records(self) -> tuple[NodeRecord, ...]:
        return await self._readers.read(access_rows.list_nodes)

    async def remove_node(self, node: NodeId, *, at_s: float) -> bool:
        return await self._writer.send(lambda db: access_rows.put_removed(db, node, at_s))

    async def blob_refs(self) -> frozenset[str]:
        return await self._readers.read(call_rows.list_blobs)

    async def sweep(self, *, ended_before_s: float) -> Swept:
        calls = containers = apps = 0
        while old := await self._readers.read(
            lambda db: call_rows.list_ended(db, ended_before_s, _SWEPT_AT_ONCE)
        ):
            gone = await asyncio.gather(
                *(self._writer.send(partial(call_rows.drop_call, no=no)) for no in old)
            )
            calls += sum(gone)
        while dropped := await self._writer.send(lambda db: noun_rows.drop_containers(db, ended_before_s)):
            containers += dropped
        while await self._writer.send(lambda db: usage_rows.drop_busy(db, ended_before_s)):
            pass
        while spent := await self._readers.read(lambda db: noun_rows.list_spent_apps(db, ended_before_s)):
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
            await self._readers.close()
            await self._writer.close()
            self._free()


def _put_history(db: Connection, batch: Sequence[History]) -> None:
    call_rows.put_summaries(db, [one for one in batch if isinstance(one, CallRecord)])
    noun_rows.put_containers(db, [one for one in batch if isinstance(one, ContainerRecord)])
    usage_rows.put_busy(db, [one for one in batch if isinstance(one, BusyRecord)])
