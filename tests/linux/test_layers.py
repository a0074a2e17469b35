"""Manifests on a real kernel: layers of real overlays, and what only root or only an ordinary user meets."""

from __future__ import annotations

import asyncio
import os
import stat
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import squall
from squall.blobs.directory_renderer import DirectoryRenderer
from squall.blobs.manifest import Attributes, Directory, Entry, File, Manifest, Symlink
from squall.blobs.manifest_bytes import decode, encode
from squall.blobs.memory_blobs import MemoryBlobs
from squall.blobs.snapshot import snapshot
from squall.model.errors import StateDirectoryError, TreeInvalid
from tests.unit.blobs import scenery

SOURCE = Path(squall.__file__).parent.parent
HERE = Path(__file__).parent

# cap_net_raw=ep, as setcap writes it
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")

# rw for the owner, r for user 7, r for the group and the mask, nothing for others: (tag, permissions, id)
ACCESS = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *entry)
    for entry in ((1, 6, 0xFFFFFFFF), (2, 4, 7), (4, 4, 0xFFFFFFFF), (16, 4, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF))
)


def ran(*command: str) -> None:
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": f"{SOURCE}:{HERE.parent.parent}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.needs("root")
def test_a_layer_of_a_real_overlay_shows_the_same_over_what_was_below(tmp_path: Path) -> None:
    ran("unshare", "--mount", sys.executable, str(HERE / "overlay_inside.py"), str(tmp_path), "TRUSTED")


@pytest.mark.needs("namespaces")
def test_a_layer_of_an_overlay_that_a_user_mounted_shows_the_same_too(tmp_path: Path) -> None:
    program = (sys.executable, str(HERE / "overlay_inside.py"), str(tmp_path), "USER")
    ran("unshare", "--user", "--map-root-user", "--mount", *program)


@pytest.mark.needs("namespaces")
def test_an_ordinary_user_keeps_and_renders_what_is_theirs(tmp_path: Path) -> None:
    """One id, no power over others: a user namespace has it, whoever runs the tests."""
    ordinary = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
    ran(*ordinary, sys.executable, str(HERE / "test_layers.py"), str(tmp_path))


async def kept(root: Path, blobs: MemoryBlobs) -> dict[str, Entry]:
    manifest = decode(await blobs.get((await snapshot(root, blobs)).manifest))
    return {entry.path: entry for entry in manifest.entries}


@pytest.mark.needs("root")
def test_root_keeps_and_renders_owners_and_what_only_root_may_set(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "ping").write_bytes(b"ping")
    (root / "shut").mkdir()
    (root / "shut" / "secret").touch()
    (root / "link").symlink_to("ping")
    for path, owner in (("ping", 1_000), ("shut/secret", 7), ("shut", 8), ("link", 9)):
        os.chown(root / path, owner, owner + 1, follow_symlinks=False)
    (root / "ping").chmod(0o6755)
    (root / "shut").chmod(0)
    (root / "shut" / "secret").chmod(0)
    os.setxattr(root / "ping", "security.capability", CAPABILITY)
    os.setxattr(root / "shut" / "secret", "system.posix_acl_access", ACCESS)
    os.setxattr(root / "shut", "system.posix_acl_default", ACCESS)
    os.setxattr(root / "link", "trusted.note", b"of a link", follow_symlinks=False)
    os.setxattr(root / "shut", "trusted.note", b"of a directory")

    async def run() -> None:
        blobs = MemoryBlobs()
        first = await snapshot(root, blobs)
        await DirectoryRenderer(blobs).render(first.manifest, tmp_path / "again")
        assert await snapshot(tmp_path / "again", blobs) == first
        found = await kept(root, blobs)
        ping, secret = found["ping"], found["shut/secret"]
        assert isinstance(ping, File)
        assert isinstance(secret, File)
        assert secret.attributes.xattrs == (("system.posix_acl_access", ACCESS),)
        assert ping.attributes.xattrs == (("security.capability", CAPABILITY),)
        assert (ping.attributes.uid, ping.attributes.gid, ping.attributes.mode) == (1_000, 1_001, 0o6755)

    asyncio.run(run())


@pytest.mark.needs("root")
def test_a_device_is_refused(tmp_path: Path) -> None:
    os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with pytest.raises(TreeInvalid, match="device"):
        asyncio.run(snapshot(tmp_path, MemoryBlobs()))


async def as_ordinary_user(place: Path) -> None:
    """What the test above runs in its namespace."""
    blobs = MemoryBlobs()
    own = place / "own"
    scene = [
        scenery.Prop(names=names, kind=kind, mode=mode, mtime_ns=5, size=size, hole=0, xattr=b"x", pick=0)
        for names, kind, mode, size in (
            ((b"d", b"f"), "file", 0o4755, 10),
            ((b"d", b"g"), "hardlink", 0, 0),
            ((b"e",), "directory", 0o1555, 0),
            ((b"l",), "symlink", 0, 0),
            ((b"r",), "file", 0o400, 600_000),
        )
    ]
    scenery.build(own, scene, xattrs=scenery.keeps_xattrs(place))
    first = await snapshot(own, blobs)
    assert first.entries == 7
    await DirectoryRenderer(blobs).render(first.manifest, place / "again")
    assert await snapshot(place / "again", blobs) == first

    root = Directory(path="", attributes=Attributes(mode=0o755))
    others = Attributes(mode=0o6755, xattrs=(("security.capability", CAPABILITY), ("trusted.note", b"x")))
    theirs = await blobs.put(encode(Manifest((root, File(path="su", attributes=others)))))
    await DirectoryRenderer(blobs).render(theirs, place / "theirs")
    found = (await kept(place / "theirs", blobs))["su"]
    assert isinstance(found, File)
    assert (found.attributes.mode, found.attributes.uid, found.attributes.xattrs) == (0o755, 1000, ())
    with pytest.raises(StateDirectoryError):
        await DirectoryRenderer(blobs, owners=True).render(theirs, place / "refused")

    (own / "e").chmod(0)
    with pytest.raises(TreeInvalid, match="e' cannot be read"):
        await snapshot(own / "e", blobs)
    (own / "d" / "f").chmod(0)
    with pytest.raises(TreeInvalid, match="'d/f' cannot be read"):
        await snapshot(own, blobs)


if __name__ == "__main__":
    assert os.geteuid() == 1000
    asyncio.run(as_ordinary_user(Path(sys.argv[1])))


@pytest.mark.needs("root")
def test_owners_are_those_of_the_manifest_wherever_a_group_would_come_from_above(tmp_path: Path) -> None:
    above = tmp_path / "above"
    above.mkdir()
    os.chown(above, -1, 4_242)
    above.chmod(0o2755)  # all that is made in it belongs to its group, and all below that
    ours, others = Attributes(mode=0o755), Attributes(mode=0o644, uid=7, gid=4_242)
    entries = (
        Directory(path="", attributes=ours),
        Directory(path="d", attributes=ours),
        File(path="d/mine", attributes=ours),
        File(path="d/others", attributes=others),
        Symlink(path="d/z", attributes=Attributes(mode=0o777), target="x"),
    )

    async def run() -> None:
        blobs = MemoryBlobs()
        await DirectoryRenderer(blobs).render(await blobs.put(encode(Manifest(entries))), above / "into")

    asyncio.run(run())
    found = {path.name: path.lstat() for path in (above / "into").rglob("*")}
    owners = {name: (seen.st_uid, seen.st_gid) for name, seen in found.items()}
    assert owners == {"d": (0, 0), "mine": (0, 0), "others": (7, 4_242), "z": (0, 0)}
    assert stat.S_IMODE(found["d"].st_mode) == 0o755
