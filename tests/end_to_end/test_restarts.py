"""The server killed with -9 in the middle of maps, spawned calls and what is shared: nothing is lost, nothing comes twice; and generators."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from squall.settings.paths import StatePaths
from squall.settings.process import ProcessMark, is_alive
from squall.settings.record import read_record
from tests.end_to_end.conftest import House, eventually
from tests.linux import leaks

pytestmark = [pytest.mark.needs("linux", "namespaces"), pytest.mark.timeout(240)]

PROGRAM = """
import os, sys, time
import squall
from squall.model.errors import ConnectionLost, InputLost

app = squall.App("restarts")

@app.function(max_containers=4)
def square(number: int) -> int:
    time.sleep(0.0005)
    return number * number

@app.function(max_containers=2)
def count(upto: int, seconds: float):
    print("PID", os.getpid(), flush=True)
    for number in range(upto):
        yield number
        time.sleep(seconds)

@app.cls(max_containers=2)
class Power:
    to: int = squall.parameter()

    @squall.method()
    def of(self, number: int) -> int:
        time.sleep(0.0005)
        return number ** self.to

@app.function(max_containers=2)
@squall.concurrent(max_inputs=16)
def beside(number: int) -> int:
    time.sleep(0.005)
    return number * number

@app.function(max_containers=2)
@squall.batched(max_batch_size=32, wait_ms=20)
def joined(numbers: list) -> list:
    time.sleep(0.005)
    return [number * number for number in numbers]

def told(step: str) -> None:
    print("AT", step, flush=True)

def a_map() -> None:
    got = []
    for value in square.map(range(10_000)):
        got.append(value)
        if len(got) % 1000 == 0:
            told(f"{len(got)}")
    assert got == [number * number for number in range(10_000)], "lost, doubled or out of order"

@app.function(max_containers=1)
def drain(name: str) -> list[int]:
    return list(iter(squall.Queue.from_name(name).get, None))

def shared() -> None:
    work = squall.Queue.from_name("work", create_if_missing=True)
    seen = squall.Dict.from_name("seen", create_if_missing=True)
    drained = drain.spawn("work")
    for number in range(600):
        work.put(number)
        assert seen.put(number, -number, skip_if_exists=True), "it was put twice"
        if number % 100 == 0:
            told(f"{number}")
    work.put(None)
    assert drained.get(timeout=120) == list(range(600)), "lost, doubled or out of order"
    assert [seen.pop(number) for number in range(600)] == [-number for number in range(600)]
    assert len(seen) == work.len() == 0

def other_kinds() -> None:
    for verb in (Power(to=2).of, beside, joined):
        got = []
        for value in verb.map(range(3000)):
            got.append(value)
            if len(got) == 1000:
                told("1000")
        assert got == [number * number for number in range(3000)], "lost, doubled or out of order"
        assert verb.spawn(9).get() == 81

def spawned() -> None:
    call = square.spawn_map(range(10_000))
    told(call.object_id)
    assert list(call.iter()) == [number * number for number in range(10_000)]

def generator() -> None:
    got = []
    try:
        for item in count.remote_gen(200, 0.02):
            got.append(item)
            if len(got) == 20:
                told("20")
    except (InputLost, ConnectionLost) as error:
        told(f"{type(error).__name__} {error.code}")
    else:
        told("whole")
        assert len(got) == 200
    assert got == list(range(len(got))), "an item is missing or came twice"

if __name__ == "__main__":
    with app.run():
        list(square.map(range(500)))
        told("begun")
        KINDS = {"map": a_map, "shared": shared, "other kinds": other_kinds, "spawned": spawned, "generator": generator}
        KINDS[sys.argv[1]]()
        told("END")
"""


class Client:
    """A program that runs, and what it has said so far."""

    def __init__(self, house: House, what: str) -> None:
        self.house = house
        self.process: subprocess.Popen[str] = house.start(str(house.program(PROGRAM)), what)
        self.lines: list[str] = []

    def next(self, of: str = "AT ") -> str:
        """The next line of this kind."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith(of):
                return line.removeprefix(of).strip()
        raise AssertionError(f"it ended: {self.lines} {self.ends_well()}")

    def ends_well(self) -> bool:
        """Whether it has come to its end by itself."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.lines += self.process.stdout
        errors = self.process.stderr.read()
        assert self.process.wait(timeout=60) == 0, (self.lines[-5:], errors)
        return self.lines[-1] == "AT END\n"


@pytest.fixture
def own() -> Iterator[House]:
    """A house of its own: its server is killed."""
    folder = leaks.fresh_folder(prefix="squall-again-")
    house = House(folder)
    house.environ["SQUALL_START_DEADLINE_S"] = "60"
    try:
        yield house
    finally:
        done = house.run("-m", "squall", "down")
        shutil.rmtree(folder, ignore_errors=True)
    assert done.returncode == 0, done.stderr


def member(house: House, name: str) -> ProcessMark:
    record = read_record(StatePaths(state=house.folder / "state").supervisor_record)
    assert record is not None
    return record.members[name]


def kill_server(house: House) -> None:
    mark = member(house, "server")
    os.kill(mark.pid, signal.SIGKILL)
    eventually(lambda: not is_alive(mark))


def test_a_map_goes_on_in_order_though_its_server_is_killed_twice(own: House) -> None:
    client = Client(own, "map")
    assert client.next() == "begun"
    for step in ("1000", "4000"):
        while client.next() != step:
            pass
        kill_server(own)
    assert client.ends_well()


def test_dicts_and_queues_lose_and_double_nothing_though_their_server_is_killed_twice(own: House) -> None:
    client = Client(own, "shared")
    assert client.next() == "begun"
    for step in ("100", "400"):
        while client.next() != step:
            pass
        kill_server(own)
    assert client.ends_well()


def test_methods_inputs_side_by_side_and_joined_ones_go_on_in_order_though_their_server_is_killed(
    own: House,
) -> None:
    client = Client(own, "other kinds")
    assert client.next() == "begun"
    for _ in range(3):
        assert client.next() == "1000"
        kill_server(own)
    assert client.ends_well()


def test_what_is_shared_changes_once_though_servers_die_between_a_commit_and_its_answer(own: House) -> None:
    # Each server dies at its 400th change, which is on record then; the whole has some 1,800.
    own.environ["SQUALL_FAULT"] = "sharing.changed:400"
    client = Client(own, "shared")
    assert client.next() == "begun"
    first = member(own, "server")
    assert client.ends_well()
    assert member(own, "server") != first


def test_a_spawned_map_goes_on_and_is_fetched_by_another_process(own: House) -> None:
    client = Client(own, "spawned")
    assert client.next() == "begun"
    call = client.next()
    kill_server(own)
    say = (
        f"import squall; c = squall.FunctionCall.from_id({call!r});"
        " print(c.num_inputs(), c.get(index=9_999, timeout=90), sum(c.iter(end=100)))"
    )
    done = own.run("-c", say, within_s=120)
    assert done.stdout == f"10000 {9_999**2} {sum(number**2 for number in range(100))}\n", done.stderr
    kill_server(own)
    assert client.ends_well()


@pytest.mark.parametrize("whom", ["server", "container"])
def test_a_generators_consumer_sees_no_item_twice_and_none_missing_or_a_named_error(
    own: House, whom: str
) -> None:
    client = Client(own, "generator")
    assert client.next() == "begun"
    inside = client.next("PID ")
    assert client.next() == "20"
    if whom == "server":
        kill_server(own)
    else:
        subprocess.run(["kill", "-9", str(_on_host(own, inside))], check=True)
    said = client.next()
    assert said.split()[0] in {"whole", "InputLost", "ConnectionLost"}
    assert whom == "server" or said == "InputLost SQ-1309"
    assert client.ends_well()


def _on_host(house: House, inside: str) -> int:
    """The number on this host of the runner that has that one in its container."""
    rows: list[dict[str, Any]] = json.loads(house.run("-m", "squall", "container", "list", "--json").stdout)
    pids = [row["pid"] for row in rows if row["function"] == "count"]
    for pid in pids:
        status = Path(f"/proc/{pid}/status").read_text()
        if next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1] == inside:
            return int(pid)
    raise AssertionError(f"{inside} is none of {pids}")
