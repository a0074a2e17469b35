"""Sharing: Dicts and Queues of one record, and who waits for what comes into them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Final

from squall import faults
from squall.context.fresh import fresh_id
from squall.model.errors import (
    ConflictError,
    DictFull,
    Error,
    InvalidError,
    QueueFull,
    ResourceExhaustedError,
    SharedNotFound,
)
from squall.model.ids import SharedId, is_id
from squall.model.shared import MAIN, MOST_OBJECTS, SharedKind, check_name
from squall.server.askers import Asker, For, Place, Standing
from squall.server.ephemerals import Ephemerals
from squall.state.sharing.records import (
    Answer,
    Change,
    Clear,
    GiveBack,
    Item,
    Page,
    PutEntries,
    PutItems,
    Said,
    SharedRecord,
    SharedSize,
    TakeItems,
)
from squall.state.state_store import StateStore

LANES_KEPT_S: Final = 3600.0
"""How long the last answer of a lane is kept for a client that sends its change again: such a one is back within a minute."""

_log = logging.getLogger("squall.server")
_CHANGED = faults.declare(
    "sharing.changed", "a change of a Dict or a Queue is on record, and nobody was told"
)


class Sharing:
    """The Dicts and Queues. later, spawn: run something after a while, or beside everything else."""

    def __init__(
        self,
        state: StateStore,
        *,
        later: Callable[..., object],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self.state = state
        self._later = later
        self._spawn = spawn
        self._standing = Standing()
        self._ephemerals = Ephemerals(self._drop, later=later, spawn=spawn)
        self._tidying = False

    # -- objects

    async def find(
        self, kind: SharedKind, name: Any, environment: str = MAIN, *, create: bool
    ) -> SharedRecord:
        """The object of this name, made where it is not there and may be. Raises SharedNotFound, SharedNameInvalid."""
        asked = check_name(name, f"a {kind.word}")
        found = await self.state.shared(kind, environment, asked)
        if found is None and create:
            found = await self._opened(
                SharedRecord(
                    id=SharedId(fresh_id(kind.prefix)),
                    kind=kind,
                    name=asked,
                    environment=environment,
                    created_s=time.time(),
                )
            )
        if found is None:
            where = "" if environment == MAIN else f" in the environment {environment}"
            raise SharedNotFound(f"there is no {kind.word} {asked!r}{where}", name=asked)
        return found

    async def delete(self, kind: SharedKind, name: Any, environment: str = MAIN) -> SharedRecord:
        """Removes an object with all that it holds; whoever waits at it is told. Raises SharedNotFound."""
        found = await self.find(kind, name, environment, create=False)
        await self._drop(found.id)
        return found

    async def hold(self, asker: Asker, kind: SharedKind, of: SharedId) -> None:
        """Has an ephemeral object live for as long as this stream, and a while longer where its connection breaks."""
        if not is_id(of, kind.prefix):
            raise InvalidError(f"{of!r} is no id of a {kind.word}")
        stream = self._ephemerals.hold(asker, of)
        await self._opened(SharedRecord(id=of, kind=kind, created_s=time.time()))
        if stream.live:
            stream.send({"opened": of})

    async def forget_unclaimed(self) -> None:
        """Removes the ephemeral objects whose clients have not come back since the server started."""
        await self._ephemerals.forget_unclaimed(self._without_name)

    async def _without_name(self) -> list[str]:
        found = [
            one for kind in SharedKind for one in await self.state.shared_objects(kind, now_s=time.time())
        ]
        return [one.shared.id for one in found if not one.shared.name]

    async def _opened(self, wanted: SharedRecord) -> SharedRecord:
        opened = await self.state.open_shared(wanted, most=MOST_OBJECTS)
        if opened is None:
            raise ResourceExhaustedError(
                f"there are {MOST_OBJECTS} {wanted.kind.word}s, which is as many as there may be",
                remedy=f"delete some with `squall {wanted.kind} delete NAME`",
            )
        return opened

    async def _drop(self, of: str) -> None:
        await self.state.drop_shared(SharedId(of))
        self._standing.ring_all(SharedId(of))
        self._tidy_soon()

    # -- changes

    async def change(self, change: Change) -> Answer:
        """What a change is answered. Raises SharedNotFound, DictFull, ConflictError where its lane has gone on since."""
        answer = await self.state.change_shared(replace(change, turn=replace(change.turn, at_s=time.time())))
        faults.point(_CHANGED)
        if answer.said is Said.GONE:
            raise gone(change.of)
        if answer.said is Said.STALE:
            raise ConflictError(
                "this change was sent before one that has been made since, so nobody waits for it"
            )
        if answer.said is Said.FULL and isinstance(change, PutEntries):
            raise DictFull(await self._why_full(change))
        return answer

    async def put(self, change: PutItems, asker: Asker, wait_s: float | None) -> Answer:
        """Puts items, waiting for room. Raises QueueFull where there is none in time."""
        until_s = _until(wait_s)
        with self._standing.at(Place(For.ROOM, change.of, change.partition), asker):
            while True:
                asker.look()
                answer = await self.change(change)
                if answer.said is Said.DONE:
                    break
                # Where the partition ends before that, there is room then, and nobody rings.
                await asker.heard(_sooner(_left(until_s), answer.free_s))
                if asker.gone or (not asker.rung and _is_past(until_s)):
                    raise QueueFull(await self._why_full(change))
        self._rang_in(change.of, change.partition, len(change.values))
        return answer

    async def take(self, change: TakeItems, asker: Asker, wait_s: float | None) -> Answer:
        """Takes items, waiting for the first; none where none came in time."""
        until_s = _until(wait_s)
        with self._standing.at(Place(For.ITEMS, change.of, change.partition), asker):
            answer = Answer()
            while not asker.gone:
                asker.look()
                answer = await self.change(change)
                if answer.values or not await asker.heard(_left(until_s)):
                    break
        if answer.values:
            self._standing.ring(Place(For.ROOM, change.of, change.partition), len(answer.values))
        return answer

    async def give_back(self, change: GiveBack, partition: str) -> Answer:
        """Puts back what was taken and reached nobody."""
        answer = await self.change(change)
        if answer.count:
            self._rang_in(change.of, partition, answer.count)
        return answer

    async def clear(self, change: Clear) -> Answer:
        """Removes what an object or a partition holds; whoever waits for room there has some."""
        answer = await self.change(change)
        self._standing.ring_all(change.of, what=For.ROOM)
        self._tidy_soon()
        return answer

    async def _why_full(self, change: PutItems | PutEntries) -> str:
        """Which of its bounds keeps a change out, as far as that is still so. Raises SharedNotFound."""
        bounds = change.bounds
        if isinstance(change, PutEntries):
            held, more, where = await self.size(change.of, ""), len(change.entries), "the Dict"
        else:
            held, more = await self.size(change.of, change.partition), len(change.values)
            where = f"the partition {change.partition!r}" if change.partition else "the Queue"
            if not held:
                return f"there are {bounds.partitions:,} partitions, which is as many as a Queue may have"
        if held + more > bounds.entries:
            return f"{where} holds {held:,}, and may hold {bounds.entries:,}"
        return (
            f"{where} holds {held:,}, which take nearly {bounds.size_bytes >> 20} MiB, and may not take more"
        )

    def _rang_in(self, of: SharedId, partition: str, count: int) -> None:
        self._standing.ring(Place(For.ITEMS, of, partition), count)
        self._standing.ring_all(of, what=For.SIGHT)

    # -- looks

    async def entry(self, of: SharedId, key: bytes) -> tuple[bytes] | None:
        """The value of a key, in a tuple. Raises SharedNotFound."""
        found = await self.state.entry(of, key)
        if found is None:
            await self.size(of, "")
        return found

    async def entries(self, of: SharedId, after: bytes, page: Page) -> tuple[tuple[bytes, bytes], ...]:
        """Entries behind a key. Raises SharedNotFound."""
        found = await self.state.entries(of, after=after, page=page)
        if not found:
            await self.size(of, "")
        return found

    async def objects(self, kind: SharedKind) -> tuple[SharedSize, ...]:
        """Every object of a kind, and how much each holds."""
        return await self.state.shared_objects(kind, now_s=time.time())

    def waiting(self, of: SharedId, what: For) -> int:
        """How many wait at an object, in whatever partition."""
        return self._standing.count(of, what)

    async def size(self, of: SharedId, partition: str | None) -> int:
        """How many entries or items there are. Raises SharedNotFound."""
        found = await self.state.shared_size(of, partition, now_s=time.time())
        if found is None:
            raise gone(of)
        return found

    async def items(
        self, of: SharedId, partition: str, after: int, page: Page, asked: tuple[Asker, float | None]
    ) -> tuple[Item, ...]:
        """Items behind a place, which stay; waits for the first of them. asked: who asks, and for how long it waits."""
        asker, wait_s = asked
        until_s = _until(wait_s)
        with self._standing.at(Place(For.SIGHT, of, partition), asker):
            while True:
                asker.look()
                found = await self.state.items(of, partition, after=after, page=page, now_s=time.time())
                if found:
                    return found
                await self.size(of, partition)
                if not await asker.heard(_left(until_s)):
                    return ()

    # -- tidying

    def _tidy_soon(self) -> None:
        if not self._tidying:
            self._tidying = True
            self._spawn(self._tidy())

    async def _tidy(self) -> None:
        try:
            await tidy(self.state)
        except Error as problem:
            _log.warning("what was cleared could not be removed yet: %s", problem)
        finally:
            self._tidying = False


async def tidy(state: StateStore) -> None:
    """Removes what nobody reaches any more, a little at a time. Raises what the store raises."""
    now_s = time.time()
    while await state.tidy_shared(now_s=now_s, lanes_before_s=now_s - LANES_KEPT_S):
        pass


def gone(of: SharedId) -> SharedNotFound:
    """What is said of an object that is not there."""
    word = next((kind.word for kind in SharedKind if is_id(of, kind.prefix)), "object")
    return SharedNotFound(f"the {word} {of} is not there: it was deleted, or ended with its client")


def _until(wait_s: float | None) -> float | None:
    return None if wait_s is None else time.monotonic() + wait_s


def _is_past(until_s: float | None) -> bool:
    return until_s is not None and until_s <= time.monotonic()


def _sooner(left_s: float | None, ends_s: float | None) -> float | None:
    """How long to wait: until the time is over, or until an instant in seconds since 1970."""
    if ends_s is None:
        return left_s
    until_end_s = max(0.0, ends_s - time.time()) + 0.01
    return until_end_s if left_s is None else min(left_s, until_end_s)


def _left(until_s: float | None) -> float | None:
    return None if until_s is None else until_s - time.monotonic()
