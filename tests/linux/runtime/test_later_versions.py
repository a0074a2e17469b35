"""Templates of later versions: forked from packages that have stayed, in a root of their own, with nothing of the version before."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.linux.runtime.box import Box, eventually

_PACKAGES = "import decimal, os, random; token = object(); first, mark = os.getpid(), os.urandom(8).hex()"
_MOUNT = "open('/app/version').read()"
_ME = "import json, os; print(json.dumps({'root': loaded['version'], 'mark': loaded['mark']}))"


class Versions:
    """The sources of one function, each in a folder beside the other."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.count = 0
        (box.top / "trees").mkdir()
        box.give(box.top / "trees")

    def add(self) -> str:
        """One more; where it lies."""
        self.count += 1
        tree = self.box.top / "trees" / f"v{self.count}"
        (tree / "app").mkdir(parents=True)
        (tree / "app" / "version").write_text(f"{self.count}")
        for path in (tree, tree / "app", tree / "app" / "version"):
            self.box.give(path)
        return str(tree)

    def lowers(self, source: str) -> tuple[str, ...]:
        return (source, str(self.box.top / "lower"))

    def template(self, source: str, **changed: Any) -> dict[str, Any]:
        asked = {"packages": _PACKAGES, "code": f"version = {_MOUNT}", **changed}
        return self.box.template(source=source, lowers=self.lowers(source), **asked)

    def rest(self) -> None:
        self.box.say({"t": "rest"})


@pytest.fixture
def versions(box: Box) -> Versions:
    return Versions(box)


def _run(versions: Versions, source: str, code: str = _ME) -> dict[str, Any]:
    found: dict[str, Any] = versions.box.run(code, lowers=versions.lowers(source)).json()
    return found


def test_a_later_version_has_its_own_source_and_the_same_packages(versions: Versions) -> None:
    one = versions.add()
    told = versions.template(one)
    assert told["state"] == "ready", str(told)
    assert told["packages"]["names"] == ["some"]
    before = _run(versions, one)
    assert before["root"] == "1"
    versions.rest()
    for number in (2, 3):
        later = versions.add()
        told = versions.template(later)
        assert told["state"] == "ready", str(told)
        after = _run(versions, later)
        assert after == {"root": f"{number}", "mark": before["mark"]}, "one process imported them"
        versions.rest()


def test_every_rung_of_a_later_version_is_its_own(versions: Versions) -> None:
    versions.template(versions.add())
    versions.box.await_spare()
    versions.rest()
    later = versions.add()
    assert (told := versions.template(later))["state"] == "ready", str(told)
    versions.box.await_spare()
    for rung in ("spare", "pooled", "on_demand"):
        spec = versions.box.spec(
            "print(loaded['version'], open('/app/version').read())", lowers=versions.lowers(later)
        )
        started = versions.box.start(spec, path=rung)
        assert started.message["rung"] == rung
        assert versions.box.finish(started).out == "2 2\n"


def test_user_code_cannot_reach_the_packages(versions: Versions) -> None:
    """The template runs with the ids of the process that stays: it may not look into it, nor has it the power to enter a root."""
    code = f"""
version = {_MOUNT}
import os
kept = {{name: value.split() for name, value in (line.split(":", 1) for line in open("/proc/self/status")) if name.startswith("Cap")}}
def tried(path, mode):
    try:
        with open(path, mode) as file:
            return file.read(0) == b"" and "opened"
    except OSError as problem:
        return type(problem).__name__
reached = {{path: tried(f"/proc/{{first}}/{{path}}", "r+b" if path == "mem" else "rb") for path in ("mem", "environ", "maps")}}
own = tried(f"/proc/{{os.getpid()}}/mem", "r+b")
"""
    told = versions.template(versions.add(), code=code)
    assert told["state"] == "ready", str(told)
    source = versions.lowers(str(versions.box.top / "trees" / "v1"))
    found = versions.box.run(
        "import json; print(json.dumps([loaded['reached'], loaded['own'], loaded['kept']]))", lowers=source
    ).json()
    reached, own, kept = found
    assert own == "opened"
    assert set(reached.values()) == {"PermissionError"}, reached
    assert {int(kept[name][0], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {1 << 21}


def test_what_is_not_heavy_stays_in_no_process(versions: Versions) -> None:
    told = versions.template(versions.add(), heavy_s=60.0)
    assert told["state"] == "ready", str(told)
    assert "packages" not in told
    versions.rest()
    told = versions.template(versions.add())
    assert told["state"] == "ready", "a launcher that has nothing left begins anew"
    assert told["packages"]


def test_packages_that_fail_are_loaded_by_the_code_itself(versions: Versions) -> None:
    told = versions.template(
        versions.add(), packages="raise ImportError('no such thing')", code="mark, version = '', '1'"
    )
    assert told["state"] == "ready", str(told)
    assert "packages" not in told


def test_packages_that_another_version_does_not_have_go(versions: Versions) -> None:
    one, two = versions.add(), versions.add()
    versions.template(one)
    first = _run(versions, one)["mark"]
    versions.rest()
    told = versions.template(two, names=("other",))
    assert told["state"] == "ready", str(told)
    assert told["packages"]["names"] == ["other"]
    assert _run(versions, two)["mark"] != first


def test_packages_that_may_not_be_forked_are_told_of_as_ever(versions: Versions) -> None:
    busy = "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()"
    told = versions.template(versions.add(), packages=busy)
    assert (told["state"], told["reason"]) == ("refused", "thread")


def test_a_version_that_cannot_be_loaded_keeps_the_packages_for_the_next(versions: Versions) -> None:
    versions.template(versions.add())
    first = _run(versions, str(versions.box.top / "trees" / "v1"))["mark"]
    versions.rest()
    told = versions.template(versions.add(), code="1 / 0")
    assert (told["state"], told["reason"]) == ("refused", "import")
    versions.rest()
    mended = versions.add()
    assert versions.template(mended)["state"] == "ready"
    assert _run(versions, mended)["mark"] == first


def test_without_packages_that_have_died_the_next_version_is_made_whole(versions: Versions) -> None:
    told = versions.template(versions.add())
    versions.rest()
    os.kill(told["packages"]["pid"], signal.SIGKILL)
    later = versions.add()
    told = versions.template(later)
    assert told["state"] == "ready", str(told)
    assert _run(versions, later)["root"] == "2"


def test_packages_that_were_stopped_hold_nobody_up(versions: Versions) -> None:
    told = versions.template(versions.add())
    versions.rest()
    os.kill(told["packages"]["pid"], signal.SIGSTOP)
    later = versions.add()
    assert versions.template(later)["state"] == "ready"
    assert _run(versions, later)["root"] == "2"
    assert not Path(f"/proc/{told['packages']['pid']}").exists()


def test_containers_outlive_packages_that_are_killed(versions: Versions) -> None:
    source = versions.add()
    told = versions.template(source)
    code = "import sys, time; print('up', flush=True); time.sleep(1); print('still here')"
    running = versions.box.start(versions.box.spec(code, lowers=versions.lowers(source)))
    assert running.read_line() == "up"
    os.kill(told["packages"]["pid"], signal.SIGKILL)
    assert versions.box.finish(running).out == "still here\n"
    assert versions.box.run("print('next')", lowers=versions.lowers(source)).out == "next\n"


@pytest.mark.parametrize("changed", [{"env": {"MODE": "2"}}, {"workdir": "/"}, {"hostname": "other"}])
def test_nothing_is_shared_with_what_is_not_another_version(
    versions: Versions, changed: dict[str, Any]
) -> None:
    one, two = versions.add(), versions.add()
    versions.template(one)
    first = _run(versions, one)["mark"]
    versions.rest()
    assert versions.template(two, **changed)["state"] == "ready"
    found = versions.box.run(_ME, lowers=versions.lowers(two), **changed).json()
    assert found["mark"] != first


def test_a_strict_template_shares_nothing(versions: Versions) -> None:
    told = versions.template(versions.add(), level="sandbox-strict", code="mark, version = '', '1'")
    assert told["state"] == "ready", str(told)
    assert "packages" not in told


def test_nothing_is_left_of_versions_that_came_and_went(versions: Versions) -> None:
    box = versions.box
    seen = []
    # Its init, and the packages; nothing of templates, sandboxes and spares.
    left = ["squall-template"] * 2
    for _ in range(4):
        source = versions.add()
        versions.template(source)
        box.await_spare()
        assert _run(versions, source)["mark"]
        versions.rest()
        eventually(
            lambda: (
                [name for name in _below(box) if name not in {"squall-attacher", "squall-sweeper"}] == left
            ),
            lambda: str(_below(box)),
        )
        box.say({"t": "list"})
        box.hear("containers")
        seen.append(len(os.listdir(f"/proc/{box.launcher.pid}/fd")))
    assert seen[1:] == seen[:1] * 3, "descriptors are left of each version"


def _below(box: Box) -> list[str]:
    """The names of all processes below the launcher; a name has fifteen letters at most."""
    names, todo = [], [box.launcher.pid]
    while todo:
        pid = todo.pop()
        with suppress(OSError):
            todo += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
            names.append(Path(f"/proc/{pid}/comm").read_text().strip())
    return sorted(names[1:])
