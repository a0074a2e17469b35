"""Each process of ours killed with -9 while a call runs: the call ends as promised, and nothing is left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from squall.runtime.process_tree import parent_of
from squall.settings.paths import StatePaths
from squall.settings.process import ProcessMark, is_alive, mark_of
from squall.settings.record import read_record

T = TypeVar("T")
SOURCES = Path(__file__).parents[2] / "src"
PROGRAM = """
import sys, time
import squall

app = squall.App("kills")

@app.function()
def nap(seconds: float) -> float:
    began_s = time.monotonic()
    print("napping", flush=True)
    time.sleep(seconds)
    return began_s

if __name__ == "__main__":
    with app.run():
        print("BEGAN", nap.remote(float(sys.argv[1])), flush=True)
"""


class Call:
    """One call that runs: its client, and the processes under it."""

    def __init__(self, folder: Path, *, seconds: float) -> None:
        self.paths = StatePaths(state=folder / "state")
        program = folder / "kills.py"
        program.write_text(PROGRAM)
        self.environ = {**os.environ, "SQUALL_STATE_DIR": str(self.paths.state), "PYTHONPATH": str(SOURCES)}
        self.said = folder / "said"
        with self.said.open("wb") as said:
            self.client = subprocess.Popen(
                [sys.executable, str(program), str(seconds)],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )
        wait_for(lambda: "napping" in self.said.read_text(), self)

    def began_s(self) -> float:
        """When the run whose result came back began (monotonic), once the client has ended well."""
        assert self.client.wait(60) == 0, self.said.read_text()
        line = next(line for line in self.said.read_text().splitlines() if line.startswith("BEGAN "))
        return float(line.removeprefix("BEGAN "))

    def member(self, name: str) -> ProcessMark:
        record = read_record(self.paths.supervisor_record)
        assert record is not None
        return record.supervisor if name == "supervisor" else record.members[name]

    def lives(self, name: str) -> bool:
        record = read_record(self.paths.supervisor_record)
        mark = None if record is None else record.members.get(name)
        return mark is not None and is_alive(mark)

    def tree(self) -> tuple[ProcessMark, ProcessMark, ProcessMark]:
        """The launcher of the call, pid 1 of its container, and the runner."""
        pids = self.below_launchers()
        parents = {pid: parent_of(pid) for pid in pids}
        for runner in pids:
            first = parents[runner]
            launcher = parents.get(first or 0)
            if first in parents and launcher in parents and runner not in parents.values():
                found = [mark_of(pid) for pid in (launcher, first, runner) if pid is not None]
                launching, pid_1, running = found
                assert launching is not None
                assert pid_1 is not None
                assert running is not None
                return launching, pid_1, running
        raise AssertionError(f"no container under a launcher: {parents}")

    def below_launchers(self) -> list[int]:
        """The launchers of this state directory, and what is below them: a container names no path of the host."""
        own = str(self.paths.launchers).encode()
        pids = sorted(map(int, filter(str.isdigit, os.listdir("/proc"))))
        parents = {pid: parent_of(pid) for pid in pids}
        found = {pid for pid in pids if own in command_line(pid)}
        while more := {pid for pid in pids if parents[pid] in found} - found:
            found |= more
        return sorted(found)

    def types(self, *arguments: str) -> int:
        argv = [sys.executable, "-m", "squall", *arguments]
        return subprocess.run(argv, env=self.environ, timeout=60, check=False, capture_output=True).returncode


@pytest.fixture
def call(tmp_path: Path) -> Iterator[Callable[[float], Call]]:
    calls: list[Call] = []

    def start(seconds: float) -> Call:
        calls.append(Call(tmp_path, seconds=seconds))
        return calls[-1]

    yield start
    for one in calls:
        one.client.kill()
        one.client.wait()
        assert one.types("down") == 0
        wait_for(lambda: not one.below_launchers(), one)  # noqa: B023 - called at once


def kill(mark: ProcessMark) -> float:
    """Kill with -9, and say when (monotonic)."""
    os.kill(mark.pid, signal.SIGKILL)
    return time.monotonic()


def wait_for(look: Callable[[], T], call: Call, within_s: float = 60.0) -> T:
    until_s = time.monotonic() + within_s
    while time.monotonic() < until_s:
        seen = look()
        if seen:
            return seen
        time.sleep(0.02)
    raise AssertionError(f"it did not happen in time; the client said:\n{call.said.read_text()}")


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_a_supervisor_killed_with_9_during_a_call_is_not_noticed_by_it(call: Callable[[float], Call]) -> None:
    one = call(2.0)
    killed_s = kill(one.member("supervisor"))
    assert one.began_s() < killed_s


@pytest.mark.needs("namespaces")
def test_a_server_killed_with_9_during_a_call_loses_no_result(call: Callable[[float], Call]) -> None:
    one = call(3.0)
    *_, runner = one.tree()
    kill(one.member("server"))
    assert one.began_s() > 0
    assert mark_of(runner.pid) in {runner, None}


@pytest.mark.needs("namespaces")
def test_an_agent_killed_with_9_during_a_call_leaves_the_container_and_its_result(
    call: Callable[[float], Call],
) -> None:
    one = call(3.0)
    launcher, pid_1, runner = one.tree()
    killed_s = kill(one.member("agent"))
    wait_for(lambda: one.lives("agent"), one)
    assert all(map(is_alive, (launcher, pid_1, runner)))
    assert one.began_s() < killed_s, "it was run again"


@pytest.mark.needs("namespaces")
def test_supervisor_server_and_agent_killed_with_9_during_a_call_come_back_to_it(
    call: Callable[[float], Call],
) -> None:
    one = call(3.0)
    _, pid_1, runner = one.tree()
    for name in ("supervisor", "agent", "server"):
        kill(one.member(name))
    assert is_alive(pid_1)
    assert is_alive(runner)
    assert one.began_s() > 0


@pytest.mark.needs("namespaces")
@pytest.mark.parametrize("place", [0, 1, 2], ids=["launcher", "pid 1", "runner"])
def test_what_is_below_the_agent_killed_with_9_during_a_call_has_its_input_run_again(
    call: Callable[[float], Call], place: int
) -> None:
    one = call(1.5)
    tree = one.tree()
    killed_s = kill(tree[place])
    assert one.began_s() > killed_s
    wait_for(lambda: not any(map(is_alive, tree[1:])), one)


@pytest.mark.needs("namespaces")
def test_a_client_killed_with_9_leaves_no_container_behind(call: Callable[[float], Call]) -> None:
    one = call(60.0)
    _, pid_1, runner = one.tree()
    one.client.kill()
    wait_for(lambda: not is_alive(runner) and not is_alive(pid_1), one)


@pytest.mark.needs("namespaces")
def test_a_client_that_comes_after_all_were_killed_with_9_finds_a_working_house(
    call: Callable[[float], Call],
) -> None:
    one = call(60.0)
    tree = one.tree()
    marks = [one.member(name) for name in ("supervisor", "agent", "server")]
    one.client.kill()
    for mark in (*marks, *tree):
        # Some end by themselves as those above them are gone.
        with contextlib.suppress(ProcessLookupError):
            kill(mark)
    assert one.types("up") == 0
    assert one.types("status") == 0
