"""`squall image` and `squall shell --image-step`: a real server, and a real registry on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from squall.images.oci.layout import Layout
from squall.images.oci.nouns import ImageConfig, read_config, read_manifest
from squall.images.registry.client import RegistryClient
from squall.images.registry.credentials import Keychain, Login
from squall.images.registry.nouns import RemoteBlob
from squall.images.registry.reference import parse_reference
from tests.end_to_end.image_house import STEPS, build, fill, images, pulled, started, tiny_root, way_in
from tests.end_to_end.terminal import Terminal, fresh_folder, leave_nothing, wait_until
from tests.linux.images.registry_server import LOGINS, registry_server
from tests.linux.images.wheels import make_wheel

pytestmark = [pytest.mark.needs("linux", "namespaces", "registry"), pytest.mark.timeout(240)]

PASSWORD = "hunter22secret"
HOST = """
import squall

app = squall.App("packed")
image = squall.Image.host().uv_pip_install("tinyone==1.0", find_links={links!r}, extra_options="--no-index")


@app.function(image=image)
def version():
    import tinyone

    return tinyone.VERSION


@app.function()
def plain():
    return 1


@app.local_entrypoint()
def main():
    print(version.remote(), flush=True)
    input()
"""
SLIM = """
import squall

app = squall.App("slim", image=squall.Image.debian_slim().env({"WHOSE": "a function's"}))


@app.function()
def look():
    import os

    return os.environ["WHOSE"]


@app.function()
def other():
    return 1


@app.local_entrypoint()
def main():
    print(look.remote(), flush=True)
    input()
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_root(tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry_server(tmp_path_factory.mktemp("images") / "registry") as address:
        yield address


@pytest.fixture(scope="module")
def tiny(registry: str, root: Path) -> str:
    """The reference of an image in which a shell runs."""
    return fill(registry, "tiny:v1", root)


@pytest.fixture(scope="module")
def terminal(root: Path) -> Iterator[Terminal]:
    """One house for all tests of this module; logged in nowhere. root: made before, so that nothing is started in vain."""
    assert root.is_dir()
    folder = fresh_folder()
    terminal = Terminal(folder=folder, environ={"HOME": str(folder), "DOCKER_CONFIG": str(folder)})
    yield terminal
    leave_nothing(terminal)


def test_looking_starts_no_server() -> None:
    folder = fresh_folder()
    try:
        terminal = Terminal(folder=folder)
        assert images(terminal) == []
        assert "no images" in terminal.squall("image", "list").out
        for command in ("inspect", "logs"):
            terminal.squall("image", command, "abc").is_error("SQ-1011", "'abc'", "image list --all")
        assert terminal.squall("status").status == 3
    finally:
        shutil.rmtree(folder)


def test_a_pulled_image_is_here_and_is_what_a_build_stands_on(terminal: Terminal, tiny: str) -> None:
    key = pulled(terminal, tiny)
    again = terminal.squall("image", "pull", tiny)
    assert again.out == f"{key[:12]}  {tiny}: 1 layers, {again.out.split('layers, ')[1]}"
    assert again.out.endswith("; here already\n")
    (row,) = [row for row in images(terminal, "--all") if row["key"] == key]
    assert (row["kind"], row["label"], row["layers"]) == ("base", f"from_registry {tiny}", 1)
    assert row["size_bytes"] > 100_000
    said = build(terminal, tiny, "exit 3")
    assert "pulling" not in said.out, said
    assert "building run_commands exit 3" in said.out, said


def test_a_login_reaches_the_registry_and_nothing_else(
    terminal: Terminal, root: Path, tmp_path: Path
) -> None:
    with registry_server(tmp_path / "private", logins=LOGINS) as address:
        reference = fill(address, "private:v1", root, Login("ada", PASSWORD))
        terminal.squall("image", "pull", reference).is_error("SQ-1510")
        pull = [sys.executable, "-m", "squall", "image", "pull", "--login", "ada", reference]
        for password, status in (("wrong", 1), ("", 1), (PASSWORD, 0)):
            done = subprocess.run(
                pull,
                env=terminal.environment(),
                input=f"{password}\n",
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            assert done.returncode == status, done
            assert ("SQ-1020" in done.stderr) == (password == ""), done
    for directory in ("images", "logs"):
        for path in (terminal.state / directory).rglob("*"):
            assert path.is_dir() or PASSWORD.encode() not in path.read_bytes(), path


def test_inspect_says_how_programs_start_and_what_made_each_layer(terminal: Terminal, tiny: str) -> None:
    pulled(terminal, tiny)
    build(terminal, tiny, "echo one > /one", "exit 1")
    (row,) = [row for row in images(terminal, "--all") if row["label"] == "run_commands echo one > /one"]
    said = terminal.squall("image", "inspect", row["key"][:8], "--json")
    found = json.loads(said.out)
    assert found["config"]["env"] == {"PATH": "/bin", "GREETING": "hello there"}
    assert found["config"]["workdir"] == "/srv"
    assert found["config"]["cmd"] == ["/bin/sh"]
    assert [layer["step"] for layer in found["layers"]] == [f"from_registry {tiny}", row["label"]]
    assert [layer["entries"] > 0 for layer in found["layers"]] == [True, True]
    assert found["layers"][1]["size_bytes"] == len("one\n")
    assert Path(found["layers"][0]["rendered"], "bin", "sh").is_file()
    shown = terminal.squall("image", "inspect", row["key"][:8]).out
    for line in (f"key: {row['key']}", "python: none", "workdir: /srv", "env: GREETING=hello there"):
        assert line in shown.splitlines(), shown


def test_a_key_that_is_none_is_named_with_those_near_it(terminal: Terminal, tiny: str) -> None:
    key = pulled(terminal, tiny)
    wrong = key[:5] + ("0" if key[5] != "0" else "1")
    for command in (("inspect", wrong), ("logs", wrong), ("push", wrong, tiny), ("export", wrong, "/tmp/x")):
        terminal.squall("image", *command).is_error("SQ-1011", repr(wrong), key[:12])
    terminal.squall("shell", "--image-step", wrong, "--command", "true").is_error("SQ-1011", key[:12])
    terminal.squall("image", "inspect", "").is_error("SQ-1011")


def test_a_failed_step_can_be_looked_at_from_inside(terminal: Terminal, tiny: str) -> None:
    said = build(terminal, tiny, "echo made > /made", "echo trying; exit 9")
    said.is_error("SQ-1500", "echo trying; exit 9", "exit status 9", "\n  trying\n")
    key = way_in(said)
    looks = 'read line < /made; echo "$line, $TOLD, $GREETING, $PWD"; echo lost > /made; exit 5'
    for _ in range(2):
        looked = terminal.squall("shell", "--image-step", key, "--command", looks)
        assert (looked.status, looked.out) == (5, "made, by a step, hello there, /srv\n"), looked
    # What a step may do, and no more: not even to be root of this machine.
    caps = terminal.squall(
        "shell", "--image-step", key, "--command",
        "while read -r a b; do [ $a = CapEff: ] && echo $b; done < /proc/self/status",
    )  # fmt: skip
    assert caps.out == "00000000800005fb\n", caps
    wait_until(lambda: not list((terminal.state / "scratch").glob("shell-*")), within_s=10)


def test_a_shell_at_a_step_is_an_interactive_one_with_our_size(terminal: Terminal, tiny: str) -> None:
    key = way_in(build(terminal, tiny, "exit 1"))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 33, 101, 0, 0))
    shell = subprocess.Popen(
        [sys.executable, "-m", "squall", "shell", "--image-step", key],
        env=terminal.environment(COLUMNS="-", LINES="-"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    said = ""
    try:
        # Typed once the shell asks: it is no script's.
        while not said.endswith("# "):
            said += os.read(ours, 65_536).decode()
        os.write(ours, b"echo told $TOLD in $PWD; exit 6\n")
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while piece := os.read(ours, 65_536):
                said += piece.decode()
        assert shell.wait(30) == 6, said
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)
    assert "nothing of what is done here is kept" in " ".join(said.split()), said
    assert "told by a step in /srv\r\n" in said, said


def test_a_shell_at_a_step_takes_no_container_and_needs_a_shell(
    terminal: Terminal, registry: str, tmp_path: Path
) -> None:
    terminal.squall("shell", "--image-step", "a", "some-container").is_error("SQ-1020", "some-container")
    (tmp_path / "file").write_text("no shell")
    key = pulled(terminal, fill(registry, "bare:v1", tmp_path))
    said = terminal.squall("shell", "--image-step", key, "--command", "true")
    assert said.status != 0, said
    assert "Traceback" not in said.err, said


def test_a_log_is_kept_and_followed_by_as_many_as_like(terminal: Terminal, tiny: str) -> None:
    step = "echo before; until [ -e /squall/build/inputs/go ]; do :; done; echo after; exit 4"
    logs = ("-m", "squall", "image", "logs", "-f")
    with started(terminal, str(STEPS), tiny, step) as (builder, said):
        while said.readline() != "  before\n":
            assert builder.poll() is None
        (place,) = (terminal.state / "builds").glob("build-*")
        key = place.name.split("-")[1]
        first, second = terminal.squall("image", "logs", key).out.splitlines()
        assert (first[:33], second) == ("building run_commands echo before", "  before")
        with started(terminal, *logs, key) as (one, hears), started(terminal, *logs, key) as (other, listens):
            assert hears.readline() == listens.readline() == f"{first}\n"
            (place / "inputs" / "go").touch()
            assert builder.wait(30) == 1
            heard = [hears.read().splitlines(), listens.read().splitlines()]
            assert (one.wait(30), other.wait(30)) == (0, 0)
    whole = terminal.squall("image", "logs", key).out.splitlines()
    assert whole[:3] == [first, second, "  after"]
    assert whole[3].startswith("failed: run_commands echo before"), whole
    assert heard == [whole[1:], whole[1:]]


def test_a_build_ends_with_the_client_that_asked_for_it(terminal: Terminal, tiny: str) -> None:
    with started(terminal, str(STEPS), tiny, "echo on; while :; do :; done") as (_, said):
        while said.readline() != "  on\n":
            pass
        (place,) = (terminal.state / "builds").glob("build-*")
    wait_until(lambda: not place.exists(), within_s=15)
    log = terminal.squall("image", "logs", place.name.split("-")[1]).out
    assert log.endswith("  on\nended before it was done\n"), log


def test_an_image_is_pushed_as_it_is(terminal: Terminal, registry: str, tiny: str) -> None:
    pulled(terminal, tiny)
    key = way_in(build(terminal, tiny, "echo two > /two", "exit 1"))
    said = terminal.squall("image", "push", key, f"{registry}/pushed:v1")
    assert said.status == 0, said
    assert said.out.splitlines()[-1].startswith("sha256:"), said
    again = terminal.squall("image", "push", key, f"{registry}/pushed:v1", "--json")
    assert json.loads(again.out)["sent"] == 0, again
    terminal.squall("image", "push", key, f"{registry}/pushed@sha256:{'a' * 64}").is_error("SQ-1010")

    async def look() -> tuple[str, ImageConfig]:
        client, image = (
            RegistryClient(keys=Keychain({}), environ={}),
            parse_reference(f"{registry}/pushed:v1"),
        )
        found = await client.manifest(image)
        about = read_manifest(found.data).config
        parts = [part async for part in client.blob(image, RemoteBlob(about.digest, about.size))]
        return f"sha256:{found.digest}", read_config(b"".join(parts))

    digest, config = asyncio.run(look())
    assert digest == said.out.splitlines()[-1]
    assert dict(config.env) == {"PATH": "/bin", "GREETING": "hello there", "TOLD": "by a step"}
    assert (config.workdir, len(config.diff_ids)) == ("/srv", 2)
    machine = os.uname().machine
    assert config.platform.architecture == {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def test_an_image_is_exported_as_a_directory_and_as_a_file(
    terminal: Terminal, tiny: str, tmp_path: Path
) -> None:
    key = pulled(terminal, tiny)
    directory, archive = tmp_path / "layout", tmp_path / "image.tar"
    digests = []
    for path in (directory, archive):
        said = terminal.squall("image", "export", key[:9], str(path))
        assert said.status == 0, said
        digests.append(said.out.splitlines()[-1])
    assert digests[0] == digests[1]

    async def index() -> str:
        layout = await Layout.open(directory)
        try:
            (manifest,) = (await layout.index()).manifests
            read_manifest(await layout.document(manifest))
            return f"sha256:{manifest.digest}"
        finally:
            layout.close()

    assert asyncio.run(index()) == digests[0]
    files = {path.relative_to(directory).as_posix(): path for path in directory.rglob("*") if path.is_file()}
    with tarfile.open(archive) as opened:
        held = {member.name: opened.extractfile(member) for member in opened if member.isfile()}
        assert {name: file.read() for name, file in held.items() if file} == {
            name: path.read_bytes() for name, path in files.items()
        }
    terminal.squall("image", "export", key, str(directory)).is_error("SQ-1012", str(directory))
    terminal.squall("image", "export", key, "/nowhere/at/all").is_error("SQ-1010", "/nowhere/at")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.tar", "layout"]


def test_build_builds_and_runs_nothing(terminal: Terminal, tmp_path: Path) -> None:
    make_wheel(tmp_path / "links", "tinyone", "1.0", {"tinyone.py": "VERSION = '1.0'\n"})
    program = terminal.write(HOST.format(links=str(tmp_path / "links")))
    first = terminal.squall("image", "build", str(program), within_s=60)
    assert first.status == 0, first
    assert "building uv_pip_install" in first.err, first
    lines = first.out.splitlines()
    assert re.fullmatch(r"-\s+plain: the host image, for which nothing is built", lines[0]), first
    assert re.fullmatch(r"[0-9a-f]{12}  version: .*; built in \d+\.\d s", lines[1]), first
    assert json.loads(terminal.squall("container", "list", "--json").out) == []
    again = terminal.squall("image", "build", f"{program}::version", "--json")
    (built,) = map(json.loads, again.out.splitlines())
    assert (built["functions"], built["new"], built["layers"][0][:12]) == (["version"], False, lines[1][:12])
    terminal.squall("image", "build", f"{program}::nope").is_error("SQ-1016", "'nope'", "version")
    log = terminal.squall("image", "logs", lines[1][:12]).out
    assert log.splitlines()[0].startswith("building uv_pip_install"), log
    wrong = terminal.write(HOST.format(links=str(tmp_path / "links")).replace("tinyone==1.0", "tinyone==9"))
    terminal.squall("image", "build", str(wrong), within_s=60).is_error("SQ-1501", "tinyone")


def test_what_a_container_uses_is_counted_and_stays(terminal: Terminal, tiny: str, tmp_path: Path) -> None:
    pulled(terminal, tiny)
    make_wheel(tmp_path / "links", "tinyone", "1.0", {"tinyone.py": "VERSION = '1.0'\n"})
    program = terminal.write(HOST.format(links=str(tmp_path / "links")))
    with started(terminal, "-m", "squall", "run", str(program)) as (running, said):
        assert said.readline() == "1.0\n"
        (used,) = [row for row in images(terminal) if row["containers"]]
        assert (used["kind"], used["containers"]) == ("host layer", 1)
        before = {row["key"] for row in images(terminal, "--all")}

        dry = json.loads(terminal.squall("image", "prune", "--all", "--dry-run", "--json").out)
        assert {row["key"] for row in images(terminal, "--all")} == before
        assert {one["key"] for one in dry["gone"]} == before - {used["key"]}
        assert dry["freed_bytes"] > 100_000
        young = json.loads(terminal.squall("image", "prune", "--json").out)
        assert young["gone"] == []

        pruned = json.loads(terminal.squall("image", "prune", "--all", "--json").out)
        assert pruned["gone"] == dry["gone"]
        assert {row["key"] for row in images(terminal, "--all")} == {used["key"]}
        assert [path for path in (terminal.state / "rendered").glob("*/*") if len(path.name) == 64] == []
        assert {path.name for path in (terminal.state / "logs" / "images").iterdir()} <= {used["key"]}
        running.communicate("\n", timeout=30)
        assert running.returncode == 0

    # Nothing remembers what is gone: all of it is made again.
    assert pulled(terminal, tiny) in before
    rebuilt = json.loads(terminal.squall("image", "build", f"{program}::version", "--json").out)
    assert rebuilt["new"] is False
    terminal.squall("image", "prune", "--all", "--keep", "1GB").is_error("SQ-1020", "--all")
    terminal.squall("image", "prune", "--keep", "much").is_error("SQ-1020", "'much'")
    terminal.squall("image", "prune", "--older-than", "soon").is_error("SQ-1020", "'soon'")


@pytest.mark.needs("network")
def test_an_image_of_functions_has_one_key_wherever_it_is_met(terminal: Terminal) -> None:
    program = terminal.write(SLIM)
    built = terminal.squall("image", "build", str(program), within_s=150)
    assert built.status == 0, built
    key = built.out[:12]
    assert re.fullmatch(
        r"[0-9a-f]{12}  look, other: debian_slim, .*; \d+ layers, .* MiB; built in .* s\n", built.out
    )
    again = terminal.squall("image", "build", str(program))
    assert again.out == re.sub(r"built in .* s", "is here already", built.out), again
    found = json.loads(terminal.squall("image", "inspect", key, "--json").out)
    assert (found["kind"], found["config"]["env"]["WHOSE"]) == ("image", "a function's")
    assert len(found["layers"]) > 1
    assert sum(layer["size_bytes"] for layer in found["layers"]) >= found["size_bytes"]
    logs = terminal.squall("image", "logs", key).out
    assert re.search(r"^== debian_slim \([0-9a-f]{12}\)$", logs, re.MULTILINE), logs
    with started(terminal, "-m", "squall", "run", str(program)) as (running, said):
        assert said.readline() == "a function's\n"
        (used,) = [row for row in images(terminal) if row["containers"]]
        assert used["key"].startswith(key)
        pruned = terminal.squall("image", "prune", "--all")
        assert pruned.status == 0, pruned
        left = {row["key"] for row in images(terminal, "--all")}
        assert left >= {step["key"] for step in found["steps"]}
        running.communicate("\n", timeout=30)
        assert running.returncode == 0
    looked = terminal.squall("shell", "--image-step", key, "--command", "echo $WHOSE; exit 4")
    assert (looked.status, looked.out) == (4, "a function's\n"), looked


def test_a_container_may_ask_nothing_about_images(terminal: Terminal) -> None:
    said = terminal.run(
        """
import squall

app = squall.App("nosy")


@app.function()
def ask():
    from squall.sdk.client import Client

    try:
        Client.here().request("image.list")
    except Exception as refused:
        return refused.code
    return "answered"


@app.local_entrypoint()
def main():
    print(ask.remote())
"""
    )
    assert said.out == "SQ-1015\n", said
