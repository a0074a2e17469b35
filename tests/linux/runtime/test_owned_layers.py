"""Layers whose files have the container's ids as owners: shown so, never written to, and nothing on the host by them."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from squall.blobs.overlay_notes import OPAQUE, Notes
from squall.runtime.id_maps import id_map
from squall.runtime.spec import UID_RANGE, Mount
from tests.linux.runtime.box import UID_BASE, Box, a_box
from tests.linux.runtime.oci_box import Oci
from tests.linux.runtime.owned_image import image, print_of, with_image

# What the container finds, and what it may do with it.
_LOOK = """
import json, os
def seen(path):
    one = os.lstat(path)
    return [one.st_uid, one.st_gid, one.st_mode & 0o7777]
paths = ["/root", "/etc/shadow", "/var/lib/dpkg/status", "/srv/of-33", "/usr-local/su"]
told = {path: seen(path) for path in paths}
open("/root/.profile", "a").write("changed")
open("/etc/shadow", "a").write("changed")
open("/var/lib/dpkg/status", "a").write("changed")
told["written"] = [open(path).read() for path in ("/root/.profile", "/etc/shadow", "/var/lib/dpkg/status")]
told["nosuid"] = bool(os.statvfs("/").f_flag & os.ST_NOSUID)
print(json.dumps(told))
"""


def judge(box: Box, told: dict[str, Any], *, oci: bool = False) -> None:
    own = box.kind == "root"
    assert told["/root"] == [0, 0, 0o700]
    assert told["/etc/shadow"] == [0, 42 if own else 0, 0o640]
    assert told["/var/lib/dpkg/status"][:2] == [0, 0]
    assert told["/srv/of-33"][:2] == ([33, 34] if own else [0, 0])
    assert told["/usr-local/su"][:2] == [0, 0]
    assert told["written"] == ["image changed"] * 3
    # What an OCI runtime mounts anew is another root, in which no new privileges can be gained either.
    assert told["nosuid"] or oci


@pytest.mark.parametrize("how", ["parked", "exec", "command"])
def test_the_containers_root_owns_what_the_image_says_and_changes_it_above(box: Box, how: str) -> None:
    layer = image(box)
    before = print_of(layer)
    changed: dict[str, Any] = {}
    if how == "command":
        changed["argv"] = (box.python, "-c", _LOOK)
    elif how == "exec":
        changed["interpreter"] = box.python
        changed["env"] = {"PYTHONPATH": f"{box.top / 'modules'}:{box.top / 'src'}"}
    judge(box, box.run(_LOOK, **with_image(box, layer, **changed)).json())
    assert print_of(layer) == before


def test_the_strict_level_and_a_template_show_the_same(box: Box) -> None:
    layer = image(box)
    before = print_of(layer)
    for level in ("sandbox", "sandbox-strict"):
        given = with_image(box, layer, level=level)
        assert box.template(**given)["state"] == "ready"
        for path in ("pooled", "on_demand"):
            ended = box.finish(box.start(box.spec(_LOOK, **given), path=path))
            judge(box, ended.json())
        box.say({"t": "drop_template"})
    assert print_of(layer) == before


_HIDDEN = """
import os
print(sorted(os.listdir("/var/lib/dpkg")), os.path.exists("/root/.profile"), os.listxattr("/var/lib/dpkg"))
"""


def test_what_a_layer_hides_is_hidden_with_and_without_a_template(box: Box) -> None:
    layer, top = image(box), box.top / "upper-layer"
    (top / "var" / "lib" / "dpkg").mkdir(parents=True)
    (top / "root").mkdir()
    os.setxattr(top / "var" / "lib" / "dpkg", Notes.USER.opaque, OPAQUE)
    for path in [top, *top.rglob("*")]:
        box.give(path)
    os.mknod(top / "root" / ".profile", stat.S_IFCHR, os.makedev(0, 0))
    layers = (str(top), str(layer))
    given: dict[str, Any] = {"lowers": (*layers, str(box.top / "lower")), "owned": layers}
    assert box.run(_HIDDEN, **given).out == "[] False []\n"
    assert box.template(**given)["state"] == "ready"
    ended = box.finish(box.start(box.spec(_HIDDEN, **given), path="pooled"))
    assert ended.out == "[] False []\n"


def test_a_runtime_of_an_oci_level_shows_the_same(shared: Oci) -> None:
    layer = image(shared.box)
    before = print_of(layer)
    told = shared.run(_LOOK, **with_image(shared.box, layer)).json()
    judge(shared.box, told, oci=True)
    assert print_of(layer) == before


def test_what_is_shown_is_out_of_reach_and_cannot_be_written_to(box: Box) -> None:
    layer = image(box)
    code = """
mounts = open("/proc/self/mountinfo").read()
print("mapped" in mounts, "scratch" in mounts, "image" in mounts)
"""
    ended = box.run(code, **with_image(box, layer, capabilities="build"))
    assert ended.out == "False False False\n", ended.err


@pytest.mark.parametrize("kept", [False, True])
def test_an_owned_layer_of_links_stays_contained(box: Box, *, kept: bool) -> None:
    """What is mounted, made and written on the way in goes to the container's root and never where a link of it leads."""
    layer, secret = image(box), box.top / "secret"
    (secret / "deep").mkdir(parents=True)
    (secret / "hosts").write_text("of the host\n")
    box.give(secret)
    (layer / "etc" / "shadow").unlink()
    (layer / "etc").rmdir()
    for name in ("dev", "proc", "sys", "tmp", "run", "app"):
        (layer / name).symlink_to(secret)
    for name in ("etc", "squall"):
        (layer / name).symlink_to("/../../../../srv")
    code = """
import json, os
print(json.dumps([
    "null" in os.listdir("/dev"), os.path.isdir("/proc/self"), os.path.islink("/tmp"), os.path.exists("/etc/shown/probe_runner.py"),
]))
try:
    open("/tmp/file", "w").write("x")
    open("/etc/file", "w").write("x")
except OSError:
    pass
"""
    modules = str(box.top / "modules")
    mounts = (*box.mounts(), *(Mount(source=modules, target=to) for to in ("/etc/shown", "/squall/build")))
    given = with_image(box, layer, mounts=mounts, workdir="/", argv=(box.python, "-c", code))
    if kept:
        upper = box.top / "upper"
        upper.mkdir()
        box.give(upper)
        given |= {"upper": str(upper), "capabilities": "build"}
    ended = box.run(**given)
    assert ended.json() == [True, True, False, True]
    spec = box.spec(
        **{**given, "id": "dangling", "mounts": (*mounts, Mount(source=modules, target="/app/x"))}
    )
    if not kept:
        box.ask(spec)
        assert "File exists" in box.hear("refused", of=spec.id).message["message"]
    assert sorted(path.name for path in secret.rglob("*")) == ["deep", "hosts"]
    assert (secret / "hosts").read_text() == "of the host\n"


@pytest.mark.needs("root", "namespaces")
def test_a_program_that_becomes_its_owner_gives_nothing(root_box: Box) -> None:
    layer = image(root_box)
    shutil.copy("/usr/bin/id", layer / "usr-local" / "su")
    os.chown(layer / "usr-local" / "su", 33, 33)
    (layer / "usr-local" / "su").chmod(0o6755)
    given = with_image(root_box, layer, argv=("/usr-local/su", "-u"), capabilities="build")
    assert root_box.run(**given).out == "0\n"
    # The mount that shows it is the container's own: the host sees none, with or without owners.
    assert str(layer) not in Path("/proc/mounts").read_text()


@pytest.mark.needs("root", "namespaces")
def test_a_map_holds_a_containers_ids_and_never_the_hosts() -> None:
    for first in (0, 1, UID_RANGE - 1):
        with pytest.raises(ValueError, match="the host's own"):
            id_map(first)
    ids = id_map(UID_BASE)
    try:
        for kind in ("uid_map", "gid_map"):
            look = [
                "nsenter",
                f"--user=/proc/self/fd/{ids}",
                "--preserve-credentials",
                "cat",
                f"/proc/self/{kind}",
            ]
            told = subprocess.run(look, capture_output=True, text=True, check=True, pass_fds=[ids])
            assert told.stdout.split() == ["0", str(UID_BASE), str(UID_RANGE)]
    finally:
        os.close(ids)


@pytest.fixture
def unmappable() -> Iterator[Box]:
    """A launcher whose state lies on a file system that shows nobody's files with other owners: an overlay."""

    def prepare(box: Box) -> None:
        memory = box.top / "memory"
        memory.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(memory)], check=True)
        for name in ("lower", "upper", "work"):
            (memory / name).mkdir()
        options = f"lowerdir={memory}/lower,upperdir={memory}/upper,workdir={memory}/work"
        subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", str(box.state)], check=True)

    with a_box("root", prepare=prepare) as one:
        yield one


@pytest.mark.needs("root", "namespaces")
def test_a_machine_that_cannot_show_them_refuses_by_name_and_runs_the_rest(unmappable: Box) -> None:
    assert unmappable.run("print('runs')").out == "runs\n"
    layer = image(unmappable)
    spec = unmappable.spec(**with_image(unmappable, layer))
    unmappable.ask(spec)
    refused = unmappable.hear("refused", of=spec.id).message
    assert refused["code"] == "SQ-1701"
    assert "owners of their own cannot be shown here: MountRoot" in refused["message"]
    assert "squall doctor" in refused["remedy"]
    kept = unmappable.spec(upper=str(unmappable.top / "upper"))
    unmappable.ask(kept)
    assert "cannot be kept here" in unmappable.hear("refused", of=kept.id).message["message"]
