"""Image nouns: the documents of an image, from their JSON and to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from squall.blobs.digest import Bytes, Digest, is_digest
from squall.images.oci.compression import Compression
from squall.model.errors import ImageDocumentInvalid, NotFoundError

T = TypeVar("T")

MAX_DOCUMENT_BYTES: Final = 4 << 20  # of one document; registries take no more either

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"

INDEXES: Final = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFESTS: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
CONFIGS: Final = frozenset({OCI_CONFIG, DOCKER_CONFIG})

OCI_LAYERS: Final[Mapping[Compression, str]] = {
    Compression.NONE: "application/vnd.oci.image.layer.v1.tar",
    Compression.GZIP: "application/vnd.oci.image.layer.v1.tar+gzip",
    Compression.ZSTD: "application/vnd.oci.image.layer.v1.tar+zstd",
}
LAYERS: Final = frozenset(
    {
        *OCI_LAYERS.values(),
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
    }
)

_OLD_MANIFESTS: Final = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
_SHA256: Final = "sha256:"
_MAX_SIZE: Final = 1 << 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What an image runs on, in the words of Go: linux, amd64, and for some machines a variant such as v7."""

    os: str
    architecture: str
    variant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What one document says of another blob: what it is, its digest, and its size in bytes.

    platform: of the image that it leads to. annotations: further words about it.
    """

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageIndex:
    """The images of one name: one for each platform."""

    manifests: tuple[Descriptor, ...]
    media_type: str = OCI_INDEX


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageManifest:
    """One image: its config, and its layers, the lowest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str = OCI_MANIFEST


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """How an image is run, and the digests of its layers' archives, unpacked, the lowest first.

    env: (name, value) in their order. entrypoint and cmd: words; together what is run. user: as written, such as
    "1000:1000"; empty: root. workdir: empty: the root directory.
    """

    platform: Platform
    diff_ids: tuple[Digest, ...]
    env: tuple[tuple[str, str], ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


def read_index(data: Bytes) -> ImageIndex:
    """The index that these bytes say. Raises ImageDocumentInvalid."""
    said = _document(data, "image index", INDEXES)
    if "layers" in said or "config" in said:
        raise ImageDocumentInvalid(
            "the document says that it is an image index, and has the parts of a manifest"
        )
    manifests = _list(said, "manifests", _descriptor)
    return ImageIndex(manifests=manifests, media_type=_text(said, "mediaType") or OCI_INDEX)


def read_manifest(data: Bytes) -> ImageManifest:
    """The manifest that these bytes say. Raises ImageDocumentInvalid, also where a layer is of a kind that nobody unpacks."""
    said = _document(data, "image manifest", MANIFESTS)
    if "manifests" in said:
        raise ImageDocumentInvalid(
            "the document says that it is an image manifest, and has the parts of an index"
        )
    config = _descriptor(said.get("config"))
    if config.media_type not in CONFIGS:
        raise ImageDocumentInvalid(
            f"this is no image to run: its config is {config.media_type[:200]!r}",
            remedy="name an image of a container; charts, signatures and models are kept in registries too",
        )
    layers = _list(said, "layers", _descriptor)
    for layer in layers:
        if layer.media_type not in LAYERS:
            raise ImageDocumentInvalid(
                f"the image has a layer of the kind {layer.media_type[:200]!r}, which is not unpacked here"
            )
    return ImageManifest(config=config, layers=layers, media_type=_text(said, "mediaType") or OCI_MANIFEST)


def read_config(data: Bytes) -> ImageConfig:
    """The config that these bytes say. Raises ImageDocumentInvalid."""
    said = _document(data, "image config", None)
    rootfs = _object(said.get("rootfs"), "rootfs")
    if rootfs.get("type") != "layers":
        raise ImageDocumentInvalid("the image config names no layers")
    ran = _object(said.get("config") or {}, "config")
    return ImageConfig(
        platform=_platform(said),
        diff_ids=_list(rootfs, "diff_ids", _digest),
        env=_list(ran, "Env", _variable),
        entrypoint=_list(ran, "Entrypoint", _word),
        cmd=_list(ran, "Cmd", _word),
        workdir=_text(ran, "WorkingDir"),
        user=_text(ran, "User"),
        labels=_texts(ran, "Labels"),
    )


def index_bytes(index: ImageIndex) -> bytes:
    """The JSON of an index; equal ones give equal bytes."""
    manifests = [_descriptor_row(one) for one in index.manifests]
    return _written({"schemaVersion": 2, "mediaType": index.media_type, "manifests": manifests})


def manifest_bytes(manifest: ImageManifest) -> bytes:
    """The JSON of a manifest; equal ones give equal bytes."""
    return _written(
        {
            "schemaVersion": 2,
            "mediaType": manifest.media_type,
            "config": _descriptor_row(manifest.config),
            "layers": [_descriptor_row(layer) for layer in manifest.layers],
        }
    )


def config_bytes(config: ImageConfig) -> bytes:
    """The JSON of a config; equal ones give equal bytes. It says no time, so that an image has one digest."""
    ran: dict[str, Any] = {
        "Env": [f"{name}={value}" for name, value in config.env],
        "Entrypoint": list(config.entrypoint),
        "Cmd": list(config.cmd),
        "WorkingDir": config.workdir,
        "User": config.user,
        "Labels": dict(sorted(config.labels.items())),
    }
    return _written(
        {
            **_platform_row(config.platform),
            "config": {name: value for name, value in ran.items() if value},
            "rootfs": {"type": "layers", "diff_ids": [_SHA256 + one for one in config.diff_ids]},
            # Whoever builds on an image counts its layers here too.
            "history": [{"created_by": "squall"} for _ in config.diff_ids],
        }
    )


def choose(index: ImageIndex, wanted: Platform) -> Descriptor:
    """The image of an index for this platform: of the same variant, else of the nearest one that runs there.

    wanted: architectures are understood as Go or the kernel names them. Raises NotFoundError, which lists what there
    is.
    """
    system, architecture, variant = _normal(wanted)
    for acceptable in _runnable(architecture, variant):
        for one in index.manifests:
            if one.platform and _normal(one.platform) == (system, architecture, acceptable):
                return one
    there = sorted({_shown(one.platform) for one in index.manifests if one.platform})
    raise NotFoundError(
        f"the image is not made for {_shown(wanted)}; it is for {', '.join(there)[:500] or 'no platform that it names'}",
        remedy="choose another tag of the image, or build it for this machine",
    )


def _normal(platform: Platform) -> tuple[str, str, str]:
    architecture = platform.architecture.lower()
    architecture = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armv7l": "arm"}.get(
        architecture, architecture
    )
    # What the variant is where none is said.
    usual = {"arm64": "v8", "amd64": "v1", "arm": "v7"}.get(architecture, "")
    return platform.os.lower(), architecture, platform.variant.lower() or usual


def _runnable(architecture: str, variant: str) -> list[str]:
    """The variants that run there, the best first."""
    least = {"arm": 5, "amd64": 1, "arm64": 8}.get(architecture)
    number = variant.removeprefix("v")
    if least is None or not number.isascii() or not number.isdigit():
        return [variant]
    return [f"v{older}" for older in range(min(int(number), 99), least - 1, -1)]


def _shown(platform: Platform) -> str:
    parts = (platform.os, platform.architecture, platform.variant)
    return "/".join(part for part in parts if part)[:80]


def _document(data: Bytes, what: str, media_types: frozenset[str] | None) -> dict[str, Any]:
    """The JSON object that these bytes say. media_types: what it may say of itself; None: it says nothing."""
    if len(data) > MAX_DOCUMENT_BYTES:
        raise ImageDocumentInvalid(f"the {what} has more than {MAX_DOCUMENT_BYTES} bytes")
    try:
        said = _object(json.loads(bytes(data)), what)
    except (ValueError, RecursionError) as error:
        raise ImageDocumentInvalid(f"the {what} is no JSON: {str(error)[:200]}") from error
    if media_types is None:
        return said
    own = _text(said, "mediaType")
    if said.get("schemaVersion") == 1 or own in _OLD_MANIFESTS:
        raise ImageDocumentInvalid(
            "the image is of Docker's schema 1, which no tool writes any more",
            remedy="push the image again with a current tool",
        )
    if said.get("schemaVersion") != 2:
        raise ImageDocumentInvalid(f"the {what} is of a version that nobody knows")
    if own and own not in media_types:
        raise ImageDocumentInvalid(f"this is no {what}: it says that it is {own[:200]!r}")
    return said


def _descriptor(said: Any) -> Descriptor:
    row = _object(said, "descriptor")
    size = row.get("size")
    if type(size) is not int or not 0 <= size <= _MAX_SIZE:
        raise ImageDocumentInvalid(f"a descriptor has no proper size: {str(size)[:80]}")
    platform = row.get("platform")
    return Descriptor(
        media_type=_text(row, "mediaType"),
        digest=_digest(row.get("digest")),
        size=size,
        platform=None if platform is None else _platform(_object(platform, "platform")),
        annotations=_texts(row, "annotations"),
    )


def _digest(said: Any) -> Digest:
    digits = said.removeprefix(_SHA256) if isinstance(said, str) and said.startswith(_SHA256) else ""
    if not is_digest(digits):
        raise ImageDocumentInvalid(f"no digest by sha256: {str(said)[:100]!r}")
    return Digest(digits)


def _platform(said: Mapping[str, Any]) -> Platform:
    return Platform(
        os=_text(said, "os"), architecture=_text(said, "architecture"), variant=_text(said, "variant")
    )


def _variable(said: Any) -> tuple[str, str]:
    name, equals, value = _word(said).partition("=")
    if not name or not equals:
        raise ImageDocumentInvalid(f"no variable of an environment: {said[:100]!r}")
    return name, value


def _word(said: Any) -> str:
    if not isinstance(said, str) or "\0" in said:
        raise ImageDocumentInvalid(
            f"a document of an image has no text where one must be: {str(said)[:100]!r}"
        )
    return said


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    return "" if value is None else _word(value)


def _texts(said: Mapping[str, Any], name: str) -> dict[str, str]:
    found = _object(said.get(name) or {}, name)
    return {_word(key): _word(value) for key, value in found.items()}


def _list(said: Mapping[str, Any], name: str, read: Callable[[Any], T]) -> tuple[T, ...]:
    rows = said.get(name)
    # Absent and null are both written for "none".
    if rows is None:
        rows = []
    if not isinstance(rows, list):
        raise ImageDocumentInvalid(f"a document of an image has no list {name!r}")
    return tuple(read(row) for row in rows)


def _object(said: Any, what: str) -> dict[str, Any]:
    if not isinstance(said, dict):
        raise ImageDocumentInvalid(f"a document of an image has no object where its {what} must be")
    return said


def _descriptor_row(one: Descriptor) -> dict[str, Any]:
    row: dict[str, Any] = {"mediaType": one.media_type, "digest": _SHA256 + one.digest, "size": one.size}
    if one.platform is not None:
        row["platform"] = _platform_row(one.platform)
    if one.annotations:
        row["annotations"] = dict(sorted(one.annotations.items()))
    return row


def _platform_row(platform: Platform) -> dict[str, str]:
    row = {"architecture": platform.architecture, "os": platform.os, "variant": platform.variant}
    return {name: value for name, value in row.items() if value or name != "variant"}


def _written(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=True).encode()
