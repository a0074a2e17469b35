"""The sweep of launchers that no agent answers for: also of one that listens nowhere yet, and of no other's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from squall.supervisor.sweep import sweep

pytestmark = pytest.mark.needs("linux")
_BEGINNING = "import time; print('up', flush=True); time.sleep(60)"


def test_a_launcher_that_listens_nowhere_yet_is_ended_and_one_of_another_directory_is_not(
    tmp_path: Path,
) -> None:
    ours, others = tmp_path / "ours", tmp_path / "others"
    begun = []
    for directory in (ours, others):
        directory.mkdir()
        argv = [sys.executable, "-c", _BEGINNING, str(directory / "x.sock")]
        begun.append(subprocess.Popen(argv, stdout=subprocess.PIPE))
        assert begun[-1].stdout is not None
        begun[-1].stdout.readline()
    mine, foreign = begun
    try:
        assert sweep(ours, grace_s=0.1) == (mine.pid,)
        assert mine.wait(5) == -9
        assert foreign.poll() is None
    finally:
        for process in begun:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
