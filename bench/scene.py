"""Scene: the program that every contender of a cold start runs, and the folders that it sees."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

KINDS = ("bare", "numpy", "torch")
EXPECTED = 4
RUNNER = "cold_runner"
SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/sbin")
_SOURCE = Path(__file__).resolve().parent.parent / "src"
_FLOOR = Path(__file__).resolve().parent / "fork_floor.py"
_NUMBER = {"bare": "4", "numpy": "int(numpy.ones(4).sum())", "torch": "int(torch.ones(4).sum())"}
_WORK = '''"""A user's module that needs what its first lines import."""
import time
{imports}

def answer():
    at, wall = time.monotonic(), time.time()
    return at, wall, {number}
'''
_RUNNER = '''"""Runs the function of the module that the environment names, and says when its first line ran."""
import importlib, os, signal

def preload(load):
    importlib.import_module(os.environ["BENCH_WORK"])
    return {"t": "ready"}

def main(control, log):
    at, wall, number = importlib.import_module(os.environ["BENCH_WORK"]).answer()
    os.write(1, f"{at!r} {wall!r} {number}\\n".encode())
    while "BENCH_STAY" in os.environ:
        signal.pause()

if __name__ == "__main__":
    main(0, 0)
'''


class AbsentError(Exception):
    """What a contender needs is not here: it is skipped, and the sentence says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One start: milliseconds from the request to the function's first line, and to its result in the asker's hands."""

    first_ms: float
    result_ms: float
    rung: str = ""
    phases_ms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """When the function's first line ran: on the clock that all processes of a machine share, and on the wall's."""

    at: float
    wall: float


def parse_answer(line: bytes) -> Answer:
    """The runner's line. Raises ValueError for any other one, and for a wrong result."""
    at, wall, number = line.split()
    if int(number) != EXPECTED:
        raise ValueError(f"the function answered {int(number)}, not {EXPECTED}")
    return Answer(at=float(at), wall=float(wall))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Folders that all contenders of one run share."""

    top: Path
    heavy: Path | None

    @property
    def modules(self) -> Path:
        return self.top / "modules"

    @property
    def lower(self) -> Path:
        """The root of a container, below what is mounted into it."""
        return self.top / "lower"

    @property
    def path(self) -> list[str]:
        """Where modules are looked for, the same for every contender."""
        return [str(self.modules), *([str(self.heavy)] if self.heavy else [])]

    def shown(self) -> list[str]:
        """Directories of the host that every container sees, read-only, at the same place."""
        prefixes = {sys.prefix, sys.base_prefix, os.path.dirname(os.path.realpath(sys.executable))}
        outside = {path for path in prefixes if not path.startswith("/usr/")} - {"/usr"}
        found = [
            path for path in (*SYSTEM, *sorted(outside), *self.path, str(_SOURCE)) if os.path.exists(path)
        ]
        return [path for path in found if not any(path.startswith(f"{other}/") for other in found)]

    def env(self, kind: str) -> dict[str, str]:
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": "/tmp",
            "PYTHONPATH": ":".join(self.path),
            "PYTHONDONTWRITEBYTECODE": "1",
            "BENCH_WORK": f"{kind}_work",
        }

    def source(self) -> str:
        """Where Squall's own code is."""
        return str(_SOURCE)

    def has(self, kind: str) -> bool:
        return kind == "bare" or (self.heavy is not None and (self.heavy / kind).is_dir())


@contextmanager
def a_scene(heavy: Path | None) -> Iterator[Scene]:
    """The folders of one run, of which nothing is left afterwards, also where it is told to end."""
    signal.signal(signal.SIGTERM, _end)
    top = Path(tempfile.mkdtemp(prefix="squall-cold-"))
    scene = Scene(top=top, heavy=heavy)
    try:
        for folder in (scene.modules, scene.lower / "etc", scene.lower / "tmp"):
            folder.mkdir(parents=True)
        (scene.modules / f"{RUNNER}.py").write_text(_RUNNER)
        shutil.copy(_FLOOR, scene.modules)
        for kind in KINDS:
            imports = "" if kind == "bare" else f"import {kind}\n"
            (scene.modules / f"{kind}_work.py").write_text(
                _WORK.format(imports=imports, number=_NUMBER[kind])
            )
        for path in (top, *top.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield scene
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        shutil.rmtree(top, ignore_errors=True)


def _end(_number: int, _frame: object) -> None:
    raise SystemExit("told to end")
