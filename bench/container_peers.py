"""Container peers: the same program started by bwrap, crun, runc, runsc, as a plain process, and by a bare fork."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from scene import RUNNER, AbsentError, Sample, Scene, parse_answer

IN_FLIGHT = 4
_END_S = 60
_NAMESPACES = ("pid", "network", "ipc", "uts", "mount", "cgroup")
_HYBRID = Path("/sys/fs/cgroup/unified/cgroup.controllers")


class Starter(Protocol):
    """Somebody who can start the program of one kind."""

    def sample(self) -> Sample:
        """One start, from the request to the end of what was started."""

    def starts_per_s(self, count: int) -> float:
        """The rate of `count` starts, as many at a time as suit this starter."""


class FreshStarter:
    """Starts a new interpreter for each request, through whatever the command line names."""

    def __init__(
        self, command: Callable[[str], list[str]], env: dict[str, str], *, own_clock: bool = False
    ) -> None:
        self._command = command
        self._env = env
        self._own_clock = own_clock
        self._names = itertools.count()

    def sample(self) -> Sample:
        command = self._command(f"squall-bench-{os.getpid()}-{next(self._names)}")
        asked, asked_wall = time.monotonic(), time.time()
        with subprocess.Popen(
            command, env=self._env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as child:
            if child.stdout is None or child.stderr is None:
                raise RuntimeError("a child without pipes")
            line = child.stdout.readline()
            got_at = time.monotonic()
            said = child.stderr.read().decode(errors="replace").strip()
            child.wait(_END_S)
        if not line:
            raise RuntimeError(f"{command[0]} ended with {child.returncode} and no answer: {said[-300:]}")
        answer = parse_answer(line)
        first = answer.wall - asked_wall if self._own_clock else answer.at - asked
        return Sample(first_ms=first * 1e3, result_ms=(got_at - asked) * 1e3)

    def starts_per_s(self, count: int) -> float:
        with ThreadPoolExecutor(IN_FLIGHT) as threads:
            started = time.monotonic()
            list(threads.map(lambda _: self.sample(), range(count)))
            return count / (time.monotonic() - started)


class ForkFloor:
    """A process of its own that is warm and forks itself: what no start of a container can beat."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def sample(self) -> Sample:
        first, result = self.ask("one").split()
        return Sample(first_ms=float(first), result_ms=float(result))

    def starts_per_s(self, count: int) -> float:
        return float(self.ask(f"many {count} {IN_FLIGHT}"))

    def ask(self, request: str) -> str:
        """The one line that answers a request."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("a child without pipes")
        self._process.stdin.write(f"{request}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


def program() -> list[str]:
    """The command line of a new interpreter with the bench's program."""
    return [sys.executable, "-m", RUNNER]


@contextmanager
def process(scene: Scene, kind: str) -> Iterator[Starter]:
    """A new interpreter without any isolation."""
    yield FreshStarter(lambda _name: program(), scene.env(kind))


@contextmanager
def os_fork(scene: Scene, kind: str) -> Iterator[ForkFloor]:
    """`os.fork()` of a process that has everything imported."""
    with subprocess.Popen(
        [sys.executable, "-m", "fork_floor"],
        env=scene.env(kind),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        if child.stdout is None or child.stdin is None or child.stdout.readline() != "ready\n":
            raise RuntimeError("the process that is to be forked did not get ready")
        yield ForkFloor(child)
        child.stdin.close()


def found(name: str) -> str:
    """Where the program `name` is. Raises AbsentError."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        raise AbsentError(f"{name} is not installed")
    return path


@contextmanager
def bwrap(scene: Scene, kind: str) -> Iterator[Starter]:
    """bubblewrap with every namespace, the same binds, and an overlay of its own where this release can make one."""
    path = found("bwrap")
    usage = subprocess.run([path, "--help"], capture_output=True, text=True, check=False).stdout
    yield FreshStarter(
        lambda _name: bwrap_command(path, scene, overlay="--tmp-overlay" in usage), scene.env(kind)
    )


def bwrap_command(path: str, scene: Scene, *, overlay: bool) -> list[str]:
    root = ["--overlay-src", str(scene.lower), "--tmp-overlay", "/"] if overlay else ["--tmpfs", "/"]
    binds = [part for one in scene.shown() for part in ("--ro-bind", one, one)]
    own = ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--chdir", "/tmp"]
    rest = ["--unshare-all", "--hostname", "box", "--cap-drop", "ALL", "--die-with-parent", "--new-session"]
    # The temporary folder comes before the binds, which may lie in it.
    return [path, *rest, *root, *own, *binds, "--", *program()]


def bundle(scene: Scene, kind: str, folder: Path) -> Path:
    """An OCI bundle of the same program; its root is a plain folder, as these runtimes make no overlay."""
    (folder / "rootfs").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(oci_config(scene, kind)))
    return folder


def oci_config(scene: Scene, kind: str) -> dict[str, Any]:
    """What the runtimes are told: the namespaces and binds of Squall's sandbox, no capability, no new privilege."""
    options = ["nosuid", "noexec", "nodev"]
    mounts: list[dict[str, Any]] = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "mode=755", "size=64k"],
        },
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": [*options, "mode=1777"]},
        {
            "destination": "/tmp",
            "type": "tmpfs",
            "source": "tmp",
            "options": ["nosuid", "nodev", "mode=1777"],
        },
        *(
            {"destination": one, "type": "bind", "source": one, "options": ["rbind", "ro"]}
            for one in scene.shown()
        ),
    ]
    none: dict[str, list[str]] = {
        name: [] for name in ("bounding", "effective", "permitted", "inheritable", "ambient")
    }
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": program(),
            "env": [f"{name}={value}" for name, value in scene.env(kind).items()],
            "cwd": "/tmp",
            "capabilities": none,
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": False},
        "hostname": "box",
        "mounts": mounts,
        "linux": {"namespaces": [{"type": name} for name in _NAMESPACES]},
    }


@contextmanager
def oci(name: str, scene: Scene, kind: str) -> Iterator[Starter]:
    """crun, runc or runsc, each container with a state directory of the bench's own."""
    path = found(name)
    if os.geteuid() != 0:
        raise AbsentError(f"{name} is measured as root only")
    folder = bundle(scene, kind, scene.top / f"{name}-{kind}")
    state = scene.top / f"{name}-{kind}-state"
    options = ["--network", "none", "--platform", "ptrace", "--ignore-cgroups"] if name == "runsc" else []
    command = [path, "--root", str(state), *options, "run", "--bundle", str(folder)]
    with hugetlb_of_version_1(scene) if name == "crun" else a_plain_machine():
        yield FreshStarter(
            lambda container: [*command, container],
            {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            # The kernel of gVisor has a monotonic clock of its own; its wall clock is the machine's.
            own_clock=name == "runsc",
        )


@contextmanager
def a_plain_machine() -> Iterator[None]:
    yield


@contextmanager
def hugetlb_of_version_1(scene: Scene) -> Iterator[None]:
    """crun refuses a hybrid cgroup tree while version 2 has any controller; on such a machine that is this one."""
    folder = scene.top / "hugetlb"
    mounted = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    if not _HYBRID.exists() or any(one[2] == "cgroup" and "hugetlb" in one[3].split(",") for one in mounted):
        yield
        return
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "cgroup", "-o", "hugetlb", "none", str(folder)], check=True)
    until = time.monotonic() + _END_S
    while _HYBRID.read_text().strip() and time.monotonic() < until:
        time.sleep(0.01)  # one that was unmounted a moment ago is still being taken back
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)
