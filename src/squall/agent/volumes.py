"""Volumes: shown in the containers of this node, and committed from there: when asked, every few seconds, and at a container's end."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

from squall import faults
from squall.agent.launcher_link import LauncherLink
from squall.agent.mounted import InContainer, Mounted, MountedDirectory
from squall.agent.volume_commits import Stores, Whose, commit
from squall.agent.volume_heads import Heads
from squall.blobs.blob_store import BlobStore
from squall.blobs.checkout import Checkouts
from squall.blobs.digest import Digest
from squall.blobs.directory_renderer import DirectoryRenderer
from squall.blobs.leases import Leases
from squall.blobs.overlay_notes import Notes
from squall.model.errors import (
    ConnectionLost,
    Error,
    VolumeMountRefused,
    VolumeNotCommitted,
    VolumeNotFound,
    VolumeNotMounted,
)
from squall.model.function import Function
from squall.runtime import scratch
from squall.runtime.host import Host
from squall.runtime.spec import Mount, SandboxSpec
from squall.runtime.volume_mounts import MountedVolume, View
from squall.settings.paths import StatePaths
from squall.wire.session import Session
from squall.wire.stream import Stream

COMMIT_EVERY_S: Final = 5.0
_AGAIN_S: Final = 1.0
_AGAIN_AT_MOST_S: Final = 60.0
_WAIT_FOR_ENDS_S: Final = 10.0
_LOOKS_TAKE: Final = 20
"""Looking for changes takes one part in so many of the time at most."""
_log: Final = logging.getLogger("squall.agent")

_TURNED = faults.declare("volume.turned", "a container's volume is to show another version, and does not yet")
_ENDED = faults.declare("volume.ended", "a container has ended, and what it wrote last is not committed")
_CLEARED = faults.declare("volume.cleared", "all that a container wrote is committed, and still lies beside")


async def open_volumes(
    paths: StatePaths, host: Host, disk: Disk, session: Callable[[], Session | None]
) -> Volumes:
    """Those of this node. session: the connection to the server, None while there is none."""
    renderer = DirectoryRenderer(disk.blobs, notes=Notes.USER)
    checkouts = await Checkouts.open(paths.heads, renderer, remove=lambda path: scratch.remove(str(path)))
    stores = Stores(
        blobs=disk.blobs, leases=Leases(paths.leases), session=session, far=disk.bring is not None
    )
    heads = Heads(checkouts, stores, paths.shown / "functions.json", disk.bring)
    return Volumes(paths.mounted, heads, stores, privileged=host.privileged, on_disk=host.upper_on_disk)


class Disk(Protocol):
    """The blobs of this machine. bring: has a manifest's blobs brought here, where they are the server's on another machine."""

    @property
    def blobs(self) -> BlobStore: ...

    @property
    def bring(self) -> Callable[[Digest], Awaitable[None]] | None: ...


class Volumes:
    """The volumes of this node's containers. root: where their directories are; on_disk: an overlay can keep its changes there."""

    def __init__(self, root: Path, heads: Heads, stores: Stores, *, privileged: bool, on_disk: bool) -> None:
        self._root = root
        self._heads = heads
        self._stores = stores
        self._privileged = privileged
        self._on_disk = on_disk
        self._mounted: dict[str, Mounted] = {}
        self._links: dict[str, LauncherLink] = {}
        self._turns: dict[tuple[str, int], asyncio.Lock] = {}
        self._ends: dict[str, asyncio.Task[None]] = {}
        self._said: set[tuple[str, int, str]] = set()

    @property
    def checkouts(self) -> Checkouts:
        """The directories of versions."""
        return self._heads.checkouts

    @property
    def needed(self) -> frozenset[str]:
        """The versions that containers or templates show: their directories stay."""
        shown = {volume.manifest for one in self._mounted.values() for volume in one.volumes}
        return frozenset(shown) | self._heads.shown

    def keep_only(self, functions: Collection[str]) -> None:
        """Forgets what templates of other functions were shown."""
        self._heads.keep_only(functions)

    async def placed(self, function: Function, spec: SandboxSpec) -> SandboxSpec:
        """The spec with a place for each volume, where a template sees it as it was, for reading alone. Raises VolumeMountRefused."""
        if not function.volumes:
            return spec
        _check_level(function, spec)
        shown = await self._heads.for_templates(function)
        mounts = (
            Mount(source=shown[(mount.volume, mount.sub_path)], target=mount.path)
            for mount in function.volumes
        )
        return replace(spec, mounts=(*spec.mounts, *mounts))

    async def made_ready(self, container: str, function: Function, spec: SandboxSpec) -> SandboxSpec:
        """Has all that the container's volumes need made, before it starts; the spec that it starts with.

        Raises VolumeNotFound, DiskFull, ConnectionLost and what else keeps a volume from being shown.
        """
        if not function.volumes:
            return spec
        _check_level(function, spec)
        await self._wait_for_ends({mount.volume for mount in function.volumes})
        given = spec.level == "gvisor" and self._privileged
        found: list[InContainer] = []
        for volume in dict.fromkeys(mount.volume for mount in function.volumes):
            views = tuple(
                View(target=mount.path, sub_path=mount.sub_path, read_only=mount.read_only)
                for mount in function.volumes
                if mount.volume == volume
            )
            version, manifest = await self._heads.newest(volume)
            writes = not all(view.read_only for view in views)
            copied = spec.level == "gvisor" or (writes and not self._on_disk)
            way = "copy" if copied else "overlay" if writes else "shown"
            found.append(
                InContainer(volume=volume, version=version, manifest=manifest, way=way, views=views)  # type: ignore[arg-type]  # one of the three words
            )
        uid_base = spec.uid_base if self._privileged else None
        mounted = Mounted(
            container=container,
            function=function.id,
            uid_base=uid_base,
            volumes=tuple(found),
            given=given,
        )
        directory = MountedDirectory(self._root, container)
        self._mounted[container] = mounted
        await asyncio.to_thread(directory.make, mounted)
        for number in range(len(found)):
            await self._make_place(mounted, number)
        return (
            await self._bound(mounted, spec) if spec.level == "gvisor" else await self.placed(function, spec)
        )

    async def mount(self, link: LauncherLink, container: str, level: str) -> None:
        """Shows them in the container, which has started and runs nothing yet. Raises VolumeMountRefused."""
        mounted = self._mounted.get(container)
        if mounted is None:
            return
        self._links[container] = link
        if level != "gvisor":
            wanted = [await self._wanted(mounted, number) for number in range(len(mounted.volumes))]
            await link.mount(container, [one.to_json() for one in wanted], again=False)

    async def obey(self, stream: Stream, head: dict[str, Any]) -> None:
        """What code in a container asks of one of its volumes: `op` is commit or reload. Raises as these do."""
        container, volume = str(head["container"]), str(head["volume"])
        mounted = self._mounted.get(container)
        numbers = [] if mounted is None else [n for n, v in enumerate(mounted.volumes) if v.volume == volume]
        if mounted is None or not numbers:
            raise VolumeNotMounted("the volume is not mounted in this container")
        turn = self._reload if head["op"] == "reload" else self._commit
        stream.end({"version": await turn(container, numbers[0])})

    def ended(self, container: str) -> None:
        """The container has ended: what it wrote last is committed, and its directories go."""
        if container in self._mounted and container not in self._ends:
            task = asyncio.get_running_loop().create_task(self._end(container))
            self._ends[container] = task
            task.add_done_callback(lambda _: self._ends.pop(container, None))

    async def adopt(self, present: dict[str, LauncherLink], *, alive: set[str], all_known: bool) -> None:
        """Takes over what an earlier agent left: of containers that live, and of those that have ended meanwhile.

        all_known: `alive` are all that live, whether they can be spoken to or not.
        """
        names = await asyncio.to_thread(lambda: os.listdir(self._root) if self._root.is_dir() else [])
        for container in names:
            directory = MountedDirectory(self._root, container)
            mounted = await asyncio.to_thread(directory.read)
            if mounted is None:
                await asyncio.to_thread(scratch.remove, str(directory.path))
                continue
            self._mounted[container] = mounted
            if container in present:
                self._links[container] = present[container]
            elif all_known and container not in alive:
                self.ended(container)

    async def run(self) -> None:
        """Commits what has changed, for ever."""
        loop = asyncio.get_running_loop()
        pause_s = COMMIT_EVERY_S
        while True:
            await asyncio.sleep(pause_s)
            began_s = loop.time()
            for container, mounted in list(self._mounted.items()):
                if container in self._links and container not in self._ends:
                    for number in range(len(mounted.volumes)):
                        await self._commit_quietly(container, number)
            pause_s = max(COMMIT_EVERY_S, _LOOKS_TAKE * (loop.time() - began_s))

    # commits

    async def _commit(self, container: str, number: int) -> int:
        """The newest version that has what the container wrote. Raises VolumeNotCommitted, VolumeNotFound."""
        async with self._turn(container, number):
            return await self._commit_all(container, number)

    async def _commit_all(self, container: str, number: int) -> int:
        mounted = self._mounted[container]
        volume = mounted.volumes[number]
        if not volume.writable:
            return volume.version
        directory = MountedDirectory(self._root, container)
        lower = str(await self._heads.directory(volume.manifest)) if volume.way == "overlay" else ""
        last = volume.version
        try:
            for generation in await asyncio.to_thread(directory.generations, number):
                whose = Whose(
                    directory=directory,
                    mounted=mounted,
                    number=number,
                    generation=generation,
                    lower=lower,
                )
                version = await commit(whose, self._stores)
                last = last if version is None else max(last, version)
        except VolumeNotFound:
            raise
        except (Error, OSError) as why:
            said = why.message if isinstance(why, Error) else str(why)
            raise VolumeNotCommitted(
                f"what was written at {volume.views[0].target} is not committed: {said}",
                volume=volume.volume,
            ) from why
        return last

    async def _commit_quietly(self, container: str, number: int) -> bool:
        """Whether it was committed, or never can be; what keeps it is said once."""
        try:
            await self._commit(container, number)
        except VolumeNotFound as gone:
            self._say_once(container, number, str(gone))
            return True
        except (Error, OSError) as why:
            self._say_once(container, number, str(why))
            return False
        except KeyError:
            return True  # it has ended meanwhile
        self._said = {one for one in self._said if one[:2] != (container, number)}
        return True

    def _say_once(self, container: str, number: int, why: str) -> None:
        if (container, number, why) not in self._said:
            self._said.add((container, number, why))
            _log.warning("%s: %s", container, why)

    async def _end(self, container: str) -> None:
        pause_s = _AGAIN_S
        numbers = range(len(self._mounted[container].volumes))
        faults.point(_ENDED)
        while not all([await self._commit_quietly(container, number) for number in numbers]):
            await asyncio.sleep(pause_s)
            pause_s = min(_AGAIN_AT_MOST_S, 2 * pause_s)
        faults.point(_CLEARED)
        await asyncio.to_thread(self._remove, container)
        del self._mounted[container]
        self._links.pop(container, None)
        for number in numbers:
            self._turns.pop((container, number), None)

    def _remove(self, container: str) -> None:
        directory = MountedDirectory(self._root, container).path
        # Without its record it is known for what it is, whenever this is cut short.
        (directory / "record.json").unlink(missing_ok=True)
        scratch.remove(str(directory))

    async def _wait_for_ends(self, volumes: set[str]) -> None:
        """What containers that have just ended here wrote last is in the next one, as far as it can be."""
        waits = [
            task
            for container, task in self._ends.items()
            if container in self._mounted
            and volumes & {volume.volume for volume in self._mounted[container].volumes}
        ]
        if waits:
            await asyncio.wait(waits, timeout=_WAIT_FOR_ENDS_S)

    # what is shown

    async def _reload(self, container: str, number: int) -> int:
        """The version that the container sees from now on. Raises VolumeNotCommitted, VolumeMountRefused."""
        async with self._turn(container, number):
            link = self._links.get(container)
            if link is None:
                raise ConnectionLost(f"the launcher of {container} is not known")
            await self._commit_all(container, number)
            mounted = self._mounted[container]
            old = mounted.volumes[number]
            version, manifest = await self._heads.newest(old.volume)
            if manifest == old.manifest and not await self._has_written(container, number):
                return version
            if old.way == "copy" and self._on_disk:
                raise VolumeMountRefused(
                    "a container at the level gvisor keeps the volume that it started with: its own kernel mounts nothing anew"
                )
            directory = MountedDirectory(self._root, container)
            # One that an earlier agent began to make may have been mounted, and is not mounted twice.
            taken = await asyncio.to_thread(directory.generations, number)
            generation = max((old.generation, *taken)) + 1
            new = replace(old, version=version, manifest=manifest, generation=generation)
            fresh = mounted.with_volume(number, new)
            await self._make_place(fresh, number)
            faults.point(_TURNED)
            wanted = await self._wanted(fresh, number)
            await link.mount(container, [wanted.to_json()], again=True)
            # What was written until that moment: nothing more comes to these.
            await self._commit_all(container, number)
            self._mounted[container] = fresh
            await asyncio.to_thread(directory.note, fresh)
            for earlier in taken:
                await asyncio.to_thread(scratch.remove, str(directory.place(number, earlier)))
                await asyncio.to_thread(directory.forget, number, earlier)
            return version

    async def _has_written(self, container: str, number: int) -> bool:
        mounted = self._mounted[container]
        if not mounted.volumes[number].writable:
            return False
        directory = MountedDirectory(self._root, container)
        volume = mounted.volumes[number]
        seen = await asyncio.to_thread(directory.seen, number, volume.generation)
        return seen is not None and (volume.way == "overlay" or seen.version != volume.version)

    async def _make_place(self, mounted: Mounted, number: int) -> None:
        """The directories of one volume in its generation."""
        volume = mounted.volumes[number]
        directory = MountedDirectory(self._root, mounted.container)
        place = directory.place(number, volume.generation)
        if volume.way == "overlay":
            lower = await self._heads.directory(volume.manifest)
            await asyncio.to_thread(_make_halves, place, lower, mounted.uid_base)
        elif volume.way == "copy":
            await self._heads.copy(volume.manifest, place, mounted.uid_base if mounted.given else None)
            whose = Whose(
                directory=directory,
                mounted=mounted,
                number=number,
                generation=volume.generation,
                lower="",
            )
            await asyncio.to_thread(self._heads.note_copied, whose)
        else:
            await self._heads.directory(volume.manifest)

    async def _wanted(self, mounted: Mounted, number: int) -> MountedVolume:
        volume = mounted.volumes[number]
        place = MountedDirectory(self._root, mounted.container).place(number, volume.generation)
        if volume.way == "copy":
            return MountedVolume(lower=str(place / "own"), views=volume.views, own=True)
        lower = str(await self._heads.directory(volume.manifest))
        if volume.way == "shown":
            return MountedVolume(lower=lower, views=volume.views)
        return MountedVolume(lower=lower, views=volume.views, place=str(place))

    async def _bound(self, mounted: Mounted, spec: SandboxSpec) -> SandboxSpec:
        """At a level whose kernel takes no mounts later: each copy, mounted from the start."""
        directory = MountedDirectory(self._root, mounted.container)
        mounts = {mount.target: mount for mount in spec.mounts}
        for number, volume in enumerate(mounted.volumes):
            own = directory.place(number, volume.generation) / "own"
            for view in volume.views:
                source = await asyncio.to_thread(self._heads.within, own, view, mounted)
                mounts[view.target] = Mount(source=source, target=view.target, writable=not view.read_only)
        return replace(spec, mounts=tuple(mounts.values()))

    def _turn(self, container: str, number: int) -> asyncio.Lock:
        return self._turns.setdefault((container, number), asyncio.Lock())


def _check_level(function: Function, spec: SandboxSpec) -> None:
    if spec.level == "process":
        raise VolumeMountRefused(
            f"{function.name} mounts a volume at {function.volumes[0].path}, and this host, or its level, has no mounts"
        )


def _make_halves(place: Path, lower: Path, owner: int | None) -> None:
    """What an overlay needs, its upper directory like the lower one: it is what shows."""
    place.mkdir(mode=0o700, exist_ok=True)
    for name in ("upper", "work", "at", "mapped"):
        (place / name).mkdir(mode=0o700, exist_ok=True)
    seen, upper = lower.stat(), place / "upper"
    if owner is not None:
        os.chown(upper, owner, owner)
    upper.chmod(seen.st_mode & 0o7777)
    os.utime(upper, ns=(seen.st_mtime_ns, seen.st_mtime_ns))
