"""Environments: Dicts and Queues of one name are told apart by them, and they are renamed and deleted with what is in them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.end_to_end.terminal import Terminal, fresh_folder, leave_nothing

pytestmark = [pytest.mark.needs("linux", "namespaces"), pytest.mark.timeout(240)]

APP = """
import squall

app = squall.App("shop")
seen = squall.Dict.from_name("seen", create_if_missing=True)


@app.function()
def note(key: str, more: squall.Dict | None = None) -> list[tuple[str, str]]:
    seen[key] = "noted"
    if more is not None:
        more[key] = "more"
    return sorted(seen.items())


@app.local_entrypoint()
def main():
    seen["client"] = "put"
    print(note.remote("ran"), sorted(seen.keys()))
    main_seen = squall.Dict.from_name("seen", create_if_missing=True, environment_name="main")
    note.remote("passed", main_seen)
    print(sorted(main_seen.keys()))
"""


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal(folder=fresh_folder())
    yield terminal
    leave_nothing(terminal)


def done(terminal: Terminal, *arguments: str) -> str:
    said = terminal.squall(*arguments, within_s=60)
    assert said.status == 0, said
    return said.out


def told(terminal: Terminal, *arguments: str) -> Any:
    return json.loads(done(terminal, *arguments, "--json"))


def ask(terminal: Terminal, expression: str, **environ: str) -> str:
    asked = subprocess.run(
        [sys.executable, "-c", f"import squall\nprint({expression})"],
        env=terminal.environment(**environ),
        cwd=terminal.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    return asked.stdout.strip()


def test_names_of_one_environment_are_not_those_of_another(terminal: Terminal) -> None:
    done(terminal, "environment", "create", "staging")
    path = str(terminal.write(APP, "shop.py"))
    said = done(terminal, "run", "--env", "staging", path)
    assert said.splitlines() == [
        "[('client', 'put'), ('ran', 'noted')] ['client', 'ran']",
        "['passed']",
    ]
    # A deployed function uses the names of the environment where it is.
    for environment in ("main", "staging"):
        done(terminal, "deploy", path, "--env", environment)
    assert ask(terminal, "squall.Function.from_name('shop', 'note').remote('one')") == (
        "[('one', 'noted'), ('passed', 'more')]"
    )
    note = "squall.Function.from_name('shop', 'note', environment_name='staging')"
    assert "('two', 'noted')" in ask(terminal, f"{note}.remote('two')")
    keys = "sorted(squall.Dict.from_name('seen'{}).keys())"
    assert ask(terminal, keys.format("")) == "['one', 'passed']"
    staged = "['client', 'passed', 'ran', 'two']"
    assert ask(terminal, keys.format(", environment_name='staging'")) == staged
    assert ask(terminal, keys.format(""), SQUALL_ENVIRONMENT="staging") == staged
    assert ask(terminal, "squall.Dict.objects.list()[0].entries, squall.Queue.objects.list()") == "2 []"
    done(terminal, "dict", "create", "only", "--env", "staging")
    assert [row["name"] for row in told(terminal, "dict", "list")] == ["seen"]
    assert [row["name"] for row in told(terminal, "dict", "list", "--env", "staging")] == ["only", "seen"]
    terminal.squall("dict", "items", "only").is_error("SQ-1930", "there is no Dict 'only'")
    terminal.squall("dict", "list", "--env", "nowhere").is_error("SQ-1033", "there is: main, staging")
    terminal.squall("run", "--env", "nowhere", path).is_error("SQ-1033", "there is: main, staging")
    terminal.squall("run", "--env", "no where", path).is_error("SQ-1030", "'no where' is no name")
    for environment in ("main", "staging"):
        done(terminal, "app", "stop", "shop", "--env", environment)


def test_an_environment_with_a_new_name_has_all_that_it_had_also_after_a_restart(terminal: Terminal) -> None:
    secret = terminal.write("KEY=value\n", "key.env")
    done(terminal, "environment", "create", "staging")
    done(terminal, "deploy", str(terminal.write(APP, "shop.py")), "--env", "staging")
    call = "squall.Function.from_name('shop', 'note', environment_name={!r}).remote({!r})"
    ask(terminal, call.format("staging", "before"))
    assert done(terminal, "environment", "update", "staging", "--set-name", "test") == (
        "the environment staging is test now\n"
    )
    assert "('before', 'noted')" in ask(terminal, call.format("test", "after"))
    terminal.squall("app", "history", "shop", "--env", "staging").is_error("SQ-1031")
    terminal.squall("environment", "update", "staging", "--set-name", "more").is_error("SQ-1033")
    terminal.squall("environment", "update", "test", "--set-name", "main").is_error("SQ-1012")
    terminal.squall("environment", "update", "main", "--set-name", "more").is_error("SQ-1010")
    os.kill(told(terminal, "status")["server"]["pid"], signal.SIGKILL)
    assert "('after', 'noted')" in ask(terminal, call.format("test", "later"))
    (row,) = [row for row in told(terminal, "environment", "list") if row["name"] == "test"]
    assert row == {"name": "test", "apps": ["shop"], "dict": 1, "queue": 0, "secret": 0, "volume": 0}
    assert done(terminal, "secret", "create", "key", "--from-file", str(secret), "--env", "test")
    terminal.squall("environment", "update", "test", "--set-name", "more").is_error(
        "SQ-1013", "the environment test has secrets, which are sealed for it: key"
    )


def test_an_environment_is_deleted_with_what_is_in_it_where_that_is_asked_for(terminal: Terminal) -> None:
    done(terminal, "environment", "create", "staging")
    done(terminal, "deploy", str(terminal.write(APP, "shop.py")), "--env", "staging")
    for kind, name in (("dict", "scores"), ("dict", "seen"), ("queue", "work")):
        done(terminal, kind, "create", name, "--env", "staging")
    done(terminal, "dict", "create", "kept")
    done(terminal, "volume", "create", "files", "--env", "staging")
    secret = str(terminal.write("KEY=value\n", "key.env"))
    done(terminal, "secret", "create", "key", "--from-file", secret, "--env", "staging")
    terminal.squall("environment", "delete", "staging", "--with-contents").is_error(
        "SQ-1013", "the environment staging has apps: shop"
    )
    done(terminal, "app", "stop", "shop", "--env", "staging")
    terminal.squall("environment", "delete", "staging").is_error(
        "SQ-1040",
        "the environment staging has things in it: the Dicts scores, seen; the Queues work; the Secrets key; the Volumes files",
    )
    assert len(told(terminal, "dict", "list", "--env", "staging")) == 2
    done(terminal, "environment", "delete", "staging", "--with-contents")
    terminal.squall("dict", "list", "--env", "staging").is_error("SQ-1033")
    assert [row["name"] for row in told(terminal, "environment", "list")] == ["main"]
    assert [row["name"] for row in told(terminal, "dict", "list")] == ["kept"]
    # One of that name has nothing of the one before.
    done(terminal, "environment", "create", "staging")
    for kind in ("dict", "queue", "secret", "volume"):
        assert told(terminal, kind, "list", "--env", "staging") == []


MOUNTED = """
from pathlib import Path
import squall

app = squall.App("shelf", volumes={Path("/data"): squall.Volume.from_name("shelf", create_if_missing=True)})


@app.function()
def names(new: str) -> list[str]:
    path = Path("/data")
    (path / new).touch()
    return sorted(one.name for one in path.iterdir())
"""


def test_a_deployed_app_has_the_volumes_of_its_environment(terminal: Terminal) -> None:
    done(terminal, "environment", "create", "staging")
    path = str(terminal.write(MOUNTED, "shelf.py"))
    for environment in ("main", "staging"):
        done(terminal, "deploy", path, "--env", environment)
    names = "squall.Function.from_name('shelf', 'names', environment_name={!r}).remote({!r})"
    assert ask(terminal, names.format("main", "one")) == "['one']"
    assert ask(terminal, names.format("staging", "two")) == "['two']"
    for environment in ("main", "staging"):
        assert [row["name"] for row in told(terminal, "volume", "list", "--env", environment)] == ["shelf"]
        done(terminal, "app", "stop", "shelf", "--env", environment)
