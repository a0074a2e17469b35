"""GPU choice: what a function may be given of the types that there are, the first choice first."""

from __future__ import annotations

from squall.model.function import Function
from squall.model.gpu import Gpus, covers, in_words, rank_of
from squall.model.node import Node
from squall.model.resources import Resources
from squall.scheduling.place import Wish


def choices(function: Function, nodes: tuple[Node, ...]) -> tuple[Resources, ...]:
    """What a container of `function` may take, in the order in which it is tried; one of them, or none where nothing fits.

    Devices of one container are of one type, since work that is spread over unlike ones waits for the slowest. Of the
    types that one wish covers, the least comes first.
    """
    if not function.gpu:
        return (function.asks,)
    types = sorted({part.type for node in nodes for part in node.gpus}, key=rank_of)
    found: dict[Gpus, None] = {}
    for wish in function.gpu:
        for kind in types:
            if covers(wish.type, kind):
                found[Gpus(type=kind, count=wish.count)] = None
    return tuple(function.asks.with_gpus(gpus) for gpus in found)


def wishes(function: Function, nodes: tuple[Node, ...]) -> tuple[Wish, ...]:
    """The same for the planner, at least one: where no machine has such a type, a wish that none can hold."""
    found = choices(function, nodes) or (function.asks.with_gpus(function.gpu[0]),)
    return tuple(
        Wish(asks=asks, gpu_type=asks.gpu_types[0].type if asks.gpu_types else None) for asks in found
    )


def why_none(function: Function, nodes: tuple[Node, ...], free: Resources) -> str:
    """Why a function that asks for GPUs waits, in words; empty for one that asks for none.

    free: what all nodes together have left.
    """
    if not function.gpu:
        return ""
    types = {part.type: 0 for node in nodes for part in node.gpus}
    for node in nodes:
        for part in node.gpus:
            types[part.type] += part.count
    out = [device for node in nodes for device in node.gpus_out]
    wanted = [
        kind for kind in sorted(types, key=rank_of) if any(covers(wish.type, kind) for wish in function.gpu)
    ]
    has = ", ".join(f"{free.gpus_of(kind)} of {types[kind]} {kind} free" for kind in wanted)
    words = f"waits for a GPU ({in_words(function.gpu)}): {has or 'no machine has one'}"
    return "; ".join([words, *(f"{device.type} {device.id} is held back: {device.why}" for device in out)])
