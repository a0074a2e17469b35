"""Builds: what a container changes in its root is kept as a layer, and nothing else is in it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from squall.blobs.manifest import Attributes, Directory, Entry, File, Hardlink, Symlink, Whiteout
from squall.blobs.manifest_bytes import decode
from squall.blobs.memory_blobs import MemoryBlobs
from squall.blobs.overlay_notes import Notes
from squall.blobs.owners import Owners
from squall.blobs.snapshot import snapshot
from squall.blobs.walk import How
from squall.model.errors import TreeInvalid
from squall.runtime.spec import UID_RANGE, Mount, SandboxSpec
from tests.linux.runtime.box import UID_BASE, Box
from tests.linux.runtime.owned_image import image

TIME = 1_600_000_000


def a_build(box: Box, layer: Path, code: str, **changed: Any) -> SandboxSpec:
    """A step of a build: `code` runs over the layer, and what it changes is kept."""
    upper = box.top / f"changes-{len(list(box.top.glob('changes-*')))}"
    upper.mkdir()
    box.give(upper)
    mounts = (*box.mounts(), Mount(source=str(box.top / "modules"), target="/squall/build/inputs"))
    given: dict[str, Any] = {
        "lowers": (str(layer),),
        "owned": (str(layer),),
        "upper": str(upper),
        "capabilities": "build",
        "argv": (box.python, "-c", code),
        "workdir": "/",
        "mounts": mounts,
    }
    return box.spec(**{**given, **changed})


def layer_of(box: Box, spec: SandboxSpec) -> dict[str, Entry]:
    """What was kept, as the container saw it."""
    root = box.kind == "root"
    first = UID_BASE if root else box.uid
    count = UID_RANGE if root else 1
    how = How(
        notes=Notes.TRUSTED if root else Notes.USER,
        owners=Owners(uid_first=first, gid_first=first, count=count),
    )

    async def taken() -> dict[str, Entry]:
        blobs = MemoryBlobs()
        kept = await snapshot(Path(str(spec.changes)), blobs, how=how)
        return {entry.path: entry for entry in decode(await blobs.get(kept.manifest)).entries}

    return asyncio.run(taken())


def built(box: Box, layer: Path, code: str, **changed: Any) -> dict[str, Entry]:
    spec = a_build(box, layer, code, **changed)
    ended = box.finish(box.start(spec))
    assert ended.exited["code"] == 0, ended.err
    return layer_of(box, spec)


def test_a_build_that_does_nothing_gives_an_empty_layer(box: Box) -> None:
    layer = image(box)
    os.utime(layer, (TIME, TIME))
    look = "import os\nfor top in ('/', '/etc', '/dev', '/proc/self', '/tmp', '/run'): os.listdir(top)"
    found = built(box, layer, look)
    assert found == {"": Directory(path="", attributes=Attributes(mode=0o755, mtime_ns=TIME * 10**9))}


def test_what_is_written_to_what_an_image_does_not_keep_is_in_no_layer(box: Box) -> None:
    code = """
import os
for top in ("/tmp", "/run", "/dev/shm", "/sys"):
    os.makedirs(top + "/deep/down")
    open(top + "/deep/file", "w").write("x")
open("/squall-was-here", "w").write("x")
"""
    assert sorted(built(box, image(box), code)) == ["", "squall-was-here"]


def test_a_file_is_kept_exactly(box: Box) -> None:
    layer = image(box)
    code = f"""
import os
open("/srv/new", "w").write("hello")
os.chmod("/srv/new", 0o4750)
os.chown("/srv/new", 7, 8)
os.chmod("/srv/new", 0o4750)
os.setxattr("/srv/new", "user.note", b"of the build")
os.utime("/srv/new", ({TIME}, {TIME}))
"""
    found = built(box, layer, code)
    assert sorted(found) == ["", "srv", "srv/new"]
    new = found["srv/new"]
    assert isinstance(new, File)
    owner = (7, 8) if box.kind == "root" else (0, 0)
    assert new.attributes == Attributes(
        mode=0o4750,
        uid=owner[0],
        gid=owner[1],
        mtime_ns=TIME * 10**9,
        xattrs=(("user.note", b"of the build"),),
    )
    assert new.size == 5
    srv = found["srv"]
    assert isinstance(srv, Directory)
    assert (srv.attributes.uid, srv.attributes.gid, srv.attributes.mode) == (0, 0, 0o755)


def test_links_removals_and_replaced_directories_are_kept(box: Box) -> None:
    code = """
import os, shutil
os.unlink("/root/.profile")
shutil.rmtree("/var/lib/dpkg")
os.mkdir("/var/lib/dpkg")
os.mkdir("/new")
open("/new/a", "w").write("a")
os.link("/new/a", "/new/b")
os.symlink("a", "/new/c")
os.rename("/etc/shadow", "/etc/shadow-")
"""
    found = built(box, image(box), code)
    assert found["root/.profile"] == Whiteout(path="root/.profile")
    assert found["etc/shadow"] == Whiteout(path="etc/shadow")
    dpkg, a = found["var/lib/dpkg"], found["new/a"]
    assert isinstance(dpkg, Directory)
    assert dpkg.opaque
    assert isinstance(a, File)
    assert found["new/b"] == Hardlink(path="new/b", first="new/a")
    assert isinstance(found["new/c"], Symlink)
    shadow = found["etc/shadow-"]
    assert isinstance(shadow, File)
    assert (shadow.attributes.gid, shadow.attributes.mode) == (42 if box.kind == "root" else 0, 0o640)
    assert sorted(found) == [
        "", "etc", "etc/shadow", "etc/shadow-", "new", "new/a", "new/b", "new/c", "root", "root/.profile",
        "var", "var/lib", "var/lib/dpkg",
    ]  # fmt: skip


@pytest.mark.needs("root", "namespaces")
def test_capabilities_and_permissions_of_others_are_kept_as_the_build_set_them(root_box: Box) -> None:
    code = """
import os, struct
open("/srv/ping", "w").close()
os.setxattr("/srv/ping", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
entries = ((1, 6, 0xFFFFFFFF), (2, 4, 7), (4, 4, 0xFFFFFFFF), (16, 4, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF))
acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
os.setxattr("/srv/ping", "system.posix_acl_access", acl)
print(acl.hex())
"""
    spec = a_build(root_box, image(root_box), code)
    ended = root_box.finish(root_box.start(spec))
    ping = layer_of(root_box, spec)["srv/ping"]
    assert isinstance(ping, File)
    assert dict(ping.attributes.xattrs) == {
        "security.capability": bytes.fromhex("0100000200200000000000000000000000000000"),
        "system.posix_acl_access": bytes.fromhex(ended.out.strip()),
    }


@pytest.mark.needs("root", "namespaces")
def test_an_id_that_no_container_has_is_refused_by_name(root_box: Box) -> None:
    spec = a_build(root_box, image(root_box), "open('/srv/new', 'w').close()")
    assert root_box.finish(root_box.start(spec)).exited["code"] == 0
    os.chown(f"{spec.changes}/srv/new", 12_345, UID_BASE)
    with pytest.raises(TreeInvalid, match="'srv/new' belongs to the user 12345"):
        layer_of(root_box, spec)


def test_a_step_runs_as_the_user_that_it_asks_for_and_without_the_rights_of_root(box: Box) -> None:
    layer = image(box)
    (layer / "srv").chmod(0o777)
    system = [path for path in ("/usr", "/bin", "/lib", "/lib64") if os.path.exists(path)]
    written = built(
        box,
        layer,
        "",
        user=(33, 34),
        argv=("/bin/sh", "-c", "id -u > /srv/ids; ! chown 0:0 /srv/ids 2> /dev/null || test $(id -u) = 0"),
        mounts=tuple(Mount(source=os.path.realpath(path), target=path) for path in system),
    )["srv/ids"]
    assert isinstance(written, File)
    # Who has one id only has no other, whatever a step asks for.
    assert (written.attributes.uid, written.attributes.gid) == ((33, 34) if box.kind == "root" else (0, 0))
    assert written.size == len("33\n" if box.kind == "root" else "0\n")
