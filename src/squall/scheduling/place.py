"""Place: which node holds a container."""

from __future__ import annotations

from squall.model.ids import NodeId
from squall.model.resources import Resources


def place(asks: Resources, free: dict[NodeId, Resources]) -> NodeId | None:
    """The fullest node that still holds `asks` (best fit keeps large room whole); None when none does."""
    fitting = [
        (amount.gpus, amount.cpu_milli, amount.memory_mib, node)
        for node, amount in free.items()
        if asks.fits_in(amount)
    ]
    return min(fitting)[3] if fitting else None
