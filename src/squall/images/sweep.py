"""Sweep: which cached layers go when they take too much room. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer that is here. size_bytes on disk; made_s, used_s: seconds since 1970; tool: what installed it."""

    key: str
    label: str = ""
    size_bytes: int = 0
    files: int = 0
    made_s: float = 0.0
    used_s: float = 0.0
    tool: str = ""


def layers_to_drop(
    layers: Iterable[Layer], *, in_use: frozenset[str], keep_bytes: int, older_than_s: float
) -> tuple[Layer, ...]:
    """The layers to remove so that the rest takes at most `keep_bytes`, the longest unused first.

    A layer in use stays, and so does one used at or after the instant `older_than_s`: somebody may be about to start
    a container on it. So the rest can take more than was asked.
    """
    known = sorted(layers, key=lambda layer: (layer.used_s, layer.key))
    total = sum(layer.size_bytes for layer in known)
    dropped: list[Layer] = []
    for layer in known:
        if total <= keep_bytes:
            break
        if layer.key not in in_use and layer.used_s < older_than_s:
            dropped.append(layer)
            total -= layer.size_bytes
    return tuple(dropped)
