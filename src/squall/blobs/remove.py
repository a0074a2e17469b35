"""Remove: a directory and all below it, whatever modes it has."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def remove_tree(top: Path) -> None:
    """Remove `top` and all below it, also what a step has made read-only; gone already is fine."""
    if not top.is_dir() or top.is_symlink():
        top.unlink(missing_ok=True)
        return
    os.chmod(top, 0o700)
    for here, dirs, _ in os.walk(top):
        for name in dirs:
            at = os.path.join(here, name)
            if not os.path.islink(at):
                os.chmod(at, 0o700)
    shutil.rmtree(top)
