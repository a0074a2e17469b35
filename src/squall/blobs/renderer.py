"""Renderer: whatever makes a manifest into files that programs can open."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from squall.blobs.digest import Digest


class Renderer(Protocol):
    """Shows what a manifest says below one directory, and nothing anywhere else.

    Bytes are verified before anybody is shown them. All renderers show the same; they differ in what they need and in
    when they read.
    """

    async def render(self, manifest: Digest, into: Path) -> None:
        """Makes the directory `into`, which is not there yet, and shows in it what the blob `manifest` says.

        Raises BlobMissing, BlobCorrupt, TreeInvalid, and what the disk refuses (DiskFull, StateDirectoryError). What
        was made by then is left for the caller to remove: only he knows whether it is beside its final name.
        """
        ...
