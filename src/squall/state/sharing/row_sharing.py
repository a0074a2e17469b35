"""Row sharing: Dicts and Queues in a database, whichever it is; the part of `RowState` that is theirs."""

from __future__ import annotations

from squall.model.ids import SharedId
from squall.model.shared import SharedKind
from squall.state.group_commit import GroupCommit
from squall.state.readers import Readers
from squall.state.sharing import change_rows, object_rows
from squall.state.sharing.records import (
    Answer,
    Change,
    Item,
    Page,
    PutEntries,
    PutItems,
    SharedRecord,
    SharedSize,
)


class RowSharing:
    """A SharingStore over a writer and readers, which its heir makes."""

    _writer: GroupCommit
    _readers: Readers

    async def open_shared(self, wanted: SharedRecord, *, most: int) -> SharedRecord | None:
        return await self._writer.send(lambda db: object_rows.put_object(db, wanted, most))

    async def shared(self, kind: SharedKind, environment: str, name: str) -> SharedRecord | None:
        return await self._readers.read(lambda db: object_rows.get_object(db, kind, environment, name))

    async def shared_objects(self, kind: SharedKind, *, now_s: float) -> tuple[SharedSize, ...]:
        return await self._readers.read(lambda db: object_rows.list_objects(db, kind, now_s))

    async def drop_shared(self, of: SharedId) -> bool:
        return await self._writer.send(lambda db: object_rows.drop_object(db, of))

    async def change_shared(self, change: Change) -> Answer:
        rows, size = 2, 0
        if isinstance(change, PutEntries):
            rows, size = 2 + len(change.entries), sum(len(value) for _, value in change.entries)
        elif isinstance(change, PutItems):
            rows, size = 2 + len(change.values), sum(map(len, change.values))
        return await self._writer.send_item(change_rows.put_changes, change, rows=rows, size=size)

    async def entry(self, of: SharedId, key: bytes) -> tuple[bytes] | None:
        return await self._readers.read(lambda db: change_rows.get_entry(db, of, key))

    async def entries(self, of: SharedId, *, after: bytes, page: Page) -> tuple[tuple[bytes, bytes], ...]:
        return await self._readers.read(lambda db: change_rows.list_entries(db, of, after, page))

    async def items(
        self, of: SharedId, partition: str, *, after: int, page: Page, now_s: float
    ) -> tuple[Item, ...]:
        return await self._readers.read(
            lambda db: change_rows.list_items(db, object_rows.get_heap(db, of, partition, now_s), after, page)
        )

    async def shared_size(self, of: SharedId, partition: str | None, *, now_s: float) -> int | None:
        return await self._readers.read(lambda db: object_rows.count_entries(db, of, partition, now_s))

    async def tidy_shared(self, *, now_s: float, lanes_before_s: float) -> int:
        return await self._writer.send(lambda db: object_rows.tidy(db, now_s, lanes_before_s))
