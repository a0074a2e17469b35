"""Share: how much of all machines a function holds, so that functions can be compared that ask for unlike things."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from squall.model.node import Node
from squall.model.resources import Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class Machines:
    """What all nodes have together."""

    cpu_milli: int = 0
    memory_mib: int = 0
    gpus: int = 0


def all_of(nodes: Iterable[Node]) -> Machines:
    """What these nodes have together."""
    amounts = [node.capacity for node in nodes]
    return Machines(
        cpu_milli=sum(amount.cpu_milli for amount in amounts),
        memory_mib=sum(amount.memory_mib for amount in amounts),
        gpus=sum(amount.gpus for amount in amounts),
    )


def share_of(asks: Resources, machines: Machines, *, weight: float = 1.0) -> float:
    """The largest part that `asks` is of any kind of resource, divided by the weight: above 0 for whatever is asked.

    What no machine has is passed over: it is in nobody's way.
    """
    parts = (
        asks.cpu_milli / machines.cpu_milli if machines.cpu_milli else 0.0,
        asks.memory_mib / machines.memory_mib if machines.memory_mib else 0.0,
        asks.gpus / machines.gpus if machines.gpus else 0.0,
    )
    return max(1e-9, *parts) / max(1e-9, weight)
