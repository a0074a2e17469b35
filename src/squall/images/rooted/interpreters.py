"""Interpreters: the Python that an image has or is given, found once for each image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from squall.blobs.blob_store import BlobStore
from squall.blobs.manifest import File
from squall.blobs.manifest_bytes import decode
from squall.images.command import Command
from squall.images.dockerfile.nouns import DEFAULT_PATH
from squall.images.flight import Say
from squall.images.host import parent
from squall.images.plan import digest_of_parts
from squall.images.python.give import Means, give_python
from squall.images.python.nouns import PythonInImage, Wanted
from squall.images.python.plan import said
from squall.images.rooted.bases import Machine
from squall.images.rooted.build import Job, LayerBuilder, Order
from squall.images.rooted.commands import StepCommand
from squall.images.rooted.kept import Kept
from squall.images.rooted.nouns import Built, Interpreter
from squall.images.rooted.plan import BUILDER_VERSION
from squall.model.errors import PythonUnavailable
from squall.model.image import ClientPython

_DEBIANS: Final = "/usr/lib/python3/dist-packages"


class Interpreters:
    """Finds the Python of images, or gives them one. scratch: a directory for files of some 100 MiB, for a while."""

    def __init__(
        self, builder: LayerBuilder, blobs: BlobStore, kept: Kept, machine: Machine, scratch: Path
    ) -> None:
        self._builder = builder
        self._blobs = blobs
        self._kept = kept
        self._machine = machine
        self._scratch = scratch

    async def given(
        self, built: Built, minor: str | None, client: ClientPython, with_: tuple[Job, Say]
    ) -> Built:
        """The image with a Python of this minor version; None: with the one that is in it, or without any.

        Raises PythonUnavailable, which says why none can be had.
        """
        job, say = with_
        # The client's is one of several, and it may be another one tomorrow.
        key = digest_of_parts("python", BUILDER_VERSION, built.key, minor, client.version, client.soabi)
        if (found := self._kept.find(key)) is not None:
            return replace(found, config=built.config)

        async def give(tell: Say) -> Built:
            return await self._give(built, (key, minor, client), job, tell)

        return await self._builder.once(key, say, give)

    async def _give(
        self, built: Built, wanted: tuple[str, str | None, ClientPython], job: Job, say: Say
    ) -> Built:
        key, minor, client = wanted
        means = Means(blobs=self._blobs, scratch=self._scratch, client=client)
        path = built.config.env.get("PATH") or DEFAULT_PATH
        asks = Wanted(minor=minor, machine=self._machine.name, path=tuple(path.split(":")))
        try:
            python = await give_python(asks, built.layers[::-1], means)
        except PythonUnavailable:
            if minor is not None:
                raise
            return built
        for line in said(python):
            say(line)
        with_python = replace(
            built,
            key=key,
            python=_interpreter(python, client),
            label=_label(python),
            parent=built.key,
            size=0,
        )
        if python.tree is not None:
            entries = decode(await self._blobs.get(python.tree)).entries
            size = sum(entry.size for entry in entries if isinstance(entry, File))
            with_python = replace(with_python, trees=(*built.trees, python.tree), size=size)
        for number, command in enumerate(python.commands):
            with_python = await self._run(with_python, (key, number, command), job, say)
        return await self._builder.keep(with_python, built)

    async def _run(self, built: Built, what: tuple[str, int, str], job: Job, say: Say) -> Built:
        key, number, command = what
        env = {"PATH": DEFAULT_PATH, "HOME": "/root", **built.config.env}
        order = Order(
            key=digest_of_parts("python command", key, number),
            label=f"python: {command[:60]}",
            command=StepCommand(
                command=Command(argv=("/bin/sh", "-c", command), env=env, files={}, shown=command)
            ),
            quiet=True,
        )
        say(order.label)
        taken = await self._builder.run(built, order, job, say)
        return replace(built, trees=(*built.trees, taken.manifest)) if taken.entries > 1 else built


def _interpreter(python: PythonInImage, client: ClientPython) -> Interpreter:
    packages = (python.site_packages, *((_DEBIANS,) if python.managed else ()))
    return Interpreter(
        path=python.interpreter,
        prefix=parent(parent(python.interpreter)),
        version=python.version,
        packages=packages,
        copy_of=client.base_prefix if python.origin == "client" else "",
        glibc=python.glibc,
    )


def _label(python: PythonInImage) -> str:
    return f"Python {python.version} ({python.origin})"
