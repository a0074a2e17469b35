"""Each contract of .importlinter is kept, and each is broken by the violation it is there for."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.tidy import house

LAYERS = "Imports go down only"
ACYCLIC = "No circle of imports"
PURE = "What decides has no clock"
VIRTUAL = "What is simulated has no time"
LIGHT = "needs only the standard library"
FAR = "SDK and runner reach nothing that builds"
KERNEL = "Only runtime.syscalls"
NO_UNPICKLING = "never unpickle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """Files to write into a copy of src/squall, and the contract that must notice.

    files: path below src/squall -> lines to put at its end (a new file where there is none).
    """

    name: str
    contract: str
    files: dict[str, str] = field(default_factory=dict)


def upward() -> Iterator[Violation]:
    """From each rank, an import of the next rank above that exists."""
    existing = [[name for name in rank if name in house.folders()] for rank in house.ranks()]
    for upper, lower in itertools.pairwise(rank for rank in existing if rank):
        for name in lower:
            text = f"import squall.{upper[0]}\n"
            yield Violation(
                name=f"{name} imports {upper[0]}", contract=LAYERS, files={f"{name}/planted.py": text}
            )


def sideways() -> Iterator[Violation]:
    """Between each two neighbours of a rank, in both directions."""
    for rank in house.ranks():
        for importer, imported in itertools.permutations(
            [name for name in rank if name in house.folders()], 2
        ):
            text = f"import squall.{imported}\n"
            yield Violation(
                name=f"{importer} imports {imported}", contract=LAYERS, files={f"{importer}/planted.py": text}
            )


PLANTED = [
    *upward(),
    *sideways(),
    Violation(name="a folder without a rank", contract=LAYERS, files={"helpers/__init__.py": '"""x."""\n'}),
    Violation(
        name="an upward import inside a function",
        contract=LAYERS,
        files={"model/planted.py": "def late() -> None:\n    import squall.wire\n"},
    ),
    Violation(
        name="an upward import under TYPE_CHECKING",
        contract=LAYERS,
        files={
            "model/planted.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import squall.wire\n"
        },
    ),
    Violation(
        name="an upward import through the front door",
        contract=LAYERS,
        files={"server/planted.py": "from squall import App\n"},
    ),
    Violation(
        name="a circle",
        contract=ACYCLIC,
        files={
            "wire/planted_a.py": "import squall.wire.planted_b\n",
            "wire/planted_b.py": "import squall.wire.planted_a\n",
        },
    ),
    Violation(
        name="a circle hidden in a function",
        contract=ACYCLIC,
        files={
            "runtime/planted_a.py": "import squall.runtime.planted_b\n",
            "runtime/planted_b.py": "def late() -> None:\n    import squall.runtime.planted_a\n",
        },
    ),
    Violation(
        name="a circle under TYPE_CHECKING",
        contract=ACYCLIC,
        files={
            "sdk/planted_a.py": "import squall.sdk.planted_b\n",
            "sdk/planted_b.py": (
                "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import squall.sdk.planted_a\n"
            ),
        },
    ),
    Violation(
        name="a clock in a decision",
        contract=PURE,
        files={"scheduling/planted.py": "from time import monotonic\n"},
    ),
    Violation(
        name="a clock in a noun, in a function",
        contract=PURE,
        files={"model/planted.py": "def now() -> float:\n    import time\n    return time.time()\n"},
    ),
    Violation(
        name="the real time in the simulation",
        contract=VIRTUAL,
        files={"simulation/clock.py": "\nimport time\n"},
    ),
    Violation(
        name="the real server in the simulation",
        contract=VIRTUAL,
        files={"simulation/run.py": "\nimport squall.server.calls\n"},
    ),
    Violation(name="a disk in a plan", contract=PURE, files={"runtime/plan.py": "\nimport os\n"}),
    Violation(name="a disk in a new plan", contract=PURE, files={"server/plan.py": "import os\n"}),
    Violation(name="a socket in the codec", contract=PURE, files={"wire/codec.py": "\nimport socket\n"}),
    Violation(
        name="dice behind a detour",
        contract=PURE,
        files={
            "model/planted.py": "import random\n",
            "scheduling/planted.py": "import squall.model.planted\n",
        },
    ),
    Violation(
        name="a heavy import in the runner", contract=LIGHT, files={"runner/planted.py": "import rich\n"}
    ),
    Violation(
        name="a heavy import in the sdk, in a function",
        contract=LIGHT,
        files={"sdk/planted.py": "def show() -> None:\n    import rich.console\n"},
    ),
    Violation(
        name="a heavy import behind a detour",
        contract=LIGHT,
        files={
            "settings/planted.py": "import click\n",
            "wire/planted.py": "import squall.settings.planted\n",
        },
    ),
    Violation(
        name="the sdk reaching for a sandbox",
        contract=FAR,
        files={"sdk/planted.py": "import squall.runtime\n"},
    ),
    Violation(
        name="ctypes elsewhere", contract=KERNEL, files={"runtime/planted.py": "from ctypes import CDLL\n"}
    ),
    Violation(
        name="ctypes in a function",
        contract=KERNEL,
        files={"agent/planted.py": "def call() -> None:\n    import ctypes\n"},
    ),
    Violation(
        name="pickle in the server", contract=NO_UNPICKLING, files={"server/planted.py": "import pickle\n"}
    ),
    Violation(
        name="pickle reached by the agent",
        contract=NO_UNPICKLING,
        files={"agent/planted.py": "import squall.wire.payload\n"},
    ),
]


def test_the_house_is_in_order(tmp_path: Path) -> None:
    lint = _lint(_copy(tmp_path))
    assert lint.returncode == 0, lint.stdout


@pytest.mark.parametrize("violation", PLANTED, ids=lambda violation: violation.name)
def test_a_violation_is_caught(violation: Violation, tmp_path: Path) -> None:
    tree = _copy(tmp_path)
    for path, text in violation.files.items():
        target = tree / "src" / "squall" / path
        target.parent.mkdir(exist_ok=True)
        with target.open("a", encoding="utf-8") as file:
            file.write(text)
    lint = _lint(tree)
    assert lint.returncode == 1, lint.stdout
    broken = [
        line
        for line in " ".join(lint.stdout.split()).split("Broken contracts")[1:]
        if violation.contract in line
    ]
    assert broken, f"another contract noticed, not this one:\n{lint.stdout}"


def _copy(folder: Path) -> Path:
    """A copy of what import-linter reads. Hard links would let a plant reach the real tree."""
    tree = folder / "tree"
    shutil.copytree(house.ROOT / "src", tree / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(
        house.ROOT / "tests" / "tidy", tree / "tests" / "tidy", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(house.ROOT / ".importlinter", tree)
    return tree


def _lint(tree: Path) -> subprocess.CompletedProcess[str]:
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tree / "src"), str(tree)]), "COLUMNS": "400"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
