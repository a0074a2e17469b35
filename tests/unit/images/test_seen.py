from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from squall.images.seen import index_directories, look


def test_a_path_is_seen_as_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "fifo")
    kinds = {name: look(str(tmp_path / name)) for name in ("file", "link", "fifo", "gone", "file/below")}
    assert {name: seen and (seen.kind, seen.target) for name, seen in kinds.items()} == {
        "file": ("file", ""),
        "link": ("link", "file"),
        "fifo": None,
        "gone": None,
        "file/below": None,
    }
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        assert look(str(tmp_path / "s")) is None


def test_a_local_index_is_shown_with_the_directories_that_its_pages_link_to(tmp_path: Path) -> None:
    for name in ("six", "numpy"):
        (tmp_path / "simple" / name).mkdir(parents=True)
        page = f'<a href="../../files/{name}-1.whl#sha256=0">x</a> <a href="https://h/y.whl">y</a>'
        (tmp_path / "simple" / name / "index.html").write_text(page, encoding="utf-8")
    (tmp_path / "files").mkdir()
    assert index_directories(str(tmp_path / "simple")) == (str(tmp_path / "simple"), str(tmp_path / "files"))


def test_a_flat_folder_of_wheels_is_itself(tmp_path: Path) -> None:
    (tmp_path / "x-1.whl").touch()
    assert index_directories(str(tmp_path)) == (str(tmp_path),)
    assert index_directories(str(tmp_path / "gone")) == (str(tmp_path / "gone"),)


def test_a_page_of_links_is_shown_with_what_it_links_to(tmp_path: Path) -> None:
    (tmp_path / "links.html").write_text("<a href='wheels/x-1.whl'>x</a>", encoding="utf-8")
    page = str(tmp_path / "links.html")
    assert index_directories(page) == (page, str(tmp_path / "wheels"))
