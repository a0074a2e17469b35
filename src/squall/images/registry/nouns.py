"""Nouns: what a registry keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from squall.blobs.digest import Digest

# In the order in which they are asked for; a list or index stands for one image on several platforms.
MANIFEST_TYPES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


@dataclass(frozen=True, slots=True)
class RemoteBlob:
    """A blob in a registry; size in bytes, as the manifest that names it says."""

    digest: Digest
    size: int

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(f"a blob has no size below zero: {self.size}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteManifest:
    """A manifest as a registry says it is; size in bytes. media_type: empty where the registry does not say."""

    media_type: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestBytes:
    """A manifest's bytes, which its digest names."""

    media_type: str
    digest: Digest
    data: bytes = field(repr=False)
