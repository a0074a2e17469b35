"""The leak check itself: it finds each kind of thing that may be left, and nothing that is not ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from squall.runtime.instance import instance_of
from tests.linux import leaks

pytestmark = pytest.mark.needs("linux")

_NAMED = """
import ctypes, sys, time
ctypes.CDLL(None).prctl(15, b"squall-init", 0, 0, 0)
print("up", flush=True)
time.sleep(60)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    made = leaks.fresh_folder()
    yield made
    shutil.rmtree(made, ignore_errors=True)


def test_what_was_there_before_is_not_left() -> None:
    before = leaks.Seen(processes=frozenset({"1 a", "2 b"}))
    after = leaks.Seen(processes=frozenset({"2 b", "3 c"}), files=frozenset({"/f"}))
    assert leaks.left(before, after) == ["processes: 3 c", "files: /f"]
    assert leaks.left(after, before) == ["processes: 1 a"]


def test_a_folder_is_left_until_it_is_removed(folder: Path) -> None:
    assert str(folder) in leaks.look().files
    folder.rmdir()
    assert str(folder) not in leaks.look().files


def test_a_process_that_was_told_a_folder_is_left_until_it_ends(folder: Path) -> None:
    # It says that it is up: until then it may still be the copy of this one that becomes it.
    with running("-c", "print('up', flush=True); input()", str(folder)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        assert any(line.startswith(f"{process.pid} ") for line in leaks.look().processes)
        assert not leaks.look(frozenset({Path("/other")})).processes & leaks.look().processes
    assert not any(line.startswith(f"{process.pid} ") for line in leaks.look().processes)


def test_a_first_process_without_its_launcher_is_left() -> None:
    before = leaks.look()
    with running("-c", _NAMED) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        found = leaks.left(before, leaks.look())
        assert any(line.startswith(f"processes: {process.pid} squall-init") for line in found), found


@pytest.mark.needs("root", "namespaces")
def test_mounts_groups_devices_and_namespaces_of_nobody_are_left(folder: Path) -> None:
    before = leaks.look()
    instance = instance_of(str(folder / "state"))
    group = next((top for top in Path("/sys/fs/cgroup").iterdir() if (top / "cgroup.procs").exists()), None)
    undo: list[Callable[[], object]] = []
    try:
        for name in ("mounted", "namespace"):
            (folder / name).touch()
        run("mount", "--bind", str(folder / "mounted"), str(folder / "mounted"))
        undo.append(lambda: run("umount", str(folder / "mounted")))
        run("unshare", f"--uts={folder / 'namespace'}", "true")
        undo.append(lambda: run("umount", str(folder / "namespace")))
        kinds = {"mounts", "namespaces"}
        if group is not None and os.access(group, os.W_OK):
            (group / f"squall-{instance}-x").mkdir()
            undo.append((group / f"squall-{instance}-x").rmdir)
            kinds.add("control groups")
        found = leaks.left(before, leaks.look())
        assert {line.partition(":")[0] for line in found} == kinds, found
    finally:
        for one in reversed(undo):
            one()
    assert not leaks.left(before, leaks.look())


class running:  # noqa: N801 - it reads as what it is
    """Python with these arguments, ended at the end."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> subprocess.Popen[str]:
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)
