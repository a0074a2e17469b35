"""Outward: images of ours as others know them, in a registry, a directory or a file."""

from __future__ import annotations

import asyncio
import os
import secrets
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest
from squall.blobs.remove import remove_tree
from squall.images.dockerfile.nouns import ImageConfig
from squall.images.flight import Say
from squall.images.oci.compression import Compression
from squall.images.oci.layer_out import LayerOut
from squall.images.oci.layout import REF_NAME, Layout
from squall.images.oci.nouns import (
    OCI_CONFIG,
    OCI_LAYERS,
    OCI_MANIFEST,
    ImageConfig as OciConfig,
    ImageIndex,
    ImageManifest,
    Platform,
    config_bytes,
    manifest_bytes,
)
from squall.images.rooted.nouns import Built
from squall.model.errors import AlreadyExistsError, InvalidError

Format = Literal["oci-dir", "oci-archive"]

_COMING: Final = ".squall-export-"
# As Go names them, by the kernel's names.
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def platform_of(machine: str) -> Platform:
    """What images that are built on such a machine run on. machine: as `uname -m` says."""
    return Platform(os="linux", architecture=_ARCHITECTURES.get(machine, machine))


def oci_config(config: ImageConfig, platform: Platform) -> OciConfig:
    """How an image is run, in the words of registries; the digests of its layers are filled in by who packs them."""
    return OciConfig(
        platform=platform,
        diff_ids=(),
        env=tuple(config.env.items()),
        entrypoint=config.entrypoint or (),
        cmd=config.cmd or (),
        workdir="" if config.workdir == "/" else config.workdir,
        user=config.user,
        labels=config.labels,
    )


async def export_image(
    built: Built, blobs: BlobStore, target: Path, how: tuple[Format, Platform], say: Say
) -> Digest:
    """Writes an image to a path that must not be there yet, whole or not at all; gives the digest of its manifest.

    Raises AlreadyExistsError, InvalidError for a path in no directory, and what the disk and the store raise.
    """
    form, platform = how
    if os.path.lexists(target):
        raise AlreadyExistsError(f"{target} is there already", remedy="name another path, or remove it")
    if not target.parent.is_dir():
        raise InvalidError(f"{target.parent} is no directory", remedy="make it, or name another path")
    coming = target.with_name(f"{_COMING}{secrets.token_hex(8)}")
    packed = target.with_name(f"{_COMING}{secrets.token_hex(8)}")
    try:
        digest = await _write(built, blobs, coming, platform, say)
        if form == "oci-dir":
            await asyncio.to_thread(os.rename, coming, target)
        else:
            await asyncio.to_thread(_pack, coming, packed)
            await asyncio.to_thread(os.rename, packed, target)
    finally:
        await asyncio.shield(asyncio.to_thread(_tidy, coming, packed))
    return digest


async def _write(built: Built, blobs: BlobStore, directory: Path, platform: Platform, say: Say) -> Digest:
    layout = await Layout.create(directory)
    try:
        layers, diff_ids = [], []
        for number, tree in enumerate(built.trees, 1):
            out = LayerOut(Digest(tree), blobs)
            described = await layout.put(out.parts(), OCI_LAYERS[Compression.GZIP])
            say(f"layer {number} of {len(built.trees)}: {described.size / 2**20:.1f} MiB")
            layers.append(described)
            diff_ids.append(out.written.diff_id)
        config = replace(oci_config(built.config, platform), diff_ids=tuple(diff_ids))
        about = await layout.put(config_bytes(config), OCI_CONFIG)
        manifest = await layout.put(
            manifest_bytes(ImageManifest(config=about, layers=tuple(layers))), OCI_MANIFEST
        )
        named = replace(manifest, platform=platform, annotations={REF_NAME: "latest"})
        await layout.name(ImageIndex(manifests=(named,)))
    finally:
        layout.close()
    return manifest.digest


def _pack(directory: Path, target: Path) -> None:
    """The same files as an archive, in the same order and with the same times always."""
    paths = sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*"))
    with tarfile.open(target, "x", format=tarfile.PAX_FORMAT) as archive:
        for name in paths:
            at = directory / name
            member = tarfile.TarInfo(name)
            member.mode = 0o755 if at.is_dir() else 0o644
            if at.is_dir():
                member.type = tarfile.DIRTYPE
                archive.addfile(member)
            else:
                member.size = at.stat().st_size
                with at.open("rb") as file:
                    archive.addfile(member, file)
    fd = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _tidy(*paths: Path) -> None:
    for path in paths:
        if path.is_dir():
            remove_tree(path)
        else:
            path.unlink(missing_ok=True)
