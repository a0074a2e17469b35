"""Taken: what a container has changed kept as a layer, and removed, by whoever's sandboxes it was made in."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path

from squall.blobs.blob_store import BlobStore
from squall.blobs.overlay_notes import Notes
from squall.blobs.owners import Owners
from squall.blobs.snapshot import Snapshot, snapshot
from squall.blobs.told_walk import ToldWalk
from squall.blobs.walk import Found, How
from squall.runtime import scratch
from squall.runtime.spec import UID_RANGE
from squall.settings.start import command


async def snapshot_changes(
    changes: Path,
    blobs: BlobStore,
    *,
    uid_base: int | None,
    clamp_mtime_s: int | None = None,
    forced: bool = True,
) -> Snapshot:
    """The layer that `changes` holds, SandboxSpec.changes of a container that has ended.

    uid_base: that of the container, and None where it had none, as an ordinary user's. Owners are told as the container saw
    them. clamp_mtime_s: as in How; forced: as in BlobStore.put. Raises what `snapshot` does, TreeInvalid for an owner that is
    none of the container's among it.
    """
    if uid_base is not None:
        owners = Owners(uid_first=uid_base, gid_first=uid_base, count=UID_RANGE)
        how = How(notes=Notes.USER, clamp_mtime_s=clamp_mtime_s, owners=owners)
        return await snapshot(changes, blobs, how=how, forced=forced)
    how = How(notes=Notes.USER, clamp_mtime_s=clamp_mtime_s)
    return await snapshot(changes, blobs, how=how, forced=forced, walk=WalkInside)


def remove_changes(upper: Path, *, uid_base: int | None) -> None:
    """Remove the directory that was SandboxSpec.upper, whatever is left there and whoever owns it. uid_base: as above.

    It may take long. Raises OSError where something stays.
    """
    if uid_base is not None:
        scratch.remove(str(upper))
        return
    done = subprocess.run(
        command("squall.runtime.changes", "remove", str(upper)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        why = done.stderr.strip().rpartition("\n")[2] or "its owners are none of this user's"
        raise OSError(errno.EACCES, f"{upper} could not be removed: {why}")


class WalkInside:
    """A Walking by a child in a user namespace like the container's, for there its root may read what was given away or closed."""

    def __init__(self, root: Path, how: How) -> None:
        clamp = () if how.clamp_mtime_s is None else (str(how.clamp_mtime_s),)
        self._child = subprocess.Popen(
            command("squall.runtime.changes", "walk", str(root), *clamp),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert self._child.stdout is not None, "it was asked for"
        self._told = ToldWalk(self._child.stdout)

    @property
    def changed(self) -> list[str]:
        return self._told.changed

    @property
    def left_out(self) -> list[str]:
        return self._told.left_out

    def take(self) -> list[Found]:
        """As ToldWalk."""
        return self._told.take()

    def close(self) -> None:
        """End the child; a second time does nothing."""
        self._told.close()
        self._child.kill()
        self._child.wait()
