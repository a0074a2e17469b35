"""Images: recipes with a root of their own made into what containers start from, on this machine."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from squall.blobs.blob_store import BlobStore
from squall.blobs.checkout import Checkouts
from squall.blobs.digest import Digest
from squall.blobs.remove import remove_tree
from squall.images.apply import Sandboxes
from squall.images.flight import Say
from squall.images.host import Facts, Look
from squall.images.plan import ImagePlan
from squall.images.rooted.bases import Bases, Machine
from squall.images.rooted.build import Job, LayerBuilder, Places
from squall.images.rooted.interpreters import Interpreters
from squall.images.rooted.kept import Kept
from squall.images.rooted.nouns import Built, Interpreter
from squall.images.rooted.plan import final_key, images_named, plan_steps
from squall.images.rooted.view import Shown, mounts_of, view_of
from squall.images.seen import look
from squall.model.errors import BlobCorrupt, BlobMissing, ImageBuildError, LevelRefused
from squall.model.image import SOURCE_ROOT, ClientPython, ImageRecipe
from squall.model.image_steps import AddLocal
from squall.settings.paths import StatePaths

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Where images are kept on this machine: their bytes, the directories of local files, and those of layers.

    bring: makes all that a manifest names near, where its bytes may be on another machine.
    """

    blobs: BlobStore
    trees: Checkouts
    rendered: Checkouts
    bring: Callable[[Digest], Awaitable[None]] | None = None


def rooted_images(paths: StatePaths, stores: Stores, sandboxes: Sandboxes) -> RootedImages:
    """The images of one state directory. What builds left whose agent was killed goes."""
    for left in paths.builds.glob("build-*"):
        remove_tree(left)
    kept = Kept(paths.images)
    places = Places(
        workshop=paths.builds, scratch=paths.scratch, cache=paths.tools / "uv-cache", logs=paths.build_logs
    )
    builder = LayerBuilder(stores.blobs, stores.rendered, kept, sandboxes, places)
    machine = Machine()
    interpreters = Interpreters(builder, stores.blobs, kept, machine, paths.builds)
    return RootedImages(builder, Bases(builder, stores.blobs, kept, machine), interpreters, kept, look)


_WITH_PYTHON: Final = frozenset({"debian_slim"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """An image that is whole here: what it is, how a container sees it, and the Python that it runs.

    forks_home: where this machine's own interpreter, forked into a container, finds its home in the image; "" where only the image's
    own does.
    """

    built: Built
    plan: ImagePlan
    python: ClientPython
    forks_home: str = ""


class RootedImages:
    """Makes images with a root of their own; each layer once, however many ask."""

    def __init__(
        self, builder: LayerBuilder, bases: Bases, interpreters: Interpreters, kept: Kept, look: Look
    ) -> None:
        self._builder = builder
        self._naming = asyncio.Lock()  # two that ask for one image at the same time name it once
        self._interpreters = interpreters
        self._kept = kept
        self._look = look
        self.bases = bases
        self.logs = builder.logs

    async def make(
        self, recipe: ImageRecipe, facts: Facts, job: Job, trees: Mapping[str, str], say: Say
    ) -> Ready:
        """The image of `recipe`, built as far as it is not here. trees: the directories of its local files.

        A layer of which something is damaged or gone is made again. Raises ImageBuildError and what is below it, the errors
        of registries, InvalidError, DiskFull and OutOfMemory.
        """
        return await self._mended(say, lambda: self._make(recipe, facts, job, trees, say))

    async def _make(
        self, recipe: ImageRecipe, facts: Facts, job: Job, trees: Mapping[str, str], say: Say
    ) -> Ready:
        mounts = await asyncio.to_thread(mounts_of, facts, self._look)
        built = await self._build(recipe, facts, replace(job, mounts=(*job.mounts, *mounts)), say)
        if built.python is None:
            raise ImageBuildError(
                "the image has no Python, and functions are Python",
                remedy='give it one: `add_python="3.12"`, or install one in a step',
            )
        adds = _uncopied(recipe)
        layers = await self._builder.directories(built)
        shown = Shown(built=built, layers=layers, adds=adds, trees=trees)
        python = ClientPython(
            executable=built.python.path,
            prefix=built.python.prefix,
            base_prefix=built.python.prefix,
            version=built.python.version,
        )
        return Ready(
            built=built,
            plan=view_of(shown, mounts, SOURCE_ROOT),
            python=python,
            forks_home=built.python.prefix if is_own_copy(built.python) else "",
        )

    async def build(self, recipe: ImageRecipe, facts: Facts, job: Job, say: Say) -> Built:
        """The same without a container in mind: an image that has no Python is one too."""
        mounts = await asyncio.to_thread(mounts_of, facts, self._look)
        job = replace(job, mounts=(*job.mounts, *mounts))
        return await self._mended(say, lambda: self._build(recipe, facts, job, say))

    async def _mended(self, say: Say, make: Callable[[], Awaitable[T]]) -> T:
        """What `make` gives, which is asked again where it met an image of which something is damaged or gone."""
        try:
            return await make()
        except (BlobCorrupt, BlobMissing) as problem:
            if not await self._builder.forget_broken():
                raise
            say(f"not all of an image is here any more: what is missing is made again ({problem.message})")
            return await make()

    async def _build(self, recipe: ImageRecipe, facts: Facts, job: Job, say: Say) -> Built:
        minor = recipe.python_version or facts.python.minor
        base = await self.bases.base_of(recipe, minor, job, say)
        asked = minor if recipe.base in _WITH_PYTHON else recipe.python_version
        if recipe.base != "built":
            base = await self._interpreters.given(base, asked, facts.python, (job, say))
        images = await self.bases.all_pulled(images_named(recipe), "", job, say)
        plan = plan_steps(base, recipe, {name: image.key for name, image in images.items()})
        for note in plan.notes:
            say(f"note: {note}")
        built = await self._builder.build(base, plan, job, say, images)
        if built.python is None:
            built = await self._interpreters.given(built, None, facts.python, (job, say))
        await self._keep_final(built, recipe)
        return built

    async def _keep_final(self, built: Built, recipe: ImageRecipe) -> None:
        """Has the image found by the key that its containers know it by."""
        key = final_key(built, built.config, _uncopied(recipe))
        async with self._naming:
            if self._kept.find(key) is None:
                final = replace(built, key=key, parent=built.key, final=True, took_s=0.0, size=0)
                await self._builder.keep(final, built)

    async def directories(self, built: Built) -> tuple[str, ...]:
        """The layers of an image as directories, the top one first."""
        return await self._builder.directories(built)


def is_own_copy(python: Interpreter) -> bool:
    """Whether an image has a copy of this very interpreter, so that a warm fork of it will do.

    What it loads later comes from the image, and must not want a newer C library than the one that was loaded here.
    """
    if not python.copy_of or python.version != platform.python_version():
        return False
    if os.path.realpath(python.copy_of) != os.path.realpath(sys.base_prefix):
        return False
    name, _, here = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    return name == "glibc" and bool(python.glibc) and _numbers(python.glibc) <= _numbers(here)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def uncopied_trees(recipe: ImageRecipe) -> tuple[str, ...]:
    """The trees of local files that are laid over the image when a container starts."""
    return tuple(dict.fromkeys(step.tree for step in _uncopied(recipe)))


def _uncopied(recipe: ImageRecipe) -> tuple[AddLocal, ...]:
    return tuple(step for step in recipe.steps if isinstance(step, AddLocal) and not step.copy)


def refuse_process(level: str) -> None:
    """Raises LevelRefused at the level `process`, where nothing can be mounted."""
    if level == "process":
        raise LevelRefused(
            "an image with a root of its own needs mounts, and this host allows none",
            remedy="use Image.host(), or a machine that allows sandboxes (`squall doctor`)",
        )
