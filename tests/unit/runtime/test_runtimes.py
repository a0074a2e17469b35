"""What is found of OCI runtimes: not there, not running, remembered until something changes, and how it is told."""

from __future__ import annotations

import json
import os
import struct
import subprocess
from pathlib import Path

import pytest

from squall.runtime.host import Host
from squall.runtime.runtimes.look import Runtime, look, recall
from squall.runtime.runtimes.rows import row_of_runtime
from squall.runtime.runtimes.trial_program import program_for
from squall.runtime.spec import OCI_LEVELS, Level

pytestmark = pytest.mark.needs("linux")

REFUSING = Host(
    kernel=(6, 1), machine="x86_64", uid=1000, privileged=False, sandbox_refused="no namespaces here"
)


@pytest.mark.parametrize(("level", "name"), [("crun", "crun"), ("runc", "runc"), ("gvisor", "runsc")])
def test_a_runtime_that_is_not_there_is_named_with_what_to_install(
    tmp_path: Path, level: Level, name: str
) -> None:
    found = look(level, str(tmp_path), REFUSING, directories=str(tmp_path))
    assert found.refused == f"{name} is not installed"
    row = row_of_runtime(found)
    assert (row.rung, row.good) == ("refused", False)
    assert f"install {name}" in row.more


def test_where_no_sandbox_can_be_made_none_of_a_runtimes_can(tmp_path: Path) -> None:
    program = tmp_path / "crun"
    program.write_text("#!/bin/sh\necho crun version 9.9\n")
    program.chmod(0o755)
    found = look("crun", str(tmp_path), REFUSING, directories=str(tmp_path))
    assert (found.program, found.version) == (str(program), "9.9")
    assert found.refused == "no namespaces here"
    assert recall("crun", str(tmp_path)) is None


def remember(folder: Path, found: Runtime, mark: list[object]) -> None:
    (folder / "runtimes.json").write_text(
        json.dumps({found.level: {"runtime": found.to_json(), "mark": mark}})
    )


def mark_of(program: Path) -> list[object]:
    seen = program.stat()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return [seen.st_mtime_ns, seen.st_size, seen.st_ino, os.uname().release, os.geteuid(), boot]


def test_what_ran_is_remembered_until_its_program_changes(tmp_path: Path) -> None:
    program = tmp_path / "crun"
    program.write_text("one")
    found = Runtime(level="crun", program=str(program), version="1", command=(str(program), "--quiet"))
    remember(tmp_path, found, mark_of(program))
    assert recall("crun", str(tmp_path)) == found
    assert recall("runc", str(tmp_path)) is None
    program.write_text("another")
    assert recall("crun", str(tmp_path)) is None
    program.unlink()
    assert recall("crun", str(tmp_path)) is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"crun": 1}', '{"crun": {"runtime": {"level": "crun"}, "mark": []}}']
)
def test_a_memory_that_makes_no_sense_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "runtimes.json").write_text(text)
    assert recall("crun", str(tmp_path)) is None


def test_a_level_that_runs_is_told_with_its_program_and_how_it_is_kept_apart() -> None:
    for level in sorted(OCI_LEVELS):
        found = Runtime(level=level, program="/bin/x", version="1.2", command=("/bin/x", "--platform=ptrace"))
        row = row_of_runtime(found)
        assert row.good
        assert row.why == "/bin/x 1.2 platform=ptrace"


@pytest.mark.parametrize(("machine", "number"), [("x86_64", 62), ("aarch64", 183)])
def test_the_program_of_a_trial_is_one_that_this_kind_of_machine_runs(
    tmp_path: Path, machine: str, number: int
) -> None:
    data = program_for(machine)
    assert data[:4] == b"\x7fELF"
    assert struct.unpack_from("<H", data, 18) == (number,)
    if machine == os.uname().machine:
        path = tmp_path / "trial"
        path.write_bytes(data)
        path.chmod(0o755)
        assert subprocess.run([str(path)], check=False).returncode == 0
