"""Group commit: writers that come together share one transaction, made by one thread."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from squall import faults
from squall.model.errors import StoreClosed
from squall.state.connection import Connection, Database, Transactions

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - an item, as T is what is given for it
Apply = Callable[[Connection], T]
ApplyAll = Callable[[Connection, Sequence[I]], Sequence[T]]

MAX_ROWS: Final = 500  # in one transaction, so that nobody waits behind a crowd
ROW_BYTES: Final = 16_384  # this many bytes weigh as much as a row

_APPLIED = faults.declare("state.applied", "rows are written, their transaction not yet committed")
_COMMITTED = faults.declare("state.committed", "the transaction is committed, and nobody was told")


@dataclass(slots=True)
class Write:
    """One thing to write: the item, what writes such items, how much it weighs in rows, and who waits for it."""

    apply: ApplyAll[Any, Any]
    item: Any
    weight: int
    answer: asyncio.Future[Any]


@dataclass(slots=True)
class _Done:
    write: Write
    value: Any = None
    error: BaseException | None = None


class GroupCommit:
    """The one writer of a database: a thread with its connection, and the line before it.

    All that is sent in one turn of the event loop goes to the thread at once; all that is there when a transaction
    begins, up to MAX_ROWS, shares it and is answered with one call into the loop. Nobody waits for company: while
    one transaction is forced to disk, the next one gathers. Items that are written in the same way are written
    together: nobody of those who share a transaction has been answered, so any order among them is a right one. A
    write that fails is undone alone; those that shared its transaction are written again without it. So `apply` must
    depend on nothing but the connection. Where the connection is lost, all wait for another one.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._loop = asyncio.get_running_loop()
        self._outbox: list[Write] = []
        self._inbox: queue.SimpleQueue[tuple[list[Write], bool] | None] = queue.SimpleQueue()
        self._urgent: deque[Write] = deque()
        self._behind: deque[Write] = deque()
        self._closing = False
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._work, name="state-writer", daemon=True)
        self.commits = 0  # how many transactions there were, for benches

    async def start(self) -> None:
        """Opens the connection in the thread. Raises what opening it raises."""
        self._thread.start()
        try:
            await asyncio.shield(self.send(_nothing))
        except BaseException:
            self._closing = True
            self._inbox.put(None)
            raise

    def send(self, apply: Apply[T], *, rows: int = 1, size: int = 0) -> asyncio.Future[T]:
        """What `apply` gives, once it is on disk; size: bytes that it writes beside its rows.

        Cancelling the future does not take the write back. Raises StoreClosed.
        """
        return self.send_item(_one_by_one, apply, rows=rows, size=size)

    def send_item(self, apply: ApplyAll[I, T], item: I, *, rows: int = 1, size: int = 0) -> asyncio.Future[T]:
        """The same for one of the items that `apply` writes many of at once."""
        if self._closing:
            raise StoreClosed
        answer: asyncio.Future[T] = self._loop.create_future()
        if not self._outbox:
            self._loop.call_soon(self._hand_over)
        self._outbox.append(Write(apply, item, rows + size // ROW_BYTES, answer))
        return answer

    def send_behind(self, apply: Apply[T]) -> asyncio.Future[T]:
        """The same for what nobody waits for: at most one such write joins each transaction."""
        if self._closing:
            raise StoreClosed
        answer: asyncio.Future[T] = self._loop.create_future()
        self._inbox.put(([Write(_one_by_one, apply, 0, answer)], False))
        return answer

    async def close(self) -> None:
        """Writes what was sent, and ends the thread."""
        if not self._closing:
            self._closing = True
            self._hand_over()
            self._inbox.put(None)
        await asyncio.shield(self._ended)
        self._thread.join()

    def _hand_over(self) -> None:
        if self._outbox:
            sent, self._outbox = self._outbox, []
            self._inbox.put((sent, True))

    # Everything below runs in the thread.

    def _work(self) -> None:
        connection: Transactions | None = None
        trouble: BaseException | None = None
        try:
            connection = self._database.open_writer()
            while group := self._next_group():
                connection, done = self._commit(connection, group)
                self._tell(done)
        except BaseException as error:  # noqa: BLE001 - whoever waits must hear of it, whatever it is
            trouble = error
        finally:
            if connection is not None:
                connection.close()
            self._end(trouble)

    def _end(self, trouble: BaseException | None) -> None:
        """Answers whoever still waits: nobody when all went well."""
        open_ = trouble is not None
        while open_:
            left = [*self._urgent, *self._behind]
            self._urgent.clear()
            self._behind.clear()
            self._tell([_Done(write, error=trouble) for write in left])
            open_ = self._receive(wait=True)
        self._in_loop(partial(self._ended.set_result, None))

    def _next_group(self) -> list[Write]:
        """The writes that share the next transaction; none when the store closes."""
        open_ = True
        while open_ and not self._urgent and not self._behind:
            open_ = self._receive(wait=True)
        while open_ and self._receive(wait=False):
            pass
        group: list[Write] = []
        room = MAX_ROWS
        while self._urgent and (not group or self._urgent[0].weight <= room):
            write = self._urgent.popleft()
            group.append(write)
            room -= write.weight
        if self._behind:
            group.append(self._behind.popleft())
        return group

    def _receive(self, *, wait: bool) -> bool:
        """Takes what was sent into the line; whether there may be more."""
        try:
            received = self._inbox.get(block=wait)
        except queue.Empty:
            return False
        if received is None:
            self._inbox.put(None)  # for whoever asks again
            return False
        writes, urgent = received
        (self._urgent if urgent else self._behind).extend(writes)
        return True

    def _commit(self, connection: Transactions, group: list[Write]) -> tuple[Transactions, list[_Done]]:
        """Writes a group, on this connection or on those that come after it."""
        done: list[_Done] = []
        try:
            connection.begin()
            done = _applied(connection, group)
            faults.point(_APPLIED)
            connection.commit()
            faults.point(_COMMITTED)
        except Exception as error:  # noqa: BLE001 - one writer's trouble is that writer's answer
            if self._database.lost(error):
                return self._go_on(connection, group, done)
            connection.rollback()
            if len(group) > 1:
                done = []
                for write in group:
                    connection, alone = self._commit(connection, [write])
                    done += alone
                return connection, done
            return connection, [_Done(group[0], error=self._database.named(error))]
        self.commits += 1
        return connection, done

    def _go_on(
        self, connection: Transactions, group: list[Write], done: list[_Done]
    ) -> tuple[Transactions, list[_Done]]:
        """The connection was lost: what this group comes to on another one."""
        try:
            connection, committed = self._database.reopen(connection, lambda: self._closing)
        except Exception as error:  # noqa: BLE001 - who waits is told, and the next group tries again
            return connection, [_Done(write, error=error) for write in group]
        if committed and len(done) == len(group):
            self.commits += 1
            return connection, done
        return self._commit(connection, group)

    def _tell(self, done: list[_Done]) -> None:
        self._in_loop(partial(_deliver, done))

    def _in_loop(self, work: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(work)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more


def _applied(connection: Connection, group: list[Write]) -> list[_Done]:
    """Writes a group, all items of a kind at once, in the order of the kinds' first ones."""
    kinds: dict[ApplyAll[Any, Any], list[Write]] = {}
    for write in group:
        kinds.setdefault(write.apply, []).append(write)
    done: list[_Done] = []
    for apply, writes in kinds.items():
        values = apply(connection, [write.item for write in writes])
        done += [_Done(write, value) for write, value in zip(writes, values, strict=True)]
    return done


def _one_by_one(connection: Connection, items: Sequence[Apply[T]]) -> list[T]:
    return [apply(connection) for apply in items]


def _deliver(done: list[_Done]) -> None:
    for one in done:
        answer = one.write.answer
        if answer.done():
            continue  # cancelled meanwhile
        if one.error is not None:
            answer.set_exception(one.error)
        else:
            answer.set_result(one.value)


def _nothing(_: Connection) -> None:
    """The write that only waits for the connection."""
