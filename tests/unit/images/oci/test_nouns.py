from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from squall.blobs.digest import digest_of
from squall.images.oci.nouns import (
    CONFIGS,
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEXES,
    LAYERS,
    MANIFESTS,
    MAX_DOCUMENT_BYTES,
    OCI_CONFIG,
    OCI_MANIFEST,
    Descriptor,
    ImageConfig,
    ImageIndex,
    ImageManifest,
    Platform,
    choose,
    config_bytes,
    index_bytes,
    manifest_bytes,
    read_config,
    read_index,
    read_manifest,
)
from squall.model.errors import ImageDocumentInvalid, NotFoundError

SOME = digest_of(b"some")
OTHER = digest_of(b"other")

texts = st.text(max_size=8).filter(lambda text: "\0" not in text)
names = texts.filter(lambda text: bool(text) and "=" not in text)
digests = st.binary(max_size=2).map(digest_of)
platforms = st.builds(Platform, os=texts, architecture=texts, variant=texts)


def descriptors(media_types: frozenset[str]) -> st.SearchStrategy[Descriptor]:
    return st.builds(
        Descriptor,
        media_type=st.sampled_from(sorted(media_types)),
        digest=digests,
        size=st.integers(0, 1 << 50),
        platform=st.none() | platforms,
        annotations=st.dictionaries(texts, texts, max_size=2),
    )


indexes = st.builds(
    ImageIndex,
    manifests=st.lists(descriptors(MANIFESTS | INDEXES), max_size=3).map(tuple),
    media_type=st.sampled_from(sorted(INDEXES)),
)
manifests = st.builds(
    ImageManifest,
    config=descriptors(CONFIGS),
    layers=st.lists(descriptors(LAYERS), max_size=3).map(tuple),
    media_type=st.sampled_from(sorted(MANIFESTS)),
)
configs = st.builds(
    ImageConfig,
    platform=platforms,
    diff_ids=st.lists(digests, max_size=3).map(tuple),
    env=st.lists(st.tuples(names, texts), max_size=3).map(tuple),
    entrypoint=st.lists(texts, max_size=3).map(tuple),
    cmd=st.lists(texts, max_size=3).map(tuple),
    workdir=texts,
    user=texts,
    labels=st.dictionaries(texts, texts, max_size=2),
)


@given(indexes, manifests, configs)
@settings(deadline=None)
def test_documents_come_back_from_their_json(
    index: ImageIndex, manifest: ImageManifest, config: ImageConfig
) -> None:
    assert read_index(index_bytes(index)) == index
    assert read_manifest(manifest_bytes(manifest)) == manifest
    assert read_config(config_bytes(config)) == config


CONFIG = {
    "architecture": "arm64",
    "os": "linux",
    "variant": "v8",
    "created": "2024-01-01T00:00:00Z",
    "config": {
        "User": "1000:1000",
        "Env": ["PATH=/bin", "A=b=c"],
        "Entrypoint": ["/entry"],
        "Cmd": None,
        "WorkingDir": "/srv",
        "Labels": {"a": "b"},
        "ExposedPorts": {"80/tcp": {}},
    },
    "rootfs": {"type": "layers", "diff_ids": [f"sha256:{SOME}"]},
    "history": [{"created_by": "a builder"}],
}
MANIFEST = {
    "schemaVersion": 2,
    "mediaType": DOCKER_MANIFEST,
    "config": {"mediaType": DOCKER_CONFIG, "digest": f"sha256:{SOME}", "size": 7},
    "layers": [
        {
            "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "digest": f"sha256:{OTHER}",
            "size": 32,
        }
    ],
}
INDEX = {
    "schemaVersion": 2,
    "mediaType": DOCKER_INDEX,
    "manifests": [
        {
            "mediaType": DOCKER_MANIFEST,
            "digest": f"sha256:{SOME}",
            "size": 9,
            "platform": {"architecture": "amd64", "os": "linux", "os.features": ["x"]},
        }
    ],
}


def written(document: Any) -> bytes:
    return json.dumps(document).encode()


def test_what_other_tools_write_is_read() -> None:
    config = read_config(written(CONFIG))
    assert config == ImageConfig(
        platform=Platform(os="linux", architecture="arm64", variant="v8"),
        diff_ids=(SOME,),
        env=(("PATH", "/bin"), ("A", "b=c")),
        entrypoint=("/entry",),
        workdir="/srv",
        user="1000:1000",
        labels={"a": "b"},
    )
    assert read_manifest(written(MANIFEST)).layers[0].digest == OTHER
    assert choose(read_index(written(INDEX)), Platform(os="linux", architecture="x86_64")).digest == SOME
    # OCI needs no media type in the document itself, and a config needs no config.
    bare = {name: value for name, value in MANIFEST.items() if name != "mediaType"}
    assert read_manifest(written(bare)).media_type == OCI_MANIFEST
    assert read_config(written({**CONFIG, "config": None})).env == ()


def without(document: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != name}


@pytest.mark.parametrize(
    ("read", "document"),
    [
        (read_index, []),
        (read_index, {**INDEX, "schemaVersion": 1}),
        (read_index, {**INDEX, "schemaVersion": 3}),
        (read_index, without(INDEX, "schemaVersion")),
        (read_index, {**INDEX, "mediaType": DOCKER_MANIFEST}),
        (read_index, {**INDEX, "layers": []}),
        (read_index, {**INDEX, "config": {}}),
        (read_index, {**INDEX, "manifests": {}}),
        (read_index, {**INDEX, "manifests": [7]}),
        (read_index, {**INDEX, "manifests": [{"mediaType": "x", "digest": f"sha256:{SOME}", "size": True}]}),
        (read_index, {**INDEX, "manifests": [{"mediaType": "x", "digest": f"sha256:{SOME}", "size": -1}]}),
        (read_index, {**INDEX, "manifests": [{"mediaType": "x", "digest": f"sha512:{SOME}", "size": 1}]}),
        (read_index, {**INDEX, "manifests": [{"mediaType": "x", "digest": "sha256:../../etc", "size": 1}]}),
        (read_index, {**INDEX, "manifests": [{"mediaType": "x", "digest": SOME, "size": 1}]}),
        (read_manifest, {**MANIFEST, "manifests": []}),
        (read_manifest, without(MANIFEST, "config")),
        (read_manifest, {**MANIFEST, "config": {**MANIFEST["config"], "mediaType": "a chart"}}),  # type: ignore[dict-item]  # a dict
        (
            read_manifest,
            {**MANIFEST, "layers": [{"mediaType": "text", "digest": f"sha256:{SOME}", "size": 1}]},
        ),
        (read_manifest, {**MANIFEST, "mediaType": 7}),
        (read_config, without(CONFIG, "rootfs")),
        (read_config, {**CONFIG, "rootfs": {"type": "other"}}),
        (read_config, {**CONFIG, "rootfs": {"type": "layers", "diff_ids": ["x"]}}),
        (read_config, {**CONFIG, "config": {"Env": ["no value"]}}),
        (read_config, {**CONFIG, "config": {"Env": ["=x"]}}),
        (read_config, {**CONFIG, "config": {"Cmd": "a string"}}),
        (read_config, {**CONFIG, "config": {"Cmd": ["a\0b"]}}),
        (read_config, {**CONFIG, "config": {"Labels": {"a": 1}}}),
        (read_config, {**CONFIG, "os": ["linux"]}),
    ],
)
def test_what_a_document_must_say_is_checked(read: Callable[[bytes], object], document: object) -> None:
    with pytest.raises(ImageDocumentInvalid):
        read(written(document))


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff", b"[" * 100_000, b" " * (MAX_DOCUMENT_BYTES + 1), b'{"size": 1' + b"0" * 10_000],
)
def test_what_is_no_json_is_refused(data: bytes) -> None:
    for read in (read_index, read_manifest, read_config):
        with pytest.raises(ImageDocumentInvalid):
            read(data)


def index_of(*platforms: tuple[str, str, str]) -> ImageIndex:
    return ImageIndex(
        manifests=tuple(
            Descriptor(
                media_type=OCI_MANIFEST,
                digest=digest_of(repr(platform).encode()),
                size=1,
                platform=Platform(os=platform[0], architecture=platform[1], variant=platform[2]),
            )
            for platform in platforms
        )
    )


@pytest.mark.parametrize(
    ("wanted", "there", "chosen"),
    [
        (
            ("linux", "amd64", ""),
            [("windows", "amd64", ""), ("linux", "arm64", ""), ("linux", "amd64", "")],
            2,
        ),
        (("linux", "x86_64", ""), [("linux", "amd64", "v2"), ("linux", "amd64", "")], 1),
        (
            ("linux", "amd64", "v3"),
            [("linux", "amd64", ""), ("linux", "amd64", "v2"), ("linux", "amd64", "v4")],
            1,
        ),
        (("linux", "aarch64", ""), [("linux", "arm", "v7"), ("linux", "arm64", "v8")], 1),
        (("linux", "arm64", "v8"), [("linux", "arm64", "")], 0),
        (("linux", "arm", "v7"), [("linux", "arm", "v5"), ("linux", "arm", "v6")], 1),
        (("linux", "arm", "v6"), [("linux", "arm", "v7"), ("linux", "arm", "v5")], 1),
        (("linux", "riscv64", ""), [("linux", "riscv64", "")], 0),
    ],
)
def test_the_nearest_image_that_runs_there_is_chosen(
    wanted: tuple[str, str, str], there: list[tuple[str, str, str]], chosen: int
) -> None:
    index = index_of(*there)
    asked = Platform(os=wanted[0], architecture=wanted[1], variant=wanted[2])
    assert choose(index, asked) == index.manifests[chosen]


@pytest.mark.parametrize(
    "there", [[], [("linux", "arm64", "")], [("linux", "amd64", "v2")], [("unknown", "unknown", "")]]
)
def test_an_image_for_other_machines_is_refused_with_what_there_is(there: list[tuple[str, str, str]]) -> None:
    with pytest.raises(NotFoundError, match="not made for linux/amd64"):
        choose(index_of(*there), Platform(os="linux", architecture="amd64"))


def test_the_config_of_docker_and_of_oci_are_both_known() -> None:
    assert {OCI_CONFIG, DOCKER_CONFIG} == CONFIGS
