from __future__ import annotations

import importlib.util
import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest

from squall.images.conda import bytecode

pytestmark = pytest.mark.needs("linux")


def compiled(top: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", bytecode.__file__, str(top)], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def head(path: Path) -> bytes:
    return Path(importlib.util.cache_from_source(str(path))).read_bytes()[:16]


def known_by_its_source(path: Path) -> bytes:
    return importlib.util.MAGIC_NUMBER + bytes([1, 0, 0, 0]) + importlib.util.source_hash(path.read_bytes())


def test_what_packages_bring_and_what_they_do_not_is_known_by_its_source(tmp_path: Path) -> None:
    brought, bare, wrong = (tmp_path / name for name in ("brought.py", "deep/bare.py", "wrong.py"))
    bare.parent.mkdir()
    for path in (brought, bare):
        path.write_text("X = 1\n")
    wrong.write_text("this is no Python\n")
    py_compile.compile(str(brought))
    compiled(tmp_path)
    assert head(brought) == known_by_its_source(brought)
    assert head(bare) == known_by_its_source(bare)
    assert not list(tmp_path.rglob("wrong*.pyc"))


def test_what_is_compiled_stays_and_what_was_replaced_is_compiled_anew(tmp_path: Path) -> None:
    stays, replaced = tmp_path / "stays.py", tmp_path / "replaced.py"
    stays.write_text("X = 1\n")
    replaced.write_text("X = 1\n")
    compiled(tmp_path)
    kept = Path(importlib.util.cache_from_source(str(stays)))
    os.utime(kept, (1, 1))
    replaced.write_text("X = 2\n")
    compiled(tmp_path)
    assert kept.stat().st_mtime == 1
    assert head(replaced) == known_by_its_source(replaced)
