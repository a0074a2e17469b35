"""Inventory rows: what is said of the images of a machine, to people and programs. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from squall.images.rooted.nouns import Built
from squall.images.rooted.way_in import SHORT_KEY
from squall.images.sweep import Layer
from squall.model.errors import NotFoundError

_NEAR: Final = 3
_MOST_PARENTS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Everything that is here. built: images and layers with a root of their own, each with its last use in seconds since 1970; host:
    layers over the host image; containers: how many use the image or layer of a key; rendered: the layers that lie here as directories.
    """

    built: tuple[tuple[Built, float], ...] = ()
    host: tuple[Layer, ...] = ()
    containers: Mapping[str, int] = field(default_factory=dict)
    rendered: frozenset[str] = frozenset()

    @property
    def by_key(self) -> dict[str, Built]:
        """The images and layers with a root of their own."""
        return {built.key: built for built, _ in self.built}


def rows(records: Records, *, every: bool) -> list[dict[str, Any]]:
    """A row for each image, the newest first; every: for each layer too that others stand on."""
    by_key = records.by_key
    stood_on = {built.parent for built, _ in records.built}
    found = [
        built_row(records, by_key, (built, used_s))
        for built, used_s in records.built
        if every or built.final or built.key not in stood_on
    ]
    found += [_host_row(records, layer) for layer in records.host]
    return sorted(found, key=lambda row: (-row["made_s"], row["key"]))


def built_row(records: Records, by_key: Mapping[str, Built], known: tuple[Built, float]) -> dict[str, Any]:
    """What is said of one image with a root of its own."""
    built, used_s = known
    below = chain(built, by_key)
    return {
        "key": built.key,
        "kind": kind_of(built),
        "label": built.label,
        "base": below[0].label,
        "python": built.python.version if built.python is not None else None,
        "layers": len(built.trees),
        "size_bytes": sum(one.size for one in below),
        "made_s": built.made_s,
        "used_s": used_s,
        "containers": records.containers.get(built.key, 0),
    }


def _host_row(records: Records, layer: Layer) -> dict[str, Any]:
    return {
        "key": layer.key,
        "kind": "host layer",
        "label": layer.label,
        "base": "host",
        "python": None,
        "layers": 1,
        "size_bytes": layer.size_bytes,
        "made_s": layer.made_s,
        "used_s": layer.used_s,
        "containers": records.containers.get(layer.key, 0),
    }


def kind_of(built: Built) -> str:
    """What a record is: all that a recipe says ("image"), what steps stand on ("base"), or what is between ("layer")."""
    if built.final:
        return "image"
    return "layer" if built.parent else "base"


def chain(built: Built, by_key: Mapping[str, Built]) -> list[Built]:
    """What an image stands on, as far as it is known, the lowest first, itself the last."""
    found = [built]
    while (below := by_key.get(found[-1].parent)) is not None and len(found) < _MOST_PARENTS:
        found.append(below)
    return found[::-1]


def steps_of(built: Built, by_key: Mapping[str, Built]) -> list[str]:
    """What made each layer, the lowest first: the label of the record that has it first."""
    labels: list[str] = []
    for one in chain(built, by_key):
        labels += [one.label] * (len(one.trees) - len(labels))
    return labels


def find_key(asked: str, keys: Collection[str], labels: Mapping[str, str]) -> str:
    """The only key that begins so. labels: what each is, for messages. Raises NotFoundError, naming near ones."""
    wanted = asked.strip().lower()
    fitting = sorted(key for key in keys if wanted and key.startswith(wanted))
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise NotFoundError(
            f"{len(fitting)} images here have a key that begins with {wanted[:SHORT_KEY]!r}: {_named(fitting, labels)}",
            remedy="write more of the key; `squall image list --all` shows them",
        )
    near = sorted(keys, key=lambda key: (-_common(key, wanted), not _says(labels.get(key, ""), wanted), key))
    told = f"; near it: {_named(near, labels)}" if near else ""
    raise NotFoundError(
        f"no image here has the key {asked[:80]!r}{told}",
        remedy="`squall image list --all` shows those that are here",
    )


def _named(keys: Iterable[str], labels: Mapping[str, str]) -> str:
    shown = [f"{key[:SHORT_KEY]} ({labels.get(key) or 'a build log'})" for key in keys]
    rest = f" and {len(shown) - _NEAR} more" if len(shown) > _NEAR else ""
    return ", ".join(shown[:_NEAR]) + rest


def _says(label: str, wanted: str) -> bool:
    return bool(wanted) and wanted in label.lower()


def _common(key: str, wanted: str) -> int:
    count = 0
    for one, other in zip(key, wanted, strict=False):
        if one != other:
            break
        count += 1
    return count
