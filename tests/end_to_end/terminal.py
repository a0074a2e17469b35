"""Terminal: `squall` as a person types it, what it said, and what it left behind."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from squall.runtime.instance import instance_of
from tests.linux import leaks

SOURCES = Path(__file__).parents[2] / "src"
ERROR = re.compile(r"^error\[(SQ-\d{4})\]: ", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a command printed, how it ended, and how long it took in seconds."""

    status: int
    out: str
    err: str
    took_s: float

    def is_error(self, code: str, *words: str, status: int = 1) -> None:
        """One error with a name and a remedy, no traceback, and these words in it."""
        found = ERROR.findall(self.err)
        assert found == [code], self
        assert self.status == status, self
        assert "what to do: " in self.err, self
        self._shows_none_of_ours()
        for word in words:
            assert word in self.err, (word, self)

    def is_traceback(self, *words: str, status: int = 1) -> None:
        """The user's own traceback, without a frame of ours."""
        assert "Traceback (most recent call last)" in self.err, self
        assert self.status == status, self
        self._shows_none_of_ours()
        for word in words:
            assert word in self.err, (word, self)

    def _shows_none_of_ours(self) -> None:
        assert f'File "{SOURCES}' not in self.err, self
        assert "asyncio" not in self.err, self
        assert "/squall/python" not in self.err, self


@dataclass(slots=True, kw_only=True)
class Terminal:
    """A state directory of its own, and commands that are run with it. wrapper: what the commands are run through."""

    folder: Path
    python: str = sys.executable
    wrapper: tuple[str, ...] = ()
    environ: dict[str, str] = field(default_factory=dict)
    _programs: int = 0

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def environment(self, **more: str) -> dict[str, str]:
        """What the commands see; a value of "-" leaves a variable out."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SQUALL_")}
        given = {
            **kept,
            "SQUALL_STATE_DIR": str(self.state),
            "PYTHONPATH": str(SOURCES),
            "NO_COLOR": "1",
            **self.environ,
            **more,
        }
        return {name: value for name, value in given.items() if value != "-"}

    def squall(
        self, *arguments: str, within_s: float = 30.0, cwd: Path | None = None, **environ: str
    ) -> Said:
        """`squall` with these arguments."""
        began = time.monotonic()
        done = subprocess.run(
            [*self.wrapper, self.python, "-m", "squall", *arguments],
            env=self.environment(**environ),
            cwd=cwd or self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
        return Said(status=done.returncode, out=done.stdout, err=done.stderr, took_s=time.monotonic() - began)

    def write(self, text: str, name: str = "program.py") -> Path:
        """A file in a directory of its own."""
        self._programs += 1
        path = self.folder / f"program{self._programs}" / name
        path.parent.mkdir(parents=True)
        path.parent.chmod(0o755)
        path.write_text(text)
        return path

    def run(self, text: str, *arguments: str, within_s: float = 30.0, **environ: str) -> Said:
        """`squall run` of a program; arguments that begin with `::` name what of it."""
        path = self.write(text)
        name = arguments[0] if arguments and arguments[0].startswith("::") else ""
        rest = arguments[1:] if name else arguments
        return self.squall("run", f"{path}{name}", *rest, within_s=within_s, cwd=None, **environ)


def fresh_folder(*, below: str | None = None) -> Path:
    """A directory with a short name: those of sockets are not long."""
    return leaks.fresh_folder(below=below)


def left_of(state: Path) -> list[str]:
    """What is still there of a state directory's processes, mounts, control groups, networks and scratch directories."""
    left = [f"process {pid}: {line}" for pid, line in _processes(str(state))]
    left += [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(state) in line]
    left += _control_groups(state)
    left += _network(state)
    scratch = state / "scratch"
    if scratch.is_dir():
        left += [str(path) for path in scratch.iterdir()]
    return left


def wait_until(holds: Callable[[], bool], *, within_s: float, why: Callable[[], object] = lambda: "") -> None:
    """Return once it holds; fails with `why` when it never does."""
    until = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < until, why()
        time.sleep(0.02)


def leave_nothing(terminal: Terminal, *, own: Sequence[Path] = ()) -> None:
    """Bring the house down, and look that nothing of it is left."""
    done = terminal.squall("down")
    assert done.status == 0, done
    wait_until(lambda: not left_of(terminal.state), within_s=10, why=lambda: left_of(terminal.state))
    for path in (terminal.folder, *own):
        shutil.rmtree(path, ignore_errors=True)


def _network(state: Path) -> list[str]:
    """Devices of containers, and what lets them out; in this network, which is not that of every test's house."""
    prefix = f"sq{instance_of(str(state))[:6]}"
    record = state / "run" / "network.json"
    left = [name for _, name in socket.if_nameindex() if name.startswith(prefix)]
    return left + ([f"{record}: {record.read_text()}"] if record.exists() else [])


def _control_groups(state: Path) -> list[str]:
    # Other tests' groups come and go meanwhile, which walking does not mind.
    found = [f"{top}/{name}" for top, names, _ in os.walk("/sys/fs/cgroup") for name in names]
    return [path for path in found if f"squall-{instance_of(str(state))}-" in path]


def _processes(text: str) -> list[tuple[int, str]]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line and int(name) != os.getpid():
            found.append((int(name), line))
    return found
