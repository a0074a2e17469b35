"""Enter hooks with snap=True: they run once, in the template; where they cannot, each container runs them and the run says why."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.end_to_end.conftest import PROGRAMS, House

pytestmark = pytest.mark.needs("linux", "namespaces")

PROGRAM = str(PROGRAMS / "snap_app.py")


def run(house: House, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = house.run("-m", "squall", "run", *arguments)
    assert done.returncode == 0, done.stderr
    return done


def last(done: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("start_path", ["pooled", "parked"])
def test_what_hooks_made_is_shared_by_the_containers_of_a_template_and_by_no_others(
    at_home: House, start_path: str
) -> None:
    looked = last(run(at_home, "--start-path", start_path, PROGRAM))
    for size, both in looked.items():
        one, other = both
        assert one["order"] == other["order"] == ["first", "second", "own"], "those for templates come first"
        assert one["own"] != other["own"]
        assert (one["made"] == other["made"]) == (start_path == "pooled")
        in_template = start_path == "pooled"
        assert one["saw"] == other["saw"] == [int(size), "calm", not in_template, True, False]
    assert looked["1"][0]["made"] != looked["2"][0]["made"], (
        "each set of parameters has a template of its own"
    )


@pytest.mark.parametrize(
    ("what", "got", "why"),
    [
        ("network", "a connection", "load, which @squall.enter(snap=True) decorates"),
        ("patience", "a connection", "it took longer than 12 s in the template"),
        ("thread", "a thread", "a thread runs after the imports"),
        ("call", 42, "makes a remote call while it is imported, or in a hook with snap=True"),
    ],
)
def test_a_hook_that_needs_more_than_a_template_has_runs_in_each_container_and_the_run_says_why(
    at_home: House, what: str, got: Any, why: str
) -> None:
    done = run(at_home, PROGRAM, "--what", what)
    assert set(last(done)) == {got}
    assert "Wanting@" in done.stderr
    assert "starts without a template: " in done.stderr
    assert why in done.stderr
    assert "without snap=True" in done.stderr
