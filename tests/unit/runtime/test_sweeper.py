"""The process that removes what containers have left: it stays, says what it could not remove, and is replaced when it ends."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from squall.runtime import packet
from squall.runtime.host import Host
from squall.runtime.launcher import sweeper
from squall.runtime.launcher.sweeper import Sweeper
from squall.runtime.probe import probe


@dataclass
class Place:
    """A sweeper, and the loop around it."""

    top: Path
    host: Host
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def __post_init__(self) -> None:
        self.sweeper = Sweeper(self.selector, self.host)

    def until(self, holds: Callable[[], bool]) -> None:
        until_s = time.monotonic() + 20
        while not holds():
            assert time.monotonic() < until_s
            for key, _ in self.selector.select(0.05):
                key.data()

    def left(self, name: str) -> str:
        path = self.top / name
        (path / "deep" / "er").mkdir(parents=True)
        (path / "deep" / "file").write_text("x")
        return str(path)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return probe(str(tmp_path_factory.mktemp("state")))


@pytest.fixture
def place(tmp_path: Path, host: Host) -> Iterator[Place]:
    made = Place(tmp_path, host)
    yield made
    made.sweeper.close()


def children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def test_one_process_removes_all_and_stays(place: Place) -> None:
    before = children()
    paths = [place.left(f"box{number}") for number in range(40)]
    place.sweeper.remove(paths)
    (pid,) = children() - before
    assert place.sweeper.busy
    place.until(lambda: not place.sweeper.busy)
    place.sweeper.remove([place.left("later")])
    place.until(lambda: not place.sweeper.busy)
    assert not os.listdir(place.top)
    assert children() - before == {pid}
    assert Path(f"/proc/{pid}/comm").read_text().strip() == "squall-sweeper"
    held = {os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}
    assert {one for one in held if not one.startswith("socket:")} == {"/dev/null"}
    place.sweeper.close()
    assert children() == before


def test_it_is_there_before_it_is_needed(place: Place) -> None:
    before = children()
    place.sweeper.begin()
    (pid,) = children() - before
    place.sweeper.remove([place.left("one")])
    place.until(lambda: not place.sweeper.busy)
    assert not os.listdir(place.top)
    assert children() - before == {pid}


def test_what_cannot_be_removed_is_said_and_the_rest_is(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    (place.top / "file").write_text("no directory")
    place.sweeper.remove([str(place.top / "file"), place.left("one"), str(place.top / "nowhere")])
    place.until(lambda: not place.sweeper.busy)
    assert os.listdir(place.top) == ["file"]
    assert f"{place.top}/file could not be removed: " in capsys.readouterr().err


@pytest.mark.parametrize("ended", [False, True], ids=["just now", "a while ago"])
def test_one_that_is_killed_is_replaced(
    place: Place, capsys: pytest.CaptureFixture[str], *, ended: bool
) -> None:
    before = children()
    place.sweeper.remove([place.left("one")])
    place.until(lambda: not place.sweeper.busy)
    (pid,) = children() - before
    os.kill(pid, signal.SIGKILL)
    if ended:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    place.sweeper.remove([place.left("two")])
    place.sweeper.remove([place.left("three")])
    place.until(lambda: not place.sweeper.busy)
    left = set(os.listdir(place.top))
    assert left <= {"two"}, "what came after it was removed"
    assert (f"{place.top}/two could not be removed: " in capsys.readouterr().err) == bool(left)


def test_it_ends_with_its_launcher(place: Place) -> None:
    before = children()
    place.sweeper.remove([place.left("one")])
    place.until(lambda: not place.sweeper.busy)
    (pid,) = children() - before
    (line,) = [key.fileobj for key in place.selector.get_map().values()]
    assert isinstance(line, socket.socket)
    line.shutdown(socket.SHUT_RDWR)  # as the kernel does when a launcher is killed
    assert os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT) is not None
    place.until(lambda: children() == before)


def test_no_more_paths_are_sent_at_once_than_a_packet_holds() -> None:
    longest = ["/" + "p" * 4095] * sweeper._MOST_AT_ONCE
    assert len(packet.encode({"t": "remove", "paths": longest})) < packet.MAX_BYTES
