"""Prepared: images and sources laid out on this node, so that a container can start from them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from squall.agent.levels import Levels
from squall.blobs.digest import Digest
from squall.blobs.leases import Leases
from squall.images.apply import Builder, Job, Sandboxes
from squall.images.host import PYTHON_ROOT, Facts, HostImage, host_image
from squall.images.installer import InstallerSettings
from squall.images.layers import Layers
from squall.images.plan import LAYERS_ROOT, BuildFacts, ImagePlan, plan_image, trees_of
from squall.images.rooted.build import Job as RootedJob
from squall.images.rooted.images import Stores, refuse_process, rooted_images, uncopied_trees
from squall.images.seen import look
from squall.images.tools import authorities, with_authorities
from squall.model.container import WantedContainer
from squall.model.errors import BlobCorrupt, BlobMissing, LevelRefused
from squall.model.function import Function
from squall.model.image import ClientPython, ImageRecipe
from squall.runtime import spec as sandbox
from squall.settings.paths import StatePaths

_log = logging.getLogger("squall.agent")
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """An image that is ready here: its plan, its skeleton, and the tree of the source."""

    plan: ImagePlan
    python: ClientPython
    skeleton: str
    source: str | None
    forks_home: str = ""

    @property
    def rooted(self) -> bool:
        """Whether it has a root of its own, so that nothing of this machine's Python is in it."""
        return bool(self.plan.owned)


def image_key(function: Function) -> str:
    """What a function's image and source are known by on this node."""
    return key_of(function.image, function.client_python, function.code.source)


def key_of(image: dict[str, Any], client_python: dict[str, Any], source: str | None) -> str:
    """The same, from its parts."""
    return hashlib.sha256(json.dumps([image, client_python, source], sort_keys=True).encode()).hexdigest()


class Images:
    """What has been made ready on this node, and how more of it is made."""

    def __init__(self, paths: StatePaths, stores: Stores, sandboxes: Sandboxes, levels: Levels) -> None:
        self._paths = paths
        self._checkouts = stores.trees
        self._layers = Layers(paths.layers)
        self._builder = Builder(self._layers, tools=paths.tools, scratch=paths.scratch, sandboxes=sandboxes)
        self._sandboxes = sandboxes
        self.rooted = rooted_images(paths, stores, sandboxes)
        self._builder.recording = self.rooted.logs.recording
        self._under_way: dict[object, float] = {}
        self._levels = levels
        self._blobs = stores.blobs
        self._bring = stores.bring
        self.leases = Leases(paths.leases)
        self._ready: dict[str, Prepared] = {}
        self._used_by: dict[str, str] = {}
        self._hosts: dict[str, HostImage] = {}
        self._arrived = asyncio.Condition()

    async def prepare(self, wants: dict[str, Any], say: Say) -> Prepared:
        """Makes an image and a source ready; `say` gets lines for the user. Raises ImageBuildError and its like."""
        key = key_of(wants["image"], wants["client_python"], wants.get("source"))
        self._used_by |= {str(function["id"]): key for function in wants.get("functions", ())}
        known = self._ready.get(key)
        if known is not None and all(layer in self._layers for layer in known.plan.layers):
            return known
        # What is fetched and built is named nowhere until it is whole.
        with self.under_way():
            async with self.leases.held():
                prepared = await self._make(wants, say)
        async with self._arrived:
            self._ready[key] = prepared
            self._arrived.notify_all()
        return prepared

    @contextlib.contextmanager
    def under_way(self) -> Iterator[None]:
        """While something is built or fetched: what it may stand on is in use."""
        one = object()
        self._under_way[one] = time.time()
        try:
            yield
        finally:
            del self._under_way[one]

    @property
    def oldest_s(self) -> float | None:
        """When the longest of what is under way began, in seconds since 1970; None where nothing is."""
        return min(self._under_way.values(), default=None)

    def forget(self, keys: Collection[str]) -> None:
        """The images and layers of these keys are gone: what stood on them is made ready anew when it is wanted."""
        self._ready = {
            name: known
            for name, known in self._ready.items()
            if known.plan.key not in keys and not set(known.plan.layers) & set(keys)
        }

    async def wait_for(self, function: Function) -> Prepared:
        """What a function needs, once the server has had it prepared here.

        Raises IsolationUnavailable when this machine does not give its level.
        """
        await self._levels.give(function.level)
        key = self._used_by[function.id] = image_key(function)
        async with self._arrived:
            await self._arrived.wait_for(lambda: key in self._ready)
        return self._ready[key]

    def keep_only(self, functions: Collection[str]) -> frozenset[str]:
        """Forgets what no function of these ids needs; the names of the directories that they need."""
        self._used_by = {name: key for name, key in self._used_by.items() if name in functions}
        needed = frozenset(self._used_by.values())
        self._ready = {key: prepared for key, prepared in self._ready.items() if key in needed}
        return frozenset(
            os.path.basename(path)
            for prepared in self._ready.values()
            for path in (prepared.source, *prepared.plan.lowers)
            if path
        )

    async def _checkout(self, tree: str) -> str:
        """The directory of a tree. One of which a file is gone is forgotten, so that its owner sends what is missing."""
        try:
            return str(await self._checkouts.checkout(Digest(tree)))
        except (BlobCorrupt, BlobMissing):
            await self._blobs.delete([Digest(tree)])
            raise

    async def _make(self, wants: dict[str, Any], say: Say) -> Prepared:
        python = ClientPython.from_json(wants["client_python"])
        recipe = ImageRecipe.from_json(wants["image"]) if wants["image"] else ImageRecipe()
        settings = InstallerSettings.from_json(wants.get("installer") or {})
        if self._bring is not None:
            source = wants.get("source")
            for tree in dict.fromkeys((*recipe.trees, *((source,) if source else ()))):
                await self._bring(Digest(tree))
        facts = self.facts(python)
        if recipe.base != "host":
            return await self._make_rooted(recipe, (facts, settings, wants.get("source")), say)
        host = self._host(facts)
        trees = {tree: await self._checkout(tree) for tree in trees_of(recipe)}
        plan = plan_image(
            recipe,
            BuildFacts(
                python=python,
                host=host,
                built=self._layers.keys(),
                layers_dir=str(self._paths.layers),
                trees=trees,
            ),
        )
        if plan.builds:
            job = Job(facts=facts, host=host, settings=settings)
            await self._builder.build(plan, job, say)
        for layer in plan.layers:
            self._layers.use(layer)
        skeleton = await asyncio.to_thread(self._layers.skeleton, plan.skeleton)
        source = wants.get("source")
        tree = await self._checkout(source) if source else None
        return Prepared(plan, python, str(skeleton), tree)

    def facts(self, python: ClientPython) -> Facts:
        """What builds and shells are shown of this machine."""
        return Facts(
            python=python,
            packages=_own_packages(),
            home=os.path.expanduser("~"),
            private=(str(self._paths.state),),
        )

    async def _make_rooted(
        self, recipe: ImageRecipe, with_: tuple[Facts, InstallerSettings, str | None], say: Say
    ) -> Prepared:
        facts, settings, source = with_
        refuse_process(self._sandboxes.level)
        trees = {tree: await self._checkout(tree) for tree in uncopied_trees(recipe)}
        tools = Job(facts=facts, host=self._host(facts), settings=with_authorities(settings))
        job = RootedJob(
            settings=tools.settings,
            authorities=authorities(),
            find_uv=lambda version, tell: self._builder.find_uv(version, tools, tell),
            find_conda_installer=lambda tell: self._builder.find_conda_installer(tools, tell),
            needed=lambda step: self._builder.needed_mounts(step, tools),
        )
        ready = await self.rooted.make(recipe, facts, job, trees, say)
        skeleton = await asyncio.to_thread(self._layers.skeleton, ready.plan.skeleton)
        tree = await self._checkout(source) if source else None
        return Prepared(ready.plan, ready.python, str(skeleton), tree, ready.forks_home)

    def _host(self, facts: Facts) -> HostImage:
        key = json.dumps(facts.python.to_json(), sort_keys=True)
        if key not in self._hosts:
            self._hosts[key] = host_image(facts, look)
        return self._hosts[key]

    def spec_for(
        self, wanted: WantedContainer, prepared: Prepared, *, uid_base: int | None
    ) -> sandbox.SandboxSpec:
        """The sandbox of one container. Raises LevelRefused when the function asks for more than this host gives."""
        function = wanted.function
        limits = sandbox.Limits(
            memory_bytes=None if function.limits.memory_mib is None else function.limits.memory_mib * 2**20,
            cpu_milli=function.limits.cpu_milli,
            pids=function.limits.pids,
            disk_bytes=None if function.limits.disk_mib is None else function.limits.disk_mib * 2**20,
        )
        plan, python = prepared.plan, prepared.python
        env = {
            **plan.environment,
            **function.env,
            "SQUALL_CONTAINER": wanted.id,
            "SQUALL_FUNCTION": function.name,
        }
        scratch = str(self._paths.scratch / wanted.id)
        level = self._levels.given(function.level)
        if level == "process":
            return self._process_spec(wanted, prepared, (env, scratch, limits))
        runtime = self._levels.runtime_of(level)
        own = bool(prepared.forks_home) if prepared.rooted else is_own_python(python)
        forked = own and not runtime
        env["SQUALL_PATH"] = ":".join(plan.sys_path)
        env["SQUALL_PYTHON"] = f"{python.executable}:{python.prefix}"
        if forked and prepared.forks_home:
            env["SQUALL_PYTHON_HOME"] = prepared.forks_home
        # For a runner that is started anew, and for programs that user code or `squall shell` starts.
        env["PYTHONPATH"] = f"{env['PYTHONPATH']}:{PYTHON_ROOT}"
        return sandbox.SandboxSpec(
            id=wanted.id,
            level=level,
            runtime=runtime,
            scratch=scratch,
            lowers=tuple(part for part in (prepared.source, *plan.lowers, prepared.skeleton) if part),
            owned=plan.owned,
            mounts=plan.mounts,
            hostname=function.name.replace("_", "-").replace(".", "-")[:48] or "squall",
            env=env,
            workdir=plan.workdir,
            limits=limits,
            uid_base=uid_base,
            interpreter=None if forked else python.executable,
        )

    def _process_spec(
        self, wanted: WantedContainer, prepared: Prepared, parts: tuple[Any, ...]
    ) -> sandbox.SandboxSpec:
        """At level `process` nothing is mounted: code runs where the tree was laid out, from the user's own files."""
        env, scratch, limits = parts
        plan, python = prepared.plan, prepared.python
        needs_mounts = [add.remote for add in plan.adds if not add.remote.startswith("/app/")]
        if needs_mounts:
            raise LevelRefused(
                f"{wanted.function.name} adds local files at {needs_mounts[0]}, which needs mounts; this host allows none"
            )
        if wanted.function.block_network:
            raise LevelRefused(
                f"{wanted.function.name} has block_network=True, which needs a network namespace; this host allows none"
            )
        source = f"{prepared.source}/app" if prepared.source else "/"
        layers = [str(self._paths.layers / key) for key in plan.layers]
        own = str(Path(__file__).absolute().parents[2])
        path = [source, *layers, *python.site_dirs]
        env = {key: value.replace(LAYERS_ROOT, str(self._paths.layers)) for key, value in env.items()}
        env |= {
            "PYTHONPATH": ":".join([source, *layers, own]),
            "SQUALL_PATH": ":".join([*path, own]),
            "SQUALL_SOURCE_DIR": source,
        }
        env["HOME"] = scratch
        return sandbox.SandboxSpec(
            id=wanted.id,
            level="process",
            scratch=scratch,
            env=env,
            workdir=source,
            network="host",
            limits=limits,
            interpreter=python.executable,
        )


def is_own_python(python: ClientPython) -> bool:
    """Whether the client's interpreter is this one, so that a warm fork of it will do."""
    return python.version == platform.python_version() and os.path.realpath(
        python.base_prefix
    ) == os.path.realpath(sys.base_prefix)


def _own_packages() -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for name in ("squall", "cloudpickle"):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            found.append((name, str(Path(spec.origin).parent)))
    return tuple(found)
