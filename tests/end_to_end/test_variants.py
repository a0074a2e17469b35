"""Functions with other options: containers of their own, in apps that run and deployed ones, over deploys and restarts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.end_to_end.terminal import Terminal, fresh_folder, leave_nothing, wait_until

pytestmark = [pytest.mark.needs("linux", "namespaces"), pytest.mark.timeout(240)]

APP = """
import os
import time

import squall

app = squall.App("vary")
VERSION = {version}


@app.function(env={{"WHO": "itself", "KEPT": "kept"}})
def tell(name: str):
    return os.environ.get(name), VERSION


@app.function()
def inside():
    return tell.with_options(env={{"WHO": "inside"}}).remote("WHO")[0]


@app.function(max_containers=1)
def slow(seconds: float):
    time.sleep(seconds)
    return os.environ.get("WHO")


@app.function()
def count(upto: int):
    yield from range(upto)


@app.local_entrypoint()
def main():
    other = tell.with_options(env={{"WHO": "other"}}, memory=200)
    print(tell.remote("WHO")[0], other.remote("WHO")[0], other.remote("KEPT")[0], inside.remote())
    further = other.with_options(env={{"KEPT": "changed"}})
    print([further.remote(name)[0] for name in ("WHO", "KEPT")], further.name, further.spec.env)
    print(list(other.map(["WHO"] * 3))[0][0], other.spawn("WHO").get()[0], other.local("NOTHING")[0])
    for wrong in ({{"timeout": 0.2}}, {{"cpu": -1}}, {{"max_containers": 0}}, {{"env": {{"=": "1"}}}}, {{"retries": 99}}):
        try:
            tell.with_options(**wrong)
        except squall.model.errors.InvalidError as error:
            print(error.message)
    try:
        count.with_options(retries=2)
    except squall.model.errors.InvalidError as error:
        print(error.message)
"""
SAID = """\
itself other kept inside
['other', 'changed'] tell {'WHO': 'other', 'KEPT': 'changed'}
other other None
with_options of 'tell': timeout is between 1 and 86400 seconds, not 0.2
with_options of 'tell': cpu is a number above 0, or a pair (request, limit), not -1
with_options of 'tell': max_containers=0 is below 1 or below min_containers=0
with_options of 'tell': no environment can hold the variable '='
with_options of 'tell': max_retries is between 0 and 10, not 99
with_options of 'count': a generator cannot be retried: its consumer has taken items already
"""
OTHER = "squall.Function.from_name('vary', {name!r}).with_options(env={{'WHO': 'other'}})"


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal(folder=fresh_folder())
    yield terminal
    leave_nothing(terminal)


def deploy(terminal: Terminal, version: int) -> None:
    said = terminal.squall("deploy", str(terminal.write(APP.format(version=version), "vary.py")), within_s=60)
    assert said.status == 0, said


def ask(terminal: Terminal, expression: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"import squall\nprint({expression})"],
        env=terminal.environment(),
        cwd=terminal.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def pools(terminal: Terminal) -> dict[str, int]:
    """The functions that have containers, and how many; the mark of a variant left out."""
    rows = json.loads(terminal.squall("function", "list", "vary", "--json").out)
    return {
        row["function"].rpartition("~")[0] + "~" if "~" in row["function"] else row["function"]: row[
            "containers"
        ]
        for row in rows
    }


def test_a_function_with_other_options_has_containers_of_its_own(terminal: Terminal) -> None:
    said = terminal.run(APP.format(version=1), within_s=60)
    assert (said.status, said.out) == (0, SAID), said


def test_a_variant_of_a_deployed_function_is_of_the_version_that_serves_and_its_calls_outlive_the_server(
    terminal: Terminal,
) -> None:
    deploy(terminal, 1)
    assert ask(terminal, f"{OTHER.format(name='tell')}.remote('WHO')") == "('other', 1)"
    assert ask(terminal, "squall.Function.from_name('vary', 'tell').remote('WHO')") == "('itself', 1)"
    assert pools(terminal) == {"tell": 1, "tell~": 1, "inside": 1, "slow": 1, "count": 1}
    deploy(terminal, 2)
    assert ask(terminal, f"{OTHER.format(name='tell')}.remote('WHO')") == "('other', 2)"
    # A spawned call is on record with its variant: the next server knows what it is of.
    call = ask(terminal, f"{OTHER.format(name='slow')}.spawn(3).object_id")
    os.kill(json.loads(terminal.squall("status", "--json").out)["server"]["pid"], signal.SIGKILL)
    assert ask(terminal, f"squall.FunctionCall.from_id({call!r}).get(timeout=50)") == "other"
    # What is gone back to has its own functions, and those variants that are called.
    assert terminal.squall("app", "rollback", "vary", within_s=60).status == 0
    wait_until(lambda: "slow~" not in pools(terminal), within_s=30)
    assert ask(terminal, f"{OTHER.format(name='tell')}.remote('WHO')") == "('other', 1)"


def test_options_that_cannot_be_are_refused_where_the_function_is(terminal: Terminal) -> None:
    deploy(terminal, 1)
    asked = terminal.squall(
        "run",
        str(
            terminal.write(
                "import squall\napp = squall.App('asks')\n@app.local_entrypoint()\ndef main():\n"
                "    squall.Function.from_name('vary', 'tell').with_options(timeout=0.5).remote('WHO')\n"
            )
        ),
    )
    asked.is_error("SQ-1010", "with_options of 'tell': timeout is between 1 and 86400 seconds, not 0.5")
    assert "tell~" not in pools(terminal)
