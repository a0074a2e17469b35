"""Broken: a damaged or missing chunk of an image is refused, and the layer that it was in is made again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

from squall.blobs.checkout import Checkouts
from squall.blobs.digest import Digest, digest_of
from squall.blobs.directory_renderer import DirectoryRenderer
from squall.blobs.disk_blobs import DiskBlobs
from squall.blobs.manifest_bytes import decode, manifest_digest
from squall.blobs.overlay_notes import Notes
from squall.images.command import Exit
from squall.images.dockerfile.nouns import ImageConfig
from squall.images.rooted.broken import forget_broken
from squall.images.rooted.build import Job, LayerBuilder, Places
from squall.images.rooted.kept import Kept
from squall.images.rooted.nouns import Built, LayerStep, StepsPlan
from squall.model.errors import BlobCorrupt, BlobMissing
from squall.model.image_steps import AddLocal
from squall.runtime.spec import Level, SandboxSpec
from tests.bare_steps import BareSteps
from tests.local_trees import keep_tree, local_tree

# No chunk is a file that the client sends.
LAYERS = {"a": {"a": bytes(1_000) + b"a" * 1_200_000}, "b": {"b": b"b" * 100, "c": b"c"}}


class NoSandboxes(BareSteps):
    """None is needed for steps that only lay files."""

    level: Level = "process"
    uid_base = None

    async def run(self, spec: SandboxSpec, on_output: Callable[[bytes], None]) -> Exit:
        raise AssertionError(f"{spec.id} was to run, and told {on_output}")


async def no_uv(_version: str | None, _say: Callable[[str], None]) -> None:
    return None


class Machine:
    """One agent's images, as after its start: nothing is remembered, and nothing rendered."""

    def __init__(self, state: Path, number: int) -> None:
        self.state = state
        self.number = number
        self.said: list[str] = []

    async def __aenter__(self) -> Self:
        self.blobs = await DiskBlobs.open(self.state / "blobs")
        self.kept = Kept(self.state / "images")
        rendered = await Checkouts.open(
            self.state / f"rendered{self.number}", DirectoryRenderer(self.blobs, notes=Notes.USER)
        )
        places = Places(
            workshop=self.state / "builds",
            scratch=self.state / "scratch",
            cache=self.state / "cache",
            logs=self.state / "logs",
        )
        self.builder = LayerBuilder(self.blobs, rendered, self.kept, NoSandboxes(), places)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.blobs.close()

    async def make(self, *, send: bool = True) -> tuple[Built, tuple[str, ...]]:
        """An image of two layers, each with the files of one of LAYERS, and its directories. send: the files are sent before."""
        steps = []
        for name, files in LAYERS.items():
            tree = local_tree(files)
            if send:
                await keep_tree(self.blobs, tree, files)
            add = AddLocal(kind="file", remote=f"/{name}", tree=manifest_digest(tree), copy=True)
            steps.append(
                LayerStep(key=digest_of(name.encode()), action=add, config=ImageConfig(), label=name)
            )
        plan = StepsPlan(steps=tuple(steps), config=ImageConfig())
        built = await self.builder.build(Built(key="0" * 64), plan, Job(find_uv=no_uv), self.said.append)
        return built, await self.builder.directories(built)

    def path(self, digest: Digest) -> Path:
        return self.state / "blobs" / digest[:2] / digest[2:]


def test_a_flipped_byte_in_any_blob_of_an_image_is_refused_and_its_layer_made_again(tmp_path: Path) -> None:
    async def run() -> None:
        async with Machine(tmp_path, 0) as machine:
            built, directories = await machine.make()
            assert sum("built" in line for line in machine.said) == 2
            content = [sorted(os.listdir(one)) for one in directories]
            layer_of: dict[Digest, int] = {}
            for number, tree in enumerate(built.trees):
                for digest in {Digest(tree), *decode(await machine.blobs.get(Digest(tree))).chunks}:
                    layer_of[digest] = number
        assert len(layer_of) >= 5
        for number, (damaged, layer) in enumerate(layer_of.items()):
            path = machine.path(damaged)
            raw = bytearray(path.read_bytes())
            raw[len(raw) // 2] ^= 1
            path.chmod(0o600)
            path.write_bytes(raw)
            async with Machine(tmp_path, 1 + number) as machine:
                with pytest.raises(BlobCorrupt):
                    await machine.make(send=False)
                # Without a word to the records, the next one would be refused too.
                with pytest.raises(BlobMissing):
                    await machine.make(send=False)
                assert await machine.builder.forget_broken()
                assert not await machine.builder.forget_broken()
                machine.said.clear()
                again, directories = await machine.make()
                assert again.trees == built.trees
                assert [sorted(os.listdir(one)) for one in directories] == content
                # What is below the layer was left as it is.
                assert sum(line.startswith("built") for line in machine.said) == 2 - layer

    asyncio.run(run())


def test_an_image_does_not_get_its_name_if_something_below_it_has_gone(tmp_path: Path) -> None:
    async def run() -> None:
        async with Machine(tmp_path, 0) as machine:
            built, _ = await machine.make()
            chunk = min(decode(await machine.blobs.get(Digest(built.trees[1]))).chunks)
            await machine.blobs.delete([chunk])
            with pytest.raises(BlobMissing, match=chunk):
                await machine.builder.keep(Built(key="9" * 64, trees=built.trees))
            assert machine.kept.find("9" * 64) is None
            (gone,) = await forget_broken(machine.kept, machine.blobs)
            assert gone.key == built.key

    asyncio.run(run())
