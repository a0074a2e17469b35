"""A container's directory, removed whatever is in it."""

from __future__ import annotations

import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from squall.runtime import scratch


def test_it_is_made_for_us_alone_and_only_once(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    os.close(scratch.make(str(path)))
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    with pytest.raises(FileExistsError):
        scratch.make(str(path))


def test_what_is_not_there_is_no_trouble(tmp_path: Path) -> None:
    scratch.remove(str(tmp_path / "nothing"))


def test_files_links_sockets_and_closed_directories_go(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "work" / "work").mkdir(parents=True)
    (top / "work" / "work").chmod(0)
    (top / "file").write_text("x")
    (top / "link").symlink_to(tmp_path)
    os.mkfifo(top / "fifo")
    (top / "deep" / "closed").mkdir(parents=True)
    (top / "deep" / "closed" / "file").write_text("x")
    (top / "deep" / "closed").chmod(0)
    scratch.remove(str(top))
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    (tmp_path / "link").symlink_to(kept)
    with pytest.raises(OSError, match=r"\w"):
        scratch.remove(str(tmp_path / "link"))
    assert (kept / "file").exists()


def test_a_tree_deeper_than_any_path_goes(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    os.mkdir("top", dir_fd=here)
    at = os.open("top", os.O_RDONLY, dir_fd=here)
    for _ in range(5000):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    scratch.remove(str(tmp_path / "top"))
    assert os.listdir(here) == []
    os.close(here)


def test_it_is_abandoned_once_nobody_holds_it_and_it_is_not_brand_new(tmp_path: Path) -> None:
    path = str(tmp_path / "c1")
    held = scratch.make(path)
    made = os.stat(f"{path}/.held").st_ctime
    assert not scratch.is_abandoned(path, now_s=made + 60)
    os.close(held)
    assert not scratch.is_abandoned(path, now_s=made + 0.5)
    assert scratch.is_abandoned(path, now_s=made + 60)
    assert not scratch.is_abandoned(str(tmp_path), now_s=made + 60)


def test_several_who_remove_the_same_and_parts_of_it_at_once_leave_nothing(tmp_path: Path) -> None:
    top = tmp_path / "top"
    for name in range(20):
        for inner in range(10):
            (top / str(name) / str(inner) / "deep").mkdir(parents=True)
            (top / str(name) / str(inner) / "file").write_text("x")
    paths = [str(top), str(top), *(str(top / str(name)) for name in range(20))]
    with ThreadPoolExecutor(8) as several:
        list(several.map(scratch.remove, paths))
    assert list(tmp_path.iterdir()) == []


def test_whoever_dies_over_removing_it_leaves_what_is_known_for_abandoned(tmp_path: Path) -> None:
    path = str(tmp_path / "box")
    os.close(scratch.make(path))
    for name in ("a", "z"):
        (tmp_path / "box" / name).mkdir()
    top = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # One pass, and then whoever removes it is killed.
        assert not scratch._empty_some(top)
    finally:
        os.close(top)
    assert os.listdir(path) == [".held"]
    assert scratch.is_abandoned(path, now_s=time.time() + 2)
    scratch.remove(path)
    assert not os.path.exists(path)
