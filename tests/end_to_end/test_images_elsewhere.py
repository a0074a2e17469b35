"""An image that one machine has built is fetched by another, which could not build it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.end_to_end.image_house import fill, python_root
from tests.end_to_end.terminal import Terminal, fresh_folder
from tests.linux.images.registry_server import registry_server
from tests.machines import wait_for

pytestmark = [pytest.mark.needs("linux", "root", "namespaces", "registry"), pytest.mark.timeout(300)]

MINOR = ".".join(map(str, sys.version_info[:2]))
PROGRAM = """
import squall
app = squall.App("built-elsewhere")
image = squall.Image.from_registry("{reference}", add_python="{minor}").run_commands("echo once > /srv/built")

@app.function(image=image, cpu={cpu})
def look(x):
    import time
    time.sleep({seconds})
    return open("/srv/built").read().strip()

@app.local_entrypoint()
def main(n: int):
    print(sorted(set(look.map(range(n)))))
"""


@pytest.fixture
def machine() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def a_machine(stack: ExitStack, **environ: str) -> Terminal:
    terminal = Terminal(folder=fresh_folder(), environ=environ)
    stack.callback(shutil.rmtree, terminal.folder)
    stack.callback(lambda: terminal.squall("down", "--force"))
    return terminal


def test_a_second_machine_fetches_what_the_first_has_built(machine: ExitStack, tmp_path: Path) -> None:
    server = a_machine(machine, SQUALL_AGENT_HERE="0")
    said = server.squall("up", "--listen", "127.0.0.1:0", "--json")
    assert said.status == 0, said
    address = json.loads(said.out)["listen"]["address"]
    at = f"{address['host']}:{address['port']}"

    def join() -> Terminal:
        token = server.squall("token", "new", "--join").out.strip()
        other = a_machine(machine)
        joined = other.squall("join", at, within_s=60, SQUALL_TOKEN=token)
        assert joined.status == 0, joined
        return other

    first = join()
    cpu = wait_for(lambda: _cores(server))
    with registry_server(tmp_path / "registry") as registry:
        reference = fill(registry, "base", python_root(tmp_path / "root"))
        fields = {"reference": reference, "minor": MINOR, "cpu": cpu / 2 + 0.5}
        said = server.run(PROGRAM.format(**fields, seconds=0), "--n", "1", within_s=120)
        assert (said.status, said.out) == (0, "['once']\n"), said
        built = {path.name for path in (first.state / "images").iterdir()}
        second = join()
        # One container fills more than half of a machine: the second one has to go elsewhere.
        said = server.run(PROGRAM.format(**fields, seconds=4), "--n", "2", within_s=120)
        assert (said.status, said.out) == (0, "['once']\n"), said
    wait_for(lambda: built <= {path.name for path in (second.state / "images").iterdir()})
    logs = [path.name for path in (second.state / "logs" / "images").iterdir() if path.name in built]
    assert logs == [], "nothing was built there"


def _cores(server: Terminal) -> float:
    """How many cores the one machine has to give."""
    (row,) = json.loads(server.squall("node", "list", "--json").out)["nodes"]
    return float(row.get("capacity", "0").partition(" ")[0])
