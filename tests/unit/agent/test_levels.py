"""Which level a node gives for the one that is asked for, and what it says where it gives none."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import get_args

import pytest

from squall.agent.levels import Levels
from squall.model.errors import IsolationUnavailable
from squall.model.function import LEVELS
from squall.runtime.host import Host
from squall.runtime.runtimes.look import Runtime
from squall.runtime.spec import Level
from squall.settings.paths import StatePaths

ABLE = Host(kernel=(6, 1), machine="x86_64", uid=0, privileged=True)
UNABLE = Host(kernel=(6, 1), machine="x86_64", uid=0, privileged=True, sandbox_refused="no namespaces at all")


def levels(folder: Path, host: Host) -> Levels:
    return Levels(StatePaths(state=folder), host)


def test_the_levels_that_are_declared_are_those_that_the_runtime_knows() -> None:
    assert set(LEVELS) == set(get_args(Level))


@pytest.mark.parametrize("asked", LEVELS)
def test_a_machine_that_allows_namespaces_gives_what_is_asked_for(tmp_path: Path, asked: str) -> None:
    assert levels(tmp_path, ABLE).given(asked) == asked


@pytest.mark.parametrize("asked", [level for level in LEVELS if level not in {"process", "sandbox"}])
def test_no_weaker_level_is_taken_for_one_that_was_asked_for(tmp_path: Path, asked: str) -> None:
    with pytest.raises(IsolationUnavailable, match=r"no namespaces at all\. It gives process") as refused:
        levels(tmp_path, UNABLE).given(asked)
    assert refused.value.level == asked


def test_only_the_default_runs_at_process_where_there_are_no_namespaces(tmp_path: Path) -> None:
    assert levels(tmp_path, UNABLE).given("sandbox") == levels(tmp_path, UNABLE).given("process") == "process"


def test_a_level_of_a_newer_client_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(IsolationUnavailable, match="`microvm`"):
        levels(tmp_path, ABLE).given("microvm")


@pytest.mark.needs("linux")
def test_a_runtime_that_ran_here_before_is_not_tried_again(tmp_path: Path) -> None:
    program = tmp_path / "crun"
    program.write_text("it would fail")
    seen = program.stat()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    mark = [seen.st_mtime_ns, seen.st_size, seen.st_ino, os.uname().release, os.geteuid(), boot]
    found = Runtime(level="crun", program=str(program), command=(str(program), "--quiet"))
    (tmp_path / "runtimes.json").write_text(json.dumps({"crun": {"runtime": found.to_json(), "mark": mark}}))
    given = levels(tmp_path, ABLE)
    assert asyncio.run(given.give("crun")) == "crun"
    assert given.runtime_of("crun") == (str(program), "--quiet")
    assert given.runtime_of("sandbox") == ()
