"""Volumes from a client program: what is uploaded is there, whole or not at all, and every verb does what `cp` and `rm` do."""

from __future__ import annotations

import asyncio
import io
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

import squall
from squall.model.errors import (
    AlreadyExistsError,
    EnvironmentNotFound,
    InvalidError,
    NameInvalid,
    SourceFileNotFound,
    VolumeNotFound,
    VolumeNotMounted,
    VolumePathInvalid,
    VolumePathNotFound,
    VolumePathTaken,
    VolumeReadOnly,
    VolumeVersionNotFound,
)
from tests.end_to_end.conftest import House

pytestmark = [pytest.mark.needs("linux"), pytest.mark.timeout(120)]

LARGE = bytes(range(256)) * (12 << 10)  # 3 MiB


@pytest.fixture
def volume(at_home: House) -> Iterator[squall.Volume]:
    assert at_home
    with squall.Volume.ephemeral() as volume:
        yield volume


def put(volume: squall.Volume, *, force: bool = False, **files: bytes | str) -> None:
    """Files by their paths, in which "__" stands for "/"."""
    with volume.batch_upload(force=force) as batch:
        for path, data in files.items():
            plain = data.encode() if isinstance(data, str) else data
            batch.put_file(io.BytesIO(plain), "/" + path.replace("__", "/"))


def read(volume: squall.Volume, path: str, *, version: int | str | None = None) -> bytes:
    return b"".join(volume.read_file(path, version=version))


def paths(volume: squall.Volume, path: str = "/", *, version: int | str | None = None) -> list[str]:
    return [entry.path for entry in volume.iterdir(path, version=version)]


def test_a_volume_is_made_found_listed_renamed_and_deleted(at_home: House) -> None:
    assert at_home
    with pytest.raises(VolumeNotFound, match="no volume 'weights'"):
        squall.Volume.from_name("weights").listdir("/")
    made = squall.Volume.from_name("weights", create_if_missing=True)
    assert made.listdir("/") == []
    put(made, model="x" * 10)
    (info,) = [one for one in squall.Volume.objects.list() if one.name == "weights"]
    assert (info.environment, info.version, info.entries, info.size_bytes) == ("main", 1, 1, 10)
    squall.Volume.objects.create("taken")
    with pytest.raises(AlreadyExistsError):
        squall.Volume.objects.rename("weights", "taken")
    squall.Volume.objects.rename("weights", "renamed")
    assert read(made, "model") == read(squall.Volume.from_name("renamed"), "model") == b"x" * 10
    squall.Volume.objects.delete("renamed")
    squall.Volume.objects.delete("taken")
    with pytest.raises(VolumeNotFound):
        squall.Volume.objects.delete("renamed")
    squall.Volume.objects.delete("renamed", allow_missing=True)
    with pytest.raises(VolumeNotFound, match="was deleted"):
        made.listdir("/")


def test_names_and_environments_are_checked(at_home: House) -> None:
    assert at_home
    with pytest.raises(NameInvalid):
        squall.Volume.from_name("no/name")
    with pytest.raises(EnvironmentNotFound):
        squall.Volume.objects.create("data", environment_name="nowhere")


def test_a_volume_of_another_environment_is_another_one(at_home: House) -> None:
    at_home.run("-m", "squall", "environment", "create", "dev")
    here, there = (squall.Volume.objects.create("same", environment_name=name) for name in ("main", "dev"))
    put(there, a="1")
    assert (paths(here), paths(there)) == ([], ["a"])
    squall.Volume.objects.delete("same", environment_name="main")
    squall.Volume.objects.delete("same", environment_name="dev")
    at_home.run("-m", "squall", "environment", "delete", "dev")


def test_what_is_uploaded_is_there_byte_by_byte(volume: squall.Volume, tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "empty").mkdir()
    for number in range(200):
        (tmp_path / "in" / f"small{number}.txt").write_text(f"number {number}\n" * number)
    (tmp_path / "in" / "deep" / "large.bin").write_bytes(LARGE)
    (tmp_path / "in" / "run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "in" / "run.sh").chmod(0o755)
    (tmp_path / "in" / "link").symlink_to("deep/large.bin")
    os.mkfifo(tmp_path / "in" / "pipe")
    with volume.batch_upload() as batch:
        batch.put_directory(tmp_path / "in", "/data")
        batch.put_file(str(tmp_path / "in" / "run.sh"), "/bin/run", mode=0o700)
        batch.put_file(io.BytesIO(b"from memory"), "notes.txt")
    found = {entry.path: entry for entry in volume.iterdir("/")}
    assert len(found) == 200 + 9
    assert {path for path in found if not path.startswith("data/small")} == {
        *("bin", "bin/run", "notes.txt", "data"),
        *("data/deep", "data/deep/large.bin", "data/empty", "data/link", "data/run.sh"),
    }
    assert (found["data/link"].type, found["data/link"].target) == ("link", "deep/large.bin")
    assert (found["data/run.sh"].mode, found["bin/run"].mode) == (0o755, 0o700)
    assert found["data/deep/large.bin"].size == len(LARGE)
    assert found["data/run.sh"].mtime == pytest.approx((tmp_path / "in" / "run.sh").stat().st_mtime)
    for number in range(0, 200, 7):
        assert read(volume, f"/data/small{number}.txt") == f"number {number}\n".encode() * number
    assert read(volume, "data/deep/large.bin") == read(volume, "data/link") == LARGE
    assert read(volume, "notes.txt") == b"from memory"


def test_an_upload_is_whole_or_not_there_and_overwrites_only_if_it_is_told_to(volume: squall.Volume) -> None:
    put(volume, a="1", d__b="2")
    with pytest.raises(VolumePathTaken, match="'a'") as wrong:
        put(volume, c="3", a="4")
    assert isinstance(wrong.value, FileExistsError)
    with pytest.raises(ZeroDivisionError), volume.batch_upload() as batch:
        batch.put_file(io.BytesIO(b"5"), "e")
        raise ZeroDivisionError
    assert paths(volume) == ["a", "d", "d/b"]
    put(volume, force=True, a="44", c="3")
    assert (read(volume, "a"), read(volume, "c"), read(volume, "d/b")) == (b"44", b"3", b"2")
    with pytest.raises(VolumePathTaken, match="directory at 'd'"):
        put(volume, force=True, d="a file")
    with pytest.raises(VolumePathTaken, match="file at 'a'"):
        put(volume, force=True, a__b="below a file")
    with volume.batch_upload():
        pass
    assert len(volume.history()) == 3


def test_what_cannot_be_uploaded_is_named(volume: squall.Volume, tmp_path: Path) -> None:
    with volume.batch_upload() as batch:
        with pytest.raises(SourceFileNotFound):
            batch.put_file(tmp_path / "none", "a")
        with pytest.raises(SourceFileNotFound):
            batch.put_directory(tmp_path / "none", "a")
        with pytest.raises(InvalidError, match="is no file"):
            batch.put_file(tmp_path, "a")
        with pytest.raises(InvalidError, match="gives no bytes"):
            batch.put_file(io.StringIO("text"), "a")  # type: ignore[arg-type]  # what users do by mistake
        for path in ("/", "d/", "../a", "a/../../b", "a\0b", "a" * 300):
            with pytest.raises(VolumePathInvalid):
                batch.put_file(io.BytesIO(), path)
        batch.put_file(io.BytesIO(), "twice")
        with pytest.raises(VolumePathInvalid, match="put twice"):
            batch.put_file(io.BytesIO(), "/twice")
    assert paths(volume) == ["twice"]


def test_an_open_file_is_uploaded_as_it_was_when_it_was_put(
    volume: squall.Volume,
) -> None:
    with volume.batch_upload() as batch, io.BytesIO(b"as it was") as data:
        data.seek(3)
        batch.put_file(data, "rest")
        data.seek(0)
        data.write(b"as it is now")
    assert read(volume, "rest") == b"it was"


def test_directories_are_listed_flat_or_with_all_that_is_in_them(volume: squall.Volume) -> None:
    put(volume, a="1", d__b="2", d__e__c="3")
    assert [entry.path for entry in volume.listdir("/")] == ["a", "d"]
    assert [entry.path for entry in volume.listdir("/d", recursive=True)] == ["d/b", "d/e", "d/e/c"]
    assert [entry.path for entry in volume.iterdir("d", recursive=False)] == ["d/b", "d/e"]
    assert [entry.path for entry in volume.listdir("a")] == ["a"]
    with pytest.raises(VolumePathNotFound):
        volume.listdir("/nothing")
    with pytest.raises(VolumePathInvalid, match=r"'\.\.'"):
        volume.listdir("../etc")


def test_a_large_directory_is_listed_page_by_page_and_all_of_one_version(volume: squall.Volume) -> None:
    with volume.batch_upload() as batch:
        for number in range(2500):
            batch.put_file(io.BytesIO(b"%d" % number), f"d/{number:04}")
    seen: list[str] = []
    for entry in volume.iterdir("d"):
        if not seen:
            volume.remove_file("d", recursive=True)
        seen.append(entry.path)
    assert seen == [f"d/{number:04}" for number in range(2500)]
    assert paths(volume) == []


def test_reading_what_is_no_file_says_so(volume: squall.Volume) -> None:
    put(volume, d__a="", empty="")
    assert read(volume, "empty") == b""
    with pytest.raises(VolumePathNotFound, match="nothing at 'b'") as wrong:
        read(volume, "b")
    assert isinstance(wrong.value, FileNotFoundError)
    with pytest.raises(VolumePathInvalid, match="is a directory"):
        read(volume, "d")


def test_files_are_copied_renamed_and_removed_as_in_a_shell(volume: squall.Volume) -> None:
    put(volume, a="1", b="2", d__c="3")
    volume.copy_files(["a", "b"], "into/")
    assert paths(volume) == ["a", "b", "d", "d/c", "into", "into/a", "into/b"]
    with pytest.raises(VolumePathInvalid, match="is a directory"):
        volume.copy_files("d", "e")
    volume.copy_files("d", "e", recursive=True)
    volume.rename("a", "into")
    volume.rename("into", "/moved")
    volume.remove_file("b")
    assert paths(volume) == ["d", "d/c", "e", "e/c", "moved", "moved/a", "moved/b"]
    assert read(volume, "e/c") == b"3"
    with pytest.raises(VolumePathInvalid):
        volume.remove_file("moved")
    with pytest.raises(VolumePathNotFound):
        volume.remove_file("b")
    with pytest.raises(VolumePathNotFound, match="nothing at 'b'"):
        volume.remove_file(["e/c", "b"])
    assert read(volume, "e/c") == b"3"
    volume.remove_file(["moved", "e"], recursive=True)
    assert paths(volume) == ["d", "d/c"]


def test_every_change_is_a_version_and_one_can_go_back(volume: squall.Volume) -> None:
    put(volume, a="1")
    put(volume, force=True, a="22")
    assert volume.snapshot("good") == 2
    volume.remove_file("a")
    versions = volume.history()
    assert [one.number for one in versions] == [3, 2, 1, 0]
    assert [one.why for one in versions] == ["remove a", "1 file uploaded", "1 file uploaded", ""]
    assert versions[1].names == ("good",)
    assert "@" in versions[0].who
    assert (paths(volume), paths(volume, version="good"), read(volume, "a", version=1)) == ([], ["a"], b"1")
    assert volume.rollback("good") == 4
    assert read(volume, "a") == b"22"
    assert volume.rollback(0) == 5
    assert paths(volume) == []
    assert volume.history()[0].why == "back to version 0"
    with pytest.raises(AlreadyExistsError, match="version 2 is called 'good'"):
        volume.snapshot("good")
    with pytest.raises(VolumeVersionNotFound, match="no version 'better'"):
        volume.rollback("better")
    with pytest.raises(InvalidError, match="number of a version"):
        volume.snapshot("7")


def test_a_handle_for_reading_changes_nothing(volume: squall.Volume) -> None:
    put(volume, a="1")
    for handle in (volume.read_only(), volume.with_mount_options(read_only=True)):
        assert read(handle, "a") == b"1"
        with pytest.raises(VolumeReadOnly):
            handle.remove_file("a")
        with pytest.raises(VolumeReadOnly):
            handle.rename("a", "b")
        with pytest.raises(VolumeReadOnly):
            handle.batch_upload()
        with pytest.raises(VolumeReadOnly):
            handle.rollback(0)
        with pytest.raises(VolumeReadOnly):
            handle.commit()
    assert paths(volume.with_mount_options(read_only=False)) == ["a"]
    with pytest.raises(VolumePathInvalid):
        volume.with_mount_options(sub_path="../up")


def test_outside_a_container_there_is_nothing_to_commit_and_nothing_to_reload(volume: squall.Volume) -> None:
    with pytest.raises(VolumeNotMounted, match="is not mounted here"):
        volume.commit()
    volume.reload()


def test_a_handle_travels_with_how_it_is_mounted(volume: squall.Volume) -> None:
    put(volume, a="1")
    again = pickle.loads(pickle.dumps(volume.read_only()))
    assert read(again, "a") == b"1"
    with pytest.raises(VolumeReadOnly):
        again.remove_file("a")


def test_each_verb_has_an_awaited_form(at_home: House) -> None:
    assert at_home

    async def work() -> list[str]:
        async with squall.Volume.ephemeral() as volume:
            async with volume.batch_upload() as batch:
                batch.put_file(io.BytesIO(LARGE), "large")
            assert b"".join([part async for part in volume.read_file.aio("large")]) == LARGE
            await volume.copy_files.aio("large", "copy")
            await volume.remove_file.aio("large")
            return [entry.path async for entry in volume.iterdir.aio("/")]

    assert asyncio.run(work()) == ["copy"]


def test_an_ephemeral_volume_ends_with_its_client(at_home: House) -> None:
    assert at_home
    with squall.Volume.ephemeral() as volume:
        put(volume, a="1")
    with pytest.raises(VolumeNotFound):
        volume.listdir("/")


def test_bytes_that_the_server_has_are_not_sent_again(volume: squall.Volume) -> None:
    large = os.urandom(1 << 20)
    with volume.batch_upload() as batch:
        batch.put_file(io.BytesIO(large), "a")
    assert batch.sent.sent_bytes == 1 << 20
    with volume.batch_upload() as batch:
        batch.put_file(io.BytesIO(large + b"more"), "b")
    assert batch.sent.sent_bytes == 4
    assert batch.sent.done_bytes == batch.sent.bytes == (1 << 20) + 4
