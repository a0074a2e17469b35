"""Images with a root of their own: each recipe is built on this machine, and a function runs in it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from squall.blobs.disk_blobs import DiskBlobs
from squall.blobs.memory_blobs import MemoryBlobs
from squall.blobs.snapshot import snapshot
from squall.images.oci.nouns import ImageConfig, Platform
from squall.images.registry.client import RegistryClient
from squall.images.registry.credentials import Keychain
from squall.images.registry.reference import parse_reference
from squall.images.remote import pull_image, push_image
from tests.end_to_end.conftest import SOURCES, House
from tests.end_to_end.image_program import HEAD, TAIL, Program
from tests.linux import leaks
from tests.linux.images.registry_server import registry_server
from tests.machine import facts

pytestmark = [pytest.mark.needs("linux", "namespaces", "network"), pytest.mark.timeout(400)]

MINOR = ".".join(map(str, sys.version_info[:2]))


@pytest.fixture
def program(house: House) -> Program:
    return Program(house)


def test_a_slim_debian_has_its_own_root_and_a_python(program: Program) -> None:
    told = program.tells("""
@app.function(image=squall.Image.debian_slim())
def look():
    import os, ssl, sqlite3, sys
    return [open("/etc/os-release").readline().strip(), f"{sys.version_info[0]}.{sys.version_info[1]}", sys.prefix,
            sorted({"app", "etc", "usr", "var"} - set(os.listdir("/"))), os.path.exists("/home/user"), sh("dpkg --audit")]
""")
    assert told == ['PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"', MINOR, "/usr/local", [], False, ""]


def test_packages_commands_variables_files_and_functions_each_make_a_layer(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What Python compiles of a program has the literals of its source, and lies beside it: none of that is ours.
    monkeypatch.setitem(program.house.environ, "PYTHONDONTWRITEBYTECODE", "1")
    text = """
def bake(text, *, times):
    import os
    os.makedirs("/opt/baked")
    with open("/opt/baked/it", "w") as file:
        file.write(text * times)

image = (
    squall.Image.debian_slim()
    .apt_install("jq")
    .env({"GREETING": "hi"})
    .run_commands("echo $GREETING > /opt/greeting", 'test ${#TOKEN} = 6 && touch /opt/told && echo $TOKEN', secrets=[squall.Secret.from_dict({"TOKEN": "s3cret"})])
    .uv_pip_install("six")
    .run_function(bake, args=("baked ",), kwargs={"times": 2})
    .workdir("/srv")
    .add_local_file("note.txt", "/data/note.txt", copy=True)
    .run_commands("cat /data/note.txt > copied")
    .add_local_file("note.txt", "/late/note.txt")
)

@app.function(image=image)
def look():
    import os, six
    return [sh("jq --version"), sh("cat /opt/greeting"), os.path.exists("/opt/told"), os.environ.get("TOKEN"), bool(six.__version__),
            sh("cat /opt/baked/it"), os.getcwd(), sh("cat copied /late/note.txt")]
"""
    told = program.tells(text, **{"note.txt": "noted\n"})
    assert told == ["jq-1.6", "hi", True, None, True, "baked baked", "/srv", "noted\nnoted"]
    assert "s3cret" not in program.said
    assert not [
        path
        for path in program.house.folder.rglob("*")
        if path.is_file()
        and "blobs" not in path.parts
        and b"s3cret" in path.read_bytes()
        and path.suffix != ".py"
    ]
    first = program.said
    program.tells(text, **{"note.txt": "noted\n"})
    assert "building" not in program.said
    program.tells(text.replace("> copied", ">> copied"), **{"note.txt": "noted\n"})
    assert program.said.count("building ") == 1, program.said
    assert first.count("building ") == 7, first


def test_lines_of_a_dockerfile_run_as_the_user_that_they_name(program: Program) -> None:
    told = program.tells(
        """
image = squall.Image.debian_slim().dockerfile_commands(
    "WORKDIR /srv/site",
    "COPY --chown=33 page.html ./",
    "RUN useradd --create-home --home-dir /srv/web web",
    "USER web",
    "RUN echo $HOME > ~/home && id -un > ~/name",
    "USER root",
    "ENV ANSWER=42",
    context_files={"page.html": "page.html"},
)

@app.function(image=image)
def look():
    import os
    return [sh("cat /srv/web/home /srv/web/name"), sh("stat -c %U /srv/web/name"), sh("stat -c %u page.html"), os.environ["ANSWER"], os.getcwd()]
""",
        **{"page.html": "<p>"},
    )
    # Where sandboxes have one id, all is root's.
    of_many, of_one = ["/srv/web\nweb", "web", "33"], ["/srv/web\nroot", "root", "0"]
    assert told == [
        *(of_many if os.geteuid() == 0 or facts()["subordinate_ids"] else of_one),
        "42",
        "/srv/site",
    ]


@pytest.mark.needs("registry")
def test_a_dockerfile_of_two_stages(program: Program, registry: str) -> None:
    told = program.tells(
        """
image = squall.Image.from_dockerfile("Dockerfile", build_args={"WORD": "argued"}, add_python=MINOR)

@app.function(image=image)
def look():
    import os
    return [sh("cat out"), os.environ["FROM_REGISTRY"], os.environ["KEPT"], os.getcwd(), sh("stat -c %a /srv/tool"), os.path.exists("/made")]
""".replace("MINOR", repr(MINOR)),
        Dockerfile=f"""
FROM {registry}/slim:1 AS maker
ARG WORD
WORKDIR /made
COPY . .
RUN echo "$WORD" > out && cat note.txt >> out

FROM {registry}/slim:1
COPY --from=maker /made/out /srv/out
COPY --chmod=750 note.txt /srv/tool
ENV KEPT=yes
WORKDIR /srv
CMD ["/srv/tool"]
""",
        **{"note.txt": "noted", ".dockerignore": "secret.txt\n", "secret.txt": "no"},
    )
    assert told == ["argued\nnoted", "1", "yes", "/srv", "750", False]


def test_projects_and_requirements(program: Program) -> None:
    told = program.tells(
        """
image = (
    squall.Image.debian_slim()
    .pip_install_from_requirements("requirements.txt")
    .pip_install_from_pyproject("pyproject.toml", optional_dependencies=["more"])
    .uv_sync(".", frozen=False)
    .shell(["/bin/bash", "-c"])
    .run_commands("[[ $BASH_VERSION ]] && echo ${BASH_VERSION%%.*} > /opt/shell")
    .entrypoint([])
    .cmd(["sleep", "1"])
)
with image.imports():
    import idna, packaging, six

@app.function(image=image)
def look():
    return [bool(idna.__version__), bool(packaging.__version__), bool(six.__version__), sh("cat /opt/shell")]
""",
        **{
            "requirements.txt": "idna\n",
            "pyproject.toml": """
[project]
name = "it"
version = "1"
requires-python = ">=3.11"
dependencies = ["six"]

[project.optional-dependencies]
more = ["packaging"]
""",
        },
    )
    assert told == [True, True, True, "5"]


def test_a_step_that_is_forced_is_made_anew_and_those_before_it_are_not(program: Program) -> None:
    text = """
image = (
    squall.Image.debian_slim()
    .run_commands("echo $RANDOM-$(date +%N) > /opt/once")
    .run_commands("date +%N > /opt/forced", force_build=True)
)

@app.function(image=image)
def look():
    return [sh("cat /opt/once"), sh("cat /opt/forced")]
"""
    first, second = program.tells(text), program.tells(text)
    assert isinstance(first, list)
    assert isinstance(second, list)
    assert first[0] == second[0]
    assert first[1] != second[1]


@pytest.mark.parametrize(
    ("step", "code", "words"),
    [
        ('.apt_install("no-such-package-here")', "SQ-1501", "no-such-package-here"),
        ('.uv_pip_install("no-such-package-here-at-all")', "SQ-1501", "no-such-package-here-at-all"),
        ('.run_commands("echo it went; exit 7")', "SQ-1500", "it went"),
        (".run_function(wrong)", "SQ-1500", "ZeroDivisionError"),
        (".run_function(slow, timeout=1)", "SQ-1500", "limit of 1 seconds"),
        (".run_function(hungry, memory=100)", "SQ-1401", "of which it might use 100 MiB"),
        (".run_function(wrong, memory=10**9)", "SQ-1411", "1000000000 MiB of memory"),
        ('.run_commands("true", gpu="H100")', "SQ-1411", "asks for H100"),
        ('.dockerfile_commands("RUN true", "MAGIC x")', "SQ-", "line 2"),
    ],
)
def test_a_step_that_fails_is_named_with_what_it_printed(
    program: Program, step: str, code: str, words: str
) -> None:
    done = program.run(f"""
def wrong():
    1 / 0

def slow():
    import time
    time.sleep(60)

def hungry():
    print(len(b"x" * (400 << 20)))

@app.function(image=squall.Image.debian_slim(){step})
def look():
    return None
""")
    assert done.returncode != 0
    assert code in program.said
    assert words in program.said
    assert f'File "{SOURCES}' not in program.said


def test_an_image_that_was_built_is_named_by_its_key(program: Program) -> None:
    program.tells("""
@app.function(image=squall.Image.debian_slim().run_commands("echo from the first > /opt/first"))
def look():
    return 1
""")
    records = [path for path in (program.house.folder / "state" / "images").iterdir() if len(path.name) == 64]
    (key,) = [
        path.name
        for path in records
        if json.loads(path.read_text())["label"] == "run_commands echo from the first > /opt/first"
        and not json.loads(path.read_text()).get("final")
    ]
    told = program.tells(f"""
@app.function(image=squall.Image.from_id("{key[:12]}").run_commands("cat /opt/first > /opt/second"))
def look():
    return sh("cat /opt/second")
""")
    assert told == "from the first"
    done = program.run("""
@app.function(image=squall.Image.from_id("ffffffffffffffff"))
def look():
    return 1
""")
    assert done.returncode != 0
    assert "no image here has the key" in program.said


def test_steps_that_give_the_same_each_time_do_so_from_nothing_on(program: Program) -> None:
    text = """
image = (
    squall.Image.debian_slim()
    .apt_install("jq")
    .uv_pip_install("six", "idna")
    .pip_install("packaging")
    .add_local_file("note.txt", "/data/note.txt", copy=True)
)

@app.function(image=image)
def look():
    return 1
"""
    other = House(leaks.fresh_folder(prefix="squall-same-"))
    try:
        for one in (program, Program(other)):
            one.tells(text, **{"note.txt": "noted"})
        assert other.run("-m", "squall", "down").returncode == 0
        built = images(other.folder)
        here = images(program.house.folder)
        assert len(built) >= 6
        assert {key: here.get(key) for key in built} == built
    finally:
        shutil.rmtree(other.folder, ignore_errors=True)


def images(folder: Path) -> dict[str, list[str]]:
    """The layers of every image that was built in a state directory, by its key."""
    records = [path for path in (folder / "state" / "images").iterdir() if len(path.name) == 64]
    return {path.name: json.loads(path.read_text()).get("trees", []) for path in records}


@pytest.fixture(scope="module")
def registry(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry with an image that has a file and no program, `plain`, one of two layers, `two`, and a slim Debian, `slim`."""
    place = tmp_path_factory.mktemp("registry")
    with registry_server(place / "registry") as address:
        asyncio.run(_fill(address, place))
        Program(house).tells("@app.function(image=squall.Image.debian_slim())\ndef look():\n    return 1")
        (base,) = [key for key, label in labels(house.folder).items() if label == "debian_slim"]
        pushed = house.run("-m", "squall", "image", "push", base, f"{address}/base:1", within_s=120)
        assert pushed.returncode == 0, pushed.stderr
        asyncio.run(_with_variable(address))
        yield address


def labels(folder: Path) -> dict[str, str]:
    """What each image in a state directory is, by its key, the whole ones apart."""
    texts = [path.read_text() for path in (folder / "state" / "images").iterdir() if len(path.name) == 64]
    return {one["key"]: one["label"] for one in map(json.loads, texts) if not one.get("final")}


async def _with_variable(address: str) -> None:
    """Have `slim` be `base` with a variable that says where it comes from."""
    blobs = MemoryBlobs()
    client = RegistryClient(None, Keychain({}), {})
    base = await pull_image(
        client, parse_reference(f"{address}/base:1"), blobs, Platform(os="linux", architecture="amd64"), print
    )
    config = replace(base.config, env=(*base.config.env, ("FROM_REGISTRY", "1")))
    layers = [layer.manifest for layer in base.layers]
    await push_image(client, parse_reference(f"{address}/slim:1"), blobs, layers, config)


async def _fill(address: str, place: Path) -> None:
    blobs = await DiskBlobs.open(place / "blobs")
    client = RegistryClient(None, Keychain({}), {})
    lower, upper = place / "lower", place / "upper"
    (lower / "etc").mkdir(parents=True)
    (lower / "etc" / "from-the-registry").write_text("yes\n")
    (lower / "etc" / "both").write_text("lower\n")
    (upper / "etc").mkdir(parents=True)
    (upper / "etc" / "both").write_text("upper\n")
    layers = [(await snapshot(one, blobs)).manifest for one in (lower, upper)]
    config = ImageConfig(
        platform=Platform(os="linux", architecture="amd64"),
        diff_ids=(),
        env=(("FROM_REGISTRY", "1"),),
        workdir="/etc",
    )
    for name, some in (("plain", layers[:1]), ("two", layers)):
        await push_image(client, parse_reference(f"{address}/{name}:1"), blobs, some, config)
    await blobs.close()


@pytest.mark.needs("registry")
def test_files_of_an_image_in_a_registry_are_copied_by_a_dockerfile(program: Program, registry: str) -> None:
    told = program.tells(
        """
image = (
    squall.Image.debian_slim()
    .dockerfile_commands("COPY --from=REGISTRY/two:1 /etc/both /etc/from-the-registry /srv/")
)

@app.function(image=image)
def look():
    return sh("cat /srv/both /srv/from-the-registry")
""".replace("REGISTRY", registry)
    )
    assert told == "upper\nyes"


@pytest.mark.needs("registry")
def test_an_image_of_a_registry_without_a_python_says_what_it_lacks(program: Program, registry: str) -> None:
    done = program.run(f"""
@app.function(image=squall.Image.from_registry("{registry}/plain:1"))
def look():
    return None
""")
    assert done.returncode != 0
    assert "has no Python" in program.said


@pytest.mark.needs("registry")
def test_a_registry_that_has_no_such_image_is_named(program: Program, registry: str) -> None:
    done = program.run(f"""
@app.function(image=squall.Image.from_registry("{registry}/nothing:1"))
def look():
    return None
""")
    assert done.returncode != 0
    assert "nothing" in program.said
    assert "SQ-15" in program.said


def test_two_builds_of_one_image_at_once_are_one(program: Program) -> None:
    path = program.house.program(
        f"""{HEAD}
import os
@app.function(image=squall.Image.debian_slim().run_commands("sleep 2; date +%N > /opt/when"))
def look():
    return sh("cat /opt/when")
{TAIL}"""
    )
    clients = [program.house.start("-m", "squall", "run", str(path)) for _ in range(2)]
    said = [client.communicate(timeout=300) for client in clients]
    assert [client.returncode for client in clients] == [0, 0], said
    times = {out.partition("told:")[2] for out, _ in said}
    assert len(times) == 1


@pytest.mark.parametrize("point", ["image.ran", "image.laid", "image.written", "image.named"])
def test_an_agent_that_dies_while_an_image_is_built_leaves_whole_layers_and_the_next_goes_on(
    program: Program, point: str
) -> None:
    house = program.house
    program.tells("@app.function(image=squall.Image.debian_slim())\ndef look():\n    return 1")
    assert house.run("-m", "squall", "down").returncode == 0
    # The agent dies at its second step; the one that comes in its place finds the first one here.
    house.environ["SQUALL_FAULT"] = f"{point}:2"
    try:
        told = program.tells(f"""
steps = ["echo 0 > /opt/{point}"] + [f"echo {{n}} >> /opt/{point}" for n in range(1, 2)]

@app.function(image=squall.Image.debian_slim().run_commands(*steps))
def look():
    return sh("cat /opt/{point}")
""")
        assert told == "0\n1"
        assert "the agent ended" in program.said
        assert "steps are here already" in program.said
        assert house.run("-m", "squall", "down").returncode == 0
    finally:
        del house.environ["SQUALL_FAULT"]


def test_an_image_that_ends_every_agent_is_given_up(program: Program) -> None:
    house = program.house
    assert house.run("-m", "squall", "down").returncode == 0
    house.environ["SQUALL_FAULT"] = "image.ran"
    try:
        done = program.run("""
@app.function(image=squall.Image.debian_slim().run_commands("echo ended > /opt/ended"))
def look():
    return 1
""")
        assert done.returncode != 0
        assert "the agent ended 3 times" in program.said
        assert house.run("-m", "squall", "down").returncode == 0
    finally:
        del house.environ["SQUALL_FAULT"]
