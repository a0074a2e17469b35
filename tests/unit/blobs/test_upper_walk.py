"""An upper directory of an overlay, kept again and again: each time what is new."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

from squall.blobs.manifest import Directory, Entry, File, Hardlink, Whiteout
from squall.blobs.manifest_bytes import decode
from squall.blobs.memory_blobs import MemoryBlobs
from squall.blobs.overlay_notes import OPAQUE, Notes
from squall.blobs.snapshot import snapshot
from squall.blobs.upper_changes import Stamp, changes_of
from squall.blobs.upper_walk import UpperWalk, look_at_upper
from squall.blobs.walk import How


def kept(upper: Path, before: dict[str, Stamp], *, lower: Path | None = None) -> list[Entry]:
    """What a commit of the directory has, but for the directory itself."""
    changes = changes_of(before, look_at_upper(upper, Notes.USER))

    async def take() -> list[Entry]:
        blobs = MemoryBlobs()
        taken = await snapshot(
            upper,
            blobs,
            how=How(notes=Notes.USER),
            walk=lambda root, how: UpperWalk(root, how, changes, lower=lower),
        )
        return list(decode(await blobs.get(taken.manifest)).entries[1:])

    return asyncio.run(take())


def shape(entries: list[Entry]) -> list[tuple[str, str]]:
    return [(type(entry).__name__, entry.path) for entry in entries]


def test_only_what_is_new_is_kept_with_the_directories_around_it(tmp_path: Path) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "deep" / "old").write_text("old")
    (tmp_path / "b" / "kept").write_text("kept")
    before = look_at_upper(tmp_path, Notes.USER)
    (tmp_path / "a" / "deep" / "new").write_text("new")
    found = kept(tmp_path, before)
    assert shape(found) == [("Directory", "a"), ("Directory", "a/deep"), ("File", "a/deep/new")]


def test_what_has_gone_without_a_trace_is_told(tmp_path: Path) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    for name in ("a/deep/one", "a/two", "top"):
        (tmp_path / name).write_text(name)
    before = look_at_upper(tmp_path, Notes.USER)
    (tmp_path / "a" / "deep" / "one").unlink()
    (tmp_path / "a" / "deep").rmdir()
    (tmp_path / "top").unlink()
    (tmp_path / "top").mkdir()
    found = kept(tmp_path, before)
    assert shape(found) == [("Directory", "a"), ("Whiteout", "a/deep"), ("Directory", "top")]


def test_a_directory_that_hides_is_told_as_what_it_hides_and_once(tmp_path: Path) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    (lower / "d" / "inner").mkdir(parents=True)
    for name in ("d/a", "d/b", "d/inner/x"):
        (lower / name).write_text(name)
    (upper / "d" / "inner").mkdir(parents=True)
    os.setxattr(upper / "d", Notes.USER.opaque, OPAQUE)
    (upper / "d" / "b").write_text("mine")
    found = kept(upper, {}, lower=lower)
    assert shape(found) == [
        *(("Directory", "d"), ("Whiteout", "d/a"), ("File", "d/b"), ("Directory", "d/inner")),
        ("Whiteout", "d/inner/x"),
    ]
    assert not any(isinstance(entry, Directory) and entry.opaque for entry in found)
    before = look_at_upper(upper, Notes.USER)
    (upper / "d" / "c").write_text("later")
    assert shape(kept(upper, before, lower=lower)) == [("Directory", "d"), ("File", "d/c")]


def test_a_link_in_the_layer_below_is_not_followed_out_of_it(tmp_path: Path) -> None:
    lower, upper, outside = tmp_path / "lower", tmp_path / "upper", tmp_path / "outside"
    for folder in (lower, upper / "d", outside):
        folder.mkdir(parents=True)
    (outside / "secret").write_text("s")
    (lower / "d").symlink_to(outside)
    os.setxattr(upper / "d", Notes.USER.opaque, OPAQUE)
    assert shape(kept(upper, {}, lower=lower)) == [("Directory", "d")]


def test_both_names_of_a_file_are_kept_and_sockets_are_not(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("text")
    os.link(tmp_path / "one", tmp_path / "two")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        found = kept(tmp_path, {})
    assert [type(entry) for entry in found] == [File, Hardlink]


def test_an_empty_file_with_the_note_of_a_whiteout_is_one(tmp_path: Path) -> None:
    (tmp_path / "gone").touch()
    os.setxattr(tmp_path / "gone", Notes.USER.whiteout, b"y")
    found = kept(tmp_path, {})
    assert [type(entry) for entry in found] == [Whiteout]
