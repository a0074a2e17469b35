"""Scenery: directories with everything in them that a manifest keeps, made at random and by hand."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

from squall.blobs.chunks import CHUNK_BYTES


def keeps_xattrs(directory: Path) -> bool:
    """Whether the file system there keeps attributes of users: some kernels' tmpfs does not."""
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        try:
            os.setxattr(file.fileno(), "user.squall", b"")
        except OSError:
            return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Prop:
    """One path to make. size: bytes of a file; hole: how many of them, at its start, are a hole."""

    names: tuple[bytes, ...]
    kind: str
    mode: int
    mtime_ns: int
    size: int
    hole: int
    xattr: bytes
    pick: int


_names = st.one_of(
    st.sampled_from(
        [b"a", b"b", b"c", b"a-b", b"a\nb", b" ", b"...", b"-rf", b"\xff", b"\xc3\xa9", b"n" * 255]
    ),
    st.binary(min_size=1, max_size=5).filter(
        lambda name: b"/" not in name and b"\0" not in name and name not in {b".", b".."}
    ),
)
_sizes = st.one_of(
    st.integers(0, 300),
    st.sampled_from([0, 1, 70_000]),
    st.integers(-1, 1).map(lambda off: CHUNK_BYTES + off),
    st.integers(-1, 1).map(lambda off: 2 * CHUNK_BYTES + off),
    st.just(3 * CHUNK_BYTES + 7),
)
_props = st.builds(
    Prop,
    names=st.lists(_names, min_size=1, max_size=3).map(tuple),
    kind=st.sampled_from(["file", "file", "directory", "symlink", "fifo", "hardlink"]),
    mode=st.sampled_from([0o644, 0o600, 0o755, 0o4755, 0o2755, 0o1777, 0o400, 0o7777]),
    mtime_ns=st.integers(0, 2_000_000_000_000_000_000),
    size=_sizes,
    hole=st.sampled_from([0, 0, 4096, CHUNK_BYTES]),
    xattr=st.binary(max_size=40),
    pick=st.integers(0, 5),
)
scenes = st.lists(_props, max_size=10)


def build(root: Path, scene: list[Prop], *, xattrs: bool) -> None:
    """Makes `root` with those of the paths that fit."""
    root.mkdir()
    made: list[tuple[bytes, Prop]] = []
    inodes: list[bytes] = []
    for prop in scene:
        path = os.path.join(os.fsencode(root), *prop.names)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            _make(path, prop, inodes)
        except OSError:
            continue
        made.append((path, prop))
    # What lies deepest first, so that no time is changed by what is made in it.
    for path, prop in sorted(made, key=lambda one: -one[0].count(b"/")):
        if prop.kind not in {"symlink", "hardlink"}:
            if xattrs and prop.xattr and prop.kind in {"file", "directory"}:
                os.setxattr(path, b"user." + (prop.names[-1][:100] or b"x"), prop.xattr)
            os.chmod(path, prop.mode | (0o700 if prop.kind == "directory" else 0))
        os.utime(path, ns=(0, prop.mtime_ns), follow_symlinks=False)


def _make(path: bytes, prop: Prop, inodes: list[bytes]) -> None:
    match prop.kind:
        case "file":
            _make_file(path, prop)
        case "directory":
            os.mkdir(path)
        case "symlink":
            os.symlink(b"../" + prop.names[0], path)
        case "fifo":
            os.mkfifo(path)
        case _ if inodes:
            os.link(inodes[prop.pick % len(inodes)], path, follow_symlinks=False)
        case _:
            raise FileExistsError
    if prop.kind in {"file", "symlink", "fifo"}:
        inodes.append(path)


def _make_file(path: bytes, prop: Prop) -> None:
    with open(path, "xb") as file:
        file.truncate(prop.size)
        file.seek(prop.hole)
        file.write((bytes(range(1, 256)) * (prop.size // 255 + 1))[: max(0, prop.size - prop.hole)])
