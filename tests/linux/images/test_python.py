"""A copied Python on a base that has nothing but a C library: it runs there, as on the machine that it comes from."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from squall.blobs.digest import Digest
from squall.blobs.directory_renderer import DirectoryRenderer
from squall.blobs.manifest_bytes import decode, encode
from squall.blobs.memory_blobs import MemoryBlobs
from squall.blobs.snapshot import snapshot
from squall.blobs.stack import flattened
from squall.images.python.give import Means, give_python
from squall.images.python.nouns import PythonInImage, Wanted
from squall.images.python.standalone_fetch import Source
from squall.model.errors import PythonUnavailable
from squall.model.image import ClientPython
from tests.unit.images.python.trees import library, tree

pytestmark = pytest.mark.needs("linux", "namespaces")

SOURCES = Path(__file__).resolve().parents[3] / "src"
IN_ROOT = Path(__file__).with_name("in_root.py")
NOWHERE = Source(releases="http://127.0.0.1:1/nobody/listens/here")
ASK = (
    "import json; from squall.sdk.this_python import this_python; print(json.dumps(this_python().to_json()))"
)
# Of the C library only: whatever else an interpreter needs must come with it.
OF_LIBC = (
    *("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1"),
    "libresolv.so.2",
)
MODULES = "ssl, sqlite3, ctypes, lzma, bz2, zlib, hashlib, asyncio, venv, uuid, readline, curses, decimal"


def interpreter(which: str) -> str:
    """A Python of this minor version, or /usr/bin's; skips where this machine has none."""
    if which == "/usr":
        candidates = [Path("/usr/bin/python3")]
    else:
        own = Path(sys.base_prefix, "bin", f"python{which}")
        versions = Path.home() / ".pyenv" / "versions"
        managed = sorted(versions.glob(f"{which}.*/bin/python{which}"), reverse=True)
        found = shutil.which(f"python{which}")
        candidates = [own, *managed, *([Path(found)] if found else [])]
    for path in candidates:
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    pytest.skip(f"a Python to copy ({which})")


def client(which: str) -> ClientPython:
    path = interpreter(which)
    said = subprocess.run(
        [path, "-c", ASK],
        capture_output=True,
        check=True,
        env={"PYTHONPATH": str(SOURCES), "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.defpath},
    )
    python = ClientPython.from_json(json.loads(said.stdout))
    if python.minor in {"3.9", "3.10"} or (which == "/usr" and python.base_prefix != "/usr"):
        pytest.skip(f"a Python to copy ({which})")
    return python


def bare_root(place: Path) -> None:
    """A root with the C library of this machine, where it lies here, and nothing beside it."""
    loader = next(
        path
        for path in map(Path, ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"))
        if path.exists()
    )
    directory = loader.resolve().parent
    (place / "tmp").mkdir(parents=True)
    for name in ("lib", "lib64"):
        if Path("/", name).is_symlink():
            (place / name).symlink_to(Path("/", name).readlink())
        (place / "usr" / name).mkdir(parents=True)
    inside = place / str(directory).removeprefix("/")
    inside.mkdir(parents=True, exist_ok=True)
    for name in (loader.name, *OF_LIBC):
        if (directory / name).exists():
            shutil.copyfile(directory / name, inside / name)
            (inside / name).chmod(0o755)
    if not (place / str(loader).removeprefix("/")).exists():
        (place / str(loader).removeprefix("/")).symlink_to(directory / loader.name)


class Image:
    """An image with a copied Python: what was given, and a directory with all of it."""

    def __init__(self, place: Path, which: str) -> None:
        self.place = place
        self.client = client(which)
        bare_root(place / "bare")
        self.blobs = MemoryBlobs()
        self.given = asyncio.run(self._give())
        self.root = place / "root"

    @property
    def of_distribution(self) -> bool:
        return self.client.base_prefix == "/usr"

    async def _give(self) -> PythonInImage:
        base = (await snapshot(self.place / "bare", self.blobs)).manifest
        given = await self.again(base)
        assert given.tree is not None
        layers = [decode(await self.blobs.get(tree)) for tree in (base, given.tree)]
        whole = await self.blobs.put(encode(flattened(layers)))
        await DirectoryRenderer(self.blobs, owners=False).render(whole, self.place / "root")
        self.base = base
        return given

    async def again(self, base: Digest) -> PythonInImage:
        machine = os.uname().machine
        means = Means(blobs=self.blobs, scratch=self.place, client=self.client, source=NOWHERE)
        return await give_python(Wanted(minor=self.client.minor, machine=machine), [base], means)

    def run(self, program: str, *options: str) -> str:
        """What the program prints, run by the image's Python with nothing else in sight."""
        command = [self.given.interpreter, *options, "-c", textwrap.dedent(program)]
        done = subprocess.run(
            [sys.executable, str(IN_ROOT), str(self.root), *command],
            capture_output=True,
            check=False,
            text=True,
            env={"PYTHONPATH": str(SOURCES)},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Image]:
    made: dict[str, Image] = {}

    def of(which: str) -> Image:
        if which not in made:
            made[which] = Image(tmp_path_factory.mktemp("image"), which)
        return made[which]

    return of


each = pytest.mark.parametrize("which", ["3.11", "3.12", "3.13", "/usr"])


@each
def test_it_runs_with_all_its_modules_and_finds_its_home(image: Callable[[str], Image], which: str) -> None:
    made = image(which)
    home = "/usr" if made.of_distribution else "/usr/local"
    said = made.run(f"import {MODULES}, sys; print(sys.prefix, sys.base_prefix, sys.version.split()[0])")
    assert said.split() == [home, home, made.client.version]
    assert made.given.site_packages in made.run("import sys; print(sys.path)")
    assert (
        made.run("import sysconfig; print(sysconfig.get_path('purelib'))").strip() == made.given.site_packages
    )
    assert not [note for note in made.given.notes if "left out" in note]


@each
def test_nothing_in_it_tells_where_it_came_from(image: Callable[[str], Image], which: str) -> None:
    made = image(which)
    if made.client.base_prefix in {"/usr", "/usr/local"}:
        return  # it came from where it went to
    said = made.run("import sysconfig; print(sysconfig.get_config_vars())")
    assert made.client.base_prefix not in said


@each
def test_its_library_is_compiled_once_and_for_every_start(image: Callable[[str], Image], which: str) -> None:
    made = image(which)
    name = f"decoder.cpython-{made.client.minor.replace('.', '')}.pyc"
    compiled = next((made.root / "usr").rglob(f"json/__pycache__/{name}"))
    assert int.from_bytes(compiled.read_bytes()[4:8], "little") == 1, (
        "by the hash of its source, and unchecked"
    )
    said = made.run("import json.decoder; print(json.decoder.JSONDecoder.decode.__code__.co_filename)", "-v")
    assert f"code object from '/{compiled.relative_to(made.root)}'" in said
    assert said.startswith(f"/{compiled.parents[1].relative_to(made.root)}/decoder.py\n")


@each
def test_packages_are_installed_into_it_and_into_environments_of_it(
    image: Callable[[str], Image], which: str
) -> None:
    made = image(which)
    if made.of_distribution:
        # Debian keeps the wheels of ensurepip in a package of their own.
        said = made.run("import venv; venv.create('/tmp/own', symlinks=True)")
    else:
        made.run("import ensurepip; ensurepip.bootstrap()")
        assert made.given.site_packages in made.run("import pip; print(pip.__file__)")
        made.run("import venv; venv.create('/tmp/own', symlinks=True)")
    said = subprocess.run(
        [
            sys.executable,
            str(IN_ROOT),
            str(made.root),
            "/tmp/own/bin/python",
            "-c",
            "import sys; print(sys.prefix)",
        ],
        capture_output=True,
        check=True,
        text=True,
        env={"PYTHONPATH": str(SOURCES)},
    ).stdout
    assert said.strip() == "/tmp/own"


@each
def test_the_same_prefix_gives_the_same_layer(image: Callable[[str], Image], which: str) -> None:
    made = image(which)
    assert asyncio.run(made.again(made.base)).tree == made.given.tree
    assert [path.name for path in made.place.iterdir() if path.name.startswith("python-")] == []


def test_on_an_older_c_library_it_is_not_copied(image: Callable[[str], Image]) -> None:
    made = image(f"3.{sys.version_info[1]}")
    libc = next(path for path in (made.place / "bare").rglob("libc.so.6")).relative_to(made.place / "bare")
    older = library("GLIBC_2.2.5", "GLIBC_2.17", machine=os.uname().machine)

    async def main() -> None:
        upper = await tree(made.blobs, {str(libc): older})
        base = [decode(await made.blobs.get(digest)) for digest in (made.base, upper)]
        await made.again(await made.blobs.put(encode(flattened(base))))

    with pytest.raises(PythonUnavailable, match=r"needs glibc 2\.\d+, and the image has 2\.17"):
        asyncio.run(main())
