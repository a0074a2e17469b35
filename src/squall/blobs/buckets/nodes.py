"""Nodes: the numbers by which the kernel knows the paths of one mount."""

from __future__ import annotations

from squall.blobs.buckets.fuse import ROOT


class Nodes:
    """Paths by number, for as long as the kernel remembers a number. Raises KeyError for one that it was never given."""

    def __init__(self) -> None:
        self._paths: dict[int, str] = {ROOT: ""}
        self._numbers: dict[str, int] = {"": ROOT}
        self._looked_up: dict[int, int] = {ROOT: 1}
        self._last = ROOT

    def path(self, node: int) -> str:
        return self._paths[node]

    def number(self, path: str) -> int:
        """The number of a path that the kernel is told now, once more."""
        node = self._numbers.get(path)
        if node is None:
            self._last += 1
            node = self._numbers[path] = self._last
            self._paths[node] = path
            self._looked_up[node] = 0
        self._looked_up[node] += 1
        return node

    def peek(self, path: str) -> int:
        """The number of a path for a listing, which counts for nothing; any other number where it has none."""
        return self._numbers.get(path, 0xFFFF_FFFF)

    def forget(self, node: int, count: int) -> None:
        """The kernel has forgotten so many of the times that it was told a number."""
        if node == ROOT or node not in self._looked_up:
            return
        self._looked_up[node] -= count
        if self._looked_up[node] <= 0:
            del self._looked_up[node]
            path = self._paths.pop(node)
            if self._numbers.get(path) == node:
                del self._numbers[path]

    def removed(self, path: str) -> None:
        """Nothing is at a path any more: what comes there later is another node."""
        self._numbers.pop(path, None)

    def moved(self, old: str, new: str) -> None:
        """What was at `old` is at `new` now, under the number that it has."""
        self.removed(new)
        for path, node in list(self._numbers.items()):
            if path == old or path.startswith(f"{old}/"):
                del self._numbers[path]
                moved = new + path[len(old) :]
                self._numbers[moved] = node
                self._paths[node] = moved
