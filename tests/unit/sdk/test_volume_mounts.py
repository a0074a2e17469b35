"""What keeps a volume from being shown anew: files of it that are open, mapped, or worked in."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from squall.sdk.volume_mounts import mounted, open_below

pytestmark = pytest.mark.needs("linux")


def test_open_files_and_directories_below_a_path_are_found(tmp_path: Path) -> None:
    inside, beside = tmp_path / "data", tmp_path / "database"
    inside.mkdir()
    beside.mkdir()
    (inside / "file").write_text("text")
    (beside / "file").write_text("text")
    assert list(open_below([str(inside)])) == []
    with open(inside / "file"), open(beside / "file"):
        assert set(open_below([str(inside)])) == {str(inside / "file")}
    fd = os.open(inside, os.O_RDONLY)
    try:
        assert set(open_below([str(inside)])) == {str(inside)}
    finally:
        os.close(fd)
    assert list(open_below([str(inside)])) == []


def test_mapped_files_are_found_though_they_are_closed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with open(tmp_path / "file", "rb") as file:
        kept = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    assert set(open_below([str(tmp_path)])) == {str(tmp_path / "file")}
    kept.close()
    assert list(open_below([str(tmp_path)])) == []


def test_a_mount_behind_a_link_is_looked_at_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("text")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with open(tmp_path / "link" / "file"):
        assert set(open_below([str(tmp_path / "link")])) == {str(tmp_path / "real" / "file")}


def test_outside_of_containers_nothing_is_mounted() -> None:
    assert mounted("vo-0123") is None
