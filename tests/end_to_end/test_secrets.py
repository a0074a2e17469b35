"""Secrets in real containers: they come after the fork, new versions to new containers, and none of them is found anywhere else."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.canary import family_of, found_of, in_memory, pids_of, spellings
from tests.end_to_end.terminal import Said, Terminal, fresh_folder, leave_nothing, wait_until

pytestmark = [pytest.mark.needs("linux", "namespaces"), pytest.mark.timeout(240)]

# Two of which none stands in any file that ships: one has a name, the other comes from where the program is started.
NAMED, BROUGHT = "canary-named/Zm+9 x", "canary-brought=Qq7&y"
APP = """
import base64
import os
import sys
import time
import urllib.parse

import squall

app = squall.App("keeper", secrets=[squall.Secret.from_name("database", ["PASSWORD"])])


@app.function(secrets=[squall.Secret.from_local_environ(["TOKEN"])], env={"PLAIN": "plain"}, max_containers=1)
def tell(what: str = ""):
    for name in ("PASSWORD", "TOKEN"):
        value = os.environ[name]
        print("plain", value)
        print("base64", base64.b64encode(value.encode()).decode(), base64.b64encode(f"ada:{value}".encode()).decode())
        print("url", urllib.parse.quote(value, safe=""), urllib.parse.quote_plus(value))
        sys.stdout.write(value[:9])
        sys.stdout.flush()
        time.sleep(0.05)
        print(value[9:], "in two")
    for name in ("PASSWORD", "TOKEN"):
        value = os.environ[name].encode()
        for part in (value[:9], value[9:] + b" raw\\n"):
            os.write(1, part)
            time.sleep(0.05)
        os.write(2, value + b"\\n")
    if what == "raise":
        raise ValueError(f"refused: {os.environ['PASSWORD']}")
    if what == "notes":
        error = ValueError("see below", {"token": os.environ["TOKEN"]})
        error.add_note(os.environ["PASSWORD"])
        raise error
    return {name: len(os.environ.get(name, "")) for name in ("PASSWORD", "TOKEN", "PLAIN")}


@app.function()
def other():
    return sorted(os.environ.keys() & {"PASSWORD", "TOKEN"})


@app.function()
def reach():
    said = []
    for doing in (
        lambda: squall.Secret.objects.list(),
        lambda: squall.Secret.objects.create("mine", {"A": "x"}),
        lambda: squall.Secret.from_name("database").update({"A": "x"}),
        lambda: squall.Secret.objects.delete("database"),
        lambda: other.with_options(secrets=[squall.Secret.from_name("theirs")]).remote(),
    ):
        try:
            said.append(repr(doing()))
        except squall.model.errors.PermissionDeniedError as refused:
            said.append("denied")
    return said


@app.function(max_containers=8, single_use_containers=True)
def version():
    return os.environ["PASSWORD"]


@app.function(max_containers=1, scaledown_window=300)
def kept():
    return os.environ["PASSWORD"]
"""
ASK = "import squall, json\nf = squall.Function.from_name('keeper', {name!r})\nprint(json.dumps({expression}))\n"


@pytest.fixture(scope="module")
def terminal() -> Iterator[Terminal]:
    terminal = Terminal(folder=fresh_folder())
    terminal.environ["TOKEN"] = BROUGHT
    set_named(terminal, NAMED)
    said = terminal.squall("deploy", str(terminal.write(APP, "keeper.py")), within_s=60)
    assert said.status == 0, said
    yield terminal
    leave_nothing(terminal)


def typed(terminal: Terminal, *arguments: str, lines: str) -> Said:
    """`squall secret` with these lines on standard input."""
    done = subprocess.run(
        [terminal.python, "-m", "squall", "secret", *arguments],
        env=terminal.environment(),
        cwd=terminal.folder,
        input=lines,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Said(status=done.returncode, out=done.stdout, err=done.stderr, took_s=0.0)


def set_named(terminal: Terminal, value: str) -> None:
    said = typed(terminal, "create", "database", "PASSWORD", "--force", lines=f"{value}\n")
    assert said.status == 0, said


def ask(terminal: Terminal, name: str, expression: str = "f.remote()", *, fails: bool = False) -> Any:
    """What a program says that has nothing of the app."""
    done = subprocess.run(
        [sys.executable, "-c", ASK.format(name=name, expression=expression)],
        env=terminal.environment(TOKEN="-"),
        cwd=terminal.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if fails:
        assert done.returncode, done
        return done.stderr
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def logs(terminal: Terminal, app: str = "keeper") -> str:
    said = terminal.squall("logs", app)
    assert said.status == 0, said
    return said.out + said.err


def template_of(terminal: Terminal, function: str) -> str:
    """How the template of a function stands."""
    found = json.loads(terminal.squall("status", "--json").out)["launchers"]
    return next((row["template"] for row in found if (row["function"] or "").endswith(f"/{function}")), "")


def test_containers_have_the_variables_and_output_has_no_value_of_them(terminal: Terminal) -> None:
    found = ask(terminal, "tell")
    assert found == {"PASSWORD": len(NAMED), "TOKEN": len(BROUGHT), "PLAIN": len("plain")}
    assert ask(terminal, "other") == ["PASSWORD"]
    wait_until(lambda: "in two" in logs(terminal), within_s=10)
    said = logs(terminal)
    assert said.count("plain ****") == 2
    assert said.count("**** in two") == 2
    assert said.count("**** raw") == 2
    for value in (NAMED, BROUGHT):
        for form in spellings(value):
            assert form.decode() not in said, said


def test_what_is_raised_tells_no_value(terminal: Terminal) -> None:
    said = ask(terminal, "tell", "f.remote('raise')", fails=True)
    assert "ValueError: refused: ****" in said
    said += ask(terminal, "tell", "f.remote('notes')", fails=True)
    assert "see below" in said
    for value in (NAMED, BROUGHT):
        assert value not in said, said


def test_a_container_reads_and_sets_no_secret_that_is_not_its_own(terminal: Terminal) -> None:
    said = typed(terminal, "create", "theirs", "KEY", "--force", lines="canary-theirs\n")
    assert said.status == 0, said
    assert ask(terminal, "reach") == ["denied"] * 5
    # Who may run code may give it secrets, as may whoever deploys.
    expression = "f.with_options(secrets=[squall.Secret.from_name('theirs')], env={'A': 'b'}).remote()"
    assert ask(terminal, "other", expression) == []


def test_a_new_version_goes_to_new_containers_and_those_that_run_keep_theirs(terminal: Terminal) -> None:
    before = ask(terminal, "kept")
    assert ask(terminal, "version") == before == NAMED
    set_named(terminal, "canary-second-version")
    began = time.monotonic()
    assert ask(terminal, "version") == "canary-second-version"
    took_s = time.monotonic() - began
    print(
        f"the first container that has the new version answered {took_s:.2f} s after it was set, with a new client"
    )
    assert ask(terminal, "kept") == NAMED
    said = logs(terminal)
    assert NAMED not in said
    set_named(terminal, NAMED)


def test_a_server_and_an_agent_that_were_killed_still_deliver_and_still_hide(terminal: Terminal) -> None:
    ask(terminal, "tell")
    for name in ("squall.server", "squall.agent"):
        for pid in pids_of(terminal, name):
            os.kill(pid, signal.SIGKILL)
    assert ask(terminal, "version") == NAMED
    found = ask(terminal, "tell")
    assert found["TOKEN"] == len(BROUGHT)
    assert BROUGHT not in logs(terminal)


def test_a_rollback_has_the_values_that_its_version_came_with(terminal: Terminal) -> None:
    path = terminal.write(APP, "keeper.py")
    said = terminal.squall("deploy", str(path), within_s=60, TOKEN="short-lived-token")
    assert said.status == 0, said
    assert ask(terminal, "tell")["TOKEN"] == len("short-lived-token")
    said = terminal.squall("app", "rollback", "keeper", within_s=60)
    assert said.status == 0, said
    assert ask(terminal, "tell")["TOKEN"] == len(BROUGHT)


EARLY = """
import os

import squall

app = squall.App("early", secrets=[squall.Secret.from_name("database")])
READ = {read}


class Settings:
    password = READ


@app.function()
def told():
    return READ


@app.local_entrypoint()
def main():
    print([told.remote() for _ in range(4)])
"""


@pytest.mark.parametrize(
    ("read", "named"),
    [
        ('os.environ.get("PASSWORD", "none")', "the secret PASSWORD"),
        ('os.getenv("PASSWORD")', "the secret PASSWORD"),
        ('os.environb.get(b"PASSWORD", b"").decode()', "the secret PASSWORD"),
        ('None if squall.is_local() else os.environ["PASSWORD"]', "the secret PASSWORD"),
        ("dict(os.environ).get('PASSWORD')", "the whole environment"),
    ],
)
def test_code_that_reads_a_secret_while_it_is_imported_gets_no_template_and_works(
    terminal: Terminal, read: str, named: str
) -> None:
    said = terminal.run(EARLY.format(read=read), within_s=60, SQUALL_START_PATH="-")
    assert said.status == 0, said
    assert said.out.splitlines()[-1] == str(["****"] * 4) or NAMED in said.out.splitlines()[-1]
    many = EARLY.format(read=read).replace("for _ in range(4)", "for _ in range(1)") + (
        "    import time\n    time.sleep(2.5)\n    print([told.remote()])\n"
    )
    said = terminal.run(many, within_s=60)
    assert said.status == 0, said
    assert f"starts without a template: the code reads {named}" in said.err, said
    assert "read them inside the function" in said.err


HOOK = """
import os

import squall

app = squall.App("hook", secrets=[squall.Secret.from_name("database")])


@app.cls()
class Model:
    @squall.enter(snap=True)
    def load(self):
        self.password = os.environ.get("PASSWORD")

    @squall.method()
    def told(self):
        return len(self.password)


@app.local_entrypoint()
def main():
    import time
    model = Model()
    print(model.told.remote())
    time.sleep(2.5)
    print(model.told.remote())
"""


def test_a_hook_for_templates_that_reads_a_secret_runs_in_each_container(terminal: Terminal) -> None:
    said = terminal.run(HOOK, within_s=60)
    assert said.status == 0, said
    assert said.out.split() == [str(len(NAMED))] * 2
    assert "the code reads the secret PASSWORD while it is imported, or in a hook with snap=True" in said.err


LATER = """
import os

import squall

app = squall.App("later", secrets=[squall.Secret.from_name("growing")])
EXTRA = os.environ.get("EXTRA", "none")


@app.function(single_use_containers=True)
def grows():
    return EXTRA, os.environ.get("EXTRA", "none")
"""


def test_a_variable_that_a_secret_gets_later_is_looked_for_in_code_that_has_a_template(
    terminal: Terminal,
) -> None:
    assert typed(terminal, "create", "growing", "A", lines="canary-first\n").status == 0
    said = terminal.squall("deploy", str(terminal.write(LATER, "later.py")), within_s=60)
    assert said.status == 0, said
    told = "[squall.Function.from_name('later', 'grows').remote() for _ in range(4)]"
    assert ask(terminal, "other", told) == [["none", "none"]] * 4
    wait_until(lambda: template_of(terminal, "grows") == "ready", within_s=30)
    assert typed(terminal, "update", "growing", "EXTRA", lines="canary-extra\n").status == 0
    found = ask(terminal, "other", told)
    assert found[-1] == ["canary-extra"] * 2, found
    assert ["none", "canary-extra"] not in found, found
    assert "the code reads the secret EXTRA while it is imported" in logs(terminal, "later")
    assert terminal.squall("app", "stop", "later").status == 0


def test_what_is_missing_is_said_before_anything_is_built(terminal: Terminal) -> None:
    text = APP.replace('from_name("database", ["PASSWORD"])', 'from_name("nobody")')
    said = terminal.squall("deploy", str(terminal.write(text, "keeper.py")), "--name", "lacking", within_s=60)
    said.is_error("SQ-1940", "there is no secret 'nobody' in the environment main; there is: database")
    text = APP.replace('["PASSWORD"]', '["PASSWORD", "USER"]')
    said = terminal.squall("deploy", str(terminal.write(text, "keeper.py")), "--name", "lacking", within_s=60)
    said.is_error("SQ-1941", "has no variable USER; it has: PASSWORD", "squall secret update")
    said = terminal.squall("deploy", str(terminal.write(APP, "keeper.py")), TOKEN="-", within_s=60)
    assert said.status != 0
    assert "the variable TOKEN is not set here" in said.err


def test_a_secret_that_was_deleted_is_missed_by_new_containers_alone(terminal: Terminal) -> None:
    text = APP.replace('"keeper"', '"losing"').replace('"database"', '"passing"')
    assert typed(terminal, "create", "passing", "PASSWORD", lines="canary-passing\n").status == 0
    said = terminal.squall("deploy", str(terminal.write(text, "losing.py")), within_s=60)
    assert said.status == 0, said
    kept = "squall.Function.from_name('losing', 'kept').remote()"
    assert ask(terminal, "other", kept) == "canary-passing"
    assert terminal.squall("secret", "delete", "passing").status == 0
    assert ask(terminal, "other", kept) == "canary-passing"
    version = "squall.Function.from_name('losing', 'version').remote()"
    # The container that its deploy was tried with had been given it before.
    assert ask(terminal, "other", version) == "canary-passing"
    said = ask(terminal, "other", version, fails=True)
    assert "SecretNotFound: there is no secret 'passing' in the environment main" in said
    assert terminal.squall("app", "stop", "losing").status == 0


def test_a_value_is_found_nowhere_but_where_it_belongs(terminal: Terminal) -> None:
    for _ in range(3):
        ask(terminal, "tell")
        ask(terminal, "version")
    ask(terminal, "tell", "f.remote('raise')", fails=True)
    ask(terminal, "tell", "f.spawn('notes').object_id")
    wait_until(lambda: "squall-template" in family_of(pids_of(terminal)).values(), within_s=30)
    ask(terminal, "tell")
    said = terminal.squall("backup", str(terminal.folder / "copy.db"))
    assert said.status == 0, said
    shown = [
        terminal.squall(*asked)
        for asked in (
            ("logs", "keeper"),
            ("status", "--json"),
            ("app", "list", "--json"),
            ("app", "history", "keeper", "--json"),
            ("function", "list", "--json"),
            ("container", "list", "--json"),
            ("secret", "list", "--json"),
        )
    ]
    values = [NAMED, BROUGHT]
    wanted = [form.decode() for value in values for form in spellings(value)]
    assert not [one for one in wanted for said in shown if one in said.out + said.err]
    assert found_of(terminal, values) == []
    assert not any(one.encode() in (terminal.folder / "copy.db").read_bytes() for one in wanted)
    # Nobody here would leave a dump.
    for pid, name in family_of(pids_of(terminal)).items():
        limits = Path(f"/proc/{pid}/limits").read_text()
        soft = re.search(r"^Max core file size\s+(\S+)", limits, re.MULTILINE)
        assert soft is not None
        # With one byte not even a program that the kernel passes dumps to gets any.
        assert soft[1] in {"0", "1"}, name


def test_the_search_for_the_canary_finds_what_is_there(terminal: Terminal) -> None:
    ask(terminal, "tell")
    values = [NAMED, BROUGHT]
    wanted = [form for value in values for form in spellings(value)]
    # In a container that has it, on purpose, and in a file that somebody left.
    runners = [pid for pid, name in family_of(pids_of(terminal)).items() if name == "squall-runner"]
    assert any(in_memory(pid, wanted) for pid in runners)
    left = terminal.state / "left.txt"
    left.write_text(f"token: {BROUGHT}")
    try:
        assert found_of(terminal, values) == [f"{left}: {BROUGHT.encode()!r}"]
    finally:
        left.unlink()
    planted = subprocess.Popen(
        [sys.executable, "-c", "input()", str(terminal.state), NAMED], stdin=subprocess.PIPE
    )
    try:
        wait_until(lambda: bool(found_of(terminal, values)), within_s=10)
        assert f"({planted.pid})" in found_of(terminal, values)[0]
    finally:
        planted.communicate(b"\n")
