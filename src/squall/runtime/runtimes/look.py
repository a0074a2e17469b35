"""Looks at the OCI runtimes of a machine: which are there, and whether each really runs a container."""

import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from squall.runtime import scratch
from squall.runtime.cgroup_plan import NO_CGROUPS
from squall.runtime.container import Container
from squall.runtime.host import Host
from squall.runtime.runtimes.trial_program import program_for
from squall.runtime.spec import UID_RANGE, Level, SandboxSpec

# Where programs are that no user of this machine can put there, before what the environment says.
_DIRECTORIES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROGRAMS: dict[Level, str] = {"crun": "crun", "runc": "runc", "gvisor": "runsc"}
# No control groups of their own: the container's is made before they start. For gVisor the faster platform and the
# stronger cage for its kernel come first; never its kvm platform, which misbehaves in machines that are virtual.
_OPTIONS: dict[Level, tuple[tuple[str, ...], ...]] = {
    "crun": (("--cgroup-manager=disabled",),),
    "runc": (("--rootless", "true"),),
    "gvisor": tuple(
        ("--network=none", "--ignore-cgroups", f"--platform={platform}", *caged)
        for platform in ("systrap", "ptrace")
        for caged in ((), ("--rootless",))
    ),
}
_PATIENCE_S = 10.0
_TRIAL_UID_BASE = 1 << 30
_REMEMBERED = "runtimes.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What was found of one level's runtime. command: its program and options; refused: why it cannot be used, or ""."""

    level: Level
    program: str = ""
    version: str = ""
    command: tuple[str, ...] = ()
    refused: str = ""

    def to_json(self) -> dict[str, Any]:
        """This as JSON can carry it; `from_json` reads it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Runtime":
        """What `to_json` gave. Raises TypeError or KeyError for anything else."""
        return cls(**{**value, "command": tuple(value["command"])})


def look(level: Level, state: str, host: Host, *, directories: str = "") -> Runtime:
    """The runtime of `level` on this machine, tried with a container in `state`, and remembered there if it runs.

    directories: where its program is looked for, separated by colons; by default where systems have programs, then PATH.
    Takes a tenth of a second for crun and runc, up to a second for gVisor. Single-threaded callers only: it forks.
    """
    name = PROGRAMS[level]
    program = shutil.which(name, path=directories or f"{_DIRECTORIES}:{os.environ.get('PATH', '')}")
    if program is None:
        return Runtime(level=level, refused=f"{name} is not installed")
    program = os.path.realpath(program)
    found = Runtime(level=level, program=program, version=_version_of(program))
    if host.sandbox_refused:
        return replace(found, refused=host.sandbox_refused)
    complaints: list[str] = []
    for options in _OPTIONS[level]:
        command = (program, *options)
        complaint = _try(level, command, state, host)
        if not complaint:
            ready = replace(found, command=command)
            _remember(ready, state)
            return ready
        complaints.append(complaint)
    return replace(found, refused=f"{name} refuses: {complaints[-1]}")


def recall(level: Level, state: str) -> Runtime | None:
    """What an earlier look in `state` found to run, if neither the program nor the machine has changed since."""
    try:
        with open(f"{state}/{_REMEMBERED}", encoding="utf-8") as file:
            entry = json.load(file)[level]
        found = Runtime.from_json(entry["runtime"])
        if entry["mark"] == _mark_of(found.program):
            return found
    except (OSError, ValueError, KeyError, TypeError):
        pass  # Nobody has looked yet, or something else has changed.
    return None


def _remember(found: Runtime, state: str) -> None:
    path = f"{state}/{_REMEMBERED}"
    try:
        with open(path, encoding="utf-8") as file:
            known = dict(json.load(file))
    except (OSError, ValueError, TypeError):
        known = {}
    known[found.level] = {"runtime": found.to_json(), "mark": _mark_of(found.program)}
    fresh = f"{path}.{os.getpid()}"
    with open(fresh, "w", encoding="utf-8") as file:
        json.dump(known, file)
    os.replace(fresh, path)


def _mark_of(program: str) -> list[Any]:
    """What changes with the program, the kernel, the user, and each start of the machine."""
    seen = os.stat(program)
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read().strip()
    return [seen.st_mtime_ns, seen.st_size, seen.st_ino, os.uname().release, os.geteuid(), boot]


def _version_of(program: str) -> str:
    try:
        told = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    first = told.stdout.strip().partition("\n")[0]
    return first.split()[-1] if first else ""


def _try(level: Level, command: tuple[str, ...], state: str, host: Host) -> str:
    """Why `command` cannot run a container here; empty if it can."""
    try:
        top = tempfile.mkdtemp(prefix=".trial-", dir=state)
    except OSError as problem:
        return f"{state} is not writable: {problem.strerror}"
    try:
        os.mkdir(f"{top}/lower")
        with open(f"{top}/lower/trial", "wb") as file:
            file.write(program_for(host.machine))
        os.chmod(f"{top}/lower/trial", 0o755)  # noqa: S103 - the ids of the container are to run it
        spec = SandboxSpec(
            id="trial",
            level=level,
            scratch=f"{top}/scratch",
            lowers=(f"{top}/lower",),
            uid_base=_TRIAL_UID_BASE // UID_RANGE * UID_RANGE if host.privileged else None,
            argv=("/trial",),
            runtime=command,
        )
        return _run(Container(spec, replace(host, cgroup=NO_CGROUPS), "trial", time.monotonic()))
    except OSError as problem:
        return str(problem)
    finally:
        scratch.remove(top)


def _run(container: Container) -> str:
    """Run it to its end; what is wrong with it."""
    container.start()
    held = container.held
    until = time.monotonic() + _PATIENCE_S
    while True:
        left = until - time.monotonic()
        line = held.line.fileno()
        ready, _, _ = select.select([line, held.pidfd], [], [], max(0.0, left))
        if line in ready:
            container.hear(lambda _message, _fds: None)
        if held.pidfd in ready or left <= 0:
            break
    if left <= 0:
        signal.pidfd_send_signal(held.pidfd, signal.SIGKILL)
    container.finish(lambda _message, _fds: None)
    if container.exited is None:
        return container.refusal
    said = _printed(held.readable[2])
    held.close_readable()
    if left <= 0:
        return f"a container that does nothing has not ended after {_PATIENCE_S:g} s"
    return "" if container.exited["code"] == 0 else said or f"it ended with {container.exited['code']}"


def _printed(fd: int) -> str:
    """The last line that was printed."""
    os.set_blocking(fd, False)
    try:
        lines = os.read(fd, 65_536).decode(errors="replace").strip().splitlines()
    except BlockingIOError:
        return ""
    return lines[-1][:300] if lines else ""
