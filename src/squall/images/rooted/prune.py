"""Prune: which images go, and what of them nobody else has. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from squall.images.rooted.inventory_rows import Records, chain
from squall.images.rooted.nouns import Built


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune:
    """What is asked: keep what was used at or after the instant unused_since_s, and of the rest no more than brings all to keep_bytes."""

    unused_since_s: float
    keep_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InUse:
    """What must stay. keys: of images that containers use, or that are being read; held: of those that have a name; since_s: what was used at or
    after this instant, as a build runs that may use it; trees: of layers that containers show; everything: whether it is not known what containers use.
    """

    keys: frozenset[str] = frozenset()
    held: frozenset[str] = frozenset()
    since_s: float | None = None
    trees: frozenset[str] = frozenset()
    everything: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Going:
    """What goes. built: records; host: keys of layers over the host image; trees: those whose directories nobody has a use for.

    held: what would have gone if it had no name.
    """

    built: tuple[Built, ...] = ()
    host: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    held: tuple[Built, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of all that goes."""
        return (*(built.key for built in self.built), *self.host)


@dataclass(frozen=True, slots=True, kw_only=True)
class _One:
    key: str
    parent: str
    size: int
    used_s: float
    depth: int


def what_goes(records: Records, wish: Prune, in_use: InUse) -> Going:
    """The longest unused first. What another stands on was used when that was, and goes after it or stays with it.

    While something is being built no directory goes: what a build has made and not kept yet is named by no record.
    """
    if in_use.everything:
        return Going()
    by_key = records.by_key
    used_s = _last_uses(records, by_key)
    stays = _staying(records, in_use, by_key)
    held = _with_below(in_use.held, by_key)
    ones = [
        _One(
            key=built.key,
            parent=built.parent,
            size=built.size,
            used_s=used_s[built.key],
            depth=len(chain(built, by_key)),
        )
        for built, _ in records.built
    ]
    ones += [
        _One(key=layer.key, parent="", size=layer.size_bytes, used_s=layer.used_s, depth=0)
        for layer in records.host
    ]
    left = sum(one.size for one in ones)
    gone: set[str] = set()
    wished: set[str] = set()
    for one in sorted(ones, key=lambda one: (one.used_s, -one.depth, one.key)):
        if wish.keep_bytes and left <= wish.keep_bytes:
            break
        if one.key in stays or one.used_s >= wish.unused_since_s:
            # What it stands on was used no earlier, and is in use as well.
            continue
        if one.key in held:
            wished.add(one.key)
            continue
        gone.add(one.key)
        left -= one.size
    built = tuple(built for built, _ in records.built if built.key in gone)
    needed = {tree for one, _ in records.built if one.key not in gone for tree in one.trees}
    trees = sorted(records.rendered - needed - in_use.trees) if in_use.since_s is None else []
    host = tuple(layer.key for layer in records.host if layer.key in gone)
    kept = tuple(built for built, _ in records.built if built.key in wished & in_use.held)
    return Going(built=built, host=host, trees=tuple(trees), held=kept)


def _last_uses(records: Records, by_key: Mapping[str, Built]) -> dict[str, float]:
    found = {built.key: used_s for built, used_s in records.built}
    for built, used_s in records.built:
        for below in chain(built, by_key):
            found[below.key] = max(found[below.key], used_s)
    return found


def _staying(records: Records, in_use: InUse, by_key: Mapping[str, Built]) -> frozenset[str]:
    used = set(in_use.keys)
    if in_use.since_s is not None:
        used |= {built.key for built, used_s in records.built if used_s >= in_use.since_s}
        used |= {layer.key for layer in records.host if layer.used_s >= in_use.since_s}
    return _with_below(used, by_key)


def _with_below(keys: Collection[str], by_key: Mapping[str, Built]) -> frozenset[str]:
    """These, and all that they stand on."""
    known = [by_key[key] for key in keys if key in by_key]
    return frozenset(keys) | {below.key for one in known for below in chain(one, by_key)}
