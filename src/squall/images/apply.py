"""Apply: builds the missing layers of an image, each step in a sandbox of our own, and keeps them."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from squall.blobs.remove import remove_tree
from squall.images import layers as layers_on_disk
from squall.images.command import LAST_LINES, Command, Exit, Places, Tool, failure, install_command
from squall.images.conda.nouns import INSTALLER, INSTALLER_VERSION
from squall.images.finish import finish_layer
from squall.images.flight import Flight, Say
from squall.images.host import Facts, HostImage, Look, follow, is_below, is_too_wide, join
from squall.images.installer import InstallerSettings, sources_of
from squall.images.layers import Building, Layers
from squall.images.plan import LAYERS_ROOT, ImagePlan, LayerBuild
from squall.images.redact import Redactor
from squall.images.room import demand_room, disk_error, make_cache, size_of
from squall.images.seen import index_directories, look as look_here
from squall.images.sweep import Layer
from squall.images.tools import find_pip, find_uv, uv_places, with_authorities
from squall.model.errors import ImageBuildError, ImageDownloadError, InternalFailure
from squall.model.image_steps import PipInstall, step_label
from squall.model.step_takes import StepTakes
from squall.runtime.spec import Level, Limits, Mount, SandboxSpec

_ROOM: Final = "/squall/build"
_REMEMBERED_LINES: Final = 400
_OUTER_LIMITS: Final = Limits(nofile=65_536)


class Sandboxes(Protocol):
    """Runs commands in sandboxes of this machine.

    level: what isolation they have. uid_base: the id of this machine that id 0 in them is, where we are root; the
    same for every build, so that they can share a cache.
    """

    @property
    def level(self) -> Level: ...

    @property
    def uid_base(self) -> int | None: ...

    def demand(self, label: str, takes: StepTakes) -> None:
        """Raises NoNodeFits, naming the step, where this machine can never give it what it takes."""
        ...

    def equipped(
        self, spec: SandboxSpec, takes: StepTakes, say: Say
    ) -> AbstractAsyncContextManager[SandboxSpec]:
        """While it lasts, the devices that a step takes are its own, and `spec` has them: what it gives is what is to be run.

        It waits while all are taken, and tells `say` why. Ask only for what `demand` did not refuse.
        """
        ...

    async def run(self, spec: SandboxSpec, on_output: Callable[[bytes], None]) -> Exit:
        """How the command of `spec` ended; what it printed went to `on_output`, in order. Cancelled: it is killed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a build needs besides its plan. facts and host: as the plan was made from. environ: where tools are sought."""

    facts: Facts
    host: HostImage
    settings: InstallerSettings = field(default_factory=InstallerSettings)
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    look: Look = look_here


Recording = Callable[[str, Say], AbstractContextManager[Say]]
"""While it lasts, what says each line to another, and keeps it as the log of this key."""


def _unrecorded(_key: str, say: Say) -> AbstractContextManager[Say]:
    return nullcontext(say)


class Builder:
    """Builds layers on this machine: every layer once, however many ask for it at the same time. recording: keeps what is said."""

    def __init__(self, layers: Layers, *, tools: Path, scratch: Path, sandboxes: Sandboxes) -> None:
        self._layers = layers
        self._tools = tools
        self._scratch = scratch
        self._sandboxes = sandboxes
        self._flights: dict[str, Flight[None]] = {}
        self._swept = False
        self.recording: Recording = _unrecorded

    async def build(self, plan: ImagePlan, job: Job, say: Say) -> tuple[Layer, ...]:
        """The layers of `plan`, once each is built; `say` gets the lines that tell how it goes, free of secrets.

        Raises ImageBuildError and what is below it, DiskFull or OutOfMemory. Cancelled, a build ends with its last
        follower.
        """
        await self._sweep()
        for warning in self._warnings(plan, job):
            say(f"warning: {warning}")
        job = replace(job, settings=with_authorities(job.settings))
        for build in plan.builds:
            self._sandboxes.demand(build.label, StepTakes(gpu=build.step.gpu))
        for build in plan.builds:
            await self._join(build.key, say, partial(self._build_one, build, job))
        missing = [key for key in plan.layers if key not in self._layers]
        if missing:
            raise InternalFailure(
                f"the layer {missing[0][:12]} is gone; it was here when the build was planned"
            )
        for key in plan.layers:
            self._layers.use(key)
        return tuple(layer for layer in self._layers.all() if layer.key in plan.layers)

    def _warnings(self, plan: ImagePlan, job: Job) -> list[str]:
        found = list(plan.warnings)
        if plan.builds and job.settings.ignored:
            found.append(
                f"settings of this machine that builds do not follow: {', '.join(job.settings.ignored)}"
            )
        if plan.builds and self._sandboxes.level == "process":
            found.append(
                "this machine allows no sandbox: steps run as your user, with your files in their reach"
            )
        return found

    def needed_mounts(self, step: PipInstall, job: Job) -> tuple[Mount, ...]:
        """The files and directories of this machine that an installer reads, each shown where it lies.

        Raises ImageBuildError for a directory that holds more than packages.
        """
        mounts: list[Mount] = []
        for path in _needed_here(step, job.settings):
            found = follow(path, job.look)
            if found.seen is None or _shows(path, mounts):
                continue
            if found.seen.kind == "dir" and is_too_wide(found.real, job.facts, job.look):
                raise _too_wide(step_label(step), path)
            mounts.append(Mount(source=found.real, target=path))
        return tuple(mounts)

    async def _sweep(self) -> None:
        """Before the first build: remove what builds left whose agent was killed."""
        if self._swept:
            return
        self._swept = True
        for left in self._layers.sweep_leftovers():
            try:
                await asyncio.to_thread(remove_tree, left)
            except OSError:
                continue  # a step that outlived its agent still writes there: the next start removes it

    async def _join(self, name: str, say: Say, start: Callable[[Say], Coroutine[Any, Any, None]]) -> None:
        """Wait for the work of this name, which runs already or starts now."""
        flight = self._flights.get(name)
        if flight is None:
            flight = self._flights[name] = Flight(start, on_end=self._land)
        await flight.follow(say)

    def _land(self, ended: Flight[None]) -> None:
        self._flights = {name: flight for name, flight in self._flights.items() if flight is not ended}

    async def _build_one(self, build: LayerBuild, job: Job, say: Say) -> None:
        if build.key in self._layers:
            return
        with self.recording(build.key, say) as tell:
            await self._build_missing(build, job, tell)

    async def _build_missing(self, build: LayerBuild, job: Job, say: Say) -> None:
        started = time.monotonic()
        say(f"building {build.label}")
        demand_room(self._layers.directory, "layers are kept")
        tool = await self._find_tool(build.step, job, say)
        building = await asyncio.to_thread(self._layers.begin, build.key)
        try:
            if tool.kind == "uv" and build.parent is not None:
                parent = self._layers.path(build.parent)
                await asyncio.to_thread(layers_on_disk.copy_tree, parent, building.layer)
            room = self._room(building)
            command = install_command(build, tool, room, settings=job.settings, python=job.facts.python)
            await self._run(build, command, _Site(building, room, tool, job), say)
            notes = await asyncio.to_thread(finish_layer, building.layer, job.settings.secrets.values())
            for note in notes:
                say(f"warning: {note}")
            record = {
                "label": build.label,
                "made_s": time.time(),
                "tool": tool.label,
                "python": job.facts.python.version,
            }
            layer = await asyncio.to_thread(self._layers.seal, building, record)
        except OSError as problem:
            raise disk_error(build.label, problem) from problem
        finally:
            await asyncio.shield(asyncio.to_thread(self._layers.drop, building))
        say(
            f"built {build.label} in {time.monotonic() - started:.1f} s: {size_of(layer.size_bytes)}, with {tool.label}"
        )

    def _room(self, building: Building) -> Places:
        """Where the command finds things, as it sees them."""
        if self._sandboxes.level == "process":
            top = str(building.top)
            return Places(
                target=str(building.layer),
                inputs=str(building.inputs),
                cache=str(self._cache),
                home=join(top, "home"),
            )
        # The layer is built where containers will see it: no path in it has to be changed.
        return Places(
            target=join(LAYERS_ROOT, building.key),
            inputs=f"{_ROOM}/inputs",
            cache=f"{_ROOM}/cache",
            home="/root",
        )

    @property
    def _cache(self) -> Path:
        return self._tools / "uv-cache"

    async def _run(self, build: LayerBuild, command: Command, site: _Site, say: Say) -> None:
        """Run the command and raise what its failure means."""
        for name, text in command.files.items():
            given = site.building.inputs / name
            given.write_text(text, encoding="utf-8")
            # The step runs under other ids than ours, and our umask may keep those out.
            given.chmod(0o644)
        redactor = Redactor(site.job.settings.secrets.values())
        lines: deque[str] = deque(maxlen=_REMEMBERED_LINES)

        def take(told: list[str]) -> None:
            for line in told:
                lines.append(line)
                say(f"  {line}")

        spec = await asyncio.to_thread(self._spec, build, command, site)
        async with self._sandboxes.equipped(spec, StepTakes(gpu=build.step.gpu), say) as equipped:
            exit_ = await self._sandboxes.run(equipped, lambda data: take(redactor.feed(data)))
        take(redactor.close())
        if not exit_.ok:
            raise failure(build.label, command, exit_, list(lines))
        await asyncio.to_thread(layers_on_disk.take_back, site.building.layer)

    def _spec(self, build: LayerBuild, command: Command, site: _Site) -> SandboxSpec:
        """The sandbox of one step, its writable places made ready for the ids in it."""
        building, level = site.building, self._sandboxes.level
        make_cache(self._cache, None if level == "process" else self._sandboxes.uid_base)
        (building.top / "home").mkdir(exist_ok=True)
        name = f"build-{build.key[:12]}-{secrets.token_hex(4)}"
        scratch = str(self._scratch / name)
        if level == "process":
            return SandboxSpec(
                id=name, level=level, scratch=scratch, env=command.env, network="host",
                workdir=str(building.top), argv=command.argv,
            )  # fmt: skip
        if self._sandboxes.uid_base is not None:
            layers_on_disk.hand_over(building.layer, self._sandboxes.uid_base)
        skeleton = str(self._layers.skeleton(site.job.host.skeleton))
        return SandboxSpec(
            id=name,
            level=level,
            scratch=scratch,
            lowers=(*build.lowers, skeleton),
            mounts=self._mounts(build, site),
            env=command.env,
            network="host",
            limits=_OUTER_LIMITS,
            uid_base=self._sandboxes.uid_base,
            argv=(f"{_ROOM}/uv", *command.argv[1:]) if site.tool.uv else command.argv,
        )

    def _mounts(self, build: LayerBuild, site: _Site) -> tuple[Mount, ...]:
        """What the step sees: the host image, the layer and the cache to write, its inputs, packages on this machine."""
        room, building, job = site.room, site.building, site.job
        mounts = [
            *job.host.mounts,
            Mount(source=str(building.layer), target=room.target, writable=True),
            Mount(source=str(self._cache), target=room.cache, writable=True),
            Mount(source=str(building.inputs), target=room.inputs),
        ]
        if site.tool.uv:
            mounts.append(Mount(source=site.tool.uv, target=f"{_ROOM}/uv"))
        for path in _needed_here(build.step, job.settings):
            if _shows(path, mounts):
                continue
            found = follow(path, job.look)
            if found.seen is None:
                continue
            if found.seen.kind == "dir" and is_too_wide(found.real, job.facts, job.look):
                raise _too_wide(build.label, path)
            mounts.append(Mount(source=found.real, target=path))
        return tuple(mounts)

    async def _find_tool(self, step: PipInstall, job: Job, say: Say) -> Tool:
        """The client's uv where there is one or one can be fetched, else pip."""
        found = await self.find_uv(step.uv_version, job, say)
        if found is not None:
            return found
        pip = find_pip(job.facts.python)
        if pip is None:
            raise ImageBuildError(
                f"neither uv nor pip was found for {job.facts.python.executable}",
                remedy="install uv (`python -m pip install uv`), or use a Python that has pip",
            )
        say(f"uv is not here and could not be fetched: pip installs instead ({pip.origin})")
        return pip

    async def find_uv(self, version: str | None, job: Job, say: Say) -> Tool | None:
        """A uv of this version (None: any), fetched once where there is none and pip can do it; None where there is none then.

        Raises ImageBuildError for a version that cannot be had.
        """
        python = job.facts.python
        found = await find_uv(uv_places(python, self._tools, job.environ), version)
        pip = find_pip(python)
        if found is None and pip is not None:
            wanted = PipInstall(packages=(f"uv=={version}" if version else "uv",))
            place = self._tools / (f"uv-{version}" if version else "uv-any")
            await self._join(place.name, say, partial(self._fetch_or_say, wanted, place, (pip, job)))
            found = await find_uv(uv_places(python, self._tools, job.environ), version)
        if found is None and version:
            raise ImageBuildError(f"uv {version} could not be fetched", remedy="leave uv_version out")
        return found

    async def find_conda_installer(self, job: Job, say: Say) -> str:
        """The directory in which the installer of conda packages lies, fetched once. Raises ImageBuildError where it cannot be had."""
        place = self._tools / f"{INSTALLER}-{INSTALLER_VERSION}"
        if not place.is_dir():
            # Of a wheel alone: to compile it takes a compiler, and half an hour.
            wanted = PipInstall(
                packages=(f"{INSTALLER}=={INSTALLER_VERSION}",), extra_options="--only-binary :all:"
            )
            try:
                tool = await self._find_tool(wanted, job, say)
                await self._join(place.name, say, partial(self._fetch, wanted, place, (tool, job)))
            except ImageBuildError as problem:
                raise ImageDownloadError(
                    f"conda packages are installed by {INSTALLER} {INSTALLER_VERSION}, which could not be fetched: "
                    f"{problem.message}",
                    remedy="let this machine reach a package index that has it; pip's settings say which is asked",
                ) from problem
        return str(place)

    async def _fetch_or_say(self, wanted: PipInstall, place: Path, with_: tuple[Tool, Job], say: Say) -> None:
        """The same for what can be done without: where it cannot be had, say why and leave it at that."""
        try:
            await self._fetch(wanted, place, with_, say)
        except ImageBuildError as problem:
            say(f"{wanted.packages[0]} could not be fetched: {problem.message.splitlines()[0]}")

    async def _fetch(self, wanted: PipInstall, place: Path, with_: tuple[Tool, Job], say: Say) -> None:
        """Have a tool of Python packages put what is wanted into one of our own directories."""
        tool, job = with_
        say(f"fetching {wanted.packages[0]} with {tool.kind}, once for this machine")
        key = secrets.token_hex(32)
        fetch = LayerBuild(key=key, parent=None, step=wanted)
        building = await asyncio.to_thread(self._layers.begin, key)
        room = self._room(building)
        command = install_command(fetch, tool, room, settings=job.settings, python=job.facts.python)
        told: deque[str] = deque(maxlen=LAST_LINES)
        try:
            await self._run(fetch, command, _Site(building, room, tool, job), told.append)
            await asyncio.to_thread(layers_on_disk.flush, building.layer)
            await asyncio.to_thread(_put, building.layer, place)
        except ImageBuildError:
            for line in told:
                say(line)
            raise
        except OSError as problem:
            raise disk_error(fetch.label, problem) from problem
        finally:
            await asyncio.shield(asyncio.to_thread(self._layers.drop, building))


@dataclass(frozen=True, slots=True)
class _Site:
    """One step being built: where it is built, what its command sees, with which tool and for which job."""

    building: Building
    room: Places
    tool: Tool
    job: Job


def _needed_here(step: PipInstall, settings: InstallerSettings) -> list[str]:
    """Files and directories of this machine that the installer reads: packages, indexes, certificates."""
    needed = [at for path in sources_of(step, settings).local_paths for at in index_directories(path)]
    return list(dict.fromkeys([*needed, *(path for path in (settings.cert, settings.client_cert) if path)]))


def _too_wide(label: str, path: str) -> ImageBuildError:
    return ImageBuildError(
        f"{label}: packages are looked for in {path}, which holds more than packages, so it is not shown to a build",
        remedy="put the packages into a directory of their own and name that one",
        step=label,
    )


def _shows(path: str, mounts: list[Mount]) -> bool:
    return any(mount.source == mount.target and is_below(path, mount.target) for mount in mounts)


def _put(made: Path, place: Path) -> None:
    """Give what was fetched its name; what has the name already, fetched by a faster build, goes."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        remove_tree(place)
    os.rename(made, place)
