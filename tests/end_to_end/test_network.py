"""The network of containers on each kind of host: a machine of the tests' own, beside another one that it reaches."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from squall.runtime.instance import instance_of
from tests.end_to_end.terminal import SOURCES, Terminal, fresh_folder, left_of, wait_until
from tests.end_to_end.test_host_rows import USER, copy_sources, make_venv
from tests.networks import ABSTRACT, BEHIND, CARRIERS, HERE, METADATA, THERE, enter, two_machines, wrapper_of

pytestmark = pytest.mark.needs("linux", "namespaces", "root", "iproute")

PROGRAM = Path(__file__).parent / "programs" / "look_around.py"


@dataclass(slots=True, kw_only=True)
class Machine:
    """A network namespace that stands for a machine, and one that stands for all others. kind: how it joins them."""

    kind: str
    here: int
    terminal: Terminal
    program: Path

    def look(self, function: str, *arguments: str, rung: str = "", **environ: str) -> Any:
        demanded = ("--start-path", rung) if rung else ()
        said = self.terminal.squall(
            *("run", *demanded, f"{self.program}::{function}", *arguments),
            within_s=120,
            cwd=self.program.parent,
            **environ,
        )
        assert said.status == 0, said.err
        return json.loads(said.out.strip().splitlines()[-1])

    def inside(self, *argv: str) -> str:
        """What a command says in this machine's network."""
        done = subprocess.run(
            [*enter(self.here), *argv], check=True, capture_output=True, text=True, timeout=20
        )
        return done.stdout


@pytest.fixture(scope="module", params=["veth", "pasta", "slirp4netns", "host"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    kind = request.param
    if kind in {"pasta", "slirp4netns"} and shutil.which(kind) is None:
        pytest.skip(f"needs pasta or slirp4netns: {kind} is not installed")
    python = shutil.which(
        f"python{sys.version_info.major}.{sys.version_info.minor}", path="/usr/bin:/usr/local/bin"
    )
    if python is None:
        pytest.skip(
            "needs root: and an interpreter of this version in /usr/bin, for the ordinary user's part"
        )
    owner = 0 if kind == "veth" else USER
    with ExitStack() as stack:
        here = stack.enter_context(two_machines())
        folder = fresh_folder(below="/var/tmp")
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        program = folder / "project" / "look_around.py"
        program.parent.mkdir()
        shutil.copy(PROGRAM, program)
        wrapper = wrapper_of(kind, here, folder, user=USER)
        terminal = Terminal(
            folder=folder,
            python=make_venv(python, folder / "venv"),
            wrapper=wrapper,
            environ={"PYTHONPATH": str(copy_sources(folder)), "HOME": str(folder), "TMPDIR": "-"},
        )
        for path in (folder, program.parent, program):
            os.chown(path, owner, owner)
        made = Machine(kind=kind, here=here, terminal=terminal, program=program)
        yield made
        done = terminal.squall("down")
        assert done.status == 0, done
        wait_until(lambda: not left_of(terminal.state), within_s=10, why=lambda: left_of(terminal.state))
        wait_until(lambda: not left_in(made), within_s=10, why=lambda: left_in(made))


def left_in(machine: Machine) -> list[str]:
    """What a machine without containers must not have."""
    prefix = f"sq{instance_of(str(machine.terminal.state))[:6]}"
    left = [line for line in machine.inside("ip", "-o", "link").splitlines() if prefix in line]
    left += [line for line in machine.inside("ip", "route").splitlines() if "unreachable" in line]
    left += [f"{line} passes on" for line in machine.inside("cat", FORWARDS).splitlines() if line != "0"]
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            program = Path(f"/proc/{name}/comm").read_text().strip()
            network = os.readlink(f"/proc/{name}/ns/net")
        except OSError:
            continue
        if program.startswith(CARRIERS) and network == os.readlink(f"/proc/{machine.here}/ns/net"):
            left.append(f"{program} {name}")
    return left


FORWARDS = "/proc/sys/net/ipv4/conf/up0/forwarding"


def test_a_container_reaches_the_outside(machine: Machine) -> None:
    found = machine.look("look", "--addresses", f"{THERE},{BEHIND}")
    # Whoever is asked sees the machine, not the container.
    assert found["answers"] == {THERE: HERE, BEHIND: HERE}, found
    assert ("eth0" in found["devices"]) == (machine.kind != "host"), found


def test_it_reaches_neither_metadata_nor_the_machine_itself(machine: Machine) -> None:
    asked = f"{METADATA},{HERE},127.0.0.1"
    found = machine.look("look", "--addresses", asked)["answers"]
    if machine.kind == "host":
        # This is what the warning is about.
        assert found["127.0.0.1"] == "127.0.0.1", found
        return
    assert all("Error" in answer for answer in found.values()), found


def test_it_does_not_reach_abstract_sockets_of_the_machine(machine: Machine) -> None:
    own, foreign = machine.look("abstract", "--name", ABSTRACT)
    assert own == "", own
    assert ("PermissionError" if machine.kind == "host" else "ConnectionRefusedError") in foreign, foreign


def test_a_blocked_network_is_loopback_alone(machine: Machine) -> None:
    found = machine.look("blocked", "--addresses", f"{THERE},{METADATA},{HERE},127.0.0.1")
    assert found["devices"] == ["lo"], found
    assert all("Error" in answer for answer in found["answers"].values()), found
    own, foreign = machine.look("abstract_blocked", "--name", ABSTRACT)
    assert (own, "ConnectionRefusedError" in foreign) == ("", True), foreign


def test_a_container_does_not_reach_another(machine: Machine) -> None:
    if machine.kind == "host":
        return  # They share one: the warning says so.
    found = machine.look("pair")
    # Behind a carrier each has the same address, and finds only itself there.
    assert found["listened"] == 0, found
    if machine.kind == "veth":
        assert "Error" in found["answer"], found
        assert found["listener"] != found["asker"], found


@pytest.mark.parametrize("rung", ["spare", "pooled", "on_demand", "parked"])
def test_it_is_the_same_network_by_whichever_rung_a_container_starts(machine: Machine, rung: str) -> None:
    asked = [THERE, BEHIND, METADATA, HERE, "127.0.0.1"]
    found = machine.look("everything", "--addresses", ",".join(asked), "--name", ABSTRACT, rung=rung)
    shared = machine.kind == "host"
    answers = found["around"]["answers"]
    assert (answers[THERE], answers[BEHIND]) == (HERE, HERE), found
    assert ("eth0" in found["around"]["devices"]) == (not shared), found
    assert shared or all("Error" in answers[one] for one in (METADATA, HERE, "127.0.0.1")), found
    assert found["without"]["devices"] == ["lo"], found
    assert all("Error" in answer for answer in found["without"]["answers"].values()), found
    own, foreign = found["sockets"]
    assert own == "", found
    assert ("PermissionError" if shared else "ConnectionRefusedError") in foreign, found
    assert found["sockets_without"][0] == "", found
    assert "ConnectionRefusedError" in found["sockets_without"][1], found
    pair = found["pair"]
    assert shared or pair["listened"] == 0, found
    if machine.kind == "veth":
        assert "Error" in pair["answer"], found
        assert pair["listener"] != pair["asker"], found


@pytest.mark.parametrize(
    "level",
    [
        "sandbox-strict",
        pytest.param("crun", marks=pytest.mark.needs("crun")),
        pytest.param("runc", marks=pytest.mark.needs("runc")),
        pytest.param("gvisor", marks=pytest.mark.needs("runsc")),
    ],
)
def test_levels_above_sandbox_are_joined_too_and_never_share_the_machine_s(
    machine: Machine, level: str
) -> None:
    asked = (THERE, METADATA, HERE, "127.0.0.1")
    found = machine.look("at_level", "--addresses", ",".join(asked), LEVEL=level)
    joined = machine.kind != "host" and level != "gvisor"
    assert ("eth0" in found["devices"]) == joined, found
    there, *others = (found["answers"][one] for one in asked)
    assert (there == HERE) if joined else ("Error" in there), found
    assert all("Error" in answer for answer in others), found


def test_only_a_shared_network_is_warned_of(machine: Machine) -> None:
    said = machine.terminal.squall(
        *("run", f"{machine.program}::look", "--addresses", "127.0.0.1"),
        within_s=60,
        cwd=machine.program.parent,
    )
    assert ("share the host's" in said.err) == (machine.kind == "host"), said


def test_the_doctor_says_which_it_is(machine: Machine) -> None:
    said = machine.terminal.squall("doctor", "--json")
    rung = next(one for one in json.loads(said.out)["rungs"] if one["feature"] == "network")
    words = {
        "veth": "an address for each container",
        "pasta": "out through pasta",
        "slirp4netns": "out through slirp4netns",
        "host": "the host's, shared",
    }
    assert words[machine.kind] in rung["rung"], rung
    assert bool(rung["more"]) == (machine.kind == "host"), rung


def test_containers_that_have_ended_leave_no_device_and_no_carrier(machine: Machine) -> None:
    machine.look("look", "--addresses", THERE)

    def left() -> list[str]:
        return [one for one in left_in(machine) if "unreachable" not in one and "passes on" not in one]

    wait_until(lambda: not left(), within_s=15, why=left)


def test_an_agent_killed_with_9_leaves_a_container_its_network(machine: Machine) -> None:
    argv = [*machine.terminal.wrapper, machine.terminal.python, "-m", "squall", "run"]
    client = subprocess.Popen(
        [*argv, f"{machine.program}::twice", "--address", THERE],
        env=machine.terminal.environment(),
        cwd=machine.program.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert client.stdout is not None
        assert client.stdout.readline().strip() == HERE
        record = json.loads((machine.terminal.state / "run" / "supervisor.json").read_text())
        os.kill(record["members"]["agent"]["pid"], 9)
        out, _ = client.communicate(timeout=40)
    finally:
        client.kill()
        client.wait()
    assert json.loads(out.strip().splitlines()[-1]) == HERE, out


def test_rules_that_somebody_else_takes_away_are_back_at_once(machine: Machine) -> None:
    if machine.kind != "veth":
        return  # There are none.
    machine.look("look", "--addresses", THERE)
    table = f"squall_{instance_of(str(machine.terminal.state))}"
    code = (
        f"import sys; sys.path.insert(0, {str(SOURCES)!r})\n"
        "from squall.runtime.network import nft\n"
        f"if sys.argv[1:]: nft.remove({table!r})\n"
        f"print({table!r} in nft.tables())"
    )
    machine.inside(sys.executable, "-c", code, "remove")
    wait_until(lambda: machine.inside(sys.executable, "-c", code).strip() == "True", within_s=10)
    found = machine.look("look", "--addresses", f"{THERE},{METADATA},{HERE}")["answers"]
    assert found[THERE] == HERE, found
    assert "Error" in found[METADATA], found
    assert "Error" in found[HERE], found


def test_nothing_is_left_where_the_agent_is_killed_on_the_way_down(machine: Machine) -> None:
    machine.look("look", "--addresses", THERE)
    if machine.kind == "veth":
        assert left_in(machine)
    done = machine.terminal.squall("down", "--force")
    assert done.status == 0, done
    wait_until(lambda: not left_in(machine), within_s=10, why=lambda: left_in(machine))
