"""Starts: every way in which a container begins, in which the whole catalogue is tried.

A further rung or level is one more row of STARTS, and where it is asked for in a new way, one more of RUNGS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from squall.runtime.spec import SandboxSpec
from tests.linux.hostile.judge import Place
from tests.linux.runtime import oci_box
from tests.linux.runtime.box import Box, Running


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One way to begin: on which kind of host, by which rung, at which level; build: with the powers of a build."""

    kind: str
    rung: str
    level: str = "sandbox"
    build: bool = False

    def __str__(self) -> str:
        return "-".join([self.kind, self.rung, self.level, *(["build"] if self.build else [])])

    @property
    def isolated(self) -> bool:
        return self.level != "process"

    def spec(self, box: Box, code: str, env: Mapping[str, str]) -> SandboxSpec:
        """The container that begins in this way and runs `code`."""
        env = {"PYTHONPATH": f"{box.top / 'modules'}:{box.top / 'src'}", **env}
        if not self.isolated:
            return box.process_spec(code, env=env)
        changed: dict[str, Any] = dict(RUNGS[self.rung](box)) if self.rung in RUNGS else {}
        if self.build:
            changed["capabilities"] = "build"
        changed["level"] = self.level
        if self.level in OCI:
            changed["runtime"] = oci_box.made(box, self.level).runtime
        return box.spec(code, env=env, **changed)

    def begin(self, box: Box, code: str, env: Mapping[str, str]) -> Running:
        """It, started by the rung that was asked for."""
        # At level `process` and with an OCI runtime nothing is demanded: there is one way.
        one_way = self.level in {"process", *OCI}
        running = box.start(self.spec(box, code, env), path=None if one_way else self.rung)
        assert running.message["rung"] == (self.level if self.level in OCI else self.rung), running.message
        return running

    @property
    def place(self) -> Place:
        """Which code makes the attempts: a runner, the step of a build, or what a template loads."""
        if self.rung == LOADING:
            return "loading"
        if self.level in OCI:
            return "oci"
        return "build" if self.build else "runner"

    @property
    def of_template(self) -> bool:
        return self.rung in {"spare", "pooled", "on_demand"}


# How each rung is asked for: what it changes of a spec.
RUNGS: dict[str, Callable[[Box], Mapping[str, Any]]] = {
    "spare": lambda _: {},
    "pooled": lambda _: {},
    "on_demand": lambda _: {},
    "parked": lambda _: {},
    "exec": lambda box: {"interpreter": box.python},
}

# Levels at which an OCI runtime makes the inner half, each with its program; gVisor's brings a kernel of its own.
OCI = {"crun": "crun", "runc": "runc", "gvisor": "runsc"}

# The same list as for a sandbox: it is to be stricter in how a template forks.
STRICT = "sandbox-strict"

# No way to start a container: the attempts are made by what a template loads before it is forked.
LOADING = "loading"

STARTS = (
    *(Start(kind=kind, rung=rung) for kind in ("root", "user") for rung in RUNGS),
    *(Start(kind=kind, rung=LOADING) for kind in ("root", "user")),
    *(Start(kind=kind, rung="exec", build=True) for kind in ("root", "user")),
    *(Start(kind=kind, rung=rung, level=STRICT) for kind in ("root", "user") for rung in ("pooled", "exec")),
    *(Start(kind=kind, rung="exec", level=level) for kind in ("root", "user") for level in OCI),
    *(Start(kind=kind, rung="exec", level="process") for kind in ("root", "user")),
)
