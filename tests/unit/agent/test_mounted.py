"""What an agent notes of the volumes of its containers, and reads again."""

from __future__ import annotations

from pathlib import Path

import pytest

from squall.agent.mounted import InContainer, Mounted, MountedDirectory, Pending, Seen
from squall.blobs.upper_changes import Stamp
from squall.runtime.volume_mounts import MountedVolume, View

VIEWS = (View(target="/data"), View(target="/part", sub_path="a/b", read_only=True))
MOUNTED = Mounted(
    container="co-1",
    function="fu-1",
    uid_base=1_000_000,
    volumes=(
        InContainer(volume="vo-1", version=3, manifest="ab" * 32, way="overlay", views=VIEWS),
        InContainer(volume="vo-2", version=0, manifest="cd" * 32, way="shown", views=VIEWS[1:]),
    ),
)
STAMPS = {"": Stamp("d", 1, 0, 5, 6), "caf\udce9": Stamp("f", 2, 10, 7, 8)}


def test_what_was_noted_is_read_again(tmp_path: Path) -> None:
    directory = MountedDirectory(tmp_path, "co-1")
    assert directory.read() is None
    directory.make(MOUNTED)
    assert directory.read() == MOUNTED
    assert [volume.writable for volume in MOUNTED.volumes] == [True, False]


def test_a_commit_is_pending_until_it_is_seen(tmp_path: Path) -> None:
    directory = MountedDirectory(tmp_path, "co-1")
    directory.make(MOUNTED)
    pending = Pending(id="cm-1", changes="ef" * 32, base=3, stamps=STAMPS)
    directory.note_pending(0, 1, pending)
    assert directory.pending(0, 1) == pending
    assert directory.seen(0, 1) is None
    directory.note_seen(0, 1, Seen(version=4, stamps=STAMPS))
    assert directory.pending(0, 1) is None
    assert directory.seen(0, 1) == Seen(version=4, stamps=STAMPS)
    directory.forget(0, 1)
    assert directory.seen(0, 1) is None


def test_the_generations_of_one_volume_are_told_from_those_of_others(tmp_path: Path) -> None:
    directory = MountedDirectory(tmp_path, "co-1")
    directory.make(MOUNTED)
    for number, generation in ((0, 0), (0, 10), (0, 9), (1, 0)):
        (directory.place(number, generation) / "upper").mkdir(parents=True)
    directory.place(0, 11).mkdir()
    directory.note_seen(0, 0, Seen(version=4, stamps=STAMPS))
    assert directory.generations(0) == [0, 9, 10]
    assert directory.generations(1) == [0]
    assert MountedDirectory(tmp_path, "co-2").generations(0) == []


def test_a_copy_that_was_cut_short_is_not_taken_for_changes(tmp_path: Path) -> None:
    directory = MountedDirectory(tmp_path, "co-1")
    directory.make(MOUNTED)
    (directory.place(0, 0) / "own").mkdir(parents=True)
    assert directory.generations(0) == []
    directory.note_seen(0, 0, Seen(version=3, stamps=STAMPS))
    assert directory.generations(0) == [0]


def test_a_record_that_is_cut_short_is_none(tmp_path: Path) -> None:
    directory = MountedDirectory(tmp_path, "co-1")
    directory.make(MOUNTED)
    (directory.path / "record.json").write_text('{"container": "co-1"}')
    assert directory.read() is None


def test_what_a_launcher_is_told_to_mount_comes_through() -> None:
    volume = MountedVolume(lower="/heads/x", views=VIEWS, place="/mounted/0.0")
    assert MountedVolume.from_json(volume.to_json()) == volume
    for wrong in ({}, {"lower": "/x"}, {"lower": "/x", "views": [{"nothing": 1}]}):
        with pytest.raises(ValueError, match="no volume"):
            MountedVolume.from_json(wrong)
