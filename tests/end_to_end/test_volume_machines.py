"""Volumes in containers of machines that joined: versions come from the server, and what is written there goes to it."""

from __future__ import annotations

import json

import pytest

from tests.machines import Machines, machines

pytestmark = [pytest.mark.needs("linux", "root", "namespaces", "iproute"), pytest.mark.timeout(240)]

PROGRAM = """
import json, os
import squall

volume = squall.Volume.from_name("travels", create_if_missing=True)
app = squall.App("elsewhere", volumes={"/data": volume})

@app.function(cpu=2.0, max_containers=24, single_use_containers=True)
def writes(number: int) -> str:
    import time
    os.makedirs("/data/all", exist_ok=True)
    with open(f"/data/all/{number}", "wb") as file:
        file.write(str(number).encode() * 400_000)
    volume.commit()
    time.sleep(0.5)
    with open("/proc/net/fib_trie") as file:
        return file.read()

@app.function(cpu=2.0, max_containers=24, single_use_containers=True)
def reads(number: int) -> list[int]:
    import time
    volume.reload()
    time.sleep(0.5)
    return sorted(os.path.getsize(f"/data/all/{name}") for name in os.listdir("/data/all"))

@app.local_entrypoint()
def main():
    list(writes.map(range(12)))
    found = list(reads.map(range(12)))
    print(json.dumps([len(found), sorted({tuple(sizes) for sizes in found})]))
"""


@pytest.fixture(scope="module")
def town() -> object:
    with machines(agents=2) as made:
        yield made


def test_what_is_written_on_any_machine_is_seen_on_all(town: Machines) -> None:
    said = town.server.terminal.run(PROGRAM, within_s=120)
    assert said.status == 0, said
    containers, sizes = json.loads(said.out)
    assert containers == 12
    assert sizes == [sorted(len(str(number)) * 400_000 for number in range(12))]
    on_others = [(agent.terminal.state / "heads").is_dir() for agent in town.agents]
    assert all(on_others), "the other machines had no part in it"
