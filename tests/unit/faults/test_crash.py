from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import squall
from squall import faults
from squall.faults.crash import armed_by

SOURCE = Path(squall.__file__).parent


def run(code: str, setting: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, faults.VARIABLE: setting, "PYTHONPATH": str(SOURCE.parent)}
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False, timeout=60
    )


PASSING = """
from squall import faults
faults.declare("here.now", "a place")
for turn in range(3):
    print(turn, flush=True)
    faults.point("here.now")
print("lived")
"""


def test_the_process_dies_at_the_nth_pass() -> None:
    done = run(PASSING, "here.now:2")
    assert done.returncode == faults.EXIT_CODE
    assert done.stdout == "0\n1\n"


def test_without_a_number_the_first_pass_strikes() -> None:
    assert run(PASSING, "here.now").stdout == "0\n"


def test_what_is_not_asked_for_does_not_strike() -> None:
    assert run(PASSING, "").stdout.endswith("lived\n")
    assert run(PASSING, "elsewhere:1").stdout.endswith("lived\n")


def test_no_clean_up_runs() -> None:
    code = "import atexit; atexit.register(print, 'cleaned')\n" + PASSING
    assert "cleaned" not in run(code, "here.now").stdout


def test_an_undeclared_point_is_found_once_some_point_is_asked_for() -> None:
    done = run("from squall import faults\nfaults.point('nowhere')", "elsewhere")
    assert done.returncode == 1
    assert "never declared" in done.stderr


@pytest.mark.parametrize("setting", ["a:0", "a:b", ":3", "a,b:-1"])
def test_a_setting_that_says_nothing_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match="name"):
        armed_by(setting)


def test_a_setting_may_name_several() -> None:
    assert armed_by("a, b:3,") == {"a": 1, "b": 3}
    assert armed_by("") is None


@pytest.mark.parametrize("name", ["", "a:b", "a,b", "a b", "a=b"])
def test_a_name_can_be_written_in_the_environment(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        faults.declare(name, "nothing")


def test_one_name_is_one_place() -> None:
    faults.declare("test.place", "one")
    assert faults.declare("test.place", "one") == "test.place"
    with pytest.raises(ValueError, match="two"):
        faults.declare("test.place", "another")


def declared_in(tree: ast.Module) -> dict[str, str]:
    """The module's constants that name a crash point."""
    return {
        node.targets[0].id: node.value.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func) in {"declare", "faults.declare"}
        and isinstance(node.value.args[0], ast.Constant)
        and isinstance(node.value.args[0].value, str)
    }


def passed_in(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"point", "faults.point"}:
            yield ast.unparse(node.args[0])


def test_every_point_of_the_source_is_declared_beside_it_and_every_declared_one_is_passed() -> None:
    wrong = []
    for path in SOURCE.rglob("*.py"):
        text = path.read_text()
        if "faults" not in text or path.parent.name == "faults":
            continue
        tree = ast.parse(text)
        declared, passed = declared_in(tree), set(passed_in(tree))
        wrong += [f"{path.name}: {name}" for name in set(declared) ^ passed]
    assert wrong == []


def test_the_points_of_the_stores_are_listed() -> None:
    for package in ("blobs", "state"):
        for module in pkgutil.walk_packages([str(SOURCE / package)], f"squall.{package}."):
            importlib.import_module(module.name)
    listed = faults.names()
    assert {"blobs.written", "blobs.forced", "blobs.named", "checkout.rendered"} <= set(listed)
    assert {"state.applied", "state.committed"} <= set(listed)
    assert all(listed.values())


def test_a_role_arms_its_own_processes_alone() -> None:
    assert armed_by("server/a:2,agent/b,c", "server") == {"a": 2, "c": 1}
    assert armed_by("server/a:2,agent/b,c", "agent") == {"b": 1, "c": 1}
    # What arms another process asks for points all the same: one that was never declared is found here, too.
    assert armed_by("server/a:2", "launcher") == {}
    with pytest.raises(ValueError, match="role"):
        armed_by("cook/a")


def test_with_notes_a_point_strikes_once_and_says_when(tmp_path: Path) -> None:
    noted = {**os.environ, faults.NOTES_VARIABLE: str(tmp_path)}
    for outcome in (faults.EXIT_CODE, 0):
        env = {**noted, faults.VARIABLE: "client/here.now:2", "PYTHONPATH": str(SOURCE.parent)}
        assert subprocess.run([sys.executable, "-c", PASSING], env=env, check=False).returncode == outcome
    assert list(faults.struck(str(tmp_path))) == ["client/here.now"]
    assert faults.struck(str(tmp_path))["client/here.now"] > 0


def test_passes_are_counted_where_that_is_asked_for(tmp_path: Path) -> None:
    env = {**os.environ, faults.VARIABLE: faults.COUNT, faults.NOTES_VARIABLE: str(tmp_path)}
    code = "import sys; sys.argv[0] = 'squall.server'\n" + PASSING
    subprocess.run([sys.executable, "-c", code], env={**env, "PYTHONPATH": str(SOURCE.parent)}, check=True)
    assert faults.passed(str(tmp_path)) == {"server/here.now": 3}
    assert not faults.struck(str(tmp_path))
