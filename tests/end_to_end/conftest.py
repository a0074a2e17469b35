"""One server for all tests that only use it, and an app of every verb that runs while a module's tests do."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import machine
from tests.linux import leaks

SOURCES = Path(__file__).parents[2] / "src"
PROGRAMS = Path(__file__).parent / "programs"


class House:
    """A state directory with its server, and programs that run against it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {
            **os.environ,
            "SQUALL_STATE_DIR": str(folder / "state"),
            "PYTHONPATH": str(SOURCES),
            "NO_COLOR": "1",
        }
        self._programs = 0

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Python with these arguments, its output kept."""
        client: subprocess.Popen[str] = subprocess.Popen(
            [sys.executable, *arguments],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return client

    def run(
        self, *arguments: str, typed: str = "", cwd: Path | None = None, within_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """The same, waited for."""
        return subprocess.run(
            [sys.executable, *arguments],
            env=self.environ,
            cwd=cwd,
            input=typed,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )

    def program(self, text: str, name: str = "program.py") -> Path:
        """A file in a directory of its own."""
        self._programs += 1
        path = self.folder / f"program{self._programs}" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
        return path


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Of all these tests, by their end."""
    if not machine.facts()["linux"]:
        yield
        return
    with leaks.nothing_left():
        yield


@pytest.fixture(scope="session")
def house() -> Iterator[House]:
    # Not pytest's own directory: its names are long, and those of sockets are not.
    folder = leaks.fresh_folder(prefix="squall-e2e-")
    house = House(folder)
    try:
        yield house
    finally:
        done = house.run("-m", "squall", "down")
        shutil.rmtree(folder, ignore_errors=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def at_home(house: House) -> Iterator[House]:
    """This very process as a client of the house."""
    before = os.environ.get("SQUALL_STATE_DIR")
    os.environ["SQUALL_STATE_DIR"] = house.environ["SQUALL_STATE_DIR"]
    sys.path.insert(0, str(PROGRAMS))
    try:
        yield house
    finally:
        sys.path.remove(str(PROGRAMS))
        del os.environ["SQUALL_STATE_DIR"]
        if before is not None:
            os.environ["SQUALL_STATE_DIR"] = before


@pytest.fixture(scope="module")
def verbs(at_home: House) -> Iterator[object]:
    """The module of the app of every verb, while the app runs."""
    verbs_app = importlib.import_module("verbs_app")
    with verbs_app.app.run():
        yield verbs_app


def eventually(holds: Callable[[], Any], within_s: float = 30.0) -> Any:
    """What `holds()` gives once it is something."""
    until_s = time.monotonic() + within_s
    while not (found := holds()):
        assert time.monotonic() < until_s
        time.sleep(0.05)
    return found
