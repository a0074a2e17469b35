"""Bases: what the steps of a recipe stand on, from a registry, a Dockerfile, the distribution's packages, or nothing."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, TypeVar

from squall.blobs.at_once import at_once
from squall.blobs.blob_store import BlobStore
from squall.images.command import Command
from squall.images.debian.nouns import RootCommand, WantedDebian, debian_architecture
from squall.images.debian.unpack import unpack_debian
from squall.images.dockerfile.nouns import DEFAULT_PATH, SCRATCH, Copy, ImageConfig, Stage
from squall.images.dockerfile.read import image_names, parse
from squall.images.flight import Say
from squall.images.oci.nouns import ImageConfig as OciConfig, Platform
from squall.images.plan import digest_of_parts
from squall.images.registry.client import RegistryClient
from squall.images.registry.credentials import Keychain, Login
from squall.images.registry.patience import Patience
from squall.images.registry.reference import Reference, parse_reference
from squall.images.registry.settings import RegistrySettings
from squall.images.remote import pull_image
from squall.images.rooted.build import Job, LayerBuilder, Order
from squall.images.rooted.commands import StepCommand
from squall.images.rooted.inventory_rows import find_key
from squall.images.rooted.kept import Kept
from squall.images.rooted.nouns import Built
from squall.images.rooted.plan import BUILDER_VERSION, plan_stage
from squall.model.errors import (
    ImageBuildError,
    NotFoundError,
    RegistryAccessDenied,
    RegistryNotFound,
    RegistryRateLimited,
    RegistryUnreachable,
)
from squall.model.image import DockerfileImage, ImageRecipe, RegistryImage

T = TypeVar("T")

RELEASE: Final = "bookworm"
"""The release of Debian that `debian_slim` is; it changes with the builder's version only."""

USER_SECRET: Final = "REGISTRY_USERNAME"  # noqa: S105 - the name of a variable
PASSWORD_SECRET: Final = "REGISTRY_PASSWORD"  # noqa: S105 - the name of a variable

_SLIM_CONFIG: Final = ImageConfig(env={"LANG": "C.UTF-8"})
# Whether there is a way to the registry at all is known soon; packages are there where none is.
_BRIEFLY: Final = Patience(tries=1)
_BRIEF_S: Final = 5.0
_ABSENT: Final = (RegistryUnreachable, RegistryNotFound, RegistryAccessDenied, RegistryRateLimited)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What images are built for. name: as `uname -m` says. environ: where proxies, certificates and logins are found."""

    name: str = field(default_factory=lambda: os.uname().machine)
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @property
    def platform(self) -> Platform:
        """The same in the words of registries, which understand the kernel's for the architecture."""
        return Platform(os="linux", architecture=self.name)


class Bases:
    """Bases on this machine: each made once, and found again."""

    def __init__(self, builder: LayerBuilder, blobs: BlobStore, kept: Kept, machine: Machine) -> None:
        self._builder = builder
        self._blobs = blobs
        self._kept = kept
        self._machine = machine

    async def base_of(self, recipe: ImageRecipe, minor: str, job: Job, say: Say) -> Built:
        """What the steps of `recipe` stand on. minor: the Python that `debian_slim` has, "3.12".

        Raises ImageBuildError and what is below it, the errors of registries, and InvalidError for a Dockerfile that makes no sense.
        """
        match recipe.base:
            case "debian_slim":
                return await self._slim(minor, job, say)
            case "registry" if recipe.image is not None:
                return await self.pulled(recipe.image, job, say)
            case "dockerfile" if recipe.dockerfile is not None:
                return await self._from_dockerfile(recipe.dockerfile, job, say)
            case "scratch":
                return await self._nothing()
            case "built":
                return await asyncio.to_thread(self._found, recipe.built)
            case _:
                raise ValueError(f"the base {recipe.base!r} has no root of its own")

    def _found(self, asked: str) -> Built:
        labels = {built.key: built.label for built, _ in self._kept.all()}
        found = self._kept.find(find_key(asked, labels, labels))
        if found is None:
            raise NotFoundError(f"the image {asked} has gone since it was looked for")
        return found

    async def _nothing(self) -> Built:
        return Built(key=digest_of_parts("scratch", BUILDER_VERSION), label="from_scratch")

    async def pulled(self, image: RegistryImage, job: Job, say: Say) -> Built:
        """An image of a registry, as it is found later by a recipe that stands on it. Raises the errors of registries."""
        reference = parse_reference(image.reference)
        key = digest_of_parts("pulled", BUILDER_VERSION, str(reference), image.build_id, self._machine.name)
        if (found := self._kept.find(key)) is not None:
            return found
        client = self.client(reference, job if image.login else None)
        return await self._builder.once(
            key, say, partial(self._pull, key, f"from_registry {reference}", reference, client)
        )

    def client(
        self, reference: Reference, login: Job | None, patience: Patience | None = None
    ) -> RegistryClient:
        """What asks the registry of `reference`, as the user that `login` names, or else as whom this machine is logged in."""
        given = {}
        if login is not None:
            secrets = login.settings.secrets
            given[reference.registry] = Login(secrets.get(USER_SECRET, ""), secrets.get(PASSWORD_SECRET, ""))
        environ = dict(self._machine.environ)
        settings = RegistrySettings(patience=patience) if patience else RegistrySettings()
        return RegistryClient(settings, Keychain(environ, given), environ)

    async def _pull(
        self, key: str, label: str, reference: Reference, client: RegistryClient, say: Say
    ) -> Built:
        say(f"pulling {reference}")
        pulled = await pull_image(client, reference, self._blobs, self._machine.platform, say)
        built = Built(
            key=key,
            trees=tuple(layer.manifest for layer in pulled.layers),
            config=_config_of(pulled.config),
            label=label,
            size=sum(layer.files_bytes for layer in pulled.layers),
        )
        return await self._builder.keep(built)

    async def _slim(self, minor: str, job: Job, say: Say) -> Built:
        """Debian, with its packages where no registry is reached; which of both it was once, it stays on this machine."""
        key = digest_of_parts("debian", BUILDER_VERSION, RELEASE, minor, self._machine.name)
        if (found := self._kept.find(key)) is not None:
            return found
        return await self._builder.once(key, say, partial(self._make_slim, key, minor, job))

    async def _make_slim(self, key: str, minor: str, job: Job, say: Say) -> Built:
        reference = parse_reference(f"python:{minor}-slim-{RELEASE}")
        try:
            async with asyncio.timeout(_BRIEF_S):
                await self.client(reference, None, _BRIEFLY).head_manifest(reference)
        except (*_ABSENT, TimeoutError) as error:
            say(
                f"{reference} is not reached ({str(error).splitlines()[0] if str(error) else 'no answer'}): Debian's packages instead"
            )
        else:
            return await self._pull(key, "debian_slim", reference, self.client(reference, None), say)
        wanted = WantedDebian(release=RELEASE, architecture=debian_architecture(self._machine.name))
        unpacked = await unpack_debian(wanted, self._blobs, say)
        built = Built(key=key, trees=(unpacked.manifest,), config=_SLIM_CONFIG, label="debian_slim")
        say("configuring the packages")
        order = Order(
            key=key,
            label="debian_slim: configuring its packages",
            command=StepCommand(command=_together(unpacked.commands), clamp_s=unpacked.epoch_s),
            quiet=True,
        )
        taken = await self._builder.run(built, order, job, say)
        built = replace(built, trees=(*built.trees, taken.manifest))
        return await self._builder.keep(replace(built, size=unpacked.files_bytes))

    async def _from_dockerfile(self, source: DockerfileImage, job: Job, say: Say) -> Built:
        """The last stage; stages that do not need each other are built at the same time."""
        grounds = image_names(source.text, build_args=source.build_args)
        images = await self.all_pulled(grounds, source.build_id, job, say)
        configs = {name: built.config for name, built in images.items()}
        parsed = parse(source.text, build_args=source.build_args, images=configs)
        for note in parsed.notes:
            say(f"note: {note}")
        copied_from = [name for name in parsed.images if name not in images]
        images |= await self.all_pulled(copied_from, source.build_id, job, say)
        building: list[asyncio.Future[Built]] = []
        for stage in parsed.stages:
            made = self._stage(stage, (source.context, images, tuple(building)), job, say)
            building.append(asyncio.ensure_future(made))
        return (await all_or_none(building))[-1]

    async def all_pulled(self, names: Iterable[str], build_id: str, job: Job, say: Say) -> dict[str, Built]:
        """The images of these names, each pulled unless it was before under this build_id."""

        async def pulled(name: str) -> Built:
            return await self.pulled(RegistryImage(reference=name, build_id=build_id), job, say)

        return await at_once(pulled, names)

    async def _stage(
        self,
        stage: Stage,
        known: tuple[str, Mapping[str, Built], Sequence[asyncio.Future[Built]]],
        job: Job,
        say: Say,
    ) -> Built:
        """One stage, once those that it needs are built. known: the context, the images by name, the stages before it."""
        context, images, before = known
        sources: dict[int | str, Built] = {name: built for name, built in images.items()}  # noqa: C416 - of another type
        for number in needed_by(stage):
            sources[number] = await asyncio.shield(before[number])
        if stage.base is not None:
            ground = sources[stage.base]
        else:
            ground = await self._nothing() if stage.image == SCRATCH else images[stage.image]
        plan = plan_stage(ground, stage, context, {at: one.key for at, one in sources.items()})
        return await self._builder.build(ground, plan, job, say, sources)


def needed_by(stage: Stage) -> tuple[int, ...]:
    """The stages that this one stands on or copies from, by their index."""
    copied = [step.stage for step in stage.steps if isinstance(step, Copy) and step.stage is not None]
    return tuple(dict.fromkeys([*copied, *(() if stage.base is None else (stage.base,))]))


async def all_or_none(works: Sequence[asyncio.Future[T]]) -> list[T]:
    """What all of them give, in their order. The first failure ends the others, and is raised."""
    try:
        return list(await asyncio.gather(*works))
    finally:
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)


def _together(commands: Sequence[RootCommand]) -> Command:
    """Commands as one, which ends at the first that fails: a sandbox for each would make a layer for each."""
    lines = [
        shlex.join(["env", "-i", *(f"{name}={value}" for name, value in one.env.items()), *one.argv])
        for one in commands
    ]
    script = "\n".join(["set -e", *lines])
    return Command(
        argv=("/bin/sh", "-c", script), env={"PATH": DEFAULT_PATH}, files={}, shown="dpkg --configure -a"
    )


def _config_of(config: OciConfig) -> ImageConfig:
    """What a pulled image says of itself. Raises ImageBuildError for what no container can start with."""
    workdir = config.workdir or "/"
    if not workdir.startswith("/"):
        raise ImageBuildError(f"the image starts in {workdir!r}, which is no absolute path")
    return ImageConfig(
        env=dict(config.env),
        workdir=workdir.rstrip("/") or "/",
        user=config.user,
        entrypoint=config.entrypoint or None,
        cmd=config.cmd or None,
        labels=dict(config.labels),
    )
