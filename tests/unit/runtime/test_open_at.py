"""A look-up that must not leave its root, while somebody else renames."""

import os
import subprocess
import sys
from pathlib import Path

from squall.runtime import syscalls

MOVES = """
import os, sys
print("moving", flush=True)
while True:
    os.rename(sys.argv[1], sys.argv[2])
    os.rename(sys.argv[2], sys.argv[1])
"""


def test_a_rename_elsewhere_is_no_reason_to_refuse(tmp_path: Path) -> None:
    (tmp_path / "root" / "a" / "b").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "root" / "link").symlink_to("../" * 40 + "a/../a/b")
    command = [sys.executable, "-c", MOVES, str(tmp_path / "other"), str(tmp_path / "another")]
    mover = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert mover.stdout is not None
    root = os.open(tmp_path / "root", os.O_PATH | os.O_DIRECTORY)
    try:
        assert mover.stdout.readline() == b"moving\n"
        for _ in range(5000):
            os.close(syscalls.open_at(root, "link", os.O_PATH, resolve=syscalls.RESOLVE_IN_ROOT))
    finally:
        mover.kill()
        mover.communicate()
        os.close(root)
