"""How a launcher joins a container to its machine's network, and what is left when something of it ends."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import pytest

from squall.runtime.spec import Carrier, Veth
from tests.linux.runtime.box import ORDINARY_USER, Box, a_box, eventually
from tests.networks import ABSTRACT, CARRIERS, HERE, THERE, enter, two_machines, wrapper_of

pytestmark = pytest.mark.needs("linux", "namespaces", "root", "iproute")

VETH = Veth(name="sqtests0", address="10.88.0.16", gateway="10.88.0.1", mtu=1400)
ASK = f"""
import socket
with socket.create_connection(({THERE!r}, 80), timeout=3) as there:
    print(there.recv(100).decode())
"""
SHOW = """
import json, socket
print(json.dumps({
    "devices": [name for _, name in socket.if_nameindex()],
    "routes": open("/proc/net/route").read().count("\\n"),
    "ipv6": [line for line in open("/proc/net/if_inet6") if not line.rstrip().endswith(" lo")],
    "mtu": open("/proc/net/dev").read().count("eth0:"),
}))
"""
# While a template loads code there is no network at all, not even a loopback that is up.
SEEN = f"""
import errno, socket
seen = []
for asked in ({THERE!r}, "127.0.0.1"):
    try:
        socket.create_connection((asked, 80), timeout=3)
    except OSError as problem:
        seen.append(errno.errorcode.get(problem.errno))
"""
SEEN_THEN = "import json; print(json.dumps(loaded['seen']))\n"
FOREIGN = f"""
import socket
try:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(chr(0) + {ABSTRACT!r})
    found = "reached"
except OSError as problem:
    found = type(problem).__name__
print(found)
"""
OPEN = """
import socket
listener = socket.socket(socket.AF_UNIX)
listener.bind(chr(0) + "squall-tests-sibling")
listener.listen()
"""
SIBLING = FOREIGN.replace(ABSTRACT, "squall-tests-sibling")
WAIT = "import signal; print('up', flush=True); signal.pause()"


def devices_in(pid: int) -> list[str]:
    """The devices of a process's network."""
    lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    return [line.split(":")[0].strip() for line in lines]


def ours_in(here: int) -> list[str]:
    """The host's ends of the veths that the tests make."""
    return [name for name in devices_in(here) if name.startswith("sqtest")]


def as_user(here: int) -> tuple[str, ...]:
    """What an ordinary user's launcher in that network is started through."""
    drop = ("setpriv", "--reuid", str(ORDINARY_USER), "--regid", str(ORDINARY_USER), "--clear-groups")
    return (*enter(here), *drop)


@contextmanager
def a_box_there(kind: str, tmp: Path) -> Iterator[tuple[Box, int]]:
    """A box on a machine of the tests' own, and a process in that machine's network."""
    with two_machines() as here:
        wrapper = wrapper_of(kind, here, tmp, user=ORDINARY_USER)
        with a_box("root" if kind == "veth" else "user", wrapper=wrapper, drops=kind != "veth") as box:
            yield box, here


@pytest.fixture
def root_box(tmp_path: Path) -> Iterator[tuple[Box, int]]:
    with a_box_there("veth", tmp_path) as both:
        yield both


@pytest.fixture(params=get_args(Carrier))
def user_box(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Box, str, int]]:
    carrier = request.param
    if shutil.which(carrier) is None:
        pytest.skip(f"needs pasta or slirp4netns: {carrier} is not installed")
    with a_box_there(carrier, tmp_path) as (box, here):
        yield box, carrier, here


def test_a_container_has_one_device_with_no_address_of_ipv6(root_box: tuple[Box, int]) -> None:
    box, _ = root_box
    found = box.run(SHOW, network="veth", veth=VETH).json()
    assert found == {"devices": ["lo", "eth0"], "routes": 3, "ipv6": [], "mtu": 1}


def test_the_start_says_when_the_network_was_there_and_the_list_which_address(
    root_box: tuple[Box, int],
) -> None:
    box, _ = root_box
    running = box.start(box.spec(WAIT, network="veth", veth=VETH))
    assert running.read_line() == "up"
    assert 0 < running.message["phases_ms"]["network"] < running.message["phases_ms"]["running"]
    box.say({"t": "list"})
    (row,) = box.hear("containers").message["containers"]
    assert row["address"] == VETH.address
    box.say({"t": "kill", "container": running.spec.id})
    box.finish(running)


def test_both_ends_go_with_the_container(root_box: tuple[Box, int]) -> None:
    box, here = root_box
    running = box.start(box.spec(WAIT, network="veth", veth=VETH))
    assert VETH.name in devices_in(here)
    box.say({"t": "kill", "container": running.spec.id})
    box.finish(running)
    eventually(lambda: VETH.name not in devices_in(here))


def test_a_network_that_cannot_be_joined_refuses_the_start_and_says_why(root_box: tuple[Box, int]) -> None:
    box, here = root_box
    first = box.start(box.spec(WAIT, network="veth", veth=VETH))
    second = box.spec(WAIT, network="veth", veth=VETH)
    box.say({"t": "start", "container": second.id, "spec": second.to_json()})
    refused = box.hear("refused", of=second.id).message
    assert VETH.name in refused["message"], refused
    assert VETH.name in devices_in(here)
    box.say({"t": "kill", "container": first.spec.id})
    box.finish(first)


def test_a_launcher_killed_with_9_leaves_no_device(root_box: tuple[Box, int]) -> None:
    box, here = root_box
    running = box.start(box.spec(WAIT, network="veth", veth=VETH))
    assert VETH.name in devices_in(here)
    box.launcher.kill()
    box.launcher.wait()
    running.close()
    eventually(lambda: VETH.name not in devices_in(here))


@pytest.mark.parametrize("rung", ["spare", "pooled", "on_demand"])
def test_what_is_forked_into_a_sandbox_made_ahead_has_the_address_of_that(
    root_box: tuple[Box, int], rung: str
) -> None:
    box, here = root_box
    told = box.template(SEEN, network="veth")
    assert told["state"] == "ready", told
    box.await_spare()
    running = box.start(box.spec(SEEN_THEN + SHOW + WAIT, network="veth", veth=VETH), path=rung)
    assert running.message["rung"] == rung
    # It was joined as its sandbox was made: the start itself joins nothing, and says so.
    assert "network" not in running.message["phases_ms"]
    assert running.message["address"] in box.addresses.values()
    assert VETH.name not in devices_in(here)
    assert json.loads(running.read_line()) == ["ENETUNREACH"] * 2
    assert json.loads(running.read_line()) == {"devices": ["lo", "eth0"], "routes": 3, "ipv6": [], "mtu": 1}
    assert running.read_line() == "up"
    box.say({"t": "list"})
    listed = box.hear("containers").message
    (row,) = listed["containers"]
    assert row["address"] == running.message["address"]
    known = {**listed["addresses"], **row["addresses"]}
    assert known.items() <= box.addresses.items(), (known, box.addresses)
    assert row["address"] in known.values()
    box.say({"t": "kill", "container": running.spec.id})
    box.finish(running)
    box.say({"t": "drop_template"})
    eventually(lambda: not ours_in(here), lambda: f"{ours_in(here)}")
    eventually(lambda: not box.still_has_addresses(), lambda: f"{box.addresses}")


def test_a_sandbox_that_is_made_while_there_is_no_agent_is_joined_when_one_comes(
    root_box: tuple[Box, int],
) -> None:
    box, _ = root_box
    box.gives_addresses = False
    assert box.template(network="veth")["state"] == "ready"
    box.hear("veth_wanted")
    box.gives_addresses = True
    box.agent.close()
    box.connect()
    running = box.start(box.spec(SHOW, network="veth", veth=VETH), path="pooled")
    assert running.message["address"] in box.addresses.values()
    assert box.finish(running).json()["devices"] == ["lo", "eth0"]


def test_where_no_address_can_be_had_containers_start_without_a_template(root_box: tuple[Box, int]) -> None:
    box, _ = root_box
    box.no_addresses_because = "every address is taken"
    spec = {"network": "veth", "veth": VETH}
    told = box.template(network="veth")
    while told["state"] != "refused":
        told = box.hear("template").message
    assert "every address is taken" in told["why"]
    started = box.start(box.spec(SHOW, **spec))
    assert (started.message["rung"], started.message["address"]) == ("parked", VETH.address)
    assert box.finish(started).json()["devices"] == ["lo", "eth0"]


@pytest.mark.parametrize("rung", ["spare", "pooled", "on_demand", "parked"])
@pytest.mark.parametrize("as_root", [False, True])
def test_who_has_the_network_of_the_host_reaches_no_abstract_socket_of_others(
    as_root: bool, rung: str
) -> None:
    with (
        two_machines() as here,
        a_box(
            "root" if as_root else "user",
            wrapper=enter(here) if as_root else as_user(here),
            drops=not as_root,
        ) as box,
    ):
        if rung != "parked":
            told = box.template(FOREIGN, network="host")
            assert told["state"] == "ready", told
            box.await_spare()
        # Each opens a socket of its own, which its sibling, of the same template, must not reach.
        first = box.start(box.spec(OPEN + WAIT, network="host"), path=rung)
        assert first.read_line() == "up"
        if rung == "spare":
            box.await_spare()
        second = box.start(box.spec(FOREIGN + SIBLING + ASK, network="host"), path=rung)
        assert second.message["rung"] == rung
        ended = box.finish(second)
        assert ended.out.splitlines() == ["PermissionError", "PermissionError", HERE], ended
        box.say({"t": "kill", "container": first.spec.id})
        box.finish(first)


def test_a_user_goes_out_through_a_carrier_that_ends_with_the_container(
    user_box: tuple[Box, str, int],
) -> None:
    box, carrier, here = user_box
    running = box.start(box.spec(ASK + WAIT, network=carrier, unreachable=("169.254.0.0/16",)))
    assert running.read_line() == HERE
    assert running.read_line() == "up"
    assert carriers_in(here)
    box.say({"t": "kill", "container": running.spec.id})
    box.finish(running)
    eventually(lambda: not carriers_in(here), lambda: f"{carriers_in(here)}")


@pytest.mark.parametrize("rung", ["spare", "pooled", "on_demand"])
def test_what_is_forked_into_a_sandbox_made_ahead_goes_out_through_a_carrier_of_its_own(
    user_box: tuple[Box, str, int], rung: str
) -> None:
    box, carrier, here = user_box
    kind: dict[str, Any] = {"network": carrier, "unreachable": ("169.254.0.0/16",)}
    told = box.template(SEEN, **kind)
    assert told["state"] == "ready", told
    box.await_spare()
    running = box.start(box.spec(SEEN_THEN + ASK + SHOW + WAIT, **kind), path=rung)
    assert running.message["rung"] == rung
    assert "network" not in running.message["phases_ms"]
    assert json.loads(running.read_line()) == ["ENETUNREACH"] * 2
    assert running.read_line() == HERE
    assert json.loads(running.read_line())["devices"] == ["lo", "eth0"]
    assert running.read_line() == "up"
    box.say({"t": "kill", "container": running.spec.id})
    box.finish(running)
    refused = box.run(ASK, network=carrier, unreachable=(f"{THERE}/32",))
    assert "No route to host" in refused.err, refused
    box.say({"t": "drop_template"})
    eventually(lambda: not carriers_in(here), lambda: f"{carriers_in(here)}")


@pytest.mark.parametrize("rung", ["spare", "pooled", "on_demand"])
def test_what_is_forked_into_a_sandbox_made_ahead_has_routes_that_lead_nowhere_too(
    user_box: tuple[Box, str, int], rung: str
) -> None:
    box, carrier, _ = user_box
    kind: dict[str, Any] = {"network": carrier, "unreachable": (f"{THERE}/32",)}
    assert box.template(**kind)["state"] == "ready"
    box.await_spare()
    ended = box.finish(box.start(box.spec(ASK, **kind), path=rung))
    assert "No route to host" in ended.err, ended


def test_what_a_carrier_must_not_lead_to_is_not_reached(user_box: tuple[Box, str, int]) -> None:
    box, carrier, _ = user_box
    ended = box.run(ASK, network=carrier, unreachable=(f"{THERE}/32",))
    assert "No route to host" in ended.err, ended


def test_a_launcher_killed_with_9_takes_its_carriers_along(user_box: tuple[Box, str, int]) -> None:
    box, carrier, here = user_box
    running = box.start(box.spec(WAIT, network=carrier))
    assert running.read_line() == "up"
    assert carriers_in(here)
    box.launcher.kill()
    box.launcher.wait()
    running.close()
    eventually(lambda: not carriers_in(here), lambda: f"{carriers_in(here)}")


def carriers_in(here: int) -> list[str]:
    """The carriers that lead to the network of the process `here`."""
    network = os.readlink(f"/proc/{here}/ns/net")
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            program = Path(f"/proc/{name}/comm").read_text().strip()
            if program.startswith(CARRIERS) and os.readlink(f"/proc/{name}/ns/net") == network:
                found.append(f"{program} {name}")
        except OSError:
            continue
    return found
