"""Images between Squall and the programs of others: what one of them sends, the other unpacks to the same."""

from __future__ import annotations

import asyncio
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from squall.blobs.blob_store import BlobStore
from squall.blobs.digest import Digest
from squall.blobs.directory_renderer import DirectoryRenderer
from squall.blobs.disk_blobs import DiskBlobs
from squall.blobs.manifest import Directory, Entry, Hardlink, Manifest, Whiteout
from squall.blobs.manifest_bytes import decode, encode
from squall.blobs.snapshot import snapshot
from squall.blobs.stack import diff, flattened
from squall.images.oci.nouns import ImageConfig, Platform
from squall.images.registry.client import RegistryClient
from squall.images.registry.credentials import Keychain
from squall.images.registry.reference import parse_reference
from squall.images.remote import pull_image, push_image
from tests.linux.images.buildah import Buildah
from tests.linux.images.registry_server import registry_server
from tests.linux.images.trees import Seen, change, differences, fill, seen

pytestmark = [pytest.mark.needs("root", "registry", "skopeo", "umoci"), pytest.mark.timeout(180)]

HERE = Platform(os="linux", architecture="amd64")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry_server(tmp_path_factory.mktemp("interop") / "registry") as address:
        yield address


def ran(*command: str | Path) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"


def same_or_fail(one: dict[bytes, Seen], other: dict[bytes, Seen]) -> None:
    lines = differences(one, other)
    assert not lines, "\n".join(lines)


def unpacked_by_others(address: str, name: str, place: Path) -> Path:
    """The root of an image, as skopeo and umoci make it."""
    layout = f"{place}/layout:it"
    ran("skopeo", "copy", "--src-tls-verify=false", f"docker://{address}/{name}", f"oci:{layout}")
    ran("umoci", "unpack", "--image", layout, place / "bundle")
    return place / "bundle" / "rootfs"


async def unpacked_by_us(
    address: str, name: str, place: Path, say: Callable[[str], None] = lambda _: None
) -> Path:
    """The root of an image, as it is here once it was pulled."""
    blobs = await DiskBlobs.open(place / "pulled")
    client = RegistryClient(None, Keychain({}), {})
    pulled = await pull_image(client, parse_reference(f"{address}/{name}"), blobs, HERE, say)
    root = await rendered(blobs, [layer.manifest for layer in pulled.layers], place / "ours")
    await blobs.close()
    return root


async def rendered(blobs: BlobStore, layers: Sequence[Digest], into: Path) -> Path:
    whole = flattened([decode(await blobs.get(layer)) for layer in layers])
    await DirectoryRenderer(blobs).render(await blobs.put(encode(whole)), into)
    return into


async def three_layers(blobs: BlobStore, top: Path) -> list[Manifest]:
    """All that a layer can hold; what a second one can do to it; and one with a directory that hides what was in it."""
    top.mkdir()
    fill(top)
    first = decode(await blobs.get((await snapshot(top, blobs)).manifest))
    change(top)
    second = decode(await blobs.get((await snapshot(top, blobs)).manifest))
    (top / "etc" / "opaque" / "new").write_text("new")
    third = decode(await blobs.get((await snapshot(top, blobs)).manifest))
    told = [entry for entry in third.entries if entry.path in {"", "etc", "etc/opaque", "etc/opaque/new"}]
    return [first, diff(first, second), Manifest(tuple(map(opaque, told)))]


def opaque(entry: Entry) -> Entry:
    return (
        replace(entry, opaque=True) if isinstance(entry, Directory) and entry.path == "etc/opaque" else entry
    )


def test_what_we_send_is_unpacked_by_others_to_what_we_show(registry: str, tmp_path: Path) -> None:
    async def sent() -> Path:
        blobs = await DiskBlobs.open(tmp_path / "blobs")
        layers = await three_layers(blobs, tmp_path / "made")
        assert sum(isinstance(entry, Whiteout) for entry in layers[1].entries) >= 3
        assert any(isinstance(entry, Hardlink) and entry.path == "srv/big" for entry in layers[1].entries)
        assert not {"srv/sparse", "srv/pipe", "empty"} & {entry.path for entry in layers[1].entries}
        digests = [await blobs.put(encode(layer)) for layer in layers]
        client = RegistryClient(None, Keychain({}), {})
        config = ImageConfig(platform=HERE, diff_ids=(), cmd=("/bin/su",), user="1000")
        await push_image(client, parse_reference(f"{registry}/ours:1"), blobs, digests, config)
        shown = await rendered(blobs, digests, tmp_path / "shown")
        await blobs.close()
        return shown

    shown = seen(asyncio.run(sent()))
    # What we show is what there was, but for what the third layer hides.
    made = seen(tmp_path / "made")
    hidden = {b"etc/opaque/hidden", b"etc/opaque/deep", b"etc/opaque/deep/hidden"}
    same_or_fail(shown, {path: what for path, what in made.items() if path not in hidden})
    theirs = seen(unpacked_by_others(registry, "ours:1", tmp_path))
    same_or_fail(shown, theirs)


def tree_of(layout: Path, place: Path) -> None:
    """An image of three layers in a layout of umoci's: all that there is, what becomes of it, and an archive of ours."""
    image = f"{layout}:it"
    ran("umoci", "init", "--layout", layout)
    ran("umoci", "new", "--image", image)
    ran("umoci", "unpack", "--image", image, place / "filled")
    fill(place / "filled" / "rootfs")
    ran("umoci", "repack", "--refresh-bundle", "--image", image, place / "filled")
    change(place / "filled" / "rootfs")
    ran("umoci", "repack", "--image", image, place / "filled")
    with tarfile.open(place / "third.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        for name, kind, target in (
            ("etc/opaque", tarfile.DIRTYPE, ""),
            ("etc/opaque/" + "long" * 40, tarfile.REGTYPE, ""),
            ("etc/opaque/.wh..wh..opq", tarfile.REGTYPE, ""),
            ("etc/.wh.becomes-file", tarfile.REGTYPE, ""),
            ("etc/su-too", tarfile.LNKTYPE, "bin/su"),
            ("untold/deep/link", tarfile.SYMTYPE, "long" * 40),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.mtime = kind, target, 1_600_000_000
            member.mode = 0o751
            archive.addfile(member)
    ran("umoci", "raw", "add-layer", "--image", image, place / "third.tar")


def test_what_umoci_made_is_here_what_umoci_makes_of_it(registry: str, tmp_path: Path) -> None:
    tree_of(tmp_path / "theirs", tmp_path)
    ran(
        "skopeo",
        "copy",
        "--dest-tls-verify=false",
        f"oci:{tmp_path}/theirs:it",
        f"docker://{registry}/umoci:1",
    )
    theirs = seen(unpacked_by_others(registry, "umoci:1", tmp_path))
    ours = seen(asyncio.run(unpacked_by_us(registry, "umoci:1", tmp_path)))
    # Directories of which a layer does not tell have the time of unpacking there, and none of its own here.
    for path in (b"", b"untold", b"untold/deep"):
        theirs[path] = replace(theirs[path], mtime=ours[path].mtime)
    # Layers that lie over each other share no inode: a link into one below is a file of its own.
    linked = (b"bin/su", b"etc/su-too")
    for path in linked:
        assert theirs[path].names == linked
        theirs[path] = replace(theirs[path], names=(path,))
    same_or_fail(ours, theirs)
    assert not [path for path in ours if path.startswith((b"etc/becomes-file", b"etc/gone"))]


@pytest.mark.needs("buildah")
def test_what_buildah_made_is_here_what_umoci_makes_of_it(registry: str, tmp_path: Path) -> None:
    with Buildah(tmp_path / "storage") as buildah:
        first = buildah.says("from", "scratch")
        fill(buildah.root_of(first))
        buildah.says("commit", first, "first")
        second = buildah.says("from", "--pull-never", "first")
        change(buildah.root_of(second))
        buildah.says("commit", "--format=docker", second, "second")
        buildah.says("push", "--tls-verify=false", "second", f"docker://{registry}/buildah:1")
    theirs = seen(unpacked_by_others(registry, "buildah:1", tmp_path))
    ours = seen(asyncio.run(unpacked_by_us(registry, "buildah:1", tmp_path)))
    same_or_fail(ours, theirs)
    assert b"etc/was-link/file" in ours


@pytest.mark.needs("buildah")
def test_a_directory_that_is_only_implied_takes_the_place_of_a_link_as_on_buildahs_overlays(
    registry: str, tmp_path: Path
) -> None:
    layout, place = tmp_path / "theirs", tmp_path / "filled"
    image = f"{layout}:it"
    ran("umoci", "init", "--layout", layout)
    ran("umoci", "new", "--image", image)
    ran("umoci", "unpack", "--image", image, place)
    (place / "rootfs" / "usr" / "bin").mkdir(parents=True)
    (place / "rootfs" / "usr" / "bin" / "sh").write_text("sh")
    (place / "rootfs" / "bin").symlink_to("usr/bin")
    (place / "rootfs" / "lib").write_text("a file")
    ran("umoci", "repack", "--image", image, place)
    with tarfile.open(tmp_path / "upper.tar", "w") as archive:
        for name in ("bin/new", "lib/deep/new"):
            archive.addfile(tarfile.TarInfo(name))
    ran("umoci", "raw", "add-layer", "--image", image, tmp_path / "upper.tar")
    ran("skopeo", "copy", "--dest-tls-verify=false", f"oci:{image}", f"docker://{registry}/implied:1")
    said: list[str] = []
    ours = seen(asyncio.run(unpacked_by_us(registry, "implied:1", tmp_path, said.append)))
    with Buildah(tmp_path / "storage", driver="overlay") as buildah:
        theirs = seen(buildah.root_of(buildah.says("from", f"oci:{image}")))
    assert {path: one.kind for path, one in ours.items()} == {path: one.kind for path, one in theirs.items()}
    assert {b"bin/new", b"lib/deep/new", b"usr/bin/sh"} <= ours.keys()
    assert not {b"bin/sh", b"usr/bin/new"} & ours.keys()
    assert [line.strip().partition(":")[0] for line in said if line.startswith("  ")] == ["/bin", "/lib"]
