"""Memory nodes: machines that are only said to be there, for tests and simulation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from squall.model.container import WantedContainer
from squall.model.ids import NodeId
from squall.model.jsonable import from_json
from squall.model.node import Node
from squall.server.nodes import NOTHING_SPECIAL, Event, Unwanted


@dataclass(frozen=True, slots=True)
class Told:
    """What a node was told last: its whole wanted set, and what of the rest stays or goes at once."""

    wanted: tuple[WantedContainer, ...] = ()
    unwanted: Unwanted = NOTHING_SPECIAL


@dataclass(slots=True)
class _Known:
    node: Node
    told: list[Told] = field(default_factory=list)


class MemoryNodes:
    """Nodes in a dict; whoever drives it joins them, reads what they were told, and reports for them."""

    def __init__(self) -> None:
        self._known: dict[NodeId, _Known] = {}
        self._on_event: Callable[[NodeId, Event], None] = _nobody_listens

    def listen(self, on_event: Callable[[NodeId, Event], None]) -> None:
        """See Nodes."""
        self._on_event = on_event

    def nodes(self) -> tuple[Node, ...]:
        """See Nodes."""
        return tuple(known.node for known in self._known.values())

    def tell(
        self, node: NodeId, wanted: tuple[WantedContainer, ...], unwanted: Unwanted = NOTHING_SPECIAL
    ) -> None:
        """See Nodes."""
        known = self._known.get(node)
        if known is not None:
            known.told.append(Told(wanted, unwanted))

    def join(self, node: Node, containers: tuple[Event, ...] = ()) -> None:
        """A machine is there, with the containers that it says run on it."""
        self._known[node.id] = _Known(node)
        self.report(node.id, {"event": "joined", "containers": list(containers)})

    def leave(self, node: NodeId) -> None:
        """A machine is gone."""
        if self._known.pop(node, None) is not None:
            self.report(node, {"event": "gone"})

    def report(self, node: NodeId, event: Event) -> None:
        """Something happened on a machine."""
        known = self._known.get(node)
        if event["event"] == "changed" and known is not None:
            known.node = from_json(Node, event["node"])
        self._on_event(node, event)

    def told(self, node: NodeId) -> Told | None:
        """What a machine was told last; None before it was told anything."""
        known = self._known.get(node)
        return known.told[-1] if known is not None and known.told else None


def _nobody_listens(_node: NodeId, _event: Event) -> None:
    """Where events go before anybody listens."""
