"""The whole product on each kind of host: what a container shows, how limits end it, and what the doctor says."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests import machine
from tests.end_to_end.terminal import SOURCES, Said, Terminal, fresh_folder, left_of, wait_until

pytestmark = pytest.mark.needs("linux", "namespaces")

USER = 54_322
FIRST = 0x5100_0000
PROGRAM = Path(__file__).parent / "programs" / "look_inside.py"
GOLDEN = Path(__file__).parent / "golden"
PACKAGES = ("click", "cloudpickle", "rich", "markdown_it", "mdurl", "pygments", "uvloop")
REFUSED = (
    *("unshare", "-Ur", "sh", "-c"),
    'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set -sys_admin "$@"',
    "sh",
)
DROP = ("setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups")


@dataclass(slots=True, kw_only=True)
class Row:
    """One kind of host: how `squall` is run there. name: as the doctor calls it; kind: as the tests do."""

    name: str
    kind: str
    terminal: Terminal
    program: Path

    @property
    def isolated(self) -> bool:
        return self.name != "refused"

    def look(self, what: str = "look", **environ: str) -> tuple[Any, Said]:
        """What `what` found, and all that was said."""
        said = self.terminal.squall(
            "run", str(self.program), "--what", what, within_s=90, cwd=self.program.parent, **environ
        )
        assert "FOUND " in said.out, said
        line = next(line for line in said.out.splitlines() if line.startswith("FOUND "))
        return json.loads(line.removeprefix("FOUND ")), said


@pytest.fixture(scope="module")
def outside() -> Iterator[tuple[str, Path]]:
    """An interpreter and our sources outside every home, for ordinary users."""
    if os.geteuid() != 0:
        yield sys.executable, SOURCES
        return
    found = shutil.which(f"python{sysconfig.get_python_version()}", path="/usr/bin:/usr/local/bin")
    if found is None:
        pytest.skip(
            "needs root: and an interpreter of this version in /usr/bin, for the ordinary user's part"
        )
    folder = fresh_folder(below="/var/tmp")
    try:
        yield make_venv(found, folder / "venv"), copy_sources(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_venv(python: str, at: Path, *, copies: bool = False) -> str:
    """A virtual environment with what Squall needs, readable for everybody; its interpreter."""
    flags = ["--without-pip", *(["--copies"] if copies else [])]
    subprocess.run([python, "-m", "venv", *flags, str(at)], check=True, capture_output=True, timeout=60)
    packages = next(at.glob("lib/python3*/site-packages"))
    own = Path(sysconfig.get_path("purelib"))
    for name in PACKAGES:
        if (own / name).is_dir():
            shutil.copytree(own / name, packages / name, ignore=shutil.ignore_patterns("__pycache__"))
    at.parent.chmod(0o755)
    return str(at / "bin" / "python")


def copy_sources(folder: Path) -> Path:
    place = folder / "src"
    shutil.copytree(SOURCES, place, ignore=shutil.ignore_patterns("__pycache__"))
    return place


@contextmanager
def a_house(
    python: str, sources: Path, *, owner: int, wrapper: tuple[str, ...]
) -> Iterator[tuple[Terminal, Path]]:
    """A home, a state directory in it and the program; nothing is left of them."""
    home = fresh_folder(below="/var/tmp")
    program = home / "project" / "look_inside.py"
    program.parent.mkdir()
    shutil.copy(PROGRAM, program)
    if os.geteuid() == 0:
        for path in (home, program.parent, program):
            os.chown(path, owner, owner)
    environ = {"PYTHONPATH": str(sources), "HOME": str(home), "TMPDIR": "-", "LOOK_AT": str(home)}
    terminal = Terminal(folder=home, python=python, wrapper=wrapper, environ=environ)
    try:
        yield terminal, program
        done = terminal.squall("down")
        assert done.status == 0, done
        wait_until(lambda: not left_of(terminal.state), within_s=10, why=lambda: left_of(terminal.state))
    finally:
        shutil.rmtree(home, ignore_errors=True)


def wrapper_of(kind: str, stack: ExitStack) -> tuple[str, ...]:
    """What commands are run through to be on this kind of host."""
    if kind == "refused":
        return REFUSED
    if kind == "root" or os.geteuid() != 0:
        return ()
    if kind == "delegated user":
        return stack.enter_context(delegated())
    return DROP


@contextmanager
def delegated() -> Iterator[tuple[str, ...]]:
    """A user with subordinate ids, in a mount namespace whose files say so, and with a group in each hierarchy."""
    folder = fresh_folder()
    groups = [Path(f"/sys/fs/cgroup/{name}/{folder.name}") for name in version_1()]
    if not groups:
        pytest.skip("needs cgroups: of version 1, which a test can give away")
    files = {
        "/etc/passwd": Path("/etc/passwd").read_text() + f"rows:x:{USER}:{USER}::/:/bin/sh\n",
        "/etc/subuid": f"rows:{FIRST}:65536\n",
        "/etc/subgid": f"rows:{FIRST}:65536\n",
    }
    script = "mount --make-rprivate /\n"
    missing = [target for target in files if not Path(target).exists()]
    for target, text in files.items():
        Path(target).touch()
        source = folder / target.rpartition("/")[2]
        source.write_text(text)
        source.chmod(0o644)
        script += f"mount --bind {source} {target}\n"
    for group in groups:
        group.mkdir()
        for path in (group, group / "cgroup.procs"):
            os.chown(path, USER, USER)
        script += f"echo $$ > {group}/cgroup.procs\n"
    try:
        yield ("unshare", "-m", "sh", "-ec", script + 'exec "$@"', "sh", *DROP)
    finally:
        for group in groups:
            wait_until(partial(remove, group), within_s=10, why=partial(str, group))
        for target in missing:
            Path(target).unlink()
        shutil.rmtree(folder)


def version_1() -> list[str]:
    mounts = Path("/proc/mounts").read_text()
    return [name for name in ("memory", "cpu", "pids") if f" /sys/fs/cgroup/{name} cgroup " in mounts]


def remove(group: Path) -> bool:
    for below in sorted(group.rglob("*/"), reverse=True):
        if below.is_dir():
            try:
                below.rmdir()
            except OSError:
                return False
    try:
        group.rmdir()
    except OSError:
        return False
    return True


ROWS = [
    pytest.param("root", marks=pytest.mark.needs("root")),
    pytest.param("delegated user", marks=pytest.mark.needs("root", "cgroups", "subordinate_ids")),
    "bare user",
    "refused",
    pytest.param("private home", marks=pytest.mark.needs("venv")),
]


@pytest.fixture(scope="module", params=ROWS)
def row(request: pytest.FixtureRequest, outside: tuple[str, Path]) -> Iterator[Row]:
    kind = request.param
    python, sources = outside
    owner = os.geteuid()
    if kind in {"delegated user", "bare user", "private home"} and owner == 0:
        owner = USER
    elif owner == 0:
        # Root's own interpreter, wherever it lies: often in a home that nobody else may enter.
        python, sources = sys.executable, SOURCES
    with ExitStack() as stack:
        wrapper = wrapper_of(kind, stack)
        terminal, program = stack.enter_context(a_house(python, sources, owner=owner, wrapper=wrapper))
        if kind == "private home":
            terminal.python = make_venv(os.path.realpath(python), terminal.folder / "env", copies=True)
            terminal.folder.chmod(0o700)
        name = "bare user" if kind == "private home" else kind
        if os.geteuid() != 0 and kind in {"bare user", "private home"}:
            facts = machine.facts()
            name = "delegated user" if facts["cgroups"] and facts["subordinate_ids"] else "bare user"
        yield Row(name=name, kind=kind, terminal=terminal, program=program)


def test_a_container_shows_itself_and_nothing_of_its_host_or_the_run_says_what_it_shows(row: Row) -> None:
    found, said = row.look()
    if row.isolated:
        expect_isolation(found)
    else:
        for words in ("your user", "your files", "your network"):
            assert words in said.err, said


def expect_isolation(found: dict[str, Any]) -> None:
    assert found["id"] == "0"
    assert (found["CapEff"], found["CapBnd"]) == ("0" * 16, "0" * 16)
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")
    assert not {"boot", "media", "lost+found"} & set(found["root"]), found["root"]
    assert found["ps"] == ["squall-init", "squall-runner"], found["ps"]
    assert found["hostname"] == "look"
    assert found["own_name"] == "127.0.1.1"
    assert found["root_of_1"] == found["environ_of_1"] == "PermissionError"
    # Of the home only what holds the interpreter is there, and nothing beside it.
    assert isinstance(found["homes"], str) or found["homes"] == ["env"], found["homes"]
    assert found["cwd"] == "/app"


def test_a_network_that_is_blocked_ends_with_a_hint(row: Row) -> None:
    if not row.isolated:
        return
    found, _ = row.look("reach")
    assert "block_network=True" in found["reach"], found


def test_each_limit_ends_in_its_own_error(row: Row) -> None:
    found, _ = row.look("eat,slow,leave,crash")
    assert found["eat"].startswith("OutOfMemory"), found
    assert "128 MiB" in found["eat"], found
    assert "peak" in found["eat"], found
    assert found["slow"].startswith("FunctionTimeout"), found
    assert found["leave"].startswith("ContainerExited"), found
    assert "7" in found["leave"], found
    assert "SIGSEGV" in found["crash"], found


def test_too_many_processes_have_a_name(row: Row) -> None:
    if not row.isolated:
        return  # There is no user namespace to count in: the doctor says so.
    found, _ = row.look("spread")
    assert found["spread"].startswith("TooManyProcesses"), found
    assert "4096" in found["spread"], found


def test_what_needs_mounts_is_refused_by_name_without_them(row: Row) -> None:
    text = """import squall
app = squall.App("adds")
image = squall.Image.host().add_local_file(__file__, "/etc/added")
@app.function(image=image)
def there():
    return open("/etc/added").read()[:6]
"""
    program = row.program.parent / "adds.py"
    program.write_text(text)
    said = row.terminal.squall("run", str(program), cwd=program.parent)
    if row.isolated:
        assert (said.status, said.out) == (0, "import\n"), said
    else:
        said.is_error("SQ-1700", "/etc/added")


def test_a_call_outlives_its_agent(row: Row) -> None:
    argv = [*row.terminal.wrapper, row.terminal.python, "-m", "squall", "run"]
    client = subprocess.Popen(
        [*argv, f"{row.program}::nap", "--seconds", "3"],
        env=row.terminal.environment(),
        cwd=row.program.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert client.stdout is not None
        assert client.stdout.readline() == "napping\n"
        record = json.loads((row.terminal.state / "run" / "supervisor.json").read_text())
        agent = find_pid(record, "agent")
        os.kill(agent, signal.SIGKILL)
        out, err = client.communicate(timeout=30)
    finally:
        if client.poll() is None:
            client.kill()
            client.wait()
    assert client.returncode == 0, err
    assert "napping" not in out, f"it ran twice: {out!r} {err!r}"
    assert out.strip().isdigit(), (out, err)


def find_pid(record: dict[str, Any], name: str) -> int:
    pid: int = record["members"][name]["pid"]
    return pid


def test_the_doctor_prints_the_rows_table(row: Row) -> None:
    said = row.terminal.squall("doctor", "--json")
    assert said.status == 0, said
    told = json.loads(said.out)
    assert told["row"] == row.name
    table = {rung["feature"]: rung["rung"] for rung in told["rungs"]}
    golden = json.loads((GOLDEN / "doctor.json").read_text())[row.kind]
    if row.kind != "root" and "out through" in table["network"]:
        # Where pasta or slirp4netns is installed, users have more; test_network.py has them with and without.
        golden = {**golden, "network": table["network"]}
    if row.kind == "refused" and not machine.facts()["cgroups"]:
        # Namespaces are refused on top of what whoever runs the tests has: here no group to limit anything with.
        golden |= {
            "memory limit": "sampled 20 times a second, killed at the limit",
            "process limit": "none",
            "CPU limit": "none",
        }
    assert {name: table[name] for name in golden} == golden
    assert all(rung["more"] for rung in told["rungs"] if not rung["good"])
