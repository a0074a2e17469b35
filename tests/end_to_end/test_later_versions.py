"""An edit of a program whose packages are slow to import: the next version has its own code, and the packages of the one before."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import House, eventually

pytestmark = pytest.mark.needs("namespaces")

APP = """
import time
{first}
import numpy
import squall

app = squall.App("edited")

@app.function(scaledown_window=2)
def look(number):
    {more}
    return "{edit}", int(numpy.arange(number).sum())

@app.local_entrypoint()
def main():
    print(*look.remote(4), flush=True)
    time.sleep({stay_s})
"""


@pytest.fixture
def busy(house: House) -> Iterator[House]:
    """A house in which any package is worth a process, with a version that has left its packages behind."""
    house.run("-m", "squall", "down")
    house.environ["SQUALL_PACKAGES_STAY_S"] = "0.001"
    try:
        assert run(house, "one", stay_s=2.5) == "one 6"
        eventually(lambda: resting(house))
        yield house
    finally:
        del house.environ["SQUALL_PACKAGES_STAY_S"]
        house.run("-m", "squall", "down")


def run(house: House, edit: str, *, first: str = "", more: str = "pass", stay_s: float = 0.0) -> str:
    program = house.program(APP.format(edit=edit, first=first, more=more, stay_s=stay_s))
    done = house.run("-m", "squall", "run", str(program))
    assert done.returncode == 0, done.stderr
    return str(done.stdout.strip().splitlines()[-1])


def launchers(house: House) -> list[dict[str, Any]]:
    found = json.loads(house.run("-m", "squall", "status", "--json").stdout)["launchers"]
    assert isinstance(found, list)
    return found


def resting(house: House) -> int | None:
    """The launcher that keeps packages, if there is one."""
    return next((row["pid"] for row in launchers(house) if row["template"] == "resting"), None)


def test_the_next_version_is_forked_from_the_packages_of_the_one_before(busy: House) -> None:
    before = resting(busy)
    assert run(busy, "two", more="time.sleep(0)") == "two 6"
    assert eventually(lambda: resting(busy)) == before
    assert run(busy, "three") == "three 6"
    assert eventually(lambda: resting(busy)) == before


def test_a_version_that_prepares_for_its_packages_imports_them_itself(busy: House) -> None:
    """What it sets before the import must be seen by the import."""
    prepares = "import os; os.environ['NUMPY_MADE_UP'] = '1'"
    assert (
        run(busy, "two", first=prepares, more="import os, sys; assert os.environ['NUMPY_MADE_UP']") == "two 6"
    )


def test_packages_outlive_the_agent(busy: House) -> None:
    before = resting(busy)
    agent = json.loads(busy.run("-m", "squall", "status", "--json").stdout)["agent"]["pid"]
    os.kill(agent, 9)
    eventually(lambda: resting(busy) == before)
    assert run(busy, "two") == "two 6"
    assert eventually(lambda: resting(busy)) == before


def test_packages_that_died_are_imported_again(busy: House) -> None:
    before = resting(busy)
    (init,) = Path(f"/proc/{before}/task/{before}/children").read_text().split()[-1:]
    (packages,) = Path(f"/proc/{init}/task/{init}/children").read_text().split()
    os.kill(int(packages), 9)
    assert run(busy, "two") == "two 6"


def test_status_says_what_a_launcher_without_a_function_is_for(busy: House) -> None:
    told = busy.run("-m", "squall", "status").stdout
    assert (
        f"launcher: process {resting(busy)}, which keeps packages for the next version of a function" in told
    )


def test_down_leaves_none(busy: House) -> None:
    before = resting(busy)
    busy.run("-m", "squall", "down")
    eventually(lambda: not Path(f"/proc/{before}").exists())


def test_packages_go_when_nothing_used_them_for_long(busy: House) -> None:
    busy.run("-m", "squall", "down")
    busy.environ |= {"SQUALL_TEMPLATE_IDLE_S": "1", "SQUALL_TEMPLATE_SWEEP_S": "0.2"}
    try:
        assert run(busy, "one", stay_s=2.5) == "one 6"
        eventually(lambda: not [row for row in launchers(busy) if row["template"] or row["function"]])
    finally:
        del busy.environ["SQUALL_TEMPLATE_IDLE_S"], busy.environ["SQUALL_TEMPLATE_SWEEP_S"]
