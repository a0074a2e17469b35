"""Place: which node holds a container, from an index of what is free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from squall.model.gpu import Gpus
from squall.model.ids import NodeId
from squall.model.resources import Resources

LOOKED_AT = 8
"""How many nodes of one bucket are looked at: they differ little, and the ninth would be no better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a container takes. gpu_type: of which type its devices are; None: of whatever type."""

    asks: Resources
    gpu_type: str | None = None

    @property
    def gpus(self) -> Gpus | None:
        """The devices of one type that it takes, where it takes any."""
        return next(iter(self.asks.gpu_types), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """Where a container would start soonest: nodes with a template of it ready, then nodes that hold its image."""

    templates: frozenset[NodeId] = frozenset()
    images: frozenset[NodeId] = frozenset()


NOWHERE = Near()


class _Slot:
    """A node in the index: what it has free, and the bucket that it lies in."""

    __slots__ = ("bucket", "free", "id", "level", "row")

    def __init__(self, name: NodeId, free: Resources) -> None:
        self.id = name
        self.free = free
        self.level: _Level
        self.row = 0
        self.bucket = 0

    @property
    def fullness(self) -> tuple[int, int, NodeId]:
        """The least is the fullest."""
        return self.free.cpu_milli, self.free.memory_mib, self.id


class _Level:
    """The nodes of one kind with the same number of free GPUs, in buckets by class of free cpu, then of free memory.

    rows: a bit for each class of cpu that has a node. columns: for each of those, a bit for each class of memory.
    """

    __slots__ = ("buckets", "columns", "rows")

    def __init__(self) -> None:
        self.rows = 0
        self.columns: dict[int, int] = {}
        self.buckets: dict[int, dict[NodeId, _Slot]] = {}

    def add(self, slot: _Slot, key: int) -> None:
        """Puts a slot into the bucket of this key."""
        row, column = key >> 8, key & 0xFF
        bucket = self.buckets.get(key)
        if bucket is None:
            bucket = self.buckets[key] = {}
        if not bucket:
            self.rows |= 1 << row
            self.columns[row] = self.columns.get(row, 0) | 1 << column
        bucket[slot.id] = slot
        slot.level, slot.row, slot.bucket = self, row, key

    def remove(self, slot: _Slot) -> None:
        bucket = self.buckets[slot.bucket]
        del bucket[slot.id]
        if not bucket:
            row = slot.row
            left = self.columns[row] & ~(1 << (slot.bucket & 0xFF))
            self.columns[row] = left
            if not left:
                self.rows &= ~(1 << row)

    def find(self, asks: Resources, near: Near, most: int | None) -> _Slot | None:
        """A node that holds `asks`, of `most` in each bucket; from the bucket with least cpu, then least memory free."""
        row_from, column_from = _class(asks.cpu_milli), _class(asks.memory_mib)
        rows = self.rows >> row_from << row_from
        while rows:
            row = (rows & -rows).bit_length() - 1
            rows &= rows - 1
            columns = self.columns[row] >> column_from << column_from
            while columns:
                column = (columns & -columns).bit_length() - 1
                columns &= columns - 1
                found = _first(self.buckets[row << 8 | column].values(), asks, near, most)
                if found is not None:
                    return found
        return None


class Room:
    """What every node has free, kept so that a place is found without looking at all of them.

    free: by node. gpu_types: of which types a node's GPUs are, where it has any.
    """

    def __init__(
        self, free: Mapping[NodeId, Resources], gpu_types: Mapping[NodeId, tuple[str, ...]] | None = None
    ) -> None:
        self._slots: dict[NodeId, _Slot] = {}
        self._kinds: dict[NodeId, tuple[str, ...]] = dict(gpu_types or {})
        self._levels: dict[tuple[str, ...], dict[int, _Level]] = {}
        self._orders: dict[tuple[int, str | None], list[_Level]] = {}
        for name in sorted(free):
            self.put(name, free[name])

    def put(self, node: NodeId, free: Resources) -> None:
        """A node has this much free from now on; it may be new."""
        slot = self._slots.get(node)
        if slot is None:
            slot = self._slots[node] = _Slot(node, free)
            self._level(node, free.gpus).add(slot, _bucket(free))
        else:
            self._move(slot, free)

    def drop(self, node: NodeId) -> None:
        """A node is gone."""
        slot = self._slots.pop(node, None)
        if slot is not None:
            slot.level.remove(slot)

    def free(self, node: NodeId) -> Resources:
        """What a node has free. Raises KeyError for one that is not here."""
        return self._slots[node].free

    def take(self, node: NodeId, asks: Resources) -> None:
        """A container of this size is on a node from now on."""
        slot = self._slots[node]
        self._move(slot, slot.free.minus(asks))

    def give(self, node: NodeId, asks: Resources) -> None:
        """A container of this size is gone from a node."""
        slot = self._slots[node]
        self._move(slot, slot.free.plus(asks))

    def find(self, wish: Wish, near: Near = NOWHERE) -> NodeId | None:
        """The node for a container; None when none has room.

        Of the nodes with the fewest free GPUs that suffice (large room stays whole), one with a template of it, else
        one with its image, else, to a quarter, the fullest. Where one of them has room, one is found.
        """
        asks = wish.asks
        for most in (LOOKED_AT, None):
            for level in self._suitable(wish):
                if not level.rows:
                    continue
                found = self._close(level, asks, near) or level.find(asks, near, most)
                if found is not None:
                    return found.id
        return None

    def _move(self, slot: _Slot, free: Resources) -> None:
        level = slot.level if free.gpus == slot.free.gpus else self._level(slot.id, free.gpus)
        key = _bucket(free)
        slot.free = free
        if key != slot.bucket or level is not slot.level:
            slot.level.remove(slot)
            level.add(slot, key)

    def _close(self, level: _Level, asks: Resources, near: Near) -> _Slot | None:
        """A node of this level that has the template, or the image, if it is one of a few; the fullest of them."""
        for close in (near.templates, near.images):
            if not 0 < len(close) <= LOOKED_AT:
                continue
            best: _Slot | None = None
            for name in close:
                slot = self._slots.get(name)
                if slot is None or slot.level is not level or not asks.fits_in(slot.free):
                    continue
                if best is None or slot.fullness < best.fullness:
                    best = slot
            if best is not None:
                return best
        return None

    def _suitable(self, wish: Wish) -> list[_Level]:
        """The levels that may hold it: those with the fewest free GPUs first."""
        key = wish.asks.gpus, wish.gpu_type
        found = self._orders.get(key)
        if found is None:
            suits = [
                (count, names, level)
                for names, levels in self._levels.items()
                if wish.gpu_type is None or wish.gpu_type in names
                for count, level in levels.items()
                if count >= wish.asks.gpus
            ]
            suits.sort(key=lambda one: one[:2])
            found = self._orders[key] = [level for _, _, level in suits]
        return found

    def _level(self, node: NodeId, gpus: int) -> _Level:
        levels = self._levels.setdefault(self._kinds.get(node, ()), {})
        found = levels.get(gpus)
        if found is None:
            found = levels[gpus] = _Level()
            self._orders.clear()
        return found


def _first(slots: Iterable[_Slot], asks: Resources, near: Near, most: int | None) -> _Slot | None:
    """Of the first `most` slots that hold `asks`, the first with a template, else with the image, else the first."""
    # Where there are but a few they have been looked at: only where there are many is it worth while to meet one here.
    templates = near.templates if len(near.templates) > LOOKED_AT else ()
    images = near.images if len(near.images) > LOOKED_AT else ()
    other: _Slot | None = None
    with_image = False
    for slot in islice(slots, most):
        if not asks.fits_in(slot.free):
            continue
        if slot.id in templates:
            return slot
        has_image = not with_image and slot.id in images
        if other is None or has_image:
            other, with_image = slot, has_image
        if not templates and (with_image or not images):
            return other
    return other


def _bucket(free: Resources) -> int:
    """The key of the bucket for so much cpu and memory."""
    return _class(free.cpu_milli) << 8 | _class(free.memory_mib)


@lru_cache(maxsize=65_536)
def _class(amount: int) -> int:
    """A number's class: its highest bit and the two after it, so that numbers of one class differ by a quarter."""
    if amount < 8:
        return amount
    bits = amount.bit_length()
    return min(255, (bits - 2 << 2) + (amount >> bits - 3 & 3))
