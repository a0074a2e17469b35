"""Building: roots made of packages on a mirror in memory, and what came of them."""

from __future__ import annotations

import asyncio
import dataclasses
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field

from squall.blobs.blob_store import BlobStore
from squall.blobs.manifest import Entry, File, Manifest
from squall.blobs.manifest_bytes import decode
from squall.blobs.memory_blobs import MemoryBlobs
from squall.images.debian.how import How
from squall.images.debian.nouns import Unpacked, WantedDebian
from squall.images.debian.unpack import unpack_debian
from squall.images.registry.patience import Patience
from squall.model.errors import Error
from tests.unit.images.debian.distribution import MADE_S, Deb, Path, base, directory, giving, link, mirror
from tests.unit.images.registry.hostile import QUICK, Answer, serving

TOOL = Deb(
    "tool",
    paths=(
        directory("./bin/"),
        Path("./bin/tool", b"#!tool", mode=0o4755, uid=0, gid=5),
        link("./bin/again", "./bin/tool", tarfile.LNKTYPE),
        directory("./etc/"),
        Path("./etc/tool.conf", b"colour = blue\n"),
        directory("./usr/"),
        directory("./usr/share/"),
        directory("./usr/share/doc/"),
        directory("./usr/share/doc/tool/"),
        Path("./usr/share/doc/tool/README", b"read me"),
        Path("./usr/share/doc/tool/copyright", b"free"),
        Path("./usr/share/man/man1/tool.1.gz", b"manual"),
        Path("./usr/share/locale/de/LC_MESSAGES/tool.mo", b"deutsch"),
        link("./usr/lib/tool", "/nowhere/at/all"),
    ),
    files={
        "conffiles": b"/etc/tool.conf\n",
        "preinst": b"#!/bin/sh\n",
        "postinst": b"#!/bin/sh\n",
        "triggers": b"interest-noawait /usr/share/tool\ninterest tools\nactivate others\n",
    },
    more="Multi-Arch: same",
)


@dataclass
class Built:
    """What came of a root, or how it failed, and what was asked and told meanwhile."""

    unpacked: Unpacked | None = None
    failed: Error | None = None
    asked: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    tree: dict[str, Entry] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def text(self, path: str) -> str:
        return self.texts[path]


def build(
    answer: Answer | Mapping[str, bytes],
    *packages: str,
    blobs: BlobStore | None = None,
    patience: Patience = QUICK,
    now_s: float = MADE_S,
) -> Built:
    return asyncio.run(_build(answer, packages, blobs or MemoryBlobs(), (patience, now_s)))


async def _build(
    answer: Answer | Mapping[str, bytes],
    packages: tuple[str, ...],
    blobs: BlobStore,
    how: tuple[Patience, float],
) -> Built:
    built = Built()
    async with serving(giving(answer) if isinstance(answer, Mapping) else answer) as server:
        wanted = WantedDebian(mirrors=(f"http://{server.address}/debian",), packages=packages)
        patience, now_s = how
        means = How(verifier=None, environ={}, patience=patience, clock=lambda: now_s)
        try:
            built.unpacked = await unpack_debian(wanted, blobs, built.told.append, means)
        except Error as error:
            built.failed = error
        built.asked = [asked.target for asked in server.asked]
        if built.unpacked is not None:
            manifest = decode(await blobs.get(built.unpacked.manifest))
            built.tree = {entry.path: entry for entry in manifest.entries}
            built.texts = await _texts(blobs, manifest)
    return built


async def _texts(blobs: BlobStore, manifest: Manifest) -> dict[str, str]:
    texts: dict[str, str] = {}
    for entry in manifest.entries:
        if isinstance(entry, File):
            parts = [
                await blobs.get(part.chunk, start=part.offset, stop=part.offset + part.length)
                for part in entry.parts
            ]
            texts[entry.path] = b"".join(parts).decode("latin-1")
    return texts


@dataclass(frozen=True)
class Other(Deb):
    bytes_of_it: bytes = b""

    def packed(self) -> bytes:
        return self.bytes_of_it


def with_bytes(deb: Deb, packed: bytes) -> dict[str, bytes]:
    """A mirror on which a package has these bytes, by their true digest."""
    fields = {one.name: getattr(deb, one.name) for one in dataclasses.fields(deb)}
    return mirror([*base(), Other(**fields, bytes_of_it=packed)])
