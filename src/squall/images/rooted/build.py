"""Build: makes the layers of an image that are missing, each in a sandbox of its own over those below, and keeps them."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from squall import faults
from squall.blobs.blob_store import BlobStore
from squall.blobs.certain import certain
from squall.blobs.checkout import Checkouts
from squall.blobs.digest import Digest
from squall.blobs.manifest import Entry, Manifest
from squall.blobs.manifest_bytes import decode
from squall.blobs.remove import remove_tree
from squall.blobs.snapshot import Snapshot
from squall.images.apply import Sandboxes
from squall.images.command import Tool
from squall.images.dockerfile.copying import name_of
from squall.images.dockerfile.nouns import Copy, MakeDirectory
from squall.images.download import Fetched, download
from squall.images.flight import Flight, Say
from squall.images.installer import InstallerSettings
from squall.images.redact import Redactor
from squall.images.room import demand_room, disk_error, make_cache, size_of
from squall.images.rooted.broken import forget_broken
from squall.images.rooted.build_log import BuildLogs
from squall.images.rooted.commands import (
    AUTHORITIES,
    CACHE,
    CALL,
    CONDA_INSTALLER,
    INPUTS,
    ROOM,
    Means,
    StepCommand,
    command_of,
    packages_of,
    trusting,
    with_tool,
)
from squall.images.rooted.conda_python import environment_python
from squall.images.rooted.copying import Sources, User, copied, made_directory, placed_tree, user_of
from squall.images.rooted.kept import Kept
from squall.images.rooted.layered import Layered
from squall.images.rooted.laying import lay
from squall.images.rooted.nouns import Built, Interpreter, LayerStep, StepsPlan
from squall.images.rooted.way_in import before, with_way_in
from squall.images.shown import shown_by
from squall.model.errors import ImageBuildError
from squall.model.image_steps import AddLocal, CondaInstall, PipInstall, PoetryInstall, RunFunction, UvSync
from squall.model.step_takes import NOTHING, StepTakes
from squall.runtime.changes.taken import remove_changes, snapshot_changes
from squall.runtime.spec import Limits, Mount, SandboxSpec

T = TypeVar("T")

_log = logging.getLogger("squall.agent")

_REMEMBERED_PATHS: Final = 200_000
_REMEMBERED_LINES: Final = 400
_OUTER_LIMITS: Final = Limits(nofile=65_536)
_ROOT_NAMES: Final = frozenset({"", "0", "root", "0:0", "root:root"})
_MOST_CALL: Final = 512 << 20

_RAN = faults.declare("image.ran", "a step has run, and nothing of it is kept")
_LAID = faults.declare("image.laid", "a layer is in the store, and no image has it")

FindUv = Callable[[str | None, Say], Awaitable[Tool | None]]
"""A uv of this version (None: any) on this machine, fetched if need be."""

FindCondaInstaller = Callable[[Say], Awaitable[str]]
"""The directory on this machine in which the installer of conda packages lies, fetched if need be."""


async def no_conda_installer(_: Say) -> str:
    """None, where nothing is built. Raises ImageBuildError."""
    raise ImageBuildError("there is no installer of conda packages here")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a build needs besides its plan. mounts: what every step is shown of this machine; authorities: the file of those whom the machine
    trusts; find_uv, find_conda_installer: where installers come from; needed: files of this machine that an installer reads.
    """

    settings: InstallerSettings = field(default_factory=InstallerSettings)
    mounts: tuple[Mount, ...] = ()
    authorities: str | None = None
    find_uv: FindUv
    find_conda_installer: FindCondaInstaller = no_conda_installer
    needed: Callable[[PipInstall], tuple[Mount, ...]] = lambda _: ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A command that makes a layer. tool: what it installs Python packages with; call: the blob of the function that it calls; needed:
    mounts of what it reads besides; cached: it keeps packages for the next one; quiet: what it prints is shown only where it fails; takes: of
    the machine.
    """

    key: str
    label: str
    command: StepCommand
    tool: Tool | None = None
    call: str = ""
    needed: tuple[Mount, ...] = ()
    timeout_s: float | None = None
    cached: bool = False
    quiet: bool = False
    takes: StepTakes = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Directories of a builder. workshop: for what is under way, its own alone; scratch: in which sandboxes have theirs, removed by who
    starts them; cache: of packages, shared by all builds; logs: what was said while each layer was built.
    """

    workshop: Path
    scratch: Path
    cache: Path
    logs: Path


class LayerBuilder:
    """Builds layers on this machine: every layer once, however many ask for it at the same time.

    blobs: where layers are kept; rendered: their directories; kept: the images that are whole.
    """

    def __init__(
        self, blobs: BlobStore, rendered: Checkouts, kept: Kept, sandboxes: Sandboxes, places: Places
    ) -> None:
        self._blobs = blobs
        self._rendered = rendered
        self._kept = kept
        self._sandboxes = sandboxes
        self._workshop = places.workshop
        self._scratch = places.scratch
        self._cache = places.cache
        self.logs = BuildLogs(places.logs)
        self._flights: dict[str, Flight[Any]] = {}
        self._clearing: set[asyncio.Future[None]] = set()
        self._decoded: OrderedDict[Digest, dict[str, Entry]] = OrderedDict()

    async def once(self, name: str, say: Say, start: Callable[[Say], Awaitable[T]]) -> T:
        """What the work of this name gives, which runs already or starts now."""
        flight = self._flights.get(name)
        if flight is None:

            async def begin(tell: Say) -> T:
                with self.logs.recording(name, tell) as kept:
                    return await start(kept)

            flight = self._flights[name] = Flight(begin, on_end=self._land)
        given: T = await flight.follow(say)
        return given

    def _land(self, ended: Flight[Any]) -> None:
        self._flights = {name: flight for name, flight in self._flights.items() if flight is not ended}

    async def build(
        self,
        base: Built,
        plan: StepsPlan,
        job: Job,
        say: Say,
        images: Mapping[Any, Built] | None = None,
    ) -> Built:
        """`base` with all layers of `plan`; those that are here are used again. images: what files are copied from.

        Raises ImageBuildError and what is below it, DiskFull, OutOfMemory, or NoNodeFits before anything is run.
        """
        below, missing = base, list(plan.steps)
        for at, step in reversed(list(enumerate(plan.steps))):
            if (found := self._kept.find(step.key)) is not None:
                below, missing = found, list(plan.steps[at + 1 :])
                say(f"{at + 1} of {len(plan.steps)} steps are here already")
                break
        for step in missing:
            self._sandboxes.demand(step.label, step.takes)
        for step in missing:
            below = await self.once(step.key, say, partial(self._layer, below, step, (job, images or {})))
        conda = any(isinstance(step.action, CondaInstall) for step in plan.steps)
        return replace(below, config=plan.config, python=below.python if conda else base.python)

    async def directories(self, built: Built) -> tuple[str, ...]:
        """The layers of an image as directories, the top one first."""
        return tuple([str(await self._rendered.checkout(layer)) for layer in built.layers])

    async def layered(self, built: Built) -> Layered:
        """What an image shows, path by path."""
        return Layered([await self._entries(layer) for layer in built.layers])

    async def shown(self, built: Built) -> Manifest:
        """All that an image shows."""
        return await shown_by([Digest(tree) for tree in built.trees], self._blobs)

    async def _entries(self, layer: Digest) -> dict[str, Entry]:
        """The paths of a layer. Those that were asked for last are remembered: the next step stands on the same ones."""
        entries = self._decoded.pop(layer, None)
        if entries is None:
            data = await self._blobs.get(layer)
            entries = await asyncio.to_thread(lambda: {entry.path: entry for entry in decode(data).entries})
        self._decoded[layer] = entries
        while len(self._decoded) > 1 and sum(map(len, self._decoded.values())) > _REMEMBERED_PATHS:
            self._decoded.popitem(last=False)
        return entries

    async def add(self, below: Built, key: str, label: str, taken: Snapshot, took_s: float) -> Built:
        """An image with one layer more, found by its key from now on."""
        # Its own directory alone is no change of anything.
        trees = (*below.trees, taken.manifest) if taken.entries > 1 else below.trees
        return await self.keep(
            replace(
                below, key=key, label=label, trees=trees, took_s=took_s, size=taken.size, parent=below.key
            ),
            below,
        )

    async def keep(self, built: Built, below: Built | None = None) -> Built:
        """The image, found by its key from now on. below: an image that is kept already, whose layers are held by that.

        Raises BlobMissing where something of it was taken away meanwhile.
        """
        faults.point(_LAID)
        held = frozenset(below.trees) if below is not None else frozenset[str]()
        await certain(self._blobs, [Digest(tree) for tree in built.trees if tree not in held])
        made = replace(built, made_s=time.time())
        await asyncio.to_thread(self._kept.keep, made)
        return made

    async def forget_broken(self) -> bool:
        """Forgets the images of which something is missing; whether there were any."""
        return bool(await forget_broken(self._kept, self._blobs))

    async def _layer(
        self, below: Built, step: LayerStep, with_: tuple[Job, Mapping[Any, Built]], say: Say
    ) -> Built:
        job, _ = with_
        if (found := self._kept.find(step.key)) is not None:
            return found
        started_s = time.monotonic()
        say(f"building {step.label}")
        demand_room(self._workshop, "images are built")
        if isinstance(step.action, Copy | MakeDirectory | AddLocal):
            taken = await self._laid(below, step, with_, say)
        else:
            try:
                taken = await self.run(below, await self._ordered(below, step, job, say), job, say)
            except ImageBuildError as failed:
                ground = await self.keep(before(below, step), below)
                raise with_way_in(failed, ground.key) from failed
        took_s = time.monotonic() - started_s
        if isinstance(step.action, CondaInstall):
            below = replace(below, python=await self._environment_python(below, taken))
        built = await self.add(below, step.key, step.label, taken, took_s)
        say(f"built {step.label} in {took_s:.1f} s: {size_of(taken.size)}")
        return built

    async def _environment_python(self, below: Built, taken: Snapshot) -> Interpreter | None:
        """The Python of the conda environment, as it is with what a step has changed."""
        layers = [await self._entries(layer) for layer in (Digest(taken.manifest), *below.layers)]
        return await asyncio.to_thread(environment_python, layers)

    async def _laid(
        self, below: Built, step: LayerStep, with_: tuple[Job, Mapping[Any, Built]], say: Say
    ) -> Snapshot:
        """A layer for which nothing is run."""
        at = (await self.layered(below)).at
        match step.action:
            case AddLocal() as add:
                laid = placed_tree(await self._blobs.get(Digest(add.tree)), at)
            case MakeDirectory() as make:
                laid = made_directory(make, at)
            case Copy() as copy:
                sources = await self._sources(copy, step, with_, say)
                laid = await copied(copy, sources, at, self._blobs, say)
            case _:
                raise ValueError(f"{step.label} is run")
        return await lay(laid, self._blobs, at)

    async def _sources(
        self, copy: Copy, step: LayerStep, with_: tuple[Job, Mapping[Any, Built]], say: Say
    ) -> Sources:
        job, images = with_
        if copy.stage is None and not copy.image:
            tree = await self._blobs.get(Digest(step.context)) if step.context else None
            return Sources(tree=tree, fetched=await self._downloads(copy, job, say))
        built = images[copy.stage if copy.stage is not None else copy.image]
        return Sources(shown=await self.shown(built))

    async def _downloads(self, copy: Copy, job: Job, say: Say) -> dict[str, Fetched]:
        environ = {**os.environ, **job.settings.proxies}
        wanted = Digest(copy.checksum) if copy.checksum else None
        fetched: dict[str, Fetched] = {}
        for address in copy.addresses:
            fetched[address] = one = await download(address, self._blobs, environ, wanted=wanted)
            say(f"  {name_of(address) or address}: {size_of(one.size)}, sha256:{one.digest}")
        return fetched

    async def _ordered(self, below: Built, step: LayerStep, job: Job, say: Say) -> Order:
        """What is run for a layer."""
        tool = await self._tool(step, below, job, say)
        means = with_tool(Means(python=below.python, settings=job.settings), tool)
        return Order(
            key=step.key,
            label=step.label,
            command=command_of(step, means),
            tool=tool,
            call=step.action.call if isinstance(step.action, RunFunction) else "",
            needed=await self._needed(step, job, say),
            timeout_s=step.timeout_s,
            takes=step.takes,
            cached=tool is not None or isinstance(step.action, CondaInstall),
        )

    async def _needed(self, step: LayerStep, job: Job, say: Say) -> tuple[Mount, ...]:
        """What a step sees of this machine besides its inputs."""
        if isinstance(step.action, CondaInstall):
            return (Mount(source=await job.find_conda_installer(say), target=CONDA_INSTALLER),)
        packages = packages_of(step)
        return job.needed(packages) if packages is not None else ()

    async def run(self, below: Built, order: Order, job: Job, say: Say) -> Snapshot:
        """The layer that a command leaves over what is below it."""
        place = self._workshop / f"build-{order.key[:12]}-{secrets.token_hex(4)}"
        try:
            call = await self._blobs.get(Digest(order.call), stop=_MOST_CALL) if order.call else None
            environment, files = trusting(job.settings) if job.authorities else ({}, {})
            order = replace(order, command=_with(order.command, environment, files))
            await asyncio.to_thread(_make_places, place, order.command, call)
            spec = await self._spec(below, order, job, place)
            await self._run(spec, order, job, say)
            faults.point(_RAN)
            taken = await snapshot_changes(
                Path(f"{spec.changes}"),
                self._blobs,
                uid_base=self._sandboxes.uid_base,
                clamp_mtime_s=order.command.clamp_s,
            )
        except BaseException as problem:
            await asyncio.shield(asyncio.to_thread(self._clear, place))
            if isinstance(problem, OSError):
                raise disk_error(order.label, problem) from problem
            raise
        # What is built next need not wait until all of it is gone.
        clearing = asyncio.ensure_future(asyncio.to_thread(self._clear, place))
        self._clearing.add(clearing)
        clearing.add_done_callback(self._cleared)
        return taken

    async def _tool(self, step: LayerStep, below: Built, job: Job, say: Say) -> Tool | None:
        if not isinstance(step.action, PipInstall | UvSync | PoetryInstall):
            return None
        version = None if isinstance(step.action, PoetryInstall) else step.action.uv_version
        found = await job.find_uv(version, say)
        if found is None and below.python is not None:
            path = below.python.path
            return Tool(kind="pip", argv=(path, "-m", "pip"), origin="the image's own")
        return found

    async def _spec(self, below: Built, order: Order, job: Job, place: Path) -> SandboxSpec:
        layers = await self.directories(below)
        user = await self._user(below, order.command.user)
        command, tool = order.command, order.tool
        mounts = [
            *job.mounts,
            *order.needed,
            Mount(source=str(place / "inputs"), target=INPUTS, writable=command.writes_inputs),
        ]
        if job.authorities:
            mounts.append(Mount(source=job.authorities, target=AUTHORITIES))
        if order.cached:
            make_cache(self._cache, self._sandboxes.uid_base)
            mounts.append(Mount(source=str(self._cache), target=CACHE, writable=True))
        if tool is not None and tool.uv:
            mounts.append(Mount(source=tool.uv, target=f"{ROOM}/uv"))
        return SandboxSpec(
            id=place.name,
            level=self._sandboxes.level,
            scratch=str(self._scratch / place.name),
            lowers=layers,
            owned=layers,
            upper=str(place / "layer"),
            mounts=tuple(mounts),
            env={**command.command.env, **({"HOME": user.home} if user else {})},
            workdir=command.workdir,
            network="host",
            capabilities="build",
            limits=_limits(order.takes),
            uid_base=self._sandboxes.uid_base,
            argv=command.command.argv,
            user=(user.uid, user.gid) if user else None,
        )

    async def _user(self, below: Built, user: str) -> User | None:
        if user in _ROOT_NAMES:
            return None
        return await user_of(user, (await self.layered(below)).at, self._blobs)

    async def _run(self, spec: SandboxSpec, order: Order, job: Job, say: Say) -> None:
        """Run the command and raise what its failure means."""
        redactor = Redactor(job.settings.secrets.values())
        lines: deque[str] = deque(maxlen=_REMEMBERED_LINES)

        def take(told: list[str]) -> None:
            for line in told:
                lines.append(line)
                if not order.quiet:
                    say(f"  {line}")

        try:
            # Its time begins with its command, however long it had to wait for a device.
            async with self._sandboxes.equipped(spec, order.takes, say) as given:
                async with asyncio.timeout(order.timeout_s):
                    ended = await self._sandboxes.run(given, lambda data: take(redactor.feed(data)))
        except TimeoutError:
            raise ImageBuildError(
                f"{order.label} took longer than its limit of {order.timeout_s:g} seconds, and was ended",
                remedy="give it more time: `timeout=`",
                step=order.label,
            ) from None
        take(redactor.close())
        if not ended.ok:
            most = order.takes.limits.memory_mib if order.takes.limits is not None else None
            raise order.command.failure(
                order.label, order.command.command, ended, list(lines), memory_mib=most
            )

    def _cleared(self, clearing: asyncio.Future[None]) -> None:
        self._clearing.discard(clearing)
        if not clearing.cancelled() and (problem := clearing.exception()) is not None:
            _log.warning("what a build has left could not be removed: %s", problem)

    def _clear(self, place: Path) -> None:
        if (place / "layer").is_dir():
            remove_changes(place / "layer", uid_base=self._sandboxes.uid_base)
        remove_tree(place)


def _limits(takes: StepTakes) -> Limits:
    """What a step may use at most."""
    said = takes.limits
    if said is None:
        return _OUTER_LIMITS
    return replace(
        _OUTER_LIMITS,
        cpu_milli=said.cpu_milli,
        memory_bytes=None if said.memory_mib is None else said.memory_mib * 2**20,
        pids=said.pids,
    )


def _with(step: StepCommand, environment: Mapping[str, str], files: Mapping[str, str]) -> StepCommand:
    """The same with more in its environment and among its inputs; what it says itself counts."""
    command = step.command
    env, given = {**environment, **command.env}, {**files, **command.files}
    return replace(step, command=replace(command, env=env, files=given))


def _make_places(place: Path, command: StepCommand, call: bytes | None) -> None:
    for directory in (place, place / "inputs", place / "layer"):
        directory.mkdir()
        # Open to the sandbox, whose ids are not ours; the directory above is closed to other users.
        directory.chmod(0o777 if directory.name == "inputs" and command.writes_inputs else 0o755)
    for name, text in command.command.files.items():
        given = place / "inputs" / name
        given.write_text(text, encoding="utf-8")
        given.chmod(0o755 if name in command.programs else 0o666 if command.writes_inputs else 0o644)
    if call is not None:
        (place / "inputs" / CALL).write_bytes(call)
        (place / "inputs" / CALL).chmod(0o644)
