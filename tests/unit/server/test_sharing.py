"""Dicts and Queues on the server: who waits is woken, who has gone takes nothing, and what ends with its client ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from squall.context.fresh import fresh_id
from squall.model.errors import ConnectionLost, Error, InvalidError, QueueFull, SharedNotFound
from squall.model.ids import LANE, QUEUE, LaneId, SharedId
from squall.model.shared import Bounds, SharedKind
from squall.server.askers import Asker, For, Place, Standing
from squall.server.ephemerals import GRACE_S
from squall.server.sharing import Sharing
from squall.server.sharing_streams import QUESTIONS, answer
from squall.state.memory_state import MemoryState
from squall.state.sharing.records import PutItems, SharedRecord, TakeItems, Turn
from squall.wire.codec import Frame, Kind
from squall.wire.memory_channel import pair
from squall.wire.session import Session
from squall.wire.stream import Stream
from tests.unit.server.stage import until

OF = SharedId("qu-" + "0" * 32)


class Scene:
    """A server's Dicts and Queues with one Queue, and clients; what it would do later is done when the test says so."""

    def __init__(self) -> None:
        self.state = MemoryState()
        self.later: list[tuple[float, Callable[[], object]]] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.sharing = Sharing(self.state, later=self.do_later, spawn=self.spawn)

    def do_later(self, delay_s: float, callback: Callable[..., object], *args: Any) -> None:
        self.later.append((delay_s, lambda: callback(*args)))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def client(self) -> Session:
        """A client, over a connection of its own."""
        ours, its = pair()
        Session(ours, dialer=False, on_open=self._on_open)
        return Session(its, dialer=True)

    def _on_open(self, stream: Stream, head: dict[str, Any], frame: Frame) -> None:
        async def guarded() -> None:
            try:
                await answer(self.sharing, Asker(stream), head, bytes(frame.payload))
            except Error as wrong:
                stream.fail(wrong)

        self.spawn(guarded())

    async def waiting(self, count: int, what: For = For.ITEMS) -> None:
        """Returns once so many wait."""
        await until(lambda: self.sharing.waiting(OF, what) == count)


def play(work: Callable[[Scene], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(20):
            scene = Scene()
            record = SharedRecord(id=OF, kind=SharedKind.QUEUE, name="work", created_s=1.0)
            await scene.state.open_shared(record, most=10)
            await work(scene)

    asyncio.run(run())


def turn() -> dict[str, Any]:
    return {"lane": fresh_id(LANE), "no": 1}


async def put(client: Session, *values: bytes, of: str = OF) -> None:
    head = {"of": of, **turn(), "ttl": 60, "V": list(map(len, values)), "wait": 0}
    await client.ask("queue.put", head, b"".join(values))


def take(client: Session, wait: float | None = None, **more: Any) -> asyncio.Task[bytes]:
    """What a get of one item gives."""

    async def taken() -> bytes:
        head = {"of": OF, **turn(), "most": 1, "wait": wait, **more}
        return bytes((await client.ask("queue.get", head)).payload)

    return asyncio.ensure_future(taken())


def test_those_who_wait_get_items_in_the_order_in_which_they_came() -> None:
    async def work(scene: Scene) -> None:
        client, takers = scene.client(), []
        for count in range(1, 4):
            takers.append(take(client))
            await scene.waiting(count)
        await put(client, b"1", b"2", b"3")
        assert await asyncio.gather(*takers) == [b"1", b"2", b"3"]
        assert scene.sharing.waiting(OF, For.ITEMS) == 0

    play(work)


def test_one_that_was_woken_and_has_gone_leaves_the_item_to_the_next() -> None:
    async def work(scene: Scene) -> None:
        gone, stays = scene.client(), scene.client()
        first = take(gone)
        await scene.waiting(1)
        second = take(stays)
        await scene.waiting(2)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await put(stays, b"1")
        assert await second == b"1"

    play(work)


def test_a_client_whose_connection_is_lost_takes_nothing() -> None:
    async def work(scene: Scene) -> None:
        gone, stays = scene.client(), scene.client()
        first = take(gone)
        await scene.waiting(1)
        gone.close()
        with pytest.raises(ConnectionLost):
            await first
        await scene.waiting(0)
        await put(stays, b"1")
        assert await take(stays, 0) == b"1"

    play(work)


def test_a_get_ends_with_nothing_when_its_time_is_over() -> None:
    async def work(scene: Scene) -> None:
        assert await take(scene.client(), 0.01) == b""

    play(work)


def test_who_waits_at_a_queue_that_is_deleted_is_told() -> None:
    async def work(scene: Scene) -> None:
        client = scene.client()
        waiting = take(client)
        await scene.waiting(1)
        await client.ask("shared.delete", {"kind": "queue", "name": "work"})
        with pytest.raises(SharedNotFound):
            await waiting
        with pytest.raises(SharedNotFound):
            await put(client, b"1")

    play(work)


def test_a_put_waits_until_room_is_made_by_a_get_by_clearing_or_by_time() -> None:
    async def work(scene: Scene) -> None:
        client = scene.client()
        asker = Asker(client.open("echo", {}, on_frame=lambda _: None))

        def putting(wait_s: float | None, ttl_s: float = 60.0) -> asyncio.Task[Any]:
            change = PutItems(
                of=OF,
                turn=Turn(lane=LaneId(fresh_id(LANE)), number=1, at_s=0.0),
                values=(b"x",),
                bounds=Bounds(entries=2),
                ttl_s=ttl_s,
            )
            return asyncio.ensure_future(scene.sharing.put(change, asker, wait_s))

        assert [(await putting(0)).count for _ in range(2)] == [1, 1]
        with pytest.raises(QueueFull, match="the Queue holds 2, and may hold 2"):
            await putting(0)
        waiting = putting(None)
        await scene.waiting(1, For.ROOM)
        assert await take(client, 0) == b"x"
        assert (await waiting).count == 1
        waiting = putting(None)
        await scene.waiting(1, For.ROOM)
        await client.ask("shared.clear", {"of": OF, **turn(), "all": True})
        assert (await waiting).count == 1
        # The partition ends by itself, and nobody rings.
        await putting(0, 0.05)
        assert (await putting(None)).count == 1

    play(work)


async def open_ephemeral(client: Session, of: str) -> Stream:
    opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_frame(frame: Frame) -> None:
        if frame.kind is Kind.DATA and not opened.done():
            opened.set_result(None)

    stream = client.open("shared.ephemeral", {"kind": "queue", "id": of}, on_frame=on_frame)
    await opened
    return stream


async def is_there(scene: Scene, of: str) -> bool:
    return await scene.state.shared_size(SharedId(of), None, now_s=0.0) is not None


def test_an_ephemeral_one_ends_when_its_client_says_so_and_a_while_after_it_was_lost() -> None:
    async def work(scene: Scene) -> None:
        first, second = fresh_id(QUEUE), fresh_id(QUEUE)
        client, other = scene.client(), scene.client()
        stream = await open_ephemeral(client, first)
        await put(other, b"1", of=first)
        stream.end()
        await until(lambda: not stream.live)
        assert not await is_there(scene, first)
        await open_ephemeral(client, second)
        client.close()
        await until(lambda: bool(scene.later))
        ((delay_s, end),) = scene.later
        assert (delay_s, await is_there(scene, second)) == (GRACE_S, True)
        again = await open_ephemeral(other, second)
        end()
        while scene.tasks:
            await asyncio.sleep(0)
        assert await is_there(scene, second), "its client has come back"
        other.close()
        await until(lambda: len(scene.later) == 2)
        scene.later[1][1]()
        while scene.tasks or again.live:
            await asyncio.sleep(0)
        assert not await is_there(scene, second)

    play(work)


GOOD: dict[str, dict[str, Any]] = {
    "shared.find": {"kind": "dict", "name": "n"},
    "shared.list": {"kind": "dict"},
    "shared.delete": {"kind": "queue", "name": "work"},
    "shared.ephemeral": {"kind": "dict", "id": "di-" + "1" * 32},
    "shared.clear": {"of": OF, "lane": "la-" + "1" * 32, "no": 1},
    "shared.len": {"of": OF},
    "dict.get": {"of": "di-" + "0" * 32},
    "dict.put": {"of": "di-" + "0" * 32, "lane": "la-" + "1" * 32, "no": 1, "K": [1], "V": [1]},
    "dict.pop": {"of": "di-" + "0" * 32, "lane": "la-" + "1" * 32, "no": 1},
    "dict.entries": {"of": "di-" + "0" * 32},
    "queue.put": {"of": OF, "lane": "la-" + "1" * 32, "no": 1, "V": [2], "ttl": 60},
    "queue.get": {"of": OF, "lane": "la-" + "1" * 32, "no": 1},
    "queue.back": {"of": OF, "lane": "la-" + "1" * 32, "no": 1},
    "queue.items": {"of": OF, "after": 0},
}
WRONG: list[Any] = [None, -1, 2**70, 1.5, "x", "", [], [None], [-1], {"a": 1}, True, "x" * 5000]


@pytest.mark.parametrize("name", sorted(QUESTIONS))
def test_a_message_that_is_not_as_it_should_be_is_refused_by_name_and_changes_nothing(name: str) -> None:
    async def work(scene: Scene) -> None:
        client = scene.client()
        await put(client, b"kept")
        for key in GOOD[name]:
            for wrong in [one for one in WRONG if (key, one) != ("ttl", 1.5)]:
                head = {**GOOD[name], "wait": 0, key: wrong}
                with pytest.raises(Error) as told:
                    await client.ask(name, head, b"ab")
                assert told.value.code in {"SQ-1010", "SQ-1930", "SQ-1931"}, (key, wrong)
            left = {one: value for one, value in GOOD[name].items() if one != key}
            if key != "after":
                with pytest.raises((InvalidError, SharedNotFound)):
                    await client.ask(name, left, b"ab")
        assert await scene.state.shared_size(OF, None, now_s=0.0) == 1
        assert await scene.state.shared_objects(SharedKind.DICT, now_s=0.0) == ()

    play(work)


def test_every_message_is_tried() -> None:
    assert GOOD.keys() == QUESTIONS.keys()


def test_one_that_leaves_without_having_looked_wakes_the_next() -> None:
    async def work(scene: Scene) -> None:
        standing, place = Standing(), Place(For.ITEMS, OF, "")
        first, second = (Asker(scene.client().open("echo", {}, on_frame=lambda _: None)) for _ in range(2))
        leaves, stays = standing.at(place, first), standing.at(place, second)
        leaves.__enter__()
        with stays:
            standing.ring(place, 1)
            assert (first.rung, second.rung) == (True, False)
            leaves.__exit__(None, None, None)
            assert second.rung
        assert standing.count(OF, For.ITEMS) == 0

    play(work)


def test_one_that_has_gone_before_it_could_look_takes_nothing() -> None:
    async def work(scene: Scene) -> None:
        client = scene.client()
        await put(client, b"1")
        stream = client.open("echo", {}, on_frame=lambda _: None)
        asker = Asker(stream)
        asker.hear(Frame(Kind.CANCEL, stream.id))
        turn_ = Turn(lane=LaneId(fresh_id(LANE)), number=1, at_s=0.0)
        change = TakeItems(of=OF, turn=turn_, most=1, most_bytes=9)
        assert (await scene.sharing.take(change, asker, None)).values == ()
        assert await take(client, 0) == b"1"

    play(work)
