"""Volume heads: versions of volumes as directories on this node, shared by all containers that show them."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

from squall.agent.mounted import Mounted, Seen
from squall.agent.volume_commits import Stores, Whose, ask
from squall.blobs.checkout import Checkouts
from squall.blobs.digest import Digest
from squall.blobs.directory_renderer import DirectoryRenderer
from squall.blobs.overlay_notes import Notes
from squall.blobs.upper_changes import SETTLED_NS, seen_after
from squall.blobs.upper_walk import look_at_upper
from squall.model.errors import BlobMissing, VolumeMountRefused
from squall.model.function import Function
from squall.runtime import syscalls
from squall.runtime.volume_mounts import View

_INSIDE = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS


class Heads:
    """Those of one node. checkouts: where versions lie; bring: has a version's blobs brought here first, where they are elsewhere.

    notes: a file that says what templates were shown, which an agent after this one shows too.
    """

    def __init__(
        self,
        checkouts: Checkouts,
        stores: Stores,
        notes: Path,
        bring: Callable[[Digest], Awaitable[None]] | None,
    ) -> None:
        self.checkouts = checkouts
        self._stores = stores
        self._notes = notes
        self._bring = bring
        self._shown = _read(notes)

    @property
    def shown(self) -> frozenset[str]:
        """The versions that templates see."""
        return frozenset(digest for versions in self._shown.values() for digest in versions.values())

    def keep_only(self, functions: Collection[str]) -> None:
        """Forgets what templates of other functions were shown."""
        if not self._shown.keys() <= set(functions):
            self._shown = {name: kept for name, kept in self._shown.items() if name in functions}
            self._note()

    async def newest(self, volume: str) -> tuple[int, str]:
        """The number of a volume's newest version and its manifest, which is here as a directory. Raises VolumeNotFound."""
        answer = (await ask(self._stores, "volume.head", {"volume": volume})).head()
        manifest = str(answer["manifest"])
        await self.directory(manifest)
        return int(answer["version"]), manifest

    async def directory(self, manifest: str) -> Path:
        """The directory of a version, made unless it is there."""
        if self._bring is not None and not await self._stores.blobs.has_many([Digest(manifest)]):
            await self._bring(Digest(manifest))
        return await self.checkouts.checkout(Digest(manifest))

    async def for_templates(self, function: Function) -> dict[tuple[str, str], str]:
        """By volume and sub-path, the directory that templates of a function see: the same for as long as the function lives."""
        versions = dict(self._shown.get(function.id, {}))
        found: dict[tuple[str, str], str] = {}
        for mount in function.volumes:
            top = await self._for_template(mount.volume, versions)
            found[mount.volume, mount.sub_path] = await asyncio.to_thread(self._below, top, mount.sub_path)
        if versions != self._shown.get(function.id):
            self._shown[function.id] = versions
            self._note()
        return found

    async def _for_template(self, volume: str, versions: dict[str, str]) -> Path:
        if volume in versions:
            try:
                return await self.directory(versions[volume])
            except BlobMissing:
                pass  # It was shown so long ago that it is not kept any more.
        _, versions[volume] = await self.newest(volume)
        return await self.directory(versions[volume])

    def _below(self, top: Path, sub_path: str) -> str:
        """A directory of a version, and an empty one where it has none of that name. No link is followed: it could lead anywhere."""
        if not sub_path:
            return str(top)
        if _is_directory(top, sub_path):
            return f"{top}/{sub_path}"
        nothing = self._notes.with_name("nothing")
        nothing.mkdir(mode=0o755, parents=True, exist_ok=True)
        return str(nothing)

    async def copy(self, manifest: str, place: Path, owner: int | None) -> None:
        """A copy of a version, in `own` of the place, for one container; owner: whose its files are, of this machine's ids."""
        await self.directory(manifest)
        await asyncio.to_thread(place.mkdir, mode=0o700, exist_ok=True)
        own = place / "own"
        await DirectoryRenderer(self._stores.blobs, notes=Notes.USER).render(Digest(manifest), own)
        if owner is not None:
            await asyncio.to_thread(_give_all, own, owner)

    def note_copied(self, whose: Whose) -> None:
        """What a copy has before its container has written to it."""
        # What was made within the last tick of the clock of files could be changed in that tick too.
        time.sleep(SETTLED_NS / 1e9)
        at_ns = time.time_ns()
        stamps = look_at_upper(whose.written, Notes.USER)
        seen = Seen(version=whose.volume.version, stamps=seen_after(stamps, at_ns))
        whose.directory.note_seen(whose.number, whose.generation, seen)

    def within(self, own: Path, view: View, mounted: Mounted) -> str:
        """The directory of a copy that a view shows, made where it may be. Raises VolumeMountRefused where something else is there."""
        way = own
        for name in view.sub_path.split("/") if view.sub_path else ():
            way = way / name
            if not os.path.lexists(way) and not view.read_only:
                way.mkdir(mode=0o755)
                if mounted.given and mounted.uid_base is not None:
                    os.chown(way, mounted.uid_base, mounted.uid_base)
        if view.sub_path and not _is_directory(own, view.sub_path):
            raise VolumeMountRefused(f"the volume has no directory {view.sub_path!r} to be shown")
        return str(way)

    def _note(self) -> None:
        self._notes.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._notes.with_suffix(".new")
        fresh.write_text(json.dumps(self._shown))
        os.replace(fresh, self._notes)


def _read(notes: Path) -> dict[str, dict[str, str]]:
    try:
        plain = json.loads(notes.read_text())
        return {str(name): dict(versions) for name, versions in plain.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _is_directory(top: Path, sub_path: str) -> bool:
    fd = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(syscalls.open_at(fd, sub_path, os.O_PATH | os.O_DIRECTORY, resolve=_INSIDE))
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _give_all(top: Path, owner: int) -> None:
    os.chown(top, owner, owner)
    for path, directories, files in os.walk(top):
        for name in (*directories, *files):
            os.chown(f"{path}/{name}", owner, owner, follow_symlinks=False)
