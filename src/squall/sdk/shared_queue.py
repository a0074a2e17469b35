"""Queue: items that client programs and containers pass on, kept in the server's record until somebody takes them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, ClassVar, Final

from squall.model.errors import InvalidError, QueueEmpty, QueueFull
from squall.model.shared import MOST_AT_ONCE, TTL_S, SharedKind, check_partition
from squall.sdk.face import Face, PagesFace
from squall.sdk.lanes import ask, change, take
from squall.sdk.shared_object import Objects, SharedObject, in_messages, packed, parts_of, seconds, unpacked
from squall.sdk.watch import watcher_now
from squall.wire.codec import Frame

_NOTE_AFTER_S: Final = 1.0
"""How long a put waits for room before it says so."""


class Queue(SharedObject):
    """A queue that client programs and containers share by its name: what was put is on disk, and comes out in that order.

    It has partitions, each with an order of its own; one that is not named is a partition too. Each item goes to one who
    takes it. Items are whatever can be pickled, up to 2 MiB each. Times are in seconds.

    Queue.from_name(name, create_if_missing=False): a handle of one. Queue.ephemeral(): one for as long as a `with` lasts.
    Queue.objects.create(name), .list(), .delete(name): makes one, lists them, removes one with all that it holds.
    put(value, block=True, timeout=None, *, partition=None, partition_ttl=86400): puts an item; waits for room in a full one.
    put_many(values, ...): the same for many. get(block=True, timeout=None, *, partition=None): takes the first item.
    get_many(n, ...): takes up to n. iterate(*, partition=None, item_poll_timeout=0.0): looks at the items, which stay.
    len(*, partition=None, total=False): how many there are. clear(*, partition=None, all=False): removes them.
    Each has an awaited form: `await q.get.aio()`, `async for item in q.iterate.aio()`.
    """

    _kind = SharedKind.QUEUE
    objects: ClassVar[Objects[Queue]]

    def __init__(
        self,
        name: str | None = None,
        *,
        create: bool = False,
        object_id: str | None = None,
        environment: str | None = None,
    ) -> None:
        super().__init__(name, create=create, object_id=object_id, environment=environment)
        self.put = Face(self._put)
        self.put_many = Face(self._put_many)
        self.get = Face(self._get)
        self.get_many = Face(self._get_many)
        self.iterate = PagesFace(self._iterate)
        self.len = Face(self._len)
        self.clear = Face(self._clear)

    async def _put(
        self,
        value: Any,
        block: bool = True,  # noqa: FBT001, FBT002 - as users know it
        timeout: float | None = None,
        *,
        partition: str | None = None,
        partition_ttl: float = TTL_S,
    ) -> None:
        """Puts an item behind those that are there.

        block: whether to wait where a partition is full, with 100,000 items or 256 MiB; timeout: for how long, None for ever.
        partition_ttl: how long the partition is kept after this, with all its items; from 1 s to 7 days. Raises QueueFull
        (which `queue.Full` catches), SerializationError, SharedValueTooLarge.
        """
        await self._put_many([value], block, timeout, partition=partition, partition_ttl=partition_ttl)

    async def _put_many(
        self,
        values: Iterable[Any],
        block: bool = True,  # noqa: FBT001, FBT002 - as users know it
        timeout: float | None = None,
        *,
        partition: str | None = None,
        partition_ttl: float = TTL_S,
    ) -> None:
        """Puts items in their order, up to 1,000 of up to 3 MiB together at once, or none of these.

        Between these parts others may put theirs. Where one part finds no room, QueueFull says in `put` how many items of
        the earlier parts are in the Queue. Raises as `put` does.
        """
        head = {**await self._at(partition), "ttl": seconds(partition_ttl, "partition_ttl")}
        wait_s = _wait_s(timeout, block=block)
        until_s = None if wait_s is None else time.monotonic() + wait_s
        done = 0
        for some in in_messages([(value,) for value in packed(values)]):
            parts = [value for (value,) in some]
            try:
                await self._put_part({**head, "V": list(map(len, parts))}, b"".join(parts), until_s)
            except QueueFull as full:
                raise QueueFull(f"{self}: {full.message}", remedy=full.remedy, put=done) from None
            done += len(parts)

    async def _put_part(self, head: dict[str, Any], payload: bytes, until_s: float | None) -> None:
        """Puts what one message holds. Whoever has waited for a second is told for what."""
        left_s = _left(until_s)
        if left_s is None or left_s > _NOTE_AFTER_S:
            try:
                await change("queue.put", head, payload, wait_s=_NOTE_AFTER_S)
            except QueueFull as full:
                watcher_now().note(f"a put into {self} waits for room: {full.message}")
            else:
                return
        await change("queue.put", head, payload, wait_s=_left(until_s))

    async def _get(
        self,
        block: bool = True,  # noqa: FBT001, FBT002 - as users know it
        timeout: float | None = None,
        *,
        partition: str | None = None,
    ) -> Any:
        """Takes the first item.

        block: whether to wait for one; False gives None where there is none. timeout: for how long it waits, None for ever.
        Raises QueueEmpty (which `queue.Empty` catches) after that, DeserializationError for an item that cannot be rebuilt
        here, which stays in the Queue.
        """
        found = await self._get_many(1, block, timeout, partition=partition)
        return found[0] if found else None

    async def _get_many(
        self,
        n: int,
        block: bool = True,  # noqa: FBT001, FBT002 - as users know it
        timeout: float | None = None,
        *,
        partition: str | None = None,
    ) -> list[Any]:
        """Takes the first items: as many as there are, up to n, up to 1,000 and up to 3 MiB together.

        It waits for the first as `get` does, and for no more; without `block` it gives an empty list. Raises as `get` does.
        """
        if type(n) is not int or n < 1:
            raise InvalidError(f"{n!r} items cannot be taken", remedy="ask for 1 or more")
        head = {**await self._at(partition), "most": min(n, MOST_AT_ONCE)}
        found = await take(head, _values_of, wait_s=_wait_s(timeout, block=block))
        if not found and block:
            raise QueueEmpty(f"nothing came into {self} within {timeout:g} s")
        return found

    async def _iterate(
        self, *, partition: str | None = None, item_poll_timeout: float = 0.0
    ) -> AsyncIterator[Sequence[Any]]:
        """The items of a partition in their order, from the first on; they stay where they are.

        item_poll_timeout: how long to wait for the next one before it ends. What others take meanwhile may be left out.
        """
        wait_s = max(0.0, seconds(item_poll_timeout, "item_poll_timeout"))
        async for page in self.packed_items(partition, wait_s=wait_s):
            yield [unpacked(value) for value in page]

    async def _len(self, *, partition: str | None = None, total: bool = False) -> int:
        """How many items a partition has; total: all partitions together."""
        return int((await ask("shared.len", {**await self._at(partition), "all": total})).head()["len"])

    async def _clear(self, *, partition: str | None = None, all: bool = False) -> None:  # noqa: A002 - as users know it
        """Removes the items of a partition; all: of all partitions."""
        await change("shared.clear", {**await self._at(partition), "all": all})

    async def packed_items(
        self, partition: str | None, *, wait_s: float = 0.0, most: int = MOST_AT_ONCE
    ) -> AsyncIterator[Sequence[bytes]]:
        """Pages of a partition's items as they were packed, which stay. most: of a page."""
        head, after = {**await self._at(partition), "most": most}, 0
        while True:
            frame = await ask("queue.items", {**head, "after": after}, wait_s=wait_s)
            (values,) = parts_of(frame, frame.head()["V"])
            if not values:
                return
            yield values
            after = frame.head()["N"][-1]

    async def _at(self, partition: str | None) -> dict[str, Any]:
        """The head that names a partition. Raises SharedNameInvalid."""
        check_partition(partition)
        return {**await self._of(), "p": partition}


def _values_of(frame: Frame) -> list[Any]:
    (values,) = parts_of(frame, frame.head()["V"])
    return [unpacked(value) for value in values]


def _wait_s(timeout: float | None, *, block: bool) -> float | None:
    """How long the server is to wait; None for ever."""
    if not block:
        return 0.0
    return None if timeout is None else max(0.0, seconds(timeout, "timeout"))


def _left(until_s: float | None) -> float | None:
    return None if until_s is None else max(0.0, until_s - time.monotonic())


Queue.objects = Objects(Queue)
