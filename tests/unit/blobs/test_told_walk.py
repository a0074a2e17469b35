"""A walk that is told over a pipe: the same as one that is taken here, its errors too."""

from __future__ import annotations

import asyncio
import errno
import io
import os
from pathlib import Path

import pytest

from squall.blobs.memory_blobs import MemoryBlobs
from squall.blobs.snapshot import snapshot
from squall.blobs.told_walk import ToldWalk, tell
from squall.blobs.walk import Found, How, Walk
from squall.model.errors import StateDirectoryError, TreeInvalid


def told(root: Path, how: How) -> ToldWalk:
    said = io.BytesIO()
    tell(Walk(root, how), said)
    said.seek(0)
    return ToldWalk(said)


def furnished(top: Path) -> Path:
    root = top / "root"
    (root / "d" / "deep").mkdir(parents=True)
    (root / "d" / "large").write_bytes(os.urandom(1_300_000))
    (root / "d" / "small").write_bytes(b"small")
    (root / "empty").touch()
    os.link(root / "empty", root / "same")
    (root / "link").symlink_to("\udcff")
    os.mkfifo(root / "pipe")
    (root / os.fsdecode(b"\xff\n")).write_text("odd")
    return root


def test_a_snapshot_of_a_told_walk_is_that_of_the_walk(tmp_path: Path) -> None:
    root = furnished(tmp_path)

    async def both() -> None:
        blobs = MemoryBlobs()
        assert await snapshot(root, blobs, walk=told) == await snapshot(root, blobs)

    asyncio.run(both())


def test_what_nothing_can_keep_is_told_by_its_name(tmp_path: Path) -> None:
    root = furnished(tmp_path)
    os.setxattr(root / "d", "user.overlay.redirect", b"x")
    with pytest.raises(TreeInvalid, match=r"'d' has user\.overlay\.redirect") as caught:
        asyncio.run(snapshot(root, MemoryBlobs(), walk=told))
    assert caught.value.details["path"] == "d"


def test_what_the_disk_refuses_is_told_with_its_number(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        told(tmp_path / "gone", How()).take()
    assert caught.value.errno == errno.ENOENT


def test_a_walk_that_is_cut_off_anywhere_is_no_whole_one(tmp_path: Path) -> None:
    said = io.BytesIO()
    tell(Walk(furnished(tmp_path), How()), said)
    whole = said.getvalue()
    for length in (0, 3, 40, len(whole) // 2, len(whole) - 1):
        cut = ToldWalk(io.BytesIO(whole[:length]))
        with pytest.raises(OSError, match="has ended"):
            to_the_end(cut)
    with pytest.raises(OSError, match="no sense"):
        ToldWalk(io.BytesIO(b"b\xff\xff\xff\xff")).take()
    with pytest.raises(StateDirectoryError):
        asyncio.run(snapshot(tmp_path, MemoryBlobs(), walk=lambda _root, _how: ToldWalk(io.BytesIO())))


def to_the_end(walk: ToldWalk) -> list[Found]:
    found: list[Found] = []
    while taken := walk.take():
        found += taken
    return found
