"""Limits: how much of a layer is unpacked before it counts as an attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from squall.blobs.manifest import MAX_ENTRIES
from squall.blobs.path_names import MAX_DEPTH, MAX_PATH_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one layer may be at most.

    entries: in the archive, each name counted as often as it comes. unpacked_bytes: of the whole archive, its headers
    and what comes after its end too. ratio: of unpacked to packed bytes, once more than ratio_from_bytes were
    unpacked: whoever packs zeros packs them a thousandfold. depth: names along a path. held_bytes: of memory for the
    paths that are held until the last one is in, an estimate.
    """

    entries: int = MAX_ENTRIES
    unpacked_bytes: int = 256 << 30
    ratio: int = 200
    ratio_from_bytes: int = 256 << 20
    path_bytes: int = MAX_PATH_BYTES
    depth: int = MAX_DEPTH
    held_bytes: int = 208 << 20


LIMITS: Final = Limits()
