"""How a launcher joins a container to its machine's network, and what is left when something of it ends."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import pytest

from squall.runtime.spec import Carrier, Veth
from tests.linux.runtime.box import ORDINARY_USER, Box, a_box, eventually
from tests.networks import CARRIERS, HERE, THERE, two_machines, wrapper_of

pytestmark = pytest.mark.needs("linux", "namespaces", "root")

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
WAIT = "import signal; print('up', flush=True); signal.pause()"


def devices_in(pid: int) -> list[str]:
    """The devices of a process's network."""
    lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    return [line.split(":")[0].strip() for line in lines]


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
