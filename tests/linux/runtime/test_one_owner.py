"""Builds where there is one id: giving files and processes to others succeeds and changes nothing, and only there."""

from __future__ import annotations

import os

import pytest

from tests.linux.runtime.box import Box, a_box, read_to_end
from tests.linux.runtime.builds import a_build, layer_of
from tests.linux.runtime.owned_image import image

pytestmark = pytest.mark.needs("namespaces")

_GIVE = """
import ctypes, json, os, stat, subprocess
os.makedirs("/srv/d")
open("/srv/d/f", "w").close()
open("/etc/passwd", "w").write("nobody:x:65534:65534::/:/bin/sh\\n")
open("/etc/group", "w").write("nogroup:x:65534:\\n")
told = {}
def done(name, do):
    try:
        told[name] = do() or 0
    except OSError as problem:
        told[name] = problem.strerror
done("install", lambda: subprocess.run(["install", "-o", "nobody", "-g", "nogroup", "/srv/d/f", "/srv/d/g"]).returncode)
done("chown", lambda: subprocess.run(["chown", "-R", "33:34", "/srv/d"]).returncode)
done("fchown", lambda: os.chown(os.open("/srv/d/f", os.O_RDONLY), 7, 7))
done("lchown", lambda: os.chown("/srv/d/f", 7, 7, follow_symlinks=False))
done("setgroups", lambda: os.setgroups([33, 34]))
done("setresgid", lambda: os.setresgid(33, 33, 33))
done("setresuid", lambda: os.setresuid(33, 33, 33))
done("setuid", lambda: os.setuid(33))
done("mknod", lambda: os.mknod("/srv/d/null", stat.S_IFCHR | 0o666, os.makedev(1, 3)))
done("mkfifo", lambda: os.mkfifo("/srv/d/pipe"))
told["ids"] = [os.getuid(), os.getgid()]
told["owners"] = sorted({(os.stat("/srv/d/" + name).st_uid, os.stat("/srv/d/" + name).st_gid) for name in os.listdir("/srv/d")})
told["names"] = sorted(os.listdir("/srv/d"))
print(json.dumps(told))
"""
_GIVEN = (
    "install",
    "chown",
    "fchown",
    "lchown",
    "setgroups",
    "setresgid",
    "setresuid",
    "setuid",
    "mknod",
    "mkfifo",
)


def test_a_build_of_one_id_gives_nothing_away_and_goes_on() -> None:
    with a_box("user") as box:
        spec = a_build(box, image(box), _GIVE)
        told = box.finish(box.start(spec)).json()
        assert {name: told[name] for name in _GIVEN} == dict.fromkeys(_GIVEN, 0)
        assert told["ids"] == [0, 0]
        assert told["owners"] == [[0, 0]]
        assert told["names"] == ["f", "g", "pipe"]
        found = layer_of(box, spec)
        assert {
            (one.attributes.uid, one.attributes.gid) for one in found.values() if hasattr(one, "attributes")
        } == {(0, 0)}


def test_commands_beside_a_build_are_like_it(box: Box) -> None:
    code = "import time; print('up', flush=True); time.sleep(60)"
    running = box.start(a_build(box, image(box), code))
    assert running.read_line() == "up"
    argv = ["/bin/sh", "-c", "chown 33:34 /srv/of-33 && stat -c %u /srv/of-33"]
    box.say({"t": "exec", "container": running.spec.id, "exec": "e1", "argv": argv})
    fds = box.hear("execed", of=running.spec.id).fds
    stdin, stdout, _stderr = fds
    os.close(stdin)
    said = read_to_end(stdout)
    box.say({"t": "kill", "container": running.spec.id})
    box.finish(running)
    assert said.strip() == ("33" if box.kind == "root" else "0")


def test_an_ordinary_container_is_refused_and_roots_builds_are_real(box: Box) -> None:
    code = "import os\nopen('/tmp/f', 'w').close()\ntry:\n os.chown('/tmp/f', 33, 34); print(os.stat('/tmp/f').st_uid)\nexcept OSError as problem: print(problem.strerror)"
    refused = "Operation not permitted" if box.kind == "root" else "Invalid argument"
    assert box.run(code).out == f"{refused}\n"
    really = "33" if box.kind == "root" else "0"
    assert box.run(code, capabilities="build").out == f"{really}\n"
