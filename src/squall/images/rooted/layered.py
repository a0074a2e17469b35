"""Layered: what stacked layers show at a path, without laying them over each other. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from squall.blobs.manifest import Directory, Entry, Hardlink, Whiteout

Layer = Mapping[str, Entry]
"""The entries of one manifest by their paths."""


class Layered:
    """Layers, the top one first."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = layers

    def at(self, path: str) -> Entry | None:
        """What shows at a path without a first slash, "" for the root; of a file with several names, what the first one names.

        A directory has the attributes that the topmost layer gives it. No link is followed.
        """
        above = _above(path)
        for layer in self._layers:
            found = layer.get(path)
            if isinstance(found, Hardlink):
                return layer[found.first]
            if found is not None:
                return None if isinstance(found, Whiteout) else found
            if any(_ends(layer.get(one)) for one in above):
                return None
        return None


def _above(path: str) -> list[str]:
    names = path.split("/")
    return ["/".join(names[:count]) for count in range(1, len(names))]


def _ends(entry: Entry | None) -> bool:
    """Whether nothing that lies lower shows below this one."""
    return entry is not None and (not isinstance(entry, Directory) or entry.opaque)
