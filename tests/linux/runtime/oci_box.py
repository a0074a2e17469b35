"""A box whose containers are made by one OCI runtime: crun, runc or gVisor's runsc."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from typing import Any

import pytest

from squall.runtime.spec import SandboxSpec
from tests.linux.runtime.box import Box, Running

WAIT = "import signal; print('up', flush=True); signal.pause()"
_LOOK = """
import json, sys
sys.path[:0] = {path!r}
from squall.runtime.runtimes.main import main
sys.exit(main({arguments!r}))
"""


@dataclass(frozen=True, slots=True)
class Oci:
    """One level on one kind of host."""

    box: Box
    level: str
    runtime: tuple[str, ...]

    def spec(self, code: str = "", **changed: Any) -> SandboxSpec:
        env = {"PYTHONPATH": f"{self.box.top / 'modules'}:{self.box.top / 'src'}", **changed.pop("env", {})}
        given = {"interpreter": self.box.python, **changed}
        return self.box.spec(code, level=self.level, runtime=self.runtime, env=env, **given)

    def start(self, code: str = "", **changed: Any) -> Running:
        return self.box.start(self.spec(code, **changed))

    def run(self, code: str = "", **changed: Any) -> Any:
        return self.box.finish(self.start(code, **changed))

    def kill(self, running: Running) -> Any:
        self.box.say({"t": "kill", "container": running.spec.id})
        return self.box.finish(running)


def look(box: Box, level: str) -> dict[str, Any]:
    """What is found of the level's runtime by whoever the box's launcher runs as."""
    path = [str(box.top / "src")]
    program = _LOOK.format(path=path, arguments=[level, str(box.state)])
    identity: dict[str, Any] = {}
    if os.geteuid() != box.uid:
        identity = {"user": box.uid, "group": box.uid, "extra_groups": []}
    looker = subprocess.run(
        [box.python, "-I", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        timeout=60,
        **identity,
    )
    assert looker.returncode == 0, looker.stderr
    found: dict[str, Any] = json.loads(looker.stdout)
    return found


_FOUND: dict[tuple[str, str], tuple[str, ...]] = {}


SHARED = (
    pytest.param("crun", marks=pytest.mark.needs("crun")),
    pytest.param("runc", marks=pytest.mark.needs("runc")),
)
GVISOR = pytest.param("gvisor", marks=pytest.mark.needs("runsc"))


def made(box: Box, level: str) -> Oci:
    key = (box.kind, level)
    if key not in _FOUND:
        found = look(box, level)
        assert not found["refused"], found
        _FOUND[key] = tuple(found["command"])
    return Oci(box, level, _FOUND[key])
