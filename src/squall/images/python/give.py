"""Give: finds the Python that an image gets, and makes it ready to be stacked over the base."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import assert_never

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest
from squall.images.python.base_look import look_at_base
from squall.images.python.bytecode import compile_command
from squall.images.python.nouns import (
    PREFIX,
    Archive,
    Base,
    ClientPrefix,
    Declined,
    PythonInImage,
    Wanted,
    dotted,
    minor_of,
)
from squall.images.python.plan import (
    Choice,
    Facts,
    FromArchive,
    FromClient,
    FromDistribution,
    InBase,
    choose,
    found_in_base,
    installed_by_distribution,
    notes_on,
    notes_on_archive,
)
from squall.images.python.prefix import WHAT as CLIENT, look_at_prefix
from squall.images.python.prefix_layer import copied
from squall.images.python.standalone import WHAT as STANDALONE
from squall.images.python.standalone_fetch import Source, fetched
from squall.model.errors import (
    DigestMismatch,
    ImageBuildError,
    ImageDownloadError,
    LayerInvalid,
    LayerTooLarge,
)
from squall.model.image import ClientPython


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a Python is given with. client: the client's, None where it is not on this machine. scratch: a directory for files of some
    100 MiB, for a while.
    """

    blobs: BlobStore
    scratch: Path
    client: ClientPython | None = None
    source: Source = field(default_factory=Source)


async def give_python(wanted: Wanted, trees: Sequence[Digest], means: Means) -> PythonInImage:
    """The Python of an image whose root is these trees, the lowest first.

    A standalone build that cannot be had, and a client's Python that cannot be copied, give way to what comes after them in the order.
    Raises PythonUnavailable where nothing does, TreeInvalid, DiskFull, and what the store raises.
    """
    facts = await _look(wanted, trees, means)
    while True:
        choice = choose(facts)
        try:
            return await _carried_out(choice, facts, means)
        except (ImageDownloadError, DigestMismatch, LayerInvalid, LayerTooLarge) as error:
            facts = replace(facts, standalone=Declined(STANDALONE, error.message))
        except ImageBuildError as error:
            facts = replace(facts, client=Declined(CLIENT, error.message))


async def _look(wanted: Wanted, trees: Sequence[Digest], means: Means) -> Facts:
    client: ClientPrefix | Declined = Declined(CLIENT, "it is not on this machine")
    if means.client is not None and wanted.minor == means.client.minor:
        client = await asyncio.to_thread(look_at_prefix, means.client)
    elif means.client is not None:
        client = Declined(CLIENT, f"it is Python {means.client.version}")
    names = _needed(client) if isinstance(client, ClientPrefix) else frozenset[str]()
    base = await look_at_base(trees, means.blobs, wanted, names)
    return Facts(wanted=wanted, base=base, standalone=means.source.builds(wanted, base), client=client)


def _needed(client: ClientPrefix) -> frozenset[str]:
    binaries = (*client.binaries, *client.libraries.values())
    return frozenset(name for one in binaries for name in one.elf.needed)


async def _carried_out(choice: Choice, facts: Facts, means: Means) -> PythonInImage:
    match choice:
        case InBase():
            return found_in_base(choice)
        case FromDistribution():
            return installed_by_distribution(choice, facts.wanted)
        case FromArchive(archive=archive):
            tree = await fetched(archive, means.source, means.blobs, facts.base.attributes)
            return _of_archive(choice, archive, tree, facts.base)
        case FromClient(prefix=prefix):
            tree = await copied(choice, facts.base, means.blobs, means.scratch)
            return PythonInImage(
                origin="client",
                interpreter=f"/{prefix.interpreter}",
                version=prefix.version,
                site_packages=f"/{prefix.site_packages}",
                tree=tree,
                glibc=dotted(facts.base.libc.version) if facts.base.libc else "",
                notes=notes_on(choice, facts.base),
                declined=choice.declined,
            )
        case _:
            assert_never(choice)


def _of_archive(choice: FromArchive, archive: Archive, tree: Digest, base: Base) -> PythonInImage:
    name = f"python{minor_of(archive.version)}"
    interpreter, library = f"/{PREFIX}/bin/{name}", f"/{PREFIX}/lib/{name}"
    return PythonInImage(
        origin="standalone",
        interpreter=interpreter,
        version=archive.version,
        site_packages=f"{library}/site-packages",
        tree=tree,
        commands=(compile_command(interpreter, library),),
        notes=notes_on_archive(choice, base),
        declined=choice.declined,
    )
