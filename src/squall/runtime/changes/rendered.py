"""Rendered: layers made into directories with the owners that containers see, by a user who has subordinate ids."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest
from squall.blobs.directory_renderer import DirectoryRenderer
from squall.blobs.overlay_notes import Notes
from squall.blobs.renderer import Renderer
from squall.model.errors import Error, StateDirectoryError
from squall.runtime.changes.taken import remove_changes
from squall.runtime.host import Host
from squall.settings.start import command


def layer_renderer(blobs: BlobStore, directory: Path, host: Host) -> Renderer:
    """What makes the layers of images into directories, as the overlays of this user's containers take them.

    directory: that of `blobs`, which lie on this machine. As root and with subordinate ids owners are kept; an ordinary user
    without these has one id, and all belongs to that.
    """
    if host.privileged or host.subordinate is None:
        return DirectoryRenderer(blobs, notes=Notes.USER)
    return RendererInside(directory)


def remove_layer(directory: Path, host: Host) -> None:
    """Remove a directory that such a renderer made, or began. Raises OSError where something stays."""
    remove_changes(directory, uid_base=0 if host.privileged or host.subordinate is None else None)


class RendererInside:
    """A Renderer that has a child in a user namespace like the containers' do it, for there its root may give files away.

    blobs: the directory of the store.
    """

    def __init__(self, blobs: Path) -> None:
        self._blobs = blobs

    async def render(self, manifest: Digest, into: Path) -> None:
        """As Renderer says."""
        child = await asyncio.create_subprocess_exec(
            *command("squall.runtime.changes", "render", str(self._blobs), manifest, str(into)),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, told = await child.communicate()
        except BaseException:
            child.kill()
            await asyncio.shield(child.wait())
            raise
        if child.returncode != 0:
            raise _error_in(told.decode("utf-8", "replace"), into)


def _error_in(told: str, into: Path) -> Error:
    last = told.strip().rpartition("\n")[2]
    try:
        return Error.from_wire(json.loads(last))
    except (ValueError, TypeError, KeyError, AttributeError):
        return StateDirectoryError(f"the layer at {into} could not be made: {last or 'its maker was killed'}")
