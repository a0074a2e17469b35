"""Volumes in containers: what is written in one, committed, and seen in others; what is refused, and what is kept."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import squall
from squall.model.errors import (
    InvalidError,
    VolumeBusy,
    VolumeNotFound,
    VolumeNotMounted,
    VolumePathInvalid,
    VolumeReadOnly,
)
from tests.end_to_end.conftest import House, eventually
from tests.linux import leaks

pytestmark = [pytest.mark.needs("linux", "namespaces"), pytest.mark.timeout(180)]

app = squall.App("volumes")
data = squall.Volume.from_name("mounted-data", create_if_missing=True, environment_name="main")
other = squall.Volume.from_name("mounted-other", create_if_missing=True, environment_name="main")
ended = squall.Volume.from_name("mounted-ended", create_if_missing=True, environment_name="main")


@app.function(serialized=True, volumes={"/data": data}, max_containers=1)
def writes(files: dict[str, str], *, commit: bool = True) -> None:
    for path, text in files.items():
        os.makedirs(os.path.dirname(f"/data/{path}"), exist_ok=True)
        with open(f"/data/{path}", "w") as file:
            file.write(text)
    if commit:
        data.commit()


@app.function(serialized=True, volumes={"/data": data}, max_containers=1)
def also_writes(files: dict[str, str], *, reload: bool = False) -> None:
    if reload:
        data.reload()
    for path, text in files.items():
        with open(f"/data/{path}", "w") as file:
            file.write(text)
    data.commit()


@app.function(serialized=True, volumes={"/data": data}, max_containers=1)
def reads(path: str, *, reload: bool = True) -> dict[str, str]:
    if reload:
        data.reload()
    found = {}
    for folder, _, names in os.walk(f"/data/{path}"):
        for name in names:
            with open(f"{folder}/{name}") as file:
                found[os.path.relpath(f"{folder}/{name}", f"/data/{path}")] = file.read()
    return found


@app.function(serialized=True, volumes={"/data": data}, max_containers=1)
def runs(script: str) -> str:
    """A shell script where the volume is; then a commit."""
    done = subprocess.run(["sh", "-ec", script], cwd="/data", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    data.commit()
    return done.stdout


@app.function(serialized=True, volumes={"/data": data}, max_containers=1)
def sees(script: str) -> str:
    """What a shell script says of the newest version."""
    data.reload()
    done = subprocess.run(["sh", "-ec", script], cwd="/data", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@app.function(serialized=True, volumes={"/data": data.read_only()}, max_containers=1)
def only_reads() -> list[str]:
    said = []
    changes: list[tuple[Callable[[str], object], str]] = [
        (os.mkfifo, "/data/new"),
        (os.mkdir, "/data/folder"),
        (os.unlink, "/data/kept/one"),
    ]
    for change, path in changes:
        try:
            change(path)
        except OSError as refused:
            said.append(os.strerror(refused.errno or 0))
    try:
        data.commit()
    except VolumeReadOnly:
        said.append("read only")
    data.reload()
    with open("/data/kept/one") as file:
        return [*said, file.read()]


@app.function(
    serialized=True,
    volumes={"/whole": data, "/part": data.with_mount_options(sub_path="deep/part"), "/other": other},
    max_containers=1,
)
def has_several() -> dict[str, Any]:
    with open("/part/inside", "w") as file:
        file.write("part")
    with open("/other/file", "w") as file:
        file.write("other")
    data.commit()
    other.commit()
    with open("/whole/deep/part/inside") as file:
        return {"both": file.read(), "part": sorted(os.listdir("/part"))}


@app.function(serialized=True, volumes={"/data": data}, max_containers=1)
def holds_open() -> str:
    data.reload()
    with open("/data/kept/one"):
        try:
            data.reload()
        except VolumeBusy as refused:
            said = str(refused)
    data.reload()
    os.chdir("/data/kept")
    try:
        data.reload()
    except VolumeBusy as refused:
        said += str(refused)
    os.chdir("/")
    data.reload()
    return said


@app.function(serialized=True, max_containers=1)
def has_none() -> str:
    try:
        data.commit()
    except VolumeNotMounted as refused:
        return str(refused)
    return "committed"


@app.function(serialized=True, volumes={"/data": ended}, single_use_containers=True)
def writes_and_ends(path: str, text: str, *, wait_s: float = 0.0) -> None:
    import time

    with open(f"/data/{path}", "w") as file:
        file.write(text)
    time.sleep(wait_s)


@app.function(serialized=True, volumes={"/data": ended}, single_use_containers=True, timeout=2)
def writes_and_hangs() -> None:
    import time

    with open("/data/hung", "w") as file:
        file.write("before the end")
    time.sleep(60)


@app.function(serialized=True, volumes={"/data": ended}, max_containers=1, scaledown_window=30)
def writes_and_waits(path: str) -> None:
    with open(f"/data/{path}", "w") as file:
        file.write("written")


@app.function(serialized=True, volumes={"/data": data}, max_containers=4)
def writes_one(number: int) -> None:
    os.makedirs("/data/many", exist_ok=True)
    with open(f"/data/many/{number}", "w") as file:
        file.write(str(number))
    data.commit()


@app.cls(serialized=True, volumes={"/data": data}, max_containers=1)
class Model:
    @squall.enter()
    def load(self) -> None:
        with open("/data/model/weights") as file:
            self.weights = file.read()

    @squall.method()
    def answer(self) -> str:
        return self.weights


@pytest.fixture(scope="module")
def running(at_home: House) -> Iterator[House]:
    with app.run():
        yield at_home


def texts_of(volume: squall.Volume, path: str) -> str:
    return b"".join(volume.read_file(path)).decode()


def test_what_one_container_commits_another_sees_once_it_reloads(running: House) -> None:
    assert running
    assert reads.remote("first") == {}
    writes.remote({"first/a": "1", "first/b/c": "2"})
    assert reads.remote("first", reload=False) == {}
    assert reads.remote("first") == {"a": "1", "b/c": "2"}
    assert texts_of(data, "first/b/c") == "2"


def test_a_container_that_starts_later_sees_what_was_committed_before(running: House) -> None:
    assert running
    writes.remote({"model/weights": "heavy"})
    assert Model().answer.remote() == "heavy"


def test_of_one_file_the_last_write_wins_and_earlier_writes_do_not_come_back(running: House) -> None:
    assert running
    writes.remote({"won/x": "first", "won/mine": "1"})
    also_writes.remote({"won/x": "second"}, reload=True)
    # The first container still has its own "won/x", which it has not written since.
    writes.remote({"won/mine": "2"})
    assert reads.remote("won") == {"x": "second", "mine": "2"}


def test_writers_of_different_files_lose_nothing(running: House) -> None:
    assert running
    list(writes_one.map(range(40)))
    assert reads.remote("many") == {str(number): str(number) for number in range(40)}


def test_what_is_removed_is_gone_for_all_and_what_others_added_meanwhile_stays(running: House) -> None:
    assert running
    writes.remote({"trees/old/a": "a", "trees/old/b": "b", "trees/keep": "k"})
    assert sees.remote("ls trees") == "keep\nold\n"
    runs.remote("mkdir -p fresh; echo 1 > fresh/short; ls")
    also_writes.remote({"trees/old/new": "from another"}, reload=True)
    assert sorted(reads.remote("trees")) == ["keep", "old/a", "old/b", "old/new"]
    # This container began before there was anything in there.
    runs.remote("rm fresh/short; rmdir fresh")
    sees.remote("test ! -e fresh")


def test_a_directory_that_was_removed_and_made_again_hides_only_what_its_writer_saw(running: House) -> None:
    assert running
    writes.remote({"again/a": "a", "again/b": "b"})
    data_seen = sees.remote("rm -r again; mkdir again; echo c > again/c; ls again")
    assert data_seen == "c\n"
    also_writes.remote({"again/d": "d"}, reload=True)
    # The next reload commits what was written before it.
    sees.remote("true")
    assert sorted(reads.remote("again")) == ["c", "d"]


def test_links_modes_times_and_holes_come_through(running: House) -> None:
    assert running
    runs.remote(
        """
        mkdir kinds; cd kinds; echo text > file; chmod 640 file; touch -d @1000000000 file
        ln -s file link; ln -s /nowhere/at/all dangling; ln file twice; mkdir -m 700 private
        truncate -s 64M holes; printf end >> holes; mkfifo pipe; : > empty
        """
    )
    seen = sees.remote(
        """
        cd kinds; stat -c '%a %Y %h' file; readlink link dangling; stat -c %a private
        stat -c %s holes; tail -c 3 holes; echo; stat -c %F pipe empty; test file -ef twice && echo one; stat -c %u file
        """
    )
    assert seen.splitlines() == [
        *("640 1000000000 2", "file", "/nowhere/at/all", "700", str(64 * 2**20 + 3), "end"),
        *("fifo", "regular empty file", "one", "0"),
    ]


def test_a_changed_byte_of_a_large_file_is_committed_and_read_back(running: House) -> None:
    assert running
    runs.remote("head -c 50000000 /dev/zero | tr '\\0' x > large")
    runs.remote("printf Y | dd of=large bs=1 seek=25000000 conv=notrunc 2>/dev/null")
    assert sees.remote("head -c 25000001 large | tail -c 2; stat -c ' %s' large") == "xY 50000000\n"


def test_a_mount_for_reading_alone_takes_no_writes(running: House) -> None:
    assert running
    writes.remote({"kept/one": "1"})
    said = "Read-only file system"
    assert only_reads.remote() == [said, said, said, "read only", "1"]


def test_two_mounts_of_one_volume_are_one_and_a_part_is_made_where_it_is_missing(running: House) -> None:
    assert running
    assert has_several.remote() == {"both": "part", "part": ["inside"]}
    assert texts_of(data, "deep/part/inside") == "part"
    assert texts_of(other, "file") == "other"


def test_a_reload_is_refused_while_files_are_open_and_names_them(running: House) -> None:
    assert running
    writes.remote({"kept/one": "1"})
    said = holds_open.remote()
    assert "/data/kept/one" in said
    assert said.endswith("/data/kept")


def test_code_that_does_not_mount_a_volume_cannot_commit_it(running: House) -> None:
    assert running
    assert "not mounted" in has_none.remote()


def test_what_a_container_wrote_last_is_committed_at_its_end(running: House) -> None:
    assert running
    writes_and_ends.remote("last", "words")
    assert eventually(lambda: _text_or_none(ended, "last")) == "words"


def test_a_container_that_is_ended_for_taking_too_long_is_committed_too(running: House) -> None:
    assert running
    with pytest.raises(squall.model.errors.FunctionTimeout):
        writes_and_hangs.remote()
    assert eventually(lambda: _text_or_none(ended, "hung")) == "before the end"


def test_changes_are_committed_every_few_seconds(running: House) -> None:
    assert running
    writes_and_waits.remote("behind")
    assert eventually(lambda: _text_or_none(ended, "behind"), within_s=30) == "written"


def test_a_container_that_starts_right_after_another_ended_sees_what_that_wrote(running: House) -> None:
    assert running
    for number in range(3):
        writes_and_ends.remote(f"follow{number}", "f")
    listed = {entry.path.rpartition("/")[2] for entry in eventually(lambda: _three(ended))}
    assert {"follow0", "follow1", "follow2"} <= listed


def test_an_ephemeral_volume_is_mounted_for_as_long_as_it_lasts(at_home: House) -> None:
    assert at_home
    with squall.Volume.ephemeral() as passing:
        short = squall.App("short")

        @short.function(serialized=True, volumes={"/passing": passing})
        def notes(text: str) -> list[str]:
            with open(f"/passing/{text}", "w") as file:
                file.write(text)
            passing.commit()
            return os.listdir("/passing")

        with short.run():
            assert notes.remote("one") == ["one"]
        assert texts_of(passing, "one") == "one"


def test_an_app_gives_all_its_functions_its_volumes_and_options_can_exchange_them(at_home: House) -> None:
    assert at_home
    sharing = squall.App("sharing-volumes", volumes={"/shared": data})

    @sharing.function(serialized=True, volumes={"/own": other})
    def lists() -> list[str]:
        return [name for name in ("/shared", "/own", "/late") if os.path.ismount(name)]

    with sharing.run():
        assert lists.remote() == ["/shared", "/own"]
        assert lists.with_options(volumes={"/late": other}).remote() == ["/late"]


def test_wrong_mounts_are_refused_by_name(at_home: House) -> None:
    assert at_home
    wrong = squall.App("wrong")
    with pytest.raises(InvalidError, match=r"squall\.Volume"):
        wrong.function(serialized=True, volumes={"/x": "data"})(len)
    with pytest.raises(InvalidError, match="dict of paths"):
        wrong.function(serialized=True, volumes="data")(len)  # type: ignore[arg-type]  # as somebody may
    with pytest.raises(InvalidError, match="dict of paths"):
        squall.App("wrong too", volumes=[data])  # type: ignore[arg-type]  # as somebody may
    for path in ("relative", "/", "/proc/x"):
        with pytest.raises(InvalidError):
            wrong.function(serialized=True, volumes={path: data})(len)
    missing = squall.App("missing")

    @missing.function(
        serialized=True, volumes={"/x": squall.Volume.from_name("nobody-made-this", environment_name="main")}
    )
    def never() -> None: ...

    with pytest.raises(VolumeNotFound), missing.run():
        pass
    within = squall.App("within")

    @within.function(serialized=True, volumes={"/x": data, "/x/y": other})
    def never_either() -> None: ...

    with pytest.raises(VolumePathInvalid), within.run():
        pass


def _text_or_none(volume: squall.Volume, path: str) -> str | None:
    try:
        return texts_of(volume, path)
    except FileNotFoundError:
        return None


def _three(volume: squall.Volume) -> list[Any] | None:
    found = [entry for entry in volume.listdir("/") if "follow" in entry.path]
    return found if len(found) == 3 else None


FULL = """
import os, sys, time
import squall
from squall.model.errors import VolumeNotCommitted

volume = squall.Volume.from_name("full", create_if_missing=True)
app = squall.App("full", volumes={"/data": volume})

@app.function(max_containers=1)
def writes(name: str, size: int) -> str:
    if size:
        with open(f"/data/{name}", "wb") as file:
            file.write(os.urandom(size))
    try:
        volume.commit()
    except VolumeNotCommitted as refused:
        return f"{refused.code} {refused}"
    return "committed"

if __name__ == "__main__":
    hog = sys.argv[1]
    with app.run():
        print(writes.remote("before", 1000))
        with open(hog, "wb") as file:
            left = os.statvfs(os.path.dirname(hog))
            file.write(bytes(left.f_bavail * left.f_frsize - 40 * 2**20))
        print(writes.remote("much", 30 * 2**20))
        print(writes.remote("", 0)[:7])
        os.unlink(hog)
        print(writes.remote("", 0))
        print(sum(len(part) for part in volume.read_file("much")), [len(b"".join(volume.read_file("before")))])
"""


@pytest.mark.needs("root")
def test_a_full_disk_refuses_a_commit_with_its_reason_and_takes_it_once_there_is_room() -> None:
    folder = leaks.fresh_folder(prefix="squall-full-")
    state = folder / "state"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300M,mode=700", "none", str(state)], check=True)
    house = House(folder)
    try:
        done = house.run(str(house.program(FULL)), str(state / "hog"), within_s=120)
        assert done.returncode == 0, done.stderr
        before, refused, again, taken, sizes = done.stdout.splitlines()
        assert (before, taken, sizes) == ("committed", "committed", f"{30 * 2**20} [1000]")
        assert refused.startswith("SQ-1953")
        assert "no room left" in refused
        assert again == "SQ-1953"
    finally:
        house.run("-m", "squall", "down")
        subprocess.run(["umount", str(state)], check=True)
        shutil.rmtree(folder, ignore_errors=True)
