"""Sharing streams: what may be asked of Dicts and Queues, by clients and by code inside containers."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final

from squall.model.errors import InvalidError, SharedValueTooLarge
from squall.model.ids import LANE, LaneId, SharedId, is_id
from squall.model.shared import (
    LONGEST_TTL_S,
    MAIN,
    MOST_AT_ONCE,
    MOST_BYTES_AT_ONCE,
    MOST_KEY_BYTES,
    MOST_OF_DICT,
    MOST_OF_QUEUE,
    MOST_VALUE_BYTES,
    SHORTEST_TTL_S,
    SharedKind,
    check_partition,
)
from squall.server.askers import Asker, For
from squall.server.sharing import Sharing
from squall.state.sharing.records import (
    Clear,
    GiveBack,
    Page,
    PopEntry,
    PutEntries,
    PutItems,
    SharedSize,
    TakeItems,
    Turn,
)

Head = dict[str, Any]
Ask = Callable[[Sharing, Asker, Head, bytes], Coroutine[Any, Any, None]]

_LARGEST: Final = 2**53
"""Beyond it, not every reader of JSON keeps a number as it is."""

LONGEST_WAIT_S: Final = 10 * 365 * 86_400.0


async def answer(sharing: Sharing, asker: Asker, head: Head, payload: bytes) -> None:
    """Answers one of QUESTIONS. Raises InvalidError for one that is not as it should be."""
    try:
        await QUESTIONS[str(head["t"])](sharing, asker, head, payload)
    except (KeyError, TypeError, ValueError) as wrong:
        raise InvalidError(f"the message {head['t']!r} is not as it should be: {wrong!r}") from wrong


async def find(sharing: Sharing, asker: Asker, head: Head, _payload: bytes) -> None:
    """The id of an object; with `create` it is made where it is not there."""
    create = bool(head.get("create"))
    found = await sharing.find(SharedKind(head["kind"]), head["name"], _environment(head), create=create)
    _end(asker, {"id": found.id})


async def rows(sharing: Sharing, asker: Asker, head: Head, _payload: bytes) -> None:
    """Every object of a kind that has a name in an environment, and how much each holds."""
    found = [
        one
        for one in await sharing.objects(SharedKind(head["kind"]))
        if one.shared.name and one.shared.environment == _environment(head)
    ]
    _end(asker, {}, json.dumps([_row(sharing, one) for one in found]).encode())


async def delete(sharing: Sharing, asker: Asker, head: Head, _payload: bytes) -> None:
    """An object goes, with all that it holds."""
    gone = await sharing.delete(SharedKind(head["kind"]), head["name"], _environment(head))
    _end(asker, {"id": gone.id})


async def ephemeral(sharing: Sharing, asker: Asker, head: Head, _payload: bytes) -> None:
    """An object lives for as long as this stream."""
    await sharing.hold(asker, SharedKind(head["kind"]), SharedId(str(head["id"])))


async def clear(sharing: Sharing, asker: Asker, head: Head, _payload: bytes) -> None:
    """What a Dict, a partition or a whole Queue ("all") holds goes."""
    of = _of(head, *SharedKind)
    partition = None if head.get("all") else check_partition(head.get("p"))
    answer = await sharing.clear(Clear(of=of, turn=_turn(head), partition=partition))
    _end(asker, {"count": answer.count})


async def size(sharing: Sharing, asker: Asker, head: Head, _payload: bytes) -> None:
    """How many entries or items there are; with `all`, in every partition."""
    partition = None if head.get("all") else check_partition(head.get("p"))
    _end(asker, {"len": await sharing.size(_of(head, *SharedKind), partition)})


async def dict_get(sharing: Sharing, asker: Asker, head: Head, payload: bytes) -> None:
    """The value of a key, and whether it is there; of `look` only the latter."""
    found = await sharing.entry(_of(head, SharedKind.DICT), payload)
    value = b"" if found is None or head.get("look") else found[0]
    _end(asker, {"found": found is not None}, value)


async def dict_put(sharing: Sharing, asker: Asker, head: Head, payload: bytes) -> None:
    """Entries: all keys, then all values."""
    parts = _cut(payload, [*head["K"], *head["V"]])
    keys, values = parts[: len(head["K"])], parts[len(head["K"]) :]
    for key in keys:
        if not 0 < len(key) <= MOST_KEY_BYTES:
            raise InvalidError(f"a key has from 1 to {MOST_KEY_BYTES} bytes, and not {len(key)}")
    _check_values(values)
    change = PutEntries(
        of=_of(head, SharedKind.DICT),
        turn=_turn(head),
        entries=list(zip(keys, values, strict=True)),
        bounds=MOST_OF_DICT,
        only_new=bool(head.get("new")),
    )
    _end(asker, {"new": (await sharing.change(change)).count})


async def dict_pop(sharing: Sharing, asker: Asker, head: Head, payload: bytes) -> None:
    """A key goes; its value, and whether it was there."""
    change = PopEntry(of=_of(head, SharedKind.DICT), turn=_turn(head), key=payload)
    answer = await sharing.change(change)
    _end(asker, {"found": bool(answer.values)}, *answer.values)


async def dict_entries(sharing: Sharing, asker: Asker, head: Head, payload: bytes) -> None:
    """Entries behind a key, or with `look` their keys alone; none behind the last."""
    of = _of(head, SharedKind.DICT)
    page = replace(_page(head), only_keys=bool(head.get("look")))
    found = await sharing.entries(of, payload, page)
    keys, values = [key for key, _ in found], [value for _, value in found]
    _end(asker, {"K": _lengths(keys), "V": _lengths(values)}, b"".join(keys + values))


async def queue_put(sharing: Sharing, asker: Asker, head: Head, payload: bytes) -> None:
    """Items, behind those that are in the partition."""
    values = _cut(payload, head["V"])
    _check_values(values)
    ttl_s = head["ttl"]
    if type(ttl_s) not in {int, float}:
        raise InvalidError(f"{ttl_s!r:.90} is no time in seconds")
    if not SHORTEST_TTL_S <= ttl_s <= LONGEST_TTL_S:
        raise InvalidError(
            f"a partition is kept from {SHORTEST_TTL_S:g} to {LONGEST_TTL_S:g} s, not {ttl_s:g} s"
        )
    change = PutItems(
        of=_of(head, SharedKind.QUEUE),
        turn=_turn(head),
        values=values,
        bounds=MOST_OF_QUEUE,
        partition=check_partition(head.get("p")),
        ttl_s=ttl_s,
    )
    answer = await sharing.put(change, asker, _wait_s(head))
    _end(asker, {"count": answer.count})


async def queue_get(sharing: Sharing, asker: Asker, head: Head, _payload: bytes) -> None:
    """Items from the beginning of a partition, which are taken."""
    page = _page(head)
    change = TakeItems(
        of=_of(head, SharedKind.QUEUE),
        turn=_turn(head),
        most=page.most,
        most_bytes=page.most_bytes,
        partition=check_partition(head.get("p")),
    )
    answer = await sharing.take(change, asker, _wait_s(head))
    _end(asker, {"V": _lengths(answer.values)}, b"".join(answer.values))


async def queue_back(sharing: Sharing, asker: Asker, head: Head, _payload: bytes) -> None:
    """Items that were taken and reached nobody go back to where they were."""
    change = GiveBack(of=_of(head, SharedKind.QUEUE), turn=_turn(head))
    answer = await sharing.give_back(change, check_partition(head.get("p")))
    _end(asker, {"count": answer.count})


async def queue_items(sharing: Sharing, asker: Asker, head: Head, _payload: bytes) -> None:
    """Items behind a place, which stay where they are."""
    after = head.get("after", 0)
    if type(after) is not int or not 0 <= after < _LARGEST:
        raise InvalidError(f"{after!r} is no place in a partition")
    found = await sharing.items(
        _of(head, SharedKind.QUEUE),
        check_partition(head.get("p")),
        after,
        _page(head),
        (asker, _wait_s(head)),
    )
    values = [item.value for item in found]
    _end(asker, {"N": [item.no for item in found], "V": _lengths(values)}, b"".join(values))


def _environment(head: Head) -> str:
    """Where names are looked up; whoever passes a message on here has seen that it is there."""
    return str(head.get("environment") or MAIN)


def _end(asker: Asker, head: Head, *payload: bytes) -> None:
    """Answers who still wants to know."""
    if asker.stream.live:
        asker.stream.end(head, *payload)


def _row(sharing: Sharing, one: SharedSize) -> Head:
    return {
        "name": one.shared.name,
        "id": one.shared.id,
        "environment": one.shared.environment,
        "created_s": one.shared.created_s,
        "len": one.entries,
        "bytes": one.size_bytes,
        "partitions": one.partitions,
        "waiting": {str(what.value): sharing.waiting(one.shared.id, what) for what in (For.ROOM, For.ITEMS)},
    }


def _of(head: Head, *kinds: SharedKind) -> SharedId:
    of = str(head["of"])
    if not any(is_id(of, kind.prefix) for kind in kinds):
        raise InvalidError(f"{of!r:.90} is no id of a {' or a '.join(kind.word for kind in kinds)}")
    return SharedId(of)


def _turn(head: Head) -> Turn:
    lane, number = str(head["lane"]), head["no"]
    if not is_id(lane, LANE) or type(number) is not int or not 0 < number < _LARGEST:
        raise InvalidError(f"{lane!r:.90} and {number!r:.90} say no turn of a lane")
    return Turn(lane=LaneId(lane), number=number, at_s=0.0)


def _wait_s(head: Head) -> float | None:
    wait_s = head.get("wait")
    return None if wait_s is None else min(max(0.0, float(wait_s)), LONGEST_WAIT_S)


def _page(head: Head) -> Page:
    most = head.get("most", MOST_AT_ONCE)
    if type(most) is not int or not 1 <= most <= MOST_AT_ONCE:
        raise InvalidError(f"from 1 to {MOST_AT_ONCE} are given at once, and not {most!r}")
    return Page(most=most, most_bytes=MOST_BYTES_AT_ONCE)


def _check_values(values: Sequence[bytes]) -> None:
    if not 1 <= len(values) <= MOST_AT_ONCE:
        raise InvalidError(f"from 1 to {MOST_AT_ONCE} values are put at once, and not {len(values)}")
    largest = max(map(len, values))
    if largest > MOST_VALUE_BYTES:
        raise SharedValueTooLarge(
            f"a value of {largest} bytes, and at most {MOST_VALUE_BYTES} may be",
            size_bytes=largest,
            limit_bytes=MOST_VALUE_BYTES,
        )


def _lengths(parts: Sequence[bytes]) -> list[int]:
    return list(map(len, parts))


def _cut(payload: bytes, lengths: Sequence[Any]) -> list[bytes]:
    if any(type(length) is not int or length < 0 for length in lengths) or sum(lengths) != len(payload):
        raise InvalidError(f"lengths that do not add up to the {len(payload)} bytes that came")
    ends = [0]
    for length in lengths:
        ends.append(ends[-1] + length)
    return [payload[start:stop] for start, stop in pairwise(ends)]


BY_NAME: Final = frozenset({"shared.find", "shared.list", "shared.delete"})
"""Messages that say names, which are looked up in an environment."""

QUESTIONS: Final[dict[str, Ask]] = {
    "shared.find": find,
    "shared.list": rows,
    "shared.delete": delete,
    "shared.ephemeral": ephemeral,
    "shared.clear": clear,
    "shared.len": size,
    "dict.get": dict_get,
    "dict.put": dict_put,
    "dict.pop": dict_pop,
    "dict.entries": dict_entries,
    "queue.put": queue_put,
    "queue.get": queue_get,
    "queue.back": queue_back,
    "queue.items": queue_items,
}
