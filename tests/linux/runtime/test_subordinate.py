"""A user with subordinate ids: containers with more ids than one, and nothing left of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from squall.blobs.manifest import Directory, File
from squall.runtime.spec import Limits
from tests.linux.runtime.box import ORDINARY_USER, Box, a_box, eventually
from tests.linux.runtime.builds import a_build, layer_of, remove, rendered
from tests.linux.runtime.owned_image import image

pytestmark = pytest.mark.needs("root", "namespaces", "subordinate_ids")

_FIRST = 0x5000_0000


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A launcher of a user to whom an administrator gave ids, in a mount namespace with files that say so.

    And, where the machine has groups of version 1, one in each hierarchy.
    """
    user = f"box:x:{ORDINARY_USER}:{ORDINARY_USER}::/:/bin/sh\n"
    files = {
        "/etc/passwd": Path("/etc/passwd").read_text() + user,
        "/etc/subuid": f"box:{_FIRST}:65536\n",
        "/etc/subgid": f"box:{_FIRST}:65536\n",
    }
    script = "mount --make-rprivate /\n"
    missing = [target for target in files if not Path(target).exists()]
    for target, text in files.items():
        Path(target).touch()
        source = tmp_path / target.rpartition("/")[2]
        source.write_text(text)
        source.chmod(0o644)
        script += f"mount --bind {source} {target}\n"
    groups = [Path(f"/sys/fs/cgroup/{name}/user-of-{tmp_path.name}") for name in _version_1()]
    for group in groups:
        group.mkdir()
        for path in (group, group / "cgroup.procs"):
            os.chown(path, ORDINARY_USER, ORDINARY_USER)
        script += f"echo $$ > {group}/cgroup.procs\n"
    script += f'exec setpriv --reuid {ORDINARY_USER} --regid {ORDINARY_USER} --clear-groups "$@"'
    try:
        with a_box("user", wrapper=("unshare", "-m", "sh", "-ec", script, "sh"), drops=True) as one:
            yield one
    finally:
        for group in groups:
            eventually(partial(_remove, group))
        for target in missing:
            Path(target).unlink()


def _version_1() -> list[str]:
    mounts = Path("/proc/mounts").read_text()
    return [name for name in ("memory", "cpu", "pids") if f" /sys/fs/cgroup/{name} cgroup " in mounts]


def _remove(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:
        return False
    return True


def test_zero_is_the_user_and_the_others_are_the_subordinate_ids(box: Box) -> None:
    lines = box.run('print(open("/proc/self/uid_map").read(), open("/proc/self/gid_map").read())').out.split()
    assert lines == ["0", str(ORDINARY_USER), "1", "1", str(_FIRST), "65535"] * 2


def test_a_build_can_give_files_away_and_they_are_removed_with_the_rest(box: Box) -> None:
    code = """
import os
os.mkdir("/tmp/given")
open("/tmp/given/file", "w").write("x")
os.chown("/tmp/given/file", 1000, 1000)
os.chown("/tmp/given", 1000, 1000)
os.chmod("/tmp/given", 0o700)
os.setgid(33)
os.setuid(33)
print(os.getuid(), os.stat("/tmp/given").st_uid)
"""
    ended = box.run(code, capabilities="build")
    assert ended.out == "33 1000\n", ended.err


def test_what_a_build_gave_away_is_kept_with_the_owners_that_it_gave(box: Box) -> None:
    layer = image(box)
    code = """
import os
open("/srv/new", "w").write("hello")
os.chown("/srv/new", 33, 34)
os.chmod("/srv/new", 0o600)
os.mkdir("/srv/d")
os.chown("/srv/d", 1000, 1000)
os.chmod("/srv/d", 0o700)
"""
    spec = a_build(box, layer, code)
    ended = box.finish(box.start(spec))
    assert ended.exited["code"] == 0, ended.err
    found = layer_of(box, spec)
    assert sorted(found) == ["", "srv", "srv/d", "srv/new"]
    new, directory = found["srv/new"], found["srv/d"]
    assert isinstance(new, File)
    assert isinstance(directory, Directory)
    assert (new.attributes.uid, new.attributes.gid, new.attributes.mode, new.size) == (33, 34, 0o600, 5)
    assert (directory.attributes.uid, directory.attributes.mode) == (1000, 0o700)
    remove(box, spec)
    assert not os.path.exists(str(spec.upper))


def test_a_layer_is_rendered_with_its_owners_and_a_container_sees_them(box: Box) -> None:
    code = """
import os
os.mkdir("/srv/closed")
open("/srv/closed/new", "w").write("hello")
for path in ("/srv/closed/new", "/srv/closed"):
    os.chown(path, 33, 34)
    os.chmod(path, 0o700)
"""
    base = image(box)
    spec = a_build(box, base, code)
    assert box.finish(box.start(spec)).exited["code"] == 0
    layer = rendered(box, spec)
    assert (layer / "srv").stat().st_uid == ORDINARY_USER
    assert (layer / "srv" / "closed").stat().st_uid == _FIRST + 32
    look = "import os; found = os.stat('/srv/closed'); print(found.st_uid, found.st_gid, oct(found.st_mode))"
    seen = box.run(
        look, lowers=(str(layer), str(base), str(box.top / "lower")), owned=(str(layer), str(base))
    )
    assert seen.out == "33 34 0o40700\n", seen.err
    assert not rendered(box, spec, remove=True).exists()


def test_without_powers_nothing_is_given_away(box: Box) -> None:
    code = """
import os
open("/tmp/file", "w").write("x")
try:
    os.chown("/tmp/file", 1000, 1000)
except PermissionError:
    print("refused")
"""
    assert box.run(code).out == "refused\n"


def test_with_a_group_of_its_own_the_kernel_holds_the_limits(box: Box) -> None:
    if not _version_1():
        pytest.skip("needs cgroups: of version 1, which a test can give away")
    exited = box.run(
        "x = []\nwhile True: x.append(bytearray(1 << 20))", limits=Limits(memory_bytes=64 << 20)
    ).exited
    assert exited["cause"] == "oom"
    # Sampling would have seen it go beyond; the kernel never lets it.
    assert 60 << 20 <= exited["memory_peak_bytes"] <= 64 << 20
    code = "import os, signal\nwhile True:\n if os.fork() == 0: signal.pause()"
    assert box.run(code, limits=Limits(pids=20)).exited["cause"] == "pids"
