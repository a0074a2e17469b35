"""Images with conda packages: each is built from a channel on loopback, by the real solver and installer, and a function runs in it."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.conftest import SOURCES, House
from tests.end_to_end.image_program import Program
from tests.linux.images.conda_channel import PLACEHOLDER, SUBDIR, Channel, Served, digests, served

pytestmark = [pytest.mark.needs("linux", "namespaces", "network"), pytest.mark.timeout(400)]

MINOR = ".".join(map(str, sys.version_info[:2]))
VERSION = ".".join(map(str, sys.version_info[:3]))


class Town:
    """Channels, and the server that has them, at which this machine looks for those with a name only."""

    def __init__(self, top: Path, server: Served) -> None:
        self.top = top
        self.server = server
        self.forge = Channel(top / "conda-forge")
        self.forge.add_basics()
        for version in ("1.0", "2.0"):
            self.forge.add_module("seed", version, f"VERSION = {version!r}\n")
        self.forge.add_module("sapling", "1.0", "import seed\n", needs=("python", "seed <2"))
        self.forge.add_module("tree", "1.0", "import seed\n", needs=("python", "seed >=2"))
        self.forge.add(
            "tool",
            "1.0",
            {
                "bin/tool": f"#!/bin/sh\necho here: {PLACEHOLDER}/share\n",
                "lib/tool.so": b"\x7fELF\0" + PLACEHOLDER.encode() + b"/share\0behind",
            },
        )

    def address(self, name: str) -> str:
        return f"{self.server.address}/{name}"


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    top = tmp_path_factory.mktemp("channels")
    with served(top) as server:
        yield Town(top, server)


@pytest.fixture
def program(house: House, town: Town) -> Iterator[Program]:
    house.environ["CONDA_CHANNEL_ALIAS"] = town.server.address
    try:
        yield Program(house)
    finally:
        del house.environ["CONDA_CHANNEL_ALIAS"]


def test_an_environment_is_the_images_python_and_takes_packages_of_conda_and_of_pip(program: Program) -> None:
    text = """
def bake():
    import sys
    import seed
    with open("/opt/baked", "w") as file:
        file.write(f"{sys.executable} {seed.VERSION}")

image = (
    squall.Image.micromamba()
    .micromamba_install("seed >=1", "seed <2", "tool")
    .uv_pip_install("six")
    .run_function(bake)
    .run_commands("python -c 'import seed, six; print(seed.VERSION)' > /opt/run && micromamba >> /opt/run")
)

@app.function(image=image)
def look():
    import os, seed, six, sys
    return [sys.executable, sys.version.split()[0], sys.prefix, seed.VERSION, seed.__file__, os.path.dirname(six.__file__),
            sh("which python micromamba tool; tool"), sh("cat /opt/baked"), sh("cat /opt/run"), os.environ["CONDA_PREFIX"],
            open("/opt/conda/lib/tool.so", "rb").read().rstrip(b"\\0").decode("latin-1"), open("/etc/os-release").readline().strip()]
"""
    packages = f"/opt/conda/lib/python{MINOR}/site-packages"
    assert program.tells(text) == [
        *("/opt/conda/bin/python", VERSION, "/opt/conda", "1.0", f"{packages}/seed/__init__.py", packages),
        "/opt/conda/bin/python\n/opt/conda/bin/micromamba\n/opt/conda/bin/tool\nhere: /opt/conda/share",
        *("/opt/conda/bin/python 1.0", "1.0\n2.0.0 at /opt/conda", "/opt/conda"),
        "\x7fELF\0/opt/conda/share" + "\0" * (len(PLACEHOLDER) - len("/opt/conda")) + "\0behind",
        'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"',
    ]
    assert "fetching seed" in program.said
    program.tells(text)
    assert "building" not in program.said
    program.tells(text.replace(">> /opt/run", ">> /opt/other"))
    assert program.said.count("building ") == 1, program.said


def test_an_environment_file_is_read_with_its_part_for_pip(program: Program, town: Town) -> None:
    town.forge.copied("other").add_module("elsewhere", "3.0", "")
    told = program.tells(
        """
image = squall.Image.micromamba().micromamba_install(spec_file="environment.yml")

@app.function(image=image)
def look():
    import elsewhere, idna, seed, six
    return [seed.VERSION, bool(idna.__version__), bool(six.__version__), sh("grep -h '\\"url\\"' /opt/conda/conda-meta/elsewhere-*.json")]
""",
        **{
            "environment.yml": f"""
name: any
channels: [conda-forge, nodefaults]   # by their names
dependencies:
  - python={MINOR}
  - 'seed <2'
  - other::elsewhere
  - pip
  - pip:
    - six
    - -r requirements.txt
""",
            "requirements.txt": "idna\n",
        },
    )
    url = f'"url": "{town.address("other")}/noarch/elsewhere-3.0-0.conda",'
    assert told == ["1.0", True, True, url]


def test_what_replaces_a_package_is_what_runs_and_what_was_asked_for_before_stays(program: Program) -> None:
    told = program.tells("""
image = (
    squall.Image.micromamba()
    .micromamba_install("seed=1", "tool")
    .run_commands("python -c 'import seed; assert seed.VERSION[0] == chr(49)'")
    .micromamba_install("seed=2")
)

@app.function(image=image)
def look():
    import os, seed
    compiled = open(seed.__cached__, "rb").read(8)
    return [seed.VERSION, compiled[4], sh("tool"), os.path.exists("/opt/conda/conda-meta/seed-1.0-0.json"), sh("stat -c %a /opt/conda/conda-meta/*|sort -u")]
""")
    assert told == ["2.0", 1, "here: /opt/conda/share", False, "644"]


def test_a_list_of_package_files_is_installed_as_it_is(program: Program, town: Town) -> None:
    text = """
image = squall.Image.micromamba().micromamba_install(spec_file="files.txt").micromamba_install("tool")

@app.function(image=image)
def look():
    import seed
    return [seed.VERSION, sh("ls /opt/conda/conda-meta | cut -d- -f1 | sort")]
"""
    sha256, md5 = digests(town.top / "conda-forge/noarch/seed-1.0-0.conda")
    listed = f"# platform: {SUBDIR}\n@EXPLICIT\n{town.address('conda-forge')}/noarch/seed-1.0-0.conda#"
    packages = "history\nmicromamba\npip\npython\nseed\ntool"
    for digest in (md5, f"sha256:{sha256}"):
        assert program.tells(text, **{"files.txt": listed + digest}) == ["1.0", packages]
    done = program.run(text, **{"files.txt": listed + md5[::-1]})
    assert done.returncode != 0
    assert "is not what it announces" in program.said
    assert "SQ-1503" in program.said


@pytest.mark.parametrize(
    ("step", "code", "words"),
    [
        ('("no-such-conda-package")', "SQ-1501", "No candidates were found for no-such-conda-package"),
        ('("seed=7")', "SQ-1501", "seed"),
        ('("sapling", "tree")', "SQ-1500", "cannot be installed together"),
        ('("seed", channels=["no-such-channel"])', "SQ-1503", "no-such-channel"),
        ('("seed", channels=["http://127.0.0.1:1/closed"])', "SQ-1503", "could not be reached"),
        ('("seed >>=")', "SQ-1500", "names no conda package"),
        ('("seed", channels=["lying"])', "SQ-1503", "is not what it announces"),
        ('("seed", channels=["emptied"])', "SQ-1503", "is not there"),
        ('("python=3.10", channels=["aged"])', "SQ-1500", "Python before 3.11"),
        ('("python=3.14.99", channels=["broken"])', "SQ-1500", "Python does not run"),
    ],
)
def test_packages_that_cannot_be_had_are_named(
    program: Program, town: Town, step: str, code: str, words: str
) -> None:
    if "lying" in step:
        town.forge.copied("lying").lie("seed-2.0-0.conda")
    if "emptied" in step:
        town.forge.copied("emptied").add_module("seed", "9.0", "").unlink()
    if "broken" in step:
        broken = {"bin/python": "#!/bin/sh\nexit 3\n", "lib/python3.14/os.py": ""}
        Channel(town.top / "broken").add("python", "3.14.99", broken)
    if "aged" in step:
        Channel(town.top / "aged").add("python", "3.10.1", {"bin/python": ""})
    done = program.run(f"""
@app.function(image=squall.Image.micromamba().micromamba_install{step})
def look():
    return None
""")
    assert done.returncode != 0
    assert code in program.said, program.said
    assert words in program.said, program.said
    assert "squall shell --image-step" in program.said
    assert "Traceback" not in program.said
    assert f'File "{SOURCES}' not in program.said


@pytest.mark.parametrize("silent", ["all of it", "in a package"])
def test_a_channel_that_says_nothing_is_waited_for_as_long_as_the_machine_says(
    program: Program, town: Town, silent: str
) -> None:
    text = """
@app.function(image=squall.Image.micromamba().micromamba_install("slow", channels=["CHANNEL"]))
def look():
    return None
"""
    town.forge.copied(f"slow {silent}".replace(" ", "-")).add_module("slow", "1.0", "")
    program.house.environ["PIP_DEFAULT_TIMEOUT"] = "1"
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as nobody,
            served(town.top, stops_at="slow-1.0-0.conda") as server,
        ):
            all_of_it = f"http://127.0.0.1:{nobody.getsockname()[1]}/it"
            done = program.run(
                text.replace(
                    "CHANNEL", all_of_it if silent == "all of it" else f"{server.address}/slow-in-a-package"
                )
            )
    finally:
        del program.house.environ["PIP_DEFAULT_TIMEOUT"]
    assert done.returncode != 0
    assert "could not be reached" in program.said
    assert ("nothing has come of slow" in program.said) == (silent == "in a package")


def test_an_image_without_an_environment_is_told_to_begin_one(program: Program) -> None:
    program.tells(
        '@app.function(image=squall.Image.debian_slim().run_commands("echo plain"))\ndef look():\n    return 1'
    )
    # The one has a Python, the other has not.
    for label in ("run_commands echo plain", "debian_slim"):
        records = map(json.loads, (path.read_text() for path in _records(program.house)))
        key = next(one["key"] for one in records if one["label"] == label and not one.get("final"))
        done = program.run(f"""
@app.function(image=squall.Image.from_id("{key}").micromamba_install("seed"))
def look():
    return None
""")
        assert done.returncode != 0
        assert "has no conda environment at /opt/conda" in program.said
        assert "start from Image.micromamba()" in program.said


def test_an_image_that_was_built_keeps_its_environment(program: Program) -> None:
    text = """
@app.function(image=IMAGE)
def look():
    import seed, sys
    return [sys.executable, sh("tool")]
"""
    first = 'squall.Image.micromamba().micromamba_install("seed").run_commands("echo kept > /opt/kept")'
    program.tells(text.replace("IMAGE", first))
    records = map(json.loads, (path.read_text() for path in _records(program.house)))
    key = next(one["key"] for one in records if one["label"] == "run_commands echo kept > /opt/kept")
    again = f'squall.Image.from_id("{key}").micromamba_install("tool")'
    assert program.tells(text.replace("IMAGE", again)) == ["/opt/conda/bin/python", "here: /opt/conda/share"]


@pytest.mark.parametrize("kind", ["login", "token"])
def test_a_login_of_a_channel_is_in_no_layer_and_no_log(program: Program, town: Town, kind: str) -> None:
    # Drawn: other tests of this state directory may have shipped this very file.
    secret = f"hunter22-{os.getpid()}-of-conda"
    said = {"login": f"ada:{secret}"} if kind == "login" else {"token": secret}
    with served(town.top, **said) as private:
        host = private.address.removeprefix("http://")
        whole = f"http://ada:{secret}@{host}" if kind == "login" else f"http://{host}/t/{secret}"
        # The source of a program ships, and would hold what stands in it.
        program.house.environ["CHANNEL_OF_THIS_TEST"] = f"{whole}/conda-forge"
        text = """
import os
image = squall.Image.micromamba().micromamba_install("seed", channels=[os.environ.get("CHANNEL_OF_THIS_TEST", "none")])

@app.function(image=image)
def look():
    import seed
    return [seed.VERSION, sh("grep -rl WORD /opt/conda / --exclude-dir=proc --exclude-dir=sys --exclude-dir=app --one-file-system")]
""".replace("WORD", f"{secret[:6]}'{secret[6:]}'")
        try:
            assert program.tells(text) == ["2.0", ""]
            assert secret not in program.said
            program.house.environ["CHANNEL_OF_THIS_TEST"] = f"{private.address}/conda-forge"
            done = program.run(text)
        finally:
            del program.house.environ["CHANNEL_OF_THIS_TEST"]
    assert done.returncode != 0
    assert "wants a login" in program.said
    state = program.house.folder / "state"
    places = [path for path in state.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in places if secret.encode() in path.read_bytes()] == []


def test_an_installer_that_cannot_be_had_is_named(program: Program) -> None:
    program.tells("@app.function(image=squall.Image.micromamba())\ndef look():\n    return 1")
    (fetched,) = (program.house.folder / "state" / "tools").glob("py-rattler-*")
    aside = fetched.rename(fetched.with_name("aside"))
    program.house.environ["PIP_INDEX_URL"] = "http://127.0.0.1:1/simple"
    try:
        done = program.run("""
@app.function(image=squall.Image.micromamba().micromamba_install("seed", "sapling", "tool"))
def look():
    return 1
""")
    finally:
        del program.house.environ["PIP_INDEX_URL"]
        aside.rename(fetched)
    assert done.returncode != 0
    assert "conda packages are installed by py-rattler" in program.said
    assert "SQ-1503" in program.said


def test_the_same_packages_give_the_same_layer(program: Program) -> None:
    trees: list[str] = []
    for _ in range(2):
        program.tells("""
@app.function(image=squall.Image.micromamba().micromamba_install("sapling", "tool", force_build=True))
def look():
    import sapling
    return 1
""")
        records = [json.loads(path.read_text()) for path in _records(program.house)]
        made = [
            one
            for one in records
            if one["label"] == "micromamba_install sapling tool" and not one.get("final")
        ]
        trees = [one["trees"][-1] for one in made]
    assert len(trees) == 2
    assert trees[0] == trees[1]


def _records(house: House) -> list[Path]:
    return [path for path in (house.folder / "state" / "images").iterdir() if len(path.name) == 64]
