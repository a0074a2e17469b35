"""What a container has written, counted."""

from __future__ import annotations

import os
from pathlib import Path

from squall.runtime.disk_use import takes_more_than, written_below
from squall.runtime.spec import SandboxSpec


def _written(scratch: Path) -> tuple[str, ...]:
    return written_below(SandboxSpec(id="c", scratch=str(scratch), lowers=("/usr",)))


def test_files_in_every_depth_count_once_and_links_do_not_lead_out(tmp_path: Path) -> None:
    deep = tmp_path / "upper" / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "work").mkdir()
    (deep / "file").write_bytes(bytes(1 << 20))
    (tmp_path / "elsewhere").write_bytes(bytes(8 << 20))
    (tmp_path / "upper" / "link").symlink_to("/")
    assert takes_more_than(_written(tmp_path), 1 << 19)
    assert not takes_more_than(_written(tmp_path), 2 << 20)


def test_holes_take_no_disk(tmp_path: Path) -> None:
    (tmp_path / "upper").mkdir()
    with open(tmp_path / "upper" / "sparse", "wb") as file:
        os.truncate(file.fileno(), 1 << 40)
    assert not takes_more_than(_written(tmp_path), 1 << 20)


def test_where_changes_are_kept_they_count_with_what_is_written_beside_them(tmp_path: Path) -> None:
    spec = SandboxSpec(
        id="c", scratch=str(tmp_path / "scratch"), lowers=("/usr",), upper=str(tmp_path / "kept")
    )
    for part in ("kept/upper", "scratch/unkept/tmp"):
        (tmp_path / part).mkdir(parents=True)
        (tmp_path / part / "file").write_bytes(bytes(1 << 20))
    written = written_below(spec)
    assert takes_more_than(written, 3 << 19)
    assert not takes_more_than(written, 3 << 20)


def test_nothing_there_is_nothing_taken(tmp_path: Path) -> None:
    assert not takes_more_than(_written(tmp_path / "gone"), 1)
