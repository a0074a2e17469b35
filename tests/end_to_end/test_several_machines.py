"""One server, and machines that joined it: each in a network of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.machines import Machines, machines, wait_for

pytestmark = [pytest.mark.needs("linux", "root", "namespaces", "iproute"), pytest.mark.timeout(180)]

SPREAD = """
import os, time
import squall
app = squall.App("spread")

@app.function(cpu=2.0, max_containers=24)
def where(x):
    time.sleep(0.3)
    return x, os.environ["SQUALL_CONTAINER"]

@app.function()
def flipped(value):
    return value[::-1]

@app.function()
def outer(x):
    return flipped.remote(x + "!")

@app.local_entrypoint()
def spread(n: int = 30):
    found = list(where.map(range(n)))
    assert [x for x, _ in found] == list(range(n))
    print(len({container for _, container in found}))

@app.local_entrypoint()
def large():
    value = bytes(range(256)) * 40_000
    assert flipped.remote(value) == value[::-1]
    assert list(flipped.map([value, b"ab"])) == [value[::-1], b"ba"]
    print("whole")

@app.local_entrypoint()
def nested():
    print(outer.remote("abc"))
"""


@pytest.fixture(scope="module")
def town() -> Iterator[Machines]:
    with machines(agents=3) as made:
        yield made


def test_a_map_is_spread_over_machines_that_joined(town: Machines) -> None:
    caller = town.machine()
    caller.terminal.environ |= {"SQUALL_SERVER": town.address, "SQUALL_TOKEN": town.token("--name", "caller")}
    seen: set[str] = set()
    said = caller.terminal.run(SPREAD, "::spread", within_s=60)
    assert said.status == 0, said
    assert int(said.out) > 4, said
    for agent in town.agents:
        record = json.loads((agent.terminal.state / "run" / "supervisor.json").read_text())
        assert set(record["members"]) == {"agent"}, "a machine that joined has no server of its own"
        seen.add(agent.address)
    assert len(seen) == 3
    rows = wait_for(lambda: [row for row in town.nodes() if row["state"] == "alive"])
    assert len(rows) == 4


def test_large_values_go_to_other_machines_and_come_back(town: Machines) -> None:
    caller = town.machine()
    said = caller.terminal.run(
        SPREAD, "::large", within_s=60, SQUALL_SERVER=town.address, SQUALL_TOKEN=town.token()
    )
    assert (said.status, said.out) == (0, "whole\n"), said


def test_a_client_and_a_machine_may_speak_in_websockets(town: Machines) -> None:
    caller, other = town.machine(), town.machine()
    said = other.squall("join", town.address, "--websocket", "--json", SQUALL_TOKEN=town.token("--join"))
    assert said.status == 0, said
    node = json.loads(said.out)["node"]
    wait_for(lambda: town.node(node)["state"] == "alive")
    url = f"wss://{town.address}/squall/v1"
    said = caller.terminal.run(SPREAD, "::large", within_s=60, SQUALL_SERVER=url, SQUALL_TOKEN=town.token())
    assert (said.status, said.out) == (0, "whole\n"), said
    assert other.squall("leave").status == 0


def test_a_container_elsewhere_calls_others(town: Machines) -> None:
    said = town.server.terminal.run(SPREAD, "::nested", within_s=60)
    assert (said.status, said.out) == (0, "!cba\n"), said


def test_without_a_token_nothing_is_told_and_with_a_wrong_one_nobody_comes_in(town: Machines) -> None:
    caller = town.machine()
    caller.squall("status", SQUALL_SERVER=town.address).is_error("SQ-1014", "token")
    good = town.token()
    id_, secret, authority = good.split(".")
    other = f"{id_}.{secret[::-1]}.{authority}"
    caller.squall("app", "list", SQUALL_SERVER=town.address, SQUALL_TOKEN=other).is_error("SQ-1620")
    caller.squall("app", "list", SQUALL_SERVER=town.address, SQUALL_TOKEN="nonsense").is_error("SQ-1010")
    strange = f"{id_}.{secret}.{'0' * 64}"
    caller.squall("app", "list", SQUALL_SERVER=town.address, SQUALL_TOKEN=strange).is_error("SQ-1804")
    assert caller.squall("app", "list", SQUALL_SERVER=town.address, SQUALL_TOKEN=good).status == 0


def test_a_token_allows_what_its_scopes_say(town: Machines) -> None:
    caller = town.machine()
    caller.terminal.environ |= {"SQUALL_SERVER": town.address, "SQUALL_TOKEN": town.token("--scope", "read")}
    assert caller.squall("node", "list").status == 0
    caller.squall("token", "list").is_error("SQ-1625", "admin")
    caller.terminal.run(SPREAD, "::nested").is_error("SQ-1625", "run")


def test_what_is_deployed_is_called_by_who_may_call_and_in_no_other_size(town: Machines) -> None:
    owner, caller = town.machine(), town.machine()
    path = owner.terminal.write(
        "import squall\napp = squall.App('town')\n@app.function()\ndef more(number: int):\n    return number + 1\n"
    )
    token = town.token()
    said = owner.squall("deploy", str(path), SQUALL_SERVER=town.address, SQUALL_TOKEN=token)
    assert (said.status, said.out) == (0, "town: version 1 serves: more\n"), said
    program = """
import squall
from squall.model.errors import ScopeMissing
more = squall.Function.from_name("town", "more")
print(more.remote(1), list(more.map(range(3))))
try:
    print(more.with_options(memory=999).remote(1))
except ScopeMissing as refused:
    print(refused.code)
"""
    for scopes, last in ((["--scope", "call"], "SQ-1625"), ([], "2")):
        done = subprocess.run(
            [*caller.terminal.wrapper, sys.executable, "-c", program],
            env=caller.terminal.environment(SQUALL_SERVER=town.address, SQUALL_TOKEN=town.token(*scopes)),
            cwd=caller.terminal.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout.splitlines() == ["2 [1, 2, 3]", last], done.stderr
    stopped = owner.squall("app", "stop", "town", SQUALL_SERVER=town.address, SQUALL_TOKEN=token)
    assert stopped.status == 0, stopped


def test_who_came_in_by_a_token_is_put_out_when_it_is_revoked(town: Machines) -> None:
    caller = town.machine()
    token = town.token("--name", "short-lived")
    program = """
import time, squall
app = squall.App("slow")
@app.function()
def slow():
    time.sleep(60)
@app.local_entrypoint()
def main():
    print("calling", flush=True)
    slow.remote()
"""
    path = caller.terminal.write(program)
    client = subprocess.Popen(
        [*caller.terminal.wrapper, caller.terminal.python, "-m", "squall", "run", str(path)],
        env=caller.terminal.environment(SQUALL_SERVER=town.address, SQUALL_TOKEN=token),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert client.stdout is not None
    assert client.stdout.readline() == "calling\n"
    began_s = time.monotonic()
    assert town.server.squall("token", "revoke", token.partition(".")[0]).status == 0
    _, err = client.communicate(timeout=20)
    assert "SQ-1620" in err, err
    assert client.returncode == 1
    assert time.monotonic() - began_s < 5


def test_a_token_for_joining_lets_one_machine_in_once(town: Machines) -> None:
    token = town.token("--join")
    first, second = town.machine(), town.machine()
    assert first.squall("join", town.address, SQUALL_TOKEN=token).status == 0
    second.squall("join", town.address, SQUALL_TOKEN=token).is_error("SQ-1620")
    assert not (second.terminal.state / "access" / "joined.json").exists()
    first.squall("app", "list").is_error("SQ-1624", town.address)
    first.squall("join", town.address, SQUALL_TOKEN=token).is_error("SQ-1624")
    assert first.squall("leave").status == 0
    assert sorted(path.name for path in (first.terminal.state / "access").iterdir()) == []


def test_a_machine_that_is_removed_does_not_come_back(town: Machines) -> None:
    gone = town.join()
    town.agents.remove(gone)
    node = (gone.terminal.state / "node-id").read_text()
    assert town.server.squall("node", "remove", node).status == 0
    wait_for(lambda: town.node(node)["state"] == "unknown")
    log = gone.terminal.state / "logs" / "agent.log"
    wait_for(lambda: "does not let this machine join" in log.read_text())
    assert town.node(node)["state"] == "unknown"


def test_a_command_in_a_container_elsewhere_reads_what_is_typed_and_says_all_that_it_prints(
    town: Machines,
) -> None:
    program = """
import time, squall
app = squall.App("stays")
@app.function(cpu=0.5)
def stay(x):
    time.sleep(90)
@app.local_entrypoint()
def main():
    list(stay.map(range(8)))
"""
    caller = town.machine()
    path = caller.terminal.write(program)
    access = {"SQUALL_SERVER": town.address, "SQUALL_TOKEN": town.token()}
    client = subprocess.Popen(
        [*caller.terminal.wrapper, caller.terminal.python, "-m", "squall", "run", str(path)],
        env=caller.terminal.environment(**access),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        rows = wait_for(lambda: _busy(town))
        for row in rows[:4]:
            done = subprocess.run(
                [
                    *(*caller.terminal.wrapper, caller.terminal.python, "-m", "squall"),
                    *(
                        "container",
                        "exec",
                        row["id"],
                        "--",
                        "sh",
                        "-c",
                        "head -c 3000000 /dev/zero | wc -c; cat; echo bad >&2; exit 7",
                    ),
                ],
                env=caller.terminal.environment(**access),
                input="typed here",
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert (done.returncode, done.stdout, done.stderr) == (7, "3000000\ntyped here", "bad\n"), done
    finally:
        client.kill()
        client.wait()


def _busy(town: Machines) -> list[dict[str, str]]:
    said = town.server.squall("container", "list", "--json")
    rows = [row for row in json.loads(said.out) if row["state"] == "busy"]
    return rows if len(rows) >= 8 else []


def test_a_profile_names_a_server_and_its_token(town: Machines) -> None:
    caller = town.machine()
    token = town.token("--name", "profile")
    said = caller.squall("profile", "add", "work", "--server", town.address, SQUALL_TOKEN=token)
    assert said.status == 0, said
    said = caller.terminal.run(SPREAD, "::nested", within_s=60)
    assert (said.status, said.out) == (0, "!cba\n"), said
    listed = caller.squall("profile", "list", "--json")
    assert token not in listed.out
    assert json.loads(listed.out)["profiles"] == [
        {"name": "work", "server": town.address, "trust": "own", "active": True}
    ]
    caller.squall("up").is_error("SQ-1020", "profile work")
    assert caller.squall("profile", "remove", "work").status == 0


def test_a_server_that_is_killed_comes_back_to_its_machines_and_clients(town: Machines) -> None:
    program = """
import os, signal, json, time, squall
app = squall.App("through")
@app.function(cpu=2.0, max_containers=8)
def f(x):
    time.sleep(0.05)
    return x
@app.local_entrypoint()
def main(record: str):
    got = []
    for value in f.map(range(400)):
        got.append(value)
        if value == 50:
            os.kill(json.load(open(record))["members"]["server"]["pid"], signal.SIGKILL)
    assert got == list(range(400)), got
    print("all, in order")
"""
    record = town.server.terminal.state / "run" / "supervisor.json"
    caller = town.machine()
    said = caller.terminal.run(
        program, "--record", str(record), within_s=90, SQUALL_SERVER=town.address, SQUALL_TOKEN=town.token()
    )
    assert (said.status, said.out) == (0, "all, in order\n"), said


@pytest.mark.parametrize("away_s", [5])
def test_a_machine_that_cannot_be_reached_for_a_while_loses_nothing(town: Machines, away_s: int) -> None:
    program = """
import time, squall
app = squall.App("cut")
@app.function(cpu=2.0, max_containers=16)
def f(x):
    time.sleep(0.05)
    return x
@app.local_entrypoint()
def main():
    got = []
    for value in f.map(range(600)):
        got.append(value)
        if value == 60:
            print("now", flush=True)
    assert got == list(range(600)), got
    print("all, in order")
"""
    caller = town.machine()
    path = caller.terminal.write(program)
    client = subprocess.Popen(
        [*caller.terminal.wrapper, caller.terminal.python, "-m", "squall", "run", str(path)],
        env=caller.terminal.environment(SQUALL_SERVER=town.address, SQUALL_TOKEN=town.token()),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert client.stdout is not None
    assert client.stdout.readline() == "now\n"
    town.cut(town.agents[0])
    time.sleep(away_s)
    town.mend(town.agents[0])
    out, err = client.communicate(timeout=60)
    assert (client.returncode, out) == (0, "all, in order\n"), err
