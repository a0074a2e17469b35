"""What a hostile image brings along: mount points that are links out of it, and an environment for others."""

from __future__ import annotations

from pathlib import Path

import pytest

from squall.runtime.spec import Mount
from tests.linux.runtime.box import Box

_EVIL = {
    "LD_PRELOAD": "/app/evil.so",
    "LD_LIBRARY_PATH": "/app/evil",
    "PYTHONPATH": "/app/evil",
    "PYTHONSTARTUP": "/app/evil.py",
    "BASH_ENV": "/app/evil.sh",
    "NVIDIA_DRIVER_CAPABILITIES": "evil",
}


def test_e27_an_image_of_links_stays_contained(box: Box) -> None:
    lower, secret = box.top / "lower", box.top / "secret"
    secret.mkdir()
    box.give(secret)
    for name in ("dev", "proc", "sys", "tmp"):
        (lower / name).symlink_to(secret)
    (lower / "links").symlink_to("/../../../../app")
    code = """
import os
print(sorted(os.listdir("/dev")), os.path.isdir("/proc/self"), os.listdir("/app/deep/down") != [])
"""
    ended = box.run(code, mounts=(*box.mounts(), Mount(source="/usr/bin", target="/links/deep/down")))
    assert "'null'" in ended.out
    assert ended.out.endswith("True True\n")
    assert list(secret.iterdir()) == []


@pytest.mark.needs("root")  # to look into processes that have other rights
@pytest.mark.parametrize("how", ["runner", "command"])
def test_e70_the_environment_of_an_image_reaches_nobody_else(box: Box, how: str) -> None:
    argv = ("/bin/sh", "-c", "env | grep -c evil; exec sleep 60") if how == "command" else None
    code = """
import os, signal
print(sum("evil" in value for value in os.environ.values() if "\\n" not in value), flush=True)
signal.pause()
"""
    running = box.start(box.spec("" if argv else code, env=_EVIL, argv=argv))
    # It has them itself, so that it is seen who else has.
    assert int(running.read_line()) == len(_EVIL)
    for pid in _ours(box):
        assert b"evil" not in Path(f"/proc/{pid}/environ").read_bytes()
        assert b"evil" not in Path(f"/proc/{pid}/maps").read_bytes()
    box.say({"t": "kill", "container": running.spec.id})
    box.finish(running)


def _ours(box: Box) -> list[str]:
    """The launcher and what it has forked, but for the runners."""
    children = Path(f"/proc/{box.launcher.pid}/task/{box.launcher.pid}/children").read_text().split()
    return [str(box.launcher.pid), *children]
