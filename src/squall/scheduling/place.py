"""Place: which node holds a container, from an index of what is free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from squall.model.ids import NodeId
from squall.model.resources import Resources

LOOKED_AT = 8
"""How many nodes of one bucket are looked at: they differ little, and the ninth would be no better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a container takes. gpu_type: of which type its devices are; None: of whatever type."""

    asks: Resources
    gpu_type: str | None = None


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


class _Level:
    """The nodes of one kind with the same number of free GPUs, in buckets by class of free cpu, then of free memory.

    rows: a bit for each class of cpu that has a node. columns: for each of those, a bit for each class of memory.
    """

    __slots__ = ("buckets", "columns", "rows")

    def __init__(self) -> None:
        self.rows = 0
        self.columns: dict[int, int] = {}
        self.buckets: dict[int, dict[NodeId, _Slot]] = {}

    def add(self, slot: _Slot) -> None:
        free = slot.free
        row, column = _class(free.cpu_milli), _class(free.memory_mib)
        key = row << 8 | column
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
        """The fullest node that holds `asks`, of at most `most` in each bucket; with least cpu, then least memory free."""
        row_from, column_from = _class(asks.cpu_milli), _class(asks.memory_mib)
        rows = self.rows >> row_from << row_from
        while rows:
            row = (rows & -rows).bit_length() - 1
            rows &= rows - 1
            columns = self.columns[row] >> column_from << column_from
            while columns:
                column = (columns & -columns).bit_length() - 1
                columns &= columns - 1
                found = _best(self.buckets[row << 8 | column].values(), asks, near, most)
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
        for name in sorted(free):
            self.put(name, free[name])

    def put(self, node: NodeId, free: Resources) -> None:
        """A node has this much free from now on; it may be new."""
        slot = self._slots.get(node)
        if slot is None:
            slot = self._slots[node] = _Slot(node, free)
        else:
            slot.level.remove(slot)
            slot.free = free
        self._level(self._kinds.get(node, ()), free.gpus).add(slot)

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
        self.put(node, self._slots[node].free.minus(asks))

    def give(self, node: NodeId, asks: Resources) -> None:
        """A container of this size is gone from a node."""
        self.put(node, self._slots[node].free.plus(asks))

    def find(self, wish: Wish, near: Near = NOWHERE) -> NodeId | None:
        """The node for a container; None when none has room.

        Of the nodes with the fewest free GPUs that suffice (large room stays whole), one with a template of it, else
        one with its image, else the fullest. Where one of them has room, one is found.
        """
        asks = wish.asks
        for most in (LOOKED_AT, None):
            for level in self._suitable(wish):
                found = self._close(level, asks, near) or level.find(asks, near, most)
                if found is not None:
                    return found.id
        return None

    def _close(self, level: _Level, asks: Resources, near: Near) -> _Slot | None:
        """A node of this level that has the template, or the image, if it is one of a few; the fullest of them."""
        for close in (near.templates, near.images):
            if 0 < len(close) <= LOOKED_AT:
                slots = (self._slots.get(name) for name in close)
                found = _best((slot for slot in slots if slot is not None and slot.level is level), asks)
                if found is not None:
                    return found
        return None

    def _suitable(self, wish: Wish) -> Iterable[_Level]:
        """The levels that may hold it: those with the fewest free GPUs first."""
        least, kind = wish.asks.gpus, wish.gpu_type
        if len(self._levels) == 1 and kind is None:
            ((_, levels),) = self._levels.items()
            return [levels[count] for count in sorted(levels) if count >= least and levels[count].rows]
        found = [
            (count, names, level)
            for names, levels in self._levels.items()
            if kind is None or kind in names
            for count, level in levels.items()
            if count >= least and level.rows
        ]
        found.sort(key=lambda one: one[:2])
        return [level for _, _, level in found]

    def _level(self, kind: tuple[str, ...], gpus: int) -> _Level:
        levels = self._levels.setdefault(kind, {})
        found = levels.get(gpus)
        if found is None:
            found = levels[gpus] = _Level()
        return found


def _best(
    slots: Iterable[_Slot], asks: Resources, near: Near = NOWHERE, most: int | None = None
) -> _Slot | None:
    """Of the first `most` slots that hold `asks`, the nearest, then the fullest."""
    best: _Slot | None = None
    best_key: tuple[bool, bool, int, int, NodeId] | None = None
    for slot in islice(slots, most):
        free = slot.free
        if asks.fits_in(free):
            key = (
                slot.id not in near.templates,
                slot.id not in near.images,
                free.cpu_milli,
                free.memory_mib,
                slot.id,
            )
            if best_key is None or key < best_key:
                best, best_key = slot, key
    return best


def _class(amount: int) -> int:
    """A number's class: its highest bit and the two after it, so that numbers of one class differ by a quarter."""
    if amount < 8:
        return amount
    bits = amount.bit_length()
    return min(255, (bits - 2 << 2) + (amount >> bits - 3 & 3))
