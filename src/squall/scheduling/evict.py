"""Evict: which containers of others go, so that a function that waits finds room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from squall.model.ids import ContainerId, FunctionId, NodeId
from squall.model.resources import Resources
from squall.scheduling.place import Wish

RESTED_S = 1.0
"""After how long idle a container is nobody's any more, if another function has no room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """One container that may have to go. idle_s: seconds it has been idle, None while it works. takes: of its node."""

    id: ContainerId
    node: NodeId
    takes: Resources
    idle_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What one function holds of all machines.

    share: of everything it has; unit: of one more container. spare: how many may go before it is at its
    min_containers. waits: it has waiting inputs, so that it needs what it has.
    """

    function: FunctionId
    share: float
    unit: float
    spare: int = 0
    waits: bool = False
    tenants: tuple[Tenant, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Short:
    """A function that misses containers: what one of them may take, first choice first, and its unit."""

    function: FunctionId
    choices: tuple[Wish, ...]
    unit: float


_Candidate = tuple[Holding, Tenant]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Room for one container that is on its way, on which node, in which of its wishes; and who goes for it."""

    node: NodeId
    wish: int
    going: tuple[Tenant, ...] = ()


class Evictions:
    """Who goes for whom. Every room that is promised is booked, so that it is promised once.

    room: what each node will have free once everything has gone that goes already: room that is on its way is waited
    for, not made twice.
    """

    def __init__(
        self,
        holdings: Sequence[Holding],
        room: Mapping[NodeId, Resources],
        gpu_types: Mapping[NodeId, tuple[str, ...]] | None = None,
    ) -> None:
        self.givers: set[FunctionId] = set()
        self._room = dict(room)
        self._gpu_types = gpu_types or {}
        self._share = {holding.function: holding.share for holding in holdings}
        self._spare = {holding.function: holding.spare for holding in holdings}
        self._on: dict[NodeId, list[_Candidate]] = {}
        for holding in holdings:
            for tenant in holding.tenants:
                self._on.setdefault(tenant.node, []).append((holding, tenant))
        for candidates in self._on.values():
            candidates.sort(key=_in_order)

    def started(self, one: Short, node: NodeId, asks: Resources) -> None:
        """A container was placed: nobody of its function goes in the same plan, it would be the same one, only colder."""
        self._room[node] = self._room[node].minus(asks)
        self._share[one.function] = self._share.get(one.function, 0.0) + one.unit
        self._spare[one.function] = 0

    def make_room(self, one: Short) -> Made | None:
        """Room for one more container: what is on its way, else what others give up; None where none can be made.

        Idle containers go first, those idle longest before others: where they have rested for RESTED_S, or where their
        function holds more than the one that waits. Else a function that would still hold as much as the one that
        waits gives up one that works: it goes when it has done what it has in hand. None goes below its function's
        min_containers.
        """
        for number, wish in enumerate(one.choices):
            for node in self._suitable(wish):
                if wish.asks.fits_in(self._room[node]):
                    return self._book(one, Made(node=node, wish=number), [])
        for number, wish in enumerate(one.choices):
            found = [
                (_cost(going), node, going)
                for node in self._suitable(wish)
                if (going := self._fewest(one, wish, node))
            ]
            if found:
                _, node, going = min(found, key=lambda choice: choice[:2])
                tenants = tuple(tenant for _, tenant in going)
                return self._book(one, Made(node=node, wish=number, going=tenants), going)
        return None

    def _suitable(self, wish: Wish) -> list[NodeId]:
        return [
            node
            for node in sorted(self._room)
            if wish.gpu_type is None or wish.gpu_type in self._gpu_types.get(node, ())
        ]

    def _fewest(self, one: Short, wish: Wish, node: NodeId) -> list[_Candidate]:
        """Those of a node that may go and together make room, none of them needlessly; none where they do not."""
        free = self._room[node]
        going: list[_Candidate] = []
        for holding, tenant in self._on.get(node, ()):
            before = sum(other.function == holding.function for other, _ in going)
            if not self._may_go(one, holding, tenant, before):
                continue
            going.append((holding, tenant))
            free = free.plus(tenant.takes)
            if wish.asks.fits_in(free):
                break
        else:
            return []
        for candidate in list(going):
            without = free.minus(candidate[1].takes)
            if len(going) > 1 and wish.asks.fits_in(without):
                going.remove(candidate)
                free = without
        return going

    def _may_go(self, one: Short, holding: Holding, tenant: Tenant, before: int) -> bool:
        """before: how many of its function go already for the same container."""
        name = holding.function
        if name == one.function or self._spare[name] <= before:
            return False
        share = self._share[name] - before * holding.unit
        mine = self._share.get(one.function, 0.0)
        if tenant.idle_s is not None and not holding.waits:
            return tenant.idle_s >= RESTED_S or share > mine
        # Else one comes for another that comes for the first, for ever.
        return share - holding.unit >= mine + one.unit

    def _book(self, one: Short, made: Made, going: list[_Candidate]) -> Made:
        for candidate in going:
            holding, tenant = candidate
            self._on[made.node].remove(candidate)
            self._share[holding.function] -= holding.unit
            self._spare[holding.function] -= 1
            self._room[made.node] = self._room[made.node].plus(tenant.takes)
            self.givers.add(holding.function)
        self._room[made.node] = self._room[made.node].minus(one.choices[made.wish].asks)
        self._share[one.function] = self._share.get(one.function, 0.0) + one.unit
        return made


def _in_order(candidate: _Candidate) -> tuple[bool, float, ContainerId]:
    _, tenant = candidate
    return tenant.idle_s is None, -(tenant.idle_s or 0.0), tenant.id


def _cost(going: list[_Candidate]) -> tuple[int, int, float]:
    """How many of them work, how many they are, and how short the one that is missed most has rested."""
    idle = [tenant.idle_s for _, tenant in going if tenant.idle_s is not None]
    return len(going) - len(idle), len(going), -min(idle, default=0.0)
