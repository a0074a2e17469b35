"""Deployed apps: versions take each other's place, one that cannot be loaded never does, and names find them from anywhere."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.terminal import Said, Terminal, fresh_folder, leave_nothing, wait_until

pytestmark = [pytest.mark.needs("linux", "namespaces"), pytest.mark.timeout(240)]

JOBS = """
import time

import squall

app = squall.App("jobs", tags={{"team": "blue"}})
VERSION = {version}


@app.function()
def which(number: int = 0) -> tuple[int, int]:
    return VERSION, number


@app.function(max_containers=1)
def waits(key: str) -> int:
    gate = squall.Function.from_name("gate", "gate")
    gate.remote(key, f"began {{VERSION}}")
    while "go" not in gate.remote(key):
        time.sleep(0.02)
    return VERSION


@app.function()
def above(depth: int = 3) -> list[int]:
    mine = squall.Function.from_name("jobs", "above")
    return [VERSION, *(mine.remote(depth - 1) if depth else [])]


@app.function()
def count(upto: int):
    for number in range(upto):
        yield VERSION, number
{more}
"""
# What tests and containers tell each other, by way of a container.
GATE = """
import squall

app = squall.App("gate")
words = {}


@app.function(min_containers=1, max_containers=1)
def gate(key: str, word: str = "") -> list[str]:
    said = words.setdefault(key, [])
    if word:
        said.append(word)
    return said
"""
ASK = "import squall\nprint({})\n"
BROKEN = "\nif not squall.is_local():\n    raise LookupError('no such star')\n"
NEVER_READY = "\n@app.function(startup_timeout=1)\ndef late():\n    pass\n\nif not squall.is_local():\n    time.sleep(30)\n"


@pytest.fixture(scope="module")
def terminal() -> Iterator[Terminal]:
    terminal = Terminal(folder=fresh_folder())
    said = terminal.squall("deploy", str(terminal.write(GATE, "gate.py")), within_s=60)
    assert said.status == 0, said
    yield terminal
    leave_nothing(terminal)


@pytest.fixture
def fresh() -> Iterator[Terminal]:
    terminal = Terminal(folder=fresh_folder())
    yield terminal
    leave_nothing(terminal)


def deploy(terminal: Terminal, version: int, *arguments: str, more: str = "") -> Said:
    """The jobs app at a version of its code."""
    path = terminal.write(JOBS.format(version=version, more=more), "jobs.py")
    return terminal.squall("deploy", str(path), *arguments, within_s=60)


def deployed(terminal: Terminal, version: int, *arguments: str) -> dict[str, Any]:
    said = deploy(terminal, version, "--json", *arguments)
    assert said.status == 0, said
    found: dict[str, Any] = json.loads(said.out)
    return found


def ask(terminal: Terminal, expression: str, **environ: str) -> str:
    """What a program says that has none of the app's code."""
    done = asking(terminal, expression, **environ)
    out, err = done.communicate(timeout=60)
    assert done.returncode == 0, err
    return out.strip()


def asking(terminal: Terminal, expression: str, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", ASK.format(expression)],
        env=terminal.environment(**environ),
        cwd=terminal.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def function(name: str, more: str = "") -> str:
    return f"squall.Function.from_name('jobs', {name!r}{more})"


def told(terminal: Terminal, *arguments: str) -> Any:
    said = terminal.squall(*arguments, "--json")
    assert said.status == 0, said
    return json.loads(said.out)


def tell(terminal: Terminal, key: str, word: str = "") -> str:
    return ask(terminal, f"squall.Function.from_name('gate', 'gate').remote({key!r}, {word!r})")


def wait_for(terminal: Terminal, key: str, word: str) -> None:
    wait_until(lambda: word in tell(terminal, key), within_s=30)


def states(terminal: Terminal) -> dict[int, str]:
    """What became of each version."""
    return {row["version"]: row["state"] for row in told(terminal, "app", "history", "jobs")}


def test_a_function_of_a_deployed_app_is_called_by_its_name_from_a_program_without_its_code(
    terminal: Terminal,
) -> None:
    said = deploy(terminal, 1)
    assert (said.status, said.out) == (
        0,
        f"jobs: version {max(states(terminal))} serves: above, count, waits, which\n",
    ), said
    assert ask(terminal, f"{function('which')}.remote(2)") == "(1, 2)"
    assert ask(terminal, f"list({function('which')}.map(range(3)))") == "[(1, 0), (1, 1), (1, 2)]"
    assert ask(terminal, f"{function('which')}.spawn(7).get()") == "(1, 7)"
    assert ask(terminal, f"list({function('count')}.remote_gen(2))") == "[(1, 0), (1, 1)]"
    assert ask(terminal, f"list({function('count')}.remote(2))") == "[(1, 0), (1, 1)]"
    # It can be given to others, and says what it has not.
    passed = f"__import__('pickle').loads(__import__('pickle').dumps({function('which')})).remote(4)"
    assert ask(terminal, passed) == "(1, 4)"
    said_of = asking(terminal, f"{function('which')}.local(1)").communicate(timeout=60)[1]
    assert "SQ-1400" in said_of or "is not here" in said_of, said_of


def test_new_calls_go_to_the_new_version_and_the_old_one_ends_those_that_it_has(terminal: Terminal) -> None:
    first = deployed(terminal, 11)["version"]
    with asking(terminal, f"{function('waits')}.remote('drains')") as old:
        wait_for(terminal, "drains", "began 11")
        second = deployed(terminal, 12)["version"]
        assert second == first + 1
        assert ask(terminal, f"{function('which')}.remote()") == "(12, 0)"
        assert (states(terminal)[first], states(terminal)[second]) == ("draining", "serving")
        assert ask(terminal, f"{function('which', f', version={first}')}.remote()") == "(11, 0)"
        tell(terminal, "drains", "go")
        out, err = old.communicate(timeout=60)
    assert (out, old.returncode) == ("11\n", 0), err
    wait_until(lambda: states(terminal)[first] == "superseded", within_s=30, why=lambda: states(terminal))
    gone = asking(terminal, f"{function('which', f', version={first}')}.remote()").communicate(timeout=60)[1]
    assert "SQ-1032" in gone, gone
    assert f"squall app rollback jobs {first}" in gone, gone


def test_what_a_version_calls_by_name_is_of_that_version(terminal: Terminal) -> None:
    deployed(terminal, 21)
    assert ask(terminal, f"{function('above')}.remote()") == "[21, 21, 21, 21]"


@pytest.mark.parametrize("kind", ["raises", "never ready"])
def test_a_version_that_cannot_be_loaded_takes_no_call_and_its_traceback_is_shown(
    terminal: Terminal, kind: str
) -> None:
    serves = deployed(terminal, 31)["version"]
    said = deploy(terminal, 32, more=BROKEN if kind == "raises" else NEVER_READY)
    if kind == "raises":
        said.is_traceback("LookupError: no such star", "jobs.py", "raise LookupError")
        assert "error[SQ-1034]: " in said.err, said
    else:
        said.is_error("SQ-1034", "late")
    assert ask(terminal, f"{function('which')}.remote()") == "(31, 0)"
    now = states(terminal)
    assert (now[serves], now[serves + 1]) == ("serving", "failed")
    failed = told(terminal, "app", "history", "jobs")[0]
    assert "takes no calls" in failed["why"]
    assert not [row for row in told(terminal, "container", "list") if row["app"] == failed["id"]]


def test_a_rollback_is_a_version_that_is_what_an_earlier_one_was(terminal: Terminal) -> None:
    first = deployed(terminal, 41, "--tag", "good")["version"]
    second = deployed(terminal, 42)["version"]
    said = terminal.squall("app", "rollback", "jobs")
    assert said.out == f"jobs: version {second + 1} serves, which is version {first} again\n", said
    assert ask(terminal, f"{function('which')}.remote()") == "(41, 0)"
    back = told(terminal, "app", "rollback", "jobs", str(second))
    assert (back["version"], back["rolled_back_to"]) == (second + 2, second)
    assert ask(terminal, f"{function('which')}.remote()") == "(42, 0)"
    tags = {row["version"]: row["tag"] for row in told(terminal, "app", "history", "jobs")}
    assert (tags[first], tags[second + 1], tags[second + 2]) == ("good", "good", "")
    terminal.squall("app", "rollback", "jobs", "999").is_error("SQ-1032", "no version 999", str(first))


def test_a_recreated_version_starts_once_the_containers_before_have_gone(terminal: Terminal) -> None:
    deployed(terminal, 51)
    path = terminal.write(JOBS.format(version=52, more=""), "jobs.py")
    with asking(terminal, f"{function('waits')}.remote('recreated')") as old:
        wait_for(terminal, "recreated", "began 51")
        with subprocess.Popen(
            [sys.executable, "-m", "squall", "deploy", str(path), "--strategy", "recreate"],
            env=terminal.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as new:
            assert new.stderr is not None
            line = next(line for line in new.stderr if "not ready yet" in line)
            assert "it waits until the version before has ended its calls (1 in hand)" in line
            with asking(terminal, f"{function('which')}.remote()") as held:
                # Whoever calls meanwhile waits for the new one.
                assert new.poll() is None
                tell(terminal, "recreated", "go")
                assert old.communicate(timeout=60)[0] == "51\n"
                assert held.communicate(timeout=60)[0] == "(52, 0)\n"
            assert new.wait(timeout=60) == 0


def test_a_stopped_app_is_called_no_more_until_it_is_deployed_again(terminal: Terminal) -> None:
    deployed(terminal, 61)
    with asking(terminal, f"{function('waits')}.remote('stopped')") as old:
        wait_for(terminal, "stopped", "began 61")
        assert terminal.squall("app", "stop", "jobs").out.startswith("stopped jobs (ap-")
        assert old.communicate(timeout=60)[1]
        assert old.returncode == 1
    gone = asking(terminal, f"{function('which')}.remote()").communicate(timeout=60)[1]
    assert "SQ-1031: " in gone, gone
    terminal.squall("app", "stop", "jobs").is_error("SQ-1011", "'jobs'")
    assert set(states(terminal).values()) <= {"stopped", "superseded", "failed"}
    deployed(terminal, 62)
    assert ask(terminal, f"{function('which')}.remote()") == "(62, 0)"


def test_apps_of_one_name_in_two_environments_know_nothing_of_each_other(terminal: Terminal) -> None:
    deployed(terminal, 71)
    deploy(terminal, 72, "--env", "staging").is_error("SQ-1033", "'staging'", "squall environment create")
    assert terminal.squall("environment", "create", "staging").out == "made the environment staging\n"
    terminal.squall("environment", "create", "staging").is_error("SQ-1012", "'staging'")
    assert deployed(terminal, 72, "--env", "staging") == {
        "app": "jobs",
        "environment": "staging",
        "version": 1,
        "functions": ["above", "count", "waits", "which"],
    }
    assert ask(terminal, f"{function('which')}.remote()") == "(71, 0)"
    there = function("which", ", environment_name='staging'")
    assert ask(terminal, f"{there}.remote()") == "(72, 0)"
    assert ask(terminal, f"{function('which')}.remote()", SQUALL_ENVIRONMENT="staging") == "(72, 0)"
    # In a container it is that of its own app which is meant.
    nested = function("above", ", environment_name='staging'")
    assert ask(terminal, f"{nested}.remote(1)") == "[72, 72]"
    shown = terminal.squall("environment", "list").out
    assert re.fullmatch(
        r"NAME +DICTS +QUEUES +SECRETS +VOLUMES +APPS\nmain( +0){4} +gate, jobs\nstaging( +0){4} +jobs\n",
        shown,
    ), shown
    terminal.squall("environment", "delete", "staging").is_error("SQ-1013", "jobs", "--env staging")
    assert terminal.squall("app", "stop", "jobs").status == 0
    terminal.squall("app", "stop", "jobs").is_error("SQ-1031", "in staging there is one of that name")
    assert ask(terminal, f"{there}.remote()") == "(72, 0)"
    assert terminal.squall("app", "stop", "jobs", "--env", "staging").status == 0
    assert terminal.squall("environment", "delete", "staging").out == "deleted the environment staging\n"


def test_names_that_cannot_be_are_refused_before_anything_is_sent(terminal: Terminal) -> None:
    before = told(terminal, "app", "list")
    for name in ("two words", "-dash", "", "a" * 65, "ünder", "slash/ed", "ap-" + "0" * 32):
        deploy(terminal, 1, f"--name={name}").is_error("SQ-1030", repr(name), "1 to 64")
    deploy(terminal, 1, "--env", "no no").is_error("SQ-1030", "'no no'")
    deploy(terminal, 1, "--tag", "no no").is_error("SQ-1030", "'no no'")
    deploy(terminal, 1, "--strategy", "bluegreen").is_error("SQ-1020", "bluegreen", status=2)
    nameless = terminal.write("import squall\napp = squall.App()\n")
    terminal.squall("deploy", str(nameless)).is_error("SQ-1030", "without a name", "--name")
    terminal.squall("app", "history", "nobody").is_error("SQ-1031", "'nobody'")
    terminal.squall("app", "rollback", "nobody").is_error("SQ-1032", "nobody")
    assert [row["id"] for row in told(terminal, "app", "list")] == [row["id"] for row in before]


def test_an_app_is_deployed_from_a_program_and_looked_up(terminal: Terminal) -> None:
    text = JOBS.format(version=81, more="").replace('"jobs"', '"fromcode"')
    text += """
import asyncio

if __name__ == "__main__":
    assert app.deploy(tag="first") is app
    one = app.version
    print(which.remote(1), squall.App.lookup("fromcode").version == one)
    asyncio.run(app.deploy.aio(name="renamed"))
    print(which.remote(2), app.version, squall.Function.from_name("renamed", "which").remote(3))
    print(squall.App.lookup("made", create_if_missing=True).version, squall.App.lookup("made").version)
"""
    path = terminal.write(text)
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, str(path)],
            env=terminal.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["(81, 1) True", "(81, 2) 2 (81, 3)", "1 1"], done.stderr
    (row,) = [row for row in told(terminal, "app", "list") if row["name"] == "fromcode"]
    assert (row["tag"], row["tags"], row["version"]) == ("first", {"team": "blue"}, 2)
    for name in ("fromcode", "renamed", "made"):
        assert terminal.squall("app", "stop", name).status == 0


def test_a_deployed_app_outlives_its_server_whichever_way_that_ends(fresh: Terminal) -> None:
    assert deployed(fresh, 91)["version"] == 1
    os.kill(told(fresh, "status")["server"]["pid"], signal.SIGKILL)
    assert ask(fresh, f"{function('which')}.remote()") == "(91, 0)"
    assert fresh.squall("down").status == 0
    # The first question starts a server, which takes up what was deployed.
    assert ask(fresh, f"{function('which')}.remote(1)") == "(91, 1)"
    assert deployed(fresh, 92)["version"] == 2
    assert ask(fresh, f"{function('which')}.remote(1)") == "(92, 1)"


@pytest.mark.parametrize("point", ["recorded", "ready", "switched", "drained"])
def test_a_server_that_dies_during_a_deploy_leaves_a_whole_version_serving_and_the_deploy_goes_on(
    fresh: Terminal, point: str
) -> None:
    # Each server dies when it comes there a second time.
    fresh.environ["SQUALL_FAULT"] = f"deploy.{point}:2"
    first = told(fresh, "app", "list") or told(fresh, "status")["server"]["pid"]
    for number in (1, 2, 3):
        assert deployed(fresh, 94 + number)["version"] == number
        assert ask(fresh, f"{function('which')}.remote()") == f"({94 + number}, 0)"
    ended = {1: "superseded", 2: "superseded", 3: "serving"}
    wait_until(lambda: states(fresh) == ended, within_s=40, why=lambda: states(fresh))
    assert told(fresh, "status")["server"]["pid"] != first


def test_what_the_commands_print_is_as_it_was(fresh: Terminal) -> None:
    golden = Path(__file__).parent / "golden" / "deploy.txt"
    said = []
    for arguments in (
        ("deploy", str(fresh.write(JOBS.format(version=1, more=""), "jobs.py")), "--tag", "first"),
        ("app", "list"),
        ("app", "list", "--json"),
        ("function", "list"),
        ("function", "list", "jobs", "--json"),
        ("app", "rollback", "jobs", "1"),
        ("app", "history", "jobs"),
        ("app", "history", "jobs", "--json"),
        ("environment", "create", "staging"),
        ("environment", "list"),
        ("environment", "list", "--json"),
        ("app", "stop", "jobs"),
        ("function", "list"),
        ("environment", "delete", "staging"),
    ):
        if arguments == ("app", "history", "jobs"):
            wait_until(lambda: states(fresh) == {1: "superseded", 2: "serving"}, within_s=30)
        shown = " ".join(word.rpartition("/")[2] for word in arguments)
        done = fresh.squall(*arguments)
        assert done.status == 0, done
        said.append(f"$ squall {shown}\n{_timeless(done.out)}")
    assert "".join(said) == golden.read_text(encoding="utf-8")


def _timeless(text: str) -> str:
    """What differs from run to run made the same, in as many columns."""
    text = re.sub(r"ap-[0-9a-f]{32}", "ap-" + "0" * 32, text)
    text = re.sub(r"\b\d+s(?= |$)", "0s", text, flags=re.MULTILINE)
    text = re.sub(r"[\w.-]+@[\w.-]+", "ada@here", text)
    text = re.sub(r'("(?:client_pid|created|created_s|ended_s)": )[\d.]+', r"\g<1>0", text)
    # Which containers are there still is a matter of moments.
    text = re.sub(r'("containers": )\d+', r"\g<1>0", text)
    return re.sub(r" +", " ", re.sub(r"(serving +\d+) +\d+", r"\1 0", text))
