"""A small image with owners of its own, as a layer of it is rendered for a box."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from tests.linux.runtime.box import Box


def image(box: Box) -> Path:
    """A rendered layer: as root with the owners of an image, else all of it belongs to this user."""
    layer = box.top / "image"
    for name in ("etc", "root", "var/lib/dpkg", "srv", "usr-local"):
        (layer / name).mkdir(parents=True)
    for name in ("root/.profile", "etc/shadow", "var/lib/dpkg/status", "srv/of-33", "usr-local/su"):
        (layer / name).write_text("image ")
    (layer / "root").chmod(0o700)
    (layer / "etc" / "shadow").chmod(0o640)
    (layer / "usr-local" / "su").chmod(0o4755)
    if box.kind == "root":
        os.chown(layer / "etc" / "shadow", 0, 42)
        os.chown(layer / "srv" / "of-33", 33, 34)
        os.chown(layer / "usr-local" / "su", 0, 0)
        (layer / "usr-local" / "su").chmod(0o4755)
    else:
        for path in [layer, *layer.rglob("*")]:
            mode = stat.S_IMODE(path.lstat().st_mode)
            box.give(path)
            path.chmod(mode)
    return layer


def with_image(box: Box, layer: Path, **changed: Any) -> dict[str, Any]:
    """A sandbox of that layer over the little that the box's runner needs."""
    return {"lowers": (str(layer), str(box.top / "lower")), "owned": (str(layer),), **changed}


def print_of(layer: Path) -> dict[str, tuple[int, ...]]:
    seen = {str(path.relative_to(layer)): path.lstat() for path in [layer, *sorted(layer.rglob("*"))]}
    return {
        path: (one.st_uid, one.st_gid, one.st_mode, one.st_size, one.st_mtime_ns, one.st_ctime_ns)
        for path, one in seen.items()
    }
