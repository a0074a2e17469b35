"""Dicts and Queues between this program and containers, and between containers: what each verb promises."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import squall
from squall.model.errors import (
    DeserializationError,
    DictKeyInvalid,
    InvalidError,
    QueueEmpty,
    QueueFull,
    SharedNameInvalid,
    SharedNotFound,
    SharedValueTooLarge,
)
from squall.model.shared import MOST_AT_ONCE, MOST_OF_QUEUE
from tests.end_to_end.conftest import House, eventually

pytestmark = [pytest.mark.needs("linux"), pytest.mark.timeout(120)]

app = squall.App("sharing")


@app.function(serialized=True, max_containers=1)
def pass_on(work: squall.Queue, results: squall.Dict) -> int:
    """Takes numbers until None comes, and puts their squares."""
    count = 0
    while (number := work.get(timeout=30)) is not None:
        results[number] = number * number
        count += 1
    return count


@app.function(serialized=True, max_containers=1)
def feed(work: squall.Queue, numbers: int) -> None:
    work.put_many(range(numbers))
    work.put(None)


@app.function(serialized=True, max_containers=4)
def claim(names: squall.Dict, who: int) -> bool:
    won: bool = names.put("leader", who, skip_if_exists=True)
    return won


@app.function(serialized=True, max_containers=4)
def take_all(name: str) -> list[int]:
    found = []
    while (item := squall.Queue.from_name(name).get(block=False)) is not None:
        found.append(item)
    return found


@app.function(serialized=True, max_containers=1)
async def awaited(scores: squall.Dict) -> list[Any]:
    await scores.put.aio("inside", [1, 2])
    async with squall.Queue.ephemeral() as inner:
        await inner.put_many.aio("ab")
        return [await scores.get.aio("inside"), await inner.get.aio(), await inner.len.aio()]


@pytest.fixture(scope="module")
def running(at_home: House) -> Iterator[House]:
    with app.run():
        yield at_home


@pytest.fixture
def scores(at_home: House) -> Iterator[squall.Dict]:
    assert at_home
    with squall.Dict.ephemeral() as scores:
        yield scores


@pytest.fixture
def work(at_home: House) -> Iterator[squall.Queue]:
    assert at_home
    yield squall.Queue.objects.create("work")
    squall.Queue.objects.delete("work")


def test_containers_pass_values_on_to_each_other_and_to_this_program(
    running: House, scores: squall.Dict, work: squall.Queue
) -> None:
    assert running
    passing = pass_on.spawn(work, scores)
    feed.remote(work, 200)
    assert passing.get(timeout=60) == 200
    assert dict(scores.items()) == {number: number * number for number in range(200)}
    assert work.len() == 0


def test_of_several_containers_one_claims_a_key_and_each_item_goes_to_one(
    running: House, scores: squall.Dict
) -> None:
    assert running
    won = list(claim.starmap([(scores, who) for who in range(8)]))
    assert sum(won) == 1
    assert scores["leader"] == won.index(True)
    numbers = squall.Queue.from_name("shared-out", create_if_missing=True)
    numbers.put_many(range(400))
    taken = list(take_all.map(["shared-out"] * 4))
    assert sorted(number for some in taken for number in some) == list(range(400))
    assert all(some == sorted(some) for some in taken)
    squall.Queue.objects.delete("shared-out")


def test_a_container_may_await_them_and_have_ones_of_its_own(running: House, scores: squall.Dict) -> None:
    assert running
    assert awaited.remote(scores) == [[1, 2], "a", 1]
    assert scores["inside"] == [1, 2]


def test_a_dict_is_used_like_a_dict(scores: squall.Dict) -> None:
    scores["a"], scores[("user", 17)], scores[1.0] = 1, {"name": "Ada"}, None
    assert (scores["a"], scores["user", 17], scores[1]) == (1, {"name": "Ada"}, None)
    assert ("a" in scores, "b" in scores, scores.contains(True), len(scores)) == (True, False, True, 3)
    assert scores.get("b") is None
    assert scores.get("b", 5) == 5
    assert (scores.put("a", 2, skip_if_exists=True), scores["a"]) == (False, 1)
    assert (scores.put("a", 2), scores["a"]) == (True, 2)
    assert (scores.pop("a"), scores.pop("a", 9)) == (2, 9)
    with pytest.raises(KeyError, match="'a'"):
        scores.pop("a")
    with pytest.raises(KeyError, match="'a'"):
        scores["a"]
    del scores[1]
    with pytest.raises(KeyError):
        del scores[1]
    scores.update({"b": 1, 2: 3}, c=4)
    assert {key: scores[key] for key in scores} == {"b": 1, 2: 3, "c": 4, ("user", 17): {"name": "Ada"}}
    assert len(list(scores.values())) == 4
    scores.clear()
    assert list(scores.items()) == []


def test_many_entries_and_large_values_come_back_in_pages(scores: squall.Dict) -> None:
    scores.update({number: bytes(400_000) for number in range(20)})
    scores.update((number, number) for number in range(20, 20 + 2 * MOST_AT_ONCE + 1))
    assert len(scores) == 20 + 2 * MOST_AT_ONCE + 1
    assert sorted(scores.keys()) == list(range(20 + 2 * MOST_AT_ONCE + 1))
    assert sum(value == bytes(400_000) for value in scores.values()) == 20


def test_items_of_each_partition_come_in_their_order(work: squall.Queue) -> None:
    work.put_many(range(3))
    work.put("p1", partition="p")
    assert (work.len(), work.len(partition="p"), work.len(total=True)) == (3, 1, 4)
    assert list(work.iterate()) == [0, 1, 2]
    assert (work.get(), work.get_many(5), work.get(block=False)) == (0, [1, 2], None)
    assert work.get(partition="p") == "p1"
    work.put_many(["a", "b"], partition="p")
    work.put("main")
    work.clear()
    assert (work.len(), work.len(partition="p")) == (0, 2)
    work.clear(all=True)
    assert work.len(total=True) == 0
    assert work.get_many(3, block=False, partition="p") == []


def test_a_get_waits_for_its_item_and_no_longer_than_it_may(work: squall.Queue) -> None:
    with pytest.raises(queue.Empty) as told:
        work.get(timeout=0.05)
    assert isinstance(told.value, QueueEmpty)
    assert "within 0.05 s" in str(told.value)
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.append(work.get(timeout=30, partition="p")))
    waiting.start()
    eventually(lambda: listed(work).waiting_gets == 1)
    work.put("here", partition="other")
    work.put("late", partition="p")
    waiting.join(30)
    assert got == ["late"]


def test_an_iteration_sees_what_comes_while_it_waits(work: squall.Queue) -> None:
    work.put(0)
    seen = work.iterate(item_poll_timeout=30)
    assert next(seen) == 0
    threading.Timer(0.1, work.put, [1]).start()
    assert next(seen) == 1
    assert list(work.iterate(item_poll_timeout=0.05)) == [0, 1]


def test_a_get_that_is_given_up_takes_no_item(work: squall.Queue) -> None:
    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await work.get.aio()

    asyncio.run(give_up())
    work.put("stays")
    assert work.get(timeout=5) == "stays"


class NotHere:
    """Something that cannot be made again."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("1 / 0",)


def test_an_item_that_cannot_be_rebuilt_stays(work: squall.Queue) -> None:
    work.put(NotHere())
    work.put("next")
    with pytest.raises(DeserializationError):
        work.get()
    eventually(lambda: work.len() == 2)
    work.clear()


def test_a_partition_ends_with_all_its_items(work: squall.Queue) -> None:
    work.put("soon gone", partition_ttl=1)
    work.put("stays", partition="p")
    eventually(lambda: work.len() == 0, within_s=5)
    assert work.len(total=True) == 1


def test_a_put_waits_for_room_and_says_so(work: squall.Queue, capsys: pytest.CaptureFixture[str]) -> None:
    work.put_many([None] * MOST_OF_QUEUE.entries)
    with pytest.raises(queue.Full, match="holds 100,000, and may hold 100,000") as told:
        work.put("more", timeout=0.05)
    assert isinstance(told.value, QueueFull)
    assert told.value.put == 0
    with pytest.raises(QueueFull):
        work.put("more", block=False)
    waiting = threading.Thread(target=work.put, args=("at last",))
    waiting.start()
    said = eventually(lambda: capsys.readouterr().err)
    assert "note: a put into Queue(" in said
    assert "waits for room: the Queue holds 100,000, and may hold 100,000" in said
    assert (listed(work).waiting_puts, listed(work).waiting_gets) == (1, 0)
    work.put("another partition has room", partition="p")
    assert work.get() is None
    waiting.join(30)
    assert work.len() == MOST_OF_QUEUE.entries


def listed(work: squall.Queue) -> Any:
    (found,) = [one for one in squall.Queue.objects.list() if one.name == work.name]
    return found


def test_an_ephemeral_one_ends_with_its_block(at_home: House) -> None:
    assert at_home
    with squall.Dict.ephemeral() as scores:
        scores["a"] = 1
    with pytest.raises(SharedNotFound):
        scores.get("a")
    with pytest.raises(SharedNotFound):
        len(scores)


def test_names_are_found_made_listed_and_deleted(at_home: House) -> None:
    assert at_home
    with pytest.raises(SharedNotFound, match="no Dict 'named'"):
        squall.Dict.from_name("named").get("a")
    squall.Dict.from_name("named", create_if_missing=True)["a"] = 1
    assert squall.Dict.from_name("named")["a"] == 1
    (found,) = [one for one in squall.Dict.objects.list() if one.name == "named"]
    assert (found.entries, found.size_bytes > 0) == (1, True)
    with pytest.raises(SharedNotFound):
        squall.Queue.from_name("named").len()
    squall.Dict.objects.create("named")
    assert squall.Dict.from_name("named").len() == 1
    squall.Dict.objects.delete("named")
    squall.Dict.objects.delete("named", allow_missing=True)
    with pytest.raises(SharedNotFound):
        squall.Dict.objects.delete("named")


@pytest.mark.parametrize("name", ["", "a b", "../x", "-a", "x" * 65, 5, None])
def test_a_wrong_name_is_told_at_once(name: Any) -> None:
    with pytest.raises(SharedNameInvalid):
        squall.Dict.from_name(name)


def test_wrong_use_is_an_error_with_a_name(scores: squall.Dict, work: squall.Queue) -> None:
    with pytest.raises(DictKeyInvalid):
        scores.put([1], 2)
    with pytest.raises(SharedValueTooLarge):
        scores.put("large", bytes(3_000_000))
    with pytest.raises(InvalidError, match="'soon'"):
        work.get(timeout="soon")  # type: ignore[arg-type]  # what a caller may write all the same
    for wrong in (float("nan"), float("inf"), True):
        with pytest.raises(InvalidError, match="timeout="):
            work.put(1, timeout=wrong)
    for ttl in (0.5, 8 * 86_400):
        with pytest.raises(InvalidError, match="a partition is kept from 1 to 604800 s"):
            work.put(1, partition_ttl=ttl)
    with pytest.raises(InvalidError):
        work.get_many(0)
    with pytest.raises(SharedNameInvalid):
        work.put(1, partition="a b")
    assert (len(scores), work.len(total=True)) == (0, 0)
