"""Sharing store: the record of Dicts and Queues, which is a part of every state store."""

from __future__ import annotations

from typing import Protocol

from squall.model.ids import SharedId
from squall.model.shared import SharedKind
from squall.state.sharing.records import Answer, Change, Item, Page, SharedRecord, SharedSize


class SharingStore(Protocol):
    """Dicts and Queues: what was answered is on disk. A look that begins after an answer sees what was answered."""

    async def open_shared(self, wanted: SharedRecord, *, most: int) -> SharedRecord | None:
        """The object of this kind, environment and name, or of this id; made as `wanted` is where there is none.

        None where it is not there and `most` of its kind are.
        """
        ...

    async def shared(self, kind: SharedKind, environment: str, name: str) -> SharedRecord | None:
        """The object of this name."""
        ...

    async def shared_objects(self, kind: SharedKind, *, now_s: float) -> tuple[SharedSize, ...]:
        """Every object of a kind, those with a name first, by environment and name, and how much each holds."""
        ...

    async def drop_shared(self, of: SharedId) -> bool:
        """Removes an object with all that it holds; whether it was there."""
        ...

    async def change_shared(self, change: Change) -> Answer:
        """Makes a change, whole or not at all; sent again, it is answered as it was."""
        ...

    async def entry(self, of: SharedId, key: bytes) -> tuple[bytes] | None:
        """The value of a key of a Dict, in a tuple; None where it is not there."""
        ...

    async def entries(self, of: SharedId, *, after: bytes, page: Page) -> tuple[tuple[bytes, bytes], ...]:
        """The entries of a Dict whose keys come after this one, in the order of the keys' bytes."""
        ...

    async def items(
        self, of: SharedId, partition: str, *, after: int, page: Page, now_s: float
    ) -> tuple[Item, ...]:
        """The items of a partition behind the place `after`, which stay there."""
        ...

    async def shared_size(self, of: SharedId, partition: str | None, *, now_s: float) -> int | None:
        """How many entries a Dict has (partition ""), or items a partition, or all of them (None); None: no such object."""
        ...

    async def tidy_shared(self, *, now_s: float, lanes_before_s: float) -> int:
        """Removes some of what nobody reaches any more: what was cleared, has ended, or was answered before then; how much.

        0: nothing is left to remove.
        """
        ...
