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
    return tuple(function.asks.with_gpus(gpus) for gpus in of_types_there(function.gpu, nodes))


def of_types_there(gpu: tuple[Gpus, ...], nodes: tuple[Node, ...]) -> tuple[Gpus, ...]:
    """What `gpu=` comes to with the types of these nodes, in the order in which it is tried, however many of each there are."""
    types = sorted({part.type for node in nodes for part in node.gpus}, key=rank_of)
    return tuple(
        dict.fromkeys(
            Gpus(type=kind, count=wish.count) for wish in gpu for kind in types if covers(wish.type, kind)
        )
    )


def wishes(function: Function, nodes: tuple[Node, ...]) -> tuple[Wish, ...]:
    """The same for the planner, at least one: where no machine has such a type, a wish that none can hold."""
    found = choices(function, nodes) or (function.asks.with_gpus(function.gpu[0]),)
    return tuple(
        Wish(asks=asks, gpu_type=asks.gpu_types[0].type if asks.gpu_types else None) for asks in found
    )


def why_none(gpu: tuple[Gpus, ...], nodes: tuple[Node, ...], free: Resources) -> str:
    """Why a function or a step of a build waits that asks for these GPUs, in words; empty where it asks for none.

    free: what all nodes together have left.
    """
    if not gpu:
        return ""
    types = {part.type: 0 for node in nodes for part in node.gpus}
    for node in nodes:
        for part in node.gpus:
            types[part.type] += part.count
    out = [device for node in nodes for device in node.gpus_out]
    wanted = [kind for kind in sorted(types, key=rank_of) if any(covers(wish.type, kind) for wish in gpu)]
    has = ", ".join(f"{free.gpus_of(kind)} of {types[kind]} {kind} free" for kind in wanted)
    words = f"waits for a GPU ({in_words(gpu)}): {has or 'no machine has one'}"
    return "; ".join([words, *(f"{device.type} {device.id} is held back: {device.why}" for device in out)])
