"""Single steps of images with a root of their own: each is built on this machine, and a function runs in what it leaves."""

from __future__ import annotations

import contextlib
import hashlib
import lzma
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.conftest import House
from tests.end_to_end.image_program import Program
from tests.linux.images.file_server import file_server
from tests.linux.images.git_server import git_server, make_repository
from tests.linux.images.index import private_index
from tests.linux.images.wheels import make_wheel
from tests.machine import facts
from tests.unit.images.oci.archives import archive, info

pytestmark = [pytest.mark.needs("linux", "namespaces", "network"), pytest.mark.timeout(400)]


@pytest.fixture
def program(house: House) -> Program:
    return Program(house)


def test_archives_are_unpacked_by_add_and_by_nothing_else(program: Program) -> None:
    members = [(info("bin/tool", mode=0o755), b"#!/bin/sh\necho works\n"), (info("share/note"), b"noted\n")]
    packed = archive([*members, (info("share/link", tarfile.SYMTYPE, target="note"), b"")])
    text = """
image = squall.Image.debian_slim().dockerfile_commands(
    "ADD --chown=33:33 tools.tar.xz words.txt /opt/tools/",
    "COPY tools.tar.xz /srv/",
    "ADD tools.tar.xz /usr/local/",
    "RUN tool > /srv/said",
    context_dir=".",
)

@app.function(image=image)
def look():
    return [sh("cat /opt/tools/share/link /opt/tools/words.txt /srv/said"), sh("ls /srv"), sh("stat -c %u:%a /opt/tools/bin/tool"),
            sh("stat -c %u:%a /usr/local/share /usr/local/bin/tool")]
"""
    files: dict[str, str | bytes] = {"tools.tar.xz": lzma.compress(packed), "words.txt": "words"}
    mine = "33" if os.geteuid() == 0 or facts()["subordinate_ids"] else "0"
    said = ["noted\nwordsworks", "said\ntools.tar.xz", f"{mine}:755", "0:755\n0:755"]
    assert program.tells(text, **files) == said
    program.tells(text, **files)
    assert "building" not in program.said
    hostile = archive([(info("fine"), b""), (info("../../etc/passwd"), b"")])
    done = program.run(text, **{**files, "tools.tar.xz": hostile})
    assert done.returncode != 0
    assert "SQ-1516" in program.said
    assert "ADD cannot unpack tools.tar.xz (line 1)" in program.said
    assert "'../../etc/passwd'" in program.said


def test_a_function_of_a_build_has_the_cores_and_the_memory_that_it_is_given(program: Program) -> None:
    text = """
def measure():
    import pathlib, time
    taken = len(b"x" * (100 << 20))
    began, used = time.monotonic(), time.process_time()
    while time.process_time() - used < 0.5:
        pass
    pathlib.Path("/opt/took").write_text(f"{time.monotonic() - began}")

@app.function(image=squall.Image.debian_slim().run_function(measure, cpu=(0.1, 0.25), memory=MEMORY))
def look():
    return float(open("/opt/took").read())
"""
    took_s = program.tells(text.replace("MEMORY", "300"))
    assert isinstance(took_s, float)
    assert took_s > 1.2, "a quarter of a core gives half a second of one in two"
    # The same function with more to use leaves the same.
    assert program.tells(text.replace("MEMORY", "(300, 500)")) == took_s
    assert "building" not in program.said


PASSWORD = "s3cretpassw0rd"
POETRY = """
[tool.poetry]
name = "it"
version = "1.0.0"
description = ""
authors = []
package-mode = false

[tool.poetry.dependencies]
python = ">=3.11,<4"
ptop = "{top}"

[tool.poetry.group.dev.dependencies]
pdev = "*"

[tool.poetry.group.docs]
optional = true

[tool.poetry.group.docs.dependencies]
pdocs = "*"

[[tool.poetry.source]]
name = "mine"
url = "http://{login}{address}/simple/"
priority = "primary"
"""
LOOK_AT_PACKAGES = """
@app.function(image=image)
def look():
    import importlib.metadata
    names = sorted(one.name for one in importlib.metadata.distributions())
    found = sh("grep -rlE 's3cretpassw0rd' / --exclude-dir=proc --exclude-dir=sys --exclude-dir=app --exclude-dir=squall 2>/dev/null")
    return [name for name in names if name in {"ptop", "pleaf", "pdev", "pdocs", "poetry"}] + [importlib.metadata.version("ptop"), found, sh("ls -A /root /tmp")]
"""


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A package that needs another, and some that nobody needs."""
    for name in ("ptop", "pleaf", "pdev", "pdocs"):
        make_wheel(tmp_path, name, "1.0", {f"{name}.py": ""}, needs=("pleaf",) if name == "ptop" else ())
    return tmp_path


@pytest.fixture
def index(wheels: Path) -> Iterator[str]:
    """The address of an index of these that wants a login."""
    with private_index(wheels, f"ada:{PASSWORD}") as address:
        yield address


def test_what_a_poetry_project_needs_is_installed_and_poetry_is_not(program: Program, index: str) -> None:
    project = POETRY.format(top="1.0", login=f"ada:{PASSWORD}@", address=index)
    text = f"""
image = squall.Image.debian_slim().poetry_install_from_file("pyproject.toml", ignore_lockfile=True, with_=["docs"], without=["dev"])
{LOOK_AT_PACKAGES}"""
    told = program.tells(text, **{"pyproject.toml": project})
    assert told == ["pdocs", "pleaf", "ptop", "1.0", "", "/root:\n.bashrc\n.profile\n\n/tmp:"]
    assert PASSWORD not in program.said
    assert "building poetry_install_from_file" in program.said
    program.tells(text, **{"pyproject.toml": project})
    assert "building" not in program.said
    only = text.replace('with_=["docs"], without=["dev"]', 'only=["dev"]')
    told = program.tells(
        only.replace('importlib.metadata.version("ptop")', "None"), **{"pyproject.toml": project}
    )
    assert isinstance(told, list)
    assert told[:3] == ["pdev", None, ""]


def test_a_lock_says_which_versions_and_one_that_is_out_of_date_is_named(
    program: Program, index: str, wheels: Path
) -> None:
    """The login is a secret of the step, as Poetry reads it."""
    project = POETRY.format(top=">=1", login="", address=index)
    login = {"POETRY_HTTP_BASIC_MINE_USERNAME": "ada", "POETRY_HTTP_BASIC_MINE_PASSWORD": PASSWORD}
    head = f"secrets = [squall.Secret.from_local_environ({list(login)!r})] if squall.is_local() else []\n"
    head += 'with_poetry = squall.Image.debian_slim().uv_pip_install("poetry", "poetry-plugin-export")\n'
    locking = """
image = with_poetry.add_local_file("pyproject.toml", "/opt/pyproject.toml", copy=True).run_commands("cd /opt && poetry lock", secrets=secrets)
@app.function(image=image)
def look():
    return open("/opt/poetry.lock").read()
"""
    installing = f"""
image = BASE.poetry_install_from_file("pyproject.toml", secrets=secrets, OPTION)
{LOOK_AT_PACKAGES}"""

    def tried(option: str, files: dict[str, str | bytes], base: str = "squall.Image.debian_slim()") -> str:
        done = program.run(head + installing.replace("OPTION", option).replace("BASE", base), **files)
        assert PASSWORD not in program.said
        return done.stdout if done.returncode == 0 else program.said

    program.house.environ.update(login)
    try:
        lock = program.tells(head + locking, **{"pyproject.toml": project})
        assert isinstance(lock, str)
        make_wheel(wheels, "ptop", "2.0", {"ptop.py": ""}, needs=("pleaf",))
        files: dict[str, str | bytes] = {"pyproject.toml": project, "poetry.lock": lock}
        wanted = '["pdev", "pleaf", "ptop", "1.0", ""'
        assert f"told:{wanted}" in tried("force_build=False", files)
        wanted = '["pdev", "pleaf", "poetry", "ptop", "1.0", ""'
        assert f"told:{wanted}" in tried("poetry_version=None", files, "with_poetry")
        assert "the image has no Poetry" in tried("poetry_version=None", files)

        files["pyproject.toml"] = project.replace(">=1", ">=2")
        for version in ("latest", "1.8.5"):
            said = tried(f"poetry_version={version!r}", files)
            assert "SQ-1500" in said
            assert "poetry.lock does not say what pyproject.toml asks for now" in said
            assert "run `poetry lock`" in said
        assert "poetry.lock does not exist" in tried("force_build=False", {"pyproject.toml": project})
        files["pyproject.toml"] = project.replace("ptop", "no-such-package-at-all")
        said = tried("ignore_lockfile=True", files)
        assert "SQ-1501" in said
        assert "no version of no-such-package-at-all fits" in said
    finally:
        for name in login:
            del program.house.environ[name]


@contextlib.contextmanager
def command_lines_with(secret: str) -> Iterator[list[str]]:
    """Those of this machine in which it stands while this lasts, as far as one who looks all the time can see."""
    seen: list[str] = []
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    line = path.read_bytes()
                    if secret.encode() in line:
                        seen.append(line.decode(errors="replace"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


@pytest.mark.needs("git")
def test_packages_of_private_repositories_and_their_token_is_nowhere(
    program: Program, tmp_path: Path
) -> None:
    # Drawn: other tests of this state directory may have shipped this very file.
    token = f"t0kenOfThe{os.getpid()}Repositories"
    project = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n[project]\nname = "{}"\nversion = "{}"\n'
    files = {"pyproject.toml": project.format("hushed", "1.5"), "hushed.py": "VALUE = 'hush'\n"}
    make_repository(tmp_path / "us" / "hushed.git", files, tag="v1.5")
    other = {"pkg/pyproject.toml": project.format("inner", "2.0"), "pkg/inner.py": "VALUE = 'deep'\n"}
    commit = make_repository(tmp_path / "us" / "many.git", other)
    with git_server(tmp_path, f"ada:{token}") as address:
        text = f"""
secrets = [squall.Secret.from_local_environ(["MY_TOKEN"])] if squall.is_local() else [squall.Secret.from_dict({{"MY_TOKEN": None}})]
image = BASE.pip_install_private_repos(
    "{address}/us/hushed.git@v1.5", "{address}/us/many.git@{commit}#subdirectory=pkg", git_user="ada", secrets=secrets)

@app.function(image=image)
def look():
    import hushed, inner, os
    found = sh("grep -rlE 't0ken[O]fThe' / --exclude-dir=proc --exclude-dir=sys --exclude-dir=squall 2>/dev/null")
    return [hushed.VALUE, inner.VALUE, found, "MY_TOKEN" in os.environ, sh("ls -A /root /tmp"), sh("cat /usr/local/lib/python3*/site-packages/hushed-1.5.dist-info/direct_url.json")]
"""
        program.house.environ["MY_TOKEN"] = token
        try:
            bare = program.run(text.replace("BASE", "squall.Image.debian_slim()"))
            assert bare.returncode != 0
            assert "the image has no git" in program.said
            assert '.apt_install("git")' in program.said
            with_git = text.replace("BASE", 'squall.Image.debian_slim().apt_install("git")')
            with command_lines_with(token) as seen:
                told = program.tells(with_git)
            assert seen == []
            assert isinstance(told, list)
            assert told[:4] == ["hush", "deep", "", False]
            assert told[4] == "/root:\n.bashrc\n.profile\n\n/tmp:"
            assert "ada" not in told[5]
            assert f"building pip_install_private_repos {address}/us/hushed.git@v1.5" in program.said
            assert token not in program.said
            program.tells(with_git)
            assert "building" not in program.said
            program.house.environ["MY_TOKEN"] = "an0therToken"
            program.tells(with_git)
            assert "building" not in program.said, "a new token builds nothing anew"
            done = program.run(with_git.replace("v1.5", "main"))
            assert done.returncode != 0
            assert "SQ-1503" in program.said
            assert "refused the login" in program.said
            assert "an0therToken" not in program.said
            program.house.environ["MY_TOKEN"] = token
            done = program.run(with_git.replace("v1.5", "no-such-tag"))
            assert done.returncode != 0
            assert "no-such-tag" in program.said
        finally:
            del program.house.environ["MY_TOKEN"]
    kept = [path for path in (program.house.folder / "state").rglob("*") if path.is_file()]
    assert not [path for path in kept if token.encode() in path.read_bytes()]
    cache = [path.name for path in (program.house.folder / "state" / "tools").rglob("*")]
    assert "hushed.py" not in cache, "what everybody's builds share has a private repository"


def test_a_file_of_the_web_is_added_once_and_checked(program: Program, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("first")
    right, wrong = hashlib.sha256(b"first").hexdigest(), hashlib.sha256(b"other").hexdigest()
    with file_server(tmp_path) as address:
        text = f"""
image = squall.Image.debian_slim().dockerfile_commands("ADD CHECK http://{address}/words.txt /srv/", force_build=FORCE)

@app.function(image=image)
def look():
    return [sh("cat /srv/words.txt"), sh("stat -c %u:%a /srv/words.txt")]
"""
        plain = text.replace("CHECK ", "").replace("FORCE", "False")
        assert program.tells(plain) == ["first", "0:600"]
        (tmp_path / "words.txt").write_text("second")
        assert program.tells(plain) == ["first", "0:600"], "it was downloaded already"
        assert program.tells(plain.replace("False", "True")) == ["second", "0:600"]
        (tmp_path / "words.txt").write_text("first")
        checked = text.replace("FORCE", "False").replace("CHECK", "--checksum=sha256:SUM")
        assert program.tells(checked.replace("SUM", right)) == ["first", "0:600"]
        done = program.run(checked.replace("SUM", wrong))
        assert done.returncode != 0
        assert "SQ-1503" in program.said
        assert f"its sha256 is {right}, not {wrong}" in program.said
        done = program.run(plain.replace("words.txt /", "no-such.txt /"))
        assert done.returncode != 0
        assert "the status 404" in program.said
