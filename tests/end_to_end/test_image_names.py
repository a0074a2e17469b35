"""Names of images: published from programs and commands, stood on, moved, deleted, and held against pruning."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.image_house import fill, images, pulled, python_root, started, tiny_root
from tests.end_to_end.terminal import Said, Terminal, fresh_folder, leave_nothing
from tests.linux.images.registry_server import registry_server

pytestmark = [pytest.mark.needs("linux", "namespaces", "registry"), pytest.mark.timeout(240)]

MINOR = ".".join(map(str, sys.version_info[:2]))
# So that nobody downloads a Python: the copy of the one that runs this is what these images get.
NO_WAY_OUT = {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
BASE = "squall.Image.from_registry({reference!r}, add_python={minor!r})"
PUBLISH = """
import sys
import squall

name, *commands = sys.argv[1:]
image = {base}.run_commands(*commands)
assert image.publish(name) is image
print("published")
"""
USE = """
import squall

app = squall.App("use")
image = squall.Image.from_name({name!r}).run_commands("read word < /word; echo more of $word > /more")


@app.function(image=image, single_use_containers=True)
def look():
    return open("/word").read().strip(), open("/more").read().strip()


@app.local_entrypoint()
def main():
    print(*look.remote(), sep=", ", flush=True)
    if {waits}:
        input()
        print(*look.remote(), sep=", ", flush=True)
"""
BUILD = """
import asyncio
import sys
import squall

app = squall.App("build")
image = {base}.run_commands("echo now > /word")
wrong = {base}.run_commands("exit 3")


@app.function(image=image)
def look():
    return open("/word").read().strip()


@app.local_entrypoint()
def main():
    assert image.build(app) is image
    image.run_commands("echo more > /more").publish("inside")
    print("built inside")


async def awaited():
    assert await image.build.aio(app) is image
    async with app.run():
        assert await image.publish.aio("awaited") is image
        return await look.remote.aio()


if __name__ == "__main__":
    try:
        wrong.build(app)
    except squall.model.errors.ImageBuildError as error:
        print(error.code)
    assert image.build(app) is image
    with app.run():
        assert image.build(app) is image
        print(look.remote())
    print(asyncio.run(awaited()))
"""
CELLS = """
import squall

app = squall.App("cells")
first = squall.Image.from_name("cell:1")


@app.function(image=first)
def look():
    return open("/word").read().strip()


if __name__ == "__main__":
    with app.run():
        print(look.remote())
        {base}.run_commands("echo two > /word").publish("cell:1")

        @app.function(image=first.env({{"LATER": "later"}}), serialized=True)
        def later():
            import os

            return os.environ["LATER"], open("/word").read().strip()

        print(*later.remote())
    with app.run():
        print(look.remote(), *later.remote())
"""
COLLECT = """
from squall.cli.asking import any_client

print(any_client().request("blobs.collect", {"grace_s": 60})["blobs"])
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry_server(tmp_path_factory.mktemp("named") / "registry") as address:
        yield address


@pytest.fixture(scope="module")
def base(registry: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image with a Python, as a program writes it."""
    reference = fill(registry, "python:v1", python_root(tmp_path_factory.mktemp("python")))
    return BASE.format(reference=reference, minor=MINOR)


@pytest.fixture(scope="module")
def tiny(registry: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The references of two small images."""
    roots = [tiny_root(tmp_path_factory.mktemp("tiny")) for _ in range(2)]
    (roots[1] / "etc" / "second").write_text("second\n")
    return fill(registry, "tiny:v1", roots[0]), fill(registry, "tiny:v2", roots[1])


def fresh_terminal() -> Terminal:
    folder = fresh_folder()
    return Terminal(folder=folder, environ={"HOME": str(folder), "DOCKER_CONFIG": str(folder), **NO_WAY_OUT})


@pytest.fixture(scope="module")
def terminal(base: str, tiny: tuple[str, str]) -> Iterator[Terminal]:
    """One house for all tests that only use it. base, tiny: made before, so that nothing is started in vain."""
    assert base
    assert tiny
    terminal = fresh_terminal()
    yield terminal
    leave_nothing(terminal)


def python(terminal: Terminal, text: str, *arguments: str) -> Said:
    """A program, run by Python itself."""
    done = subprocess.run(
        [sys.executable, str(terminal.write(text)), *arguments],
        env=terminal.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Said(status=done.returncode, out=done.stdout, err=done.stderr, took_s=0.0)


def publish(terminal: Terminal, base: str, name: str, *commands: str) -> Said:
    """A program that publishes an image of these commands."""
    said = python(terminal, PUBLISH.format(base=base), name, *commands)
    assert (said.status, said.out) == (0, "published\n"), said
    return said


def answer(terminal: Terminal, *arguments: str) -> Any:
    """What a command of `squall image` says in JSON."""
    said = terminal.squall("image", *arguments, "--json")
    assert said.status == 0, said
    return json.loads(said.out)


def meanings(terminal: Terminal) -> dict[str, str]:
    """The key of every name."""
    return {row["name"]: row["key"] for row in answer(terminal, "names", "list")}


def keys_of(terminal: Terminal, name: str) -> list[str]:
    """What a name has meant, the newest first."""
    return [row["key"] for row in answer(terminal, "names", "history", name)]


def test_an_app_keeps_the_image_that_a_name_meant_as_it_was_opened(terminal: Terminal, base: str) -> None:
    first = publish(terminal, base, "word:1", "echo one > /word")
    assert "building run_commands echo one > /word" in first.err, first
    again = publish(terminal, base, "word:1", "echo one > /word")
    assert "building" not in again.err, again
    waiting = terminal.write(USE.format(name="word:1", waits=True))
    with started(terminal, "-m", "squall", "run", str(waiting)) as (running, said):
        assert said.readline() == "one, more of one\n"
        publish(terminal, base, "word:1", "echo two > /word")
        out, _ = running.communicate("\n", timeout=60)
        assert (running.returncode, out) == (0, "one, more of one\n")
    later = terminal.run(USE.format(name="word:1", waits=False), within_s=60)
    assert (later.status, later.out) == (0, "two, more of two\n"), later

    two, one = answer(terminal, "names", "history", "word:1")
    assert (two["key"] == one["key"], two["key"]) == (False, meanings(terminal)["word:1"])
    assert one["what"].endswith(", run_commands echo one > /word"), one
    assert "@" in two["who"], two
    assert two["at_s"] > one["at_s"]
    (row,) = [row for row in images(terminal) if row["names"] == ["word:1"]]
    assert row["key"] == two["key"]
    shown = terminal.squall("image", "names", "list").out.splitlines()
    assert shown[0].split() == ["NAME", "KEY", "SINCE", "BY", "WHAT"], shown
    assert any(line.startswith(f"word:1  {two['key'][:12]}  ") for line in shown), shown


def test_a_name_means_one_image_to_all_functions_of_an_app_that_runs(terminal: Terminal, base: str) -> None:
    publish(terminal, base, "cell:1", "echo one > /word")
    said = python(terminal, CELLS.format(base=base))
    assert (said.status, said.out.splitlines()) == (0, ["one", "later one", "two later two"]), said


def test_a_name_holds_its_image_until_the_last_one_goes(terminal: Terminal, base: str) -> None:
    publish(terminal, base, "held", "echo held > /word")
    key = meanings(terminal)["held:latest"]
    also = terminal.squall("image", "publish", key[:12], "also:1")
    assert also.out.startswith(f"also:1 means {key[:12]}: from_registry "), also
    already = terminal.squall("image", "publish", key, "also:1")
    assert already.out.startswith(f"also:1 means already {key[:12]}: "), already

    pruned = answer(terminal, "prune", "--all")
    assert key not in {one["key"] for one in pruned["gone"]}
    (held,) = [one for one in pruned["held"] if one["key"] == key]
    assert held["names"] == ["also:1", "held:latest"]
    said = terminal.squall("image", "prune", "--all", "--dry-run")
    assert f"{key[:12]}  stays: it is held by a name: also:1, held:latest\n" in said.err, said
    # Nothing of it is collected either: all that is in the store is old, and what it consists of can still be read.
    assert terminal.squall("down").status == 0
    for path in (terminal.state / "blobs").glob("??/*"):
        os.utime(path, (0, 0))
    collected = python(terminal, COLLECT)
    assert int(collected.out) > 0, collected
    exported = terminal.squall("image", "export", key, str(terminal.folder / "held.tar"))
    assert exported.status == 0, exported
    used = terminal.run(USE.format(name="held", waits=False), within_s=60)
    assert used.out == "held, more of held\n", used

    assert (
        terminal.squall("image", "names", "delete", "held").out
        == f"deleted held:latest, which meant {key[:12]}\n"
    )
    assert key not in {one["key"] for one in answer(terminal, "prune", "--all")["gone"]}
    deleted = answer(terminal, "names", "delete", "also:1")
    assert deleted == [{"name": "also:1", "key": key}]
    assert keys_of(terminal, "also:1") == ["", key]
    assert key in {one["key"] for one in answer(terminal, "prune", "--all")["gone"]}
    terminal.run(USE.format(name="also:1", waits=False)).is_error("SQ-1530", "also:1")


def test_a_name_that_nobody_published_is_told_with_those_near_it(
    terminal: Terminal, tiny: tuple[str, str]
) -> None:
    key = pulled(terminal, tiny[0])
    assert terminal.squall("image", "publish", key, "near:1").status == 0
    near = terminal.run(USE.format(name="near", waits=False))
    near.is_error(
        "SQ-1530", "no image is published as near:latest", "the nearest are near:1", "image.publish(NAME)"
    )
    assert near.out == ""
    for command in ("history", "delete"):
        terminal.squall("image", "names", command, "near:2").is_error("SQ-1530", "near:2", "near:1")
        terminal.squall("image", "names", command, "Near").is_error("SQ-1020", "'Near'", "NAME:TAG")
    terminal.squall("image", "publish", key, "near:").is_error("SQ-1020", "'near:'")
    terminal.squall("image", "publish", "0" * 12, "near:3").is_error("SQ-1011", "0" * 12)
    terminal.squall("image", "publish", "nothing.py", "near:3").is_error("SQ-1019", "nothing.py")
    assert "near:3" not in meanings(terminal)
    assert terminal.squall("image", "names", "delete", "near:1").status == 0


def test_a_name_whose_image_was_lost_is_told_apart_and_can_be_published_again(
    terminal: Terminal, base: str
) -> None:
    publish(terminal, base, "lost", "echo lost > /word")
    key = meanings(terminal)["lost:latest"]
    (terminal.state / "images" / key).unlink()
    use = USE.format(name="lost", waits=False)
    terminal.run(use).is_error(
        "SQ-1530", f"lost:latest means the image {key[:12]}", "not on this machine any more"
    )
    # The agent has the image in its memory, and makes its record again.
    publish(terminal, base, "lost", "echo lost > /word")
    used = terminal.run(use, within_s=60)
    assert used.out == "lost, more of lost\n", used
    assert keys_of(terminal, "lost") == [key]


def test_an_image_is_built_when_it_is_asked_for(terminal: Terminal, base: str) -> None:
    text = BUILD.format(base=base)
    said = python(terminal, text)
    assert (said.status, said.out.splitlines()) == (0, ["SQ-1500", "now", "now"]), said
    assert said.err.count("building run_commands echo now > /word") == 1, said
    assert "awaited:latest" in meanings(terminal)
    inside = terminal.run(text.replace("echo now", "echo inside"), within_s=60)
    assert (inside.status, inside.out) == (0, "built inside\n"), inside
    assert re.search(r"^\d\d:\d\d:\d\d building run_commands echo more > /more$", inside.err, re.MULTILINE), (
        inside
    )
    failed = python(
        terminal,
        text.replace("except squall.model", "except squall.xmodel")
        .replace("try:", "if 1:")
        .replace(
            "    except squall.xmodel.errors.ImageBuildError as error:\n        print(error.code)\n", ""
        ),
    )
    assert failed.status == 1, failed
    assert 'File "<squall>", line 1, in build' in failed.err, failed
    assert f'File "{Path(__file__).parents[2] / "src"}' not in failed.err, failed


def test_the_image_of_a_files_function_is_published(terminal: Terminal, base: str) -> None:
    text = f"""
import squall

app = squall.App("several", image={base}.run_commands("echo several > /word"))


@app.function()
def one():
    return 1


@app.function()
def two():
    return 2


@app.function(image=squall.Image.host())
def third():
    return 3
"""
    path = terminal.write(text)
    told = answer(terminal, "publish", f"{path}::two", "several:1")
    assert told == {**told, "name": "several:1", "new": True, "key": meanings(terminal)["several:1"]}
    built = terminal.squall("image", "build", f"{path}::one", "--json")
    assert json.loads(built.out) == {**json.loads(built.out), "key": told["key"], "new": False}
    refused = terminal.squall("image", "publish", str(path), "several:2")
    refused.is_error("SQ-1020", "2 images: one, two; third", f"{path}::FUNCTION")
    terminal.squall("image", "publish", f"{path}::nope", "several:2").is_error(
        "SQ-1016", "'nope'", "one, two, third"
    )
    terminal.squall("image", "publish", f"{path}::third", "several:2").is_error("SQ-1010", "this machine")
    assert "several:2" not in meanings(terminal)
    used = terminal.run(USE.format(name="several:1", waits=False), within_s=60)
    assert used.out == "several, more of several\n", used


def test_names_are_there_after_a_restart_and_are_looked_at_without_a_server(tiny: tuple[str, str]) -> None:
    terminal = fresh_terminal()
    try:
        assert meanings(terminal) == {}
        terminal.squall("image", "names", "history", "base:1").is_error("SQ-1530", "no image has a name yet")
        assert terminal.squall("status").status == 3
        keys = [pulled(terminal, reference) for reference in tiny]
        for key in keys:
            assert terminal.squall("image", "publish", key, "base:1").status == 0
        assert terminal.squall("down").status == 0
        assert meanings(terminal) == {"base:1": keys[1]}
        assert keys_of(terminal, "base:1") == [keys[1], keys[0]]
        assert [row["names"] for row in images(terminal) if row["key"] == keys[1]] == [["base:1"]]
        assert terminal.squall("status").status == 3
        assert {one["key"] for one in answer(terminal, "prune", "--all")["gone"]} == {keys[0]}
        assert meanings(terminal) == {"base:1": keys[1]}
    finally:
        leave_nothing(terminal)


@pytest.mark.parametrize(("point", "moved"), [("name.found", False), ("name.recorded", True)])
def test_a_server_that_dies_while_a_name_moves_leaves_the_old_meaning_or_the_new_one(
    tiny: tuple[str, str],
    base: str,
    point: str,
    moved: bool,
) -> None:
    terminal = fresh_terminal()
    # Each server dies at the second name that it is asked to give.
    terminal.environ["SQUALL_FAULT"] = f"{point}:2"
    try:
        one, two = (pulled(terminal, reference) for reference in tiny)
        assert terminal.squall("image", "publish", one, "base").status == 0
        assert terminal.squall("image", "publish", two, "base").status == 1
        known = [two, one] if moved else [one]
        assert keys_of(terminal, "base") == known
        kept = {one["key"] for one in answer(terminal, "prune", "--all")["held"]}
        assert kept == {known[0]}
        # A program asks the server that comes in its place again, and has been heard once.
        assert terminal.squall("image", "publish", known[0], "other").status == 0
        publish(terminal, base, "base", "echo again > /word")
        after = keys_of(terminal, "base")
        assert after[1:] == known
        assert meanings(terminal)["base:latest"] == after[0] not in known
    finally:
        leave_nothing(terminal)


def test_an_agent_that_dies_during_a_build_that_was_asked_for_leaves_it_to_the_next(base: str) -> None:
    terminal = fresh_terminal()
    try:
        publish(terminal, base, "before", "echo before > /word")
        assert terminal.squall("down").status == 0
        terminal.environ["SQUALL_FAULT"] = "image.ran:2"
        said = publish(terminal, base, "after", "echo 1 > /word", "echo 2 > /word")
        assert "the agent ended; the next one goes on" in said.err, said
        del terminal.environ["SQUALL_FAULT"]
        assert terminal.squall("down").status == 0
        used = terminal.run(USE.format(name="after", waits=False), within_s=60)
        assert used.out == "2, more of 2\n", used
    finally:
        leave_nothing(terminal)
        shutil.rmtree(terminal.folder, ignore_errors=True)
