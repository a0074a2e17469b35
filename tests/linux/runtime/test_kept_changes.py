"""Builds: what a container changes in its root is kept as a layer, and nothing else is in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from squall.blobs.manifest import Attributes, Directory, Entry, File, Hardlink, Symlink, Whiteout
from squall.runtime.process_tree import descendants
from squall.runtime.spec import Mount
from tests.linux.runtime.box import UID_BASE, Box
from tests.linux.runtime.builds import a_build, layer_of, remove, take
from tests.linux.runtime.owned_image import image

TIME = 1_600_000_000


def built(box: Box, layer: Path, code: str, **changed: Any) -> dict[str, Entry]:
    spec = a_build(box, layer, code, **changed)
    ended = box.finish(box.start(spec))
    assert ended.exited["code"] == 0, ended.err
    found = layer_of(box, spec)
    remove(box, spec)
    assert not os.path.exists(str(spec.upper))
    return found


def test_a_build_that_does_nothing_gives_an_empty_layer(box: Box) -> None:
    layer = image(box)
    os.utime(layer, (TIME, TIME))
    look = "import os\nfor top in ('/', '/etc', '/dev', '/proc/self', '/tmp', '/run'): os.listdir(top)"
    found = built(box, layer, look)
    assert found == {"": Directory(path="", attributes=Attributes(mode=0o755, mtime_ns=TIME * 10**9))}


def test_a_place_for_a_mount_leaves_no_trace_in_what_is_around_it(box: Box) -> None:
    layer = image(box)
    os.utime(layer / "etc", (TIME, TIME))
    mounts = (*box.mounts(), Mount(source=str(box.top / "modules"), target="/etc/shown"))
    code = "import os\nos.chmod('/etc/shadow', 0o600)\nprint(os.listdir('/etc/shown'))"
    found = built(box, layer, code, mounts=mounts)
    assert sorted(found) == ["", "etc", "etc/shadow"]
    etc = found["etc"]
    assert isinstance(etc, Directory)
    assert etc.attributes == Attributes(mode=0o755, mtime_ns=TIME * 10**9)


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
    assert b"'srv/new' belongs to the user 12345" in take(root_box, spec).stderr


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


def test_what_a_build_closed_to_everybody_is_kept(box: Box) -> None:
    code = """
import os
os.makedirs("/srv/closed/below")
open("/srv/closed/file", "w").write("x" * 700_000)
os.chmod("/srv/closed/file", 0)
os.chmod("/srv/closed", 0)
"""
    found = built(box, image(box), code)
    closed, file = found["srv/closed"], found["srv/closed/file"]
    assert isinstance(closed, Directory)
    assert isinstance(file, File)
    assert (closed.attributes.mode, file.attributes.mode, file.size, len(file.parts)) == (0, 0, 700_000, 2)


def test_a_secret_of_a_step_is_in_its_environment_alone(box: Box) -> None:
    """In no command line, no file below the state directory, no log, and in nothing that is kept."""
    secret = f"s3cret-{os.urandom(8).hex()}"
    code = "import os\nopen('/srv/told', 'w').write(os.environ['TOKEN'][:3])\nprint('up', flush=True)\nimport time; time.sleep(60)"
    spec = a_build(box, image(box), code, env={"TOKEN": secret})
    running = box.start(spec)
    assert running.read_line() == "up"
    here = b"".join(command_line(Path(f"/proc/{pid}")) for pid in descendants(box.launcher.pid))
    assert b"squall-runner" not in here  # it is the command now
    assert code.encode() in here
    assert secret.encode() not in b"".join(map(command_line, Path("/proc").glob("[0-9]*")))
    assert not [path for path in found_below(box.top) if secret.encode() in path.read_bytes()]
    box.say({"t": "kill", "container": spec.id})
    box.finish(running)
    found = layer_of(box, spec)
    assert sorted(found) == ["", "srv", "srv/told"]
    assert not [path for path in found_below(box.top) if secret.encode() in path.read_bytes()]
    assert secret not in (box.top / "log").read_text()


def command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""  # it has ended


def found_below(top: Path) -> list[Path]:
    return [path for path in top.rglob("*") if path.is_file() and not path.is_symlink()]
