"""Image builds: the same recipes built by Squall, by buildah and by pip, from the same base, with the same commands."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import commands
from measure import Samples, Turn, say, seconds
from squall import App, Image
from squall.blobs.disk_blobs import DiskBlobs
from squall.images.command import Tool
from squall.images.installer import sources_of
from squall.images.oci.nouns import ImageConfig, Platform
from squall.images.registry.client import RegistryClient
from squall.images.registry.credentials import Keychain
from squall.images.registry.reference import parse_reference
from squall.images.remote import push_image
from squall.images.rooted.commands import AUTHORITIES, CACHE, INPUTS, ROOM, Means, command_of, trusting
from squall.images.rooted.kept import Kept
from squall.images.rooted.nouns import Built
from squall.images.rooted.plan import plan_steps
from squall.images.seen import index_directories
from squall.images.tools import authorities, with_authorities
from squall.model.image import ImageRecipe
from squall.model.image_steps import AptInstall, PipInstall, RunCommands, Step
from squall.sdk.this_python import installer_settings
from squall.settings.paths import open_state

UNITS = {
    "base_s": "s",
    "build_s": "s",
    "rebuild_s": "s",
    "build_mixed_s": "s",
    "rebuild_mixed_s": "s",
    "rebuild_changed_s": "s",
}
PREPARED = "SQUALL_BENCH_IMAGES"
"""The variable that names the directory of what `prepare` made: the turns are in processes of their own."""

HERE = Platform(os="linux", architecture="amd64")
BASE = "bench/base:v1"
BASE_HERE = "localhost/bench-base"
_PACKAGES = ("numpy", "pandas")
_LINES = ("mkdir -p /opt/data", "git --version > /opt/data/git", "seq 1 200000 > /opt/data/numbers")
_CHANGED = (*_LINES[:-1], "seq 1 200001 > /opt/data/numbers")
_APT, _PIP = ("git", "jq"), ("requests", "pyyaml")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is built over `debian_slim`, as both Squall's users and its builder say it."""

    image: Callable[[Image], Image]
    steps: tuple[Step, ...]


def _mixed(lines: Sequence[str]) -> Recipe:
    return Recipe(
        lambda base: base.apt_install(*_APT).uv_pip_install(*_PIP).run_commands(*lines),
        (
            AptInstall(packages=_APT),
            PipInstall(packages=_PIP, dialect="uv"),
            RunCommands(commands=tuple(lines)),
        ),
    )


RECIPES = {
    "base": Recipe(lambda base: base, ()),
    "packages": Recipe(
        lambda base: base.uv_pip_install(*_PACKAGES), (PipInstall(packages=_PACKAGES, dialect="uv"),)
    ),
    "mixed": _mixed(_LINES),
    "changed": _mixed(_CHANGED),
}
ASKED = (
    ("build_s", "packages"),
    ("rebuild_s", "packages"),
    ("build_mixed_s", "mixed"),
    ("rebuild_mixed_s", "mixed"),
    ("rebuild_changed_s", "changed"),
)
"""The figures in their order, and what each is the time of."""


@contextmanager
def server_at(state: Path) -> Iterator[None]:
    """A Squall of this state directory for what is run meanwhile; ended afterwards, with all files kept."""
    before = dict(os.environ)
    os.environ["SQUALL_STATE_DIR"] = str(state)
    try:
        yield
    finally:
        subprocess.run(commands.squall_command("down"), capture_output=True, check=False)
        os.environ.clear()
        os.environ.update(before)


def ready_s(name: str) -> float:
    """Seconds that a client of its own waits until an app with this image is ready, without the start of its Python."""
    done = subprocess.run([sys.executable, __file__, name], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the image {name} could not be built:\n{done.stdout}{done.stderr}")
    return float(done.stdout.split()[-1])


def ask(name: str) -> None:
    """The client: opens an app with this image and prints how long that took."""
    app = App("bench-images", include_source=False)
    image = RECIPES[name].image(Image.debian_slim())
    app.function(image=image, serialized=True, name="nothing")(lambda: None)

    def opened() -> None:
        running.enter_context(app.run())

    with ExitStack() as running:
        print(seconds(opened))


def prepare(top: Path) -> Samples:
    """What all turns start from, below `top`: uv, and a state directory that has the base. Gives how long the base took from nothing.

    Raises RuntimeError, subprocess.CalledProcessError.
    """
    say("making the base of all builds")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(top / "uv"), "uv"]
    subprocess.run(install, check=True, capture_output=True)
    os.environ["PATH"] = f"{top / 'uv' / 'bin'}:{os.environ['PATH']}"
    with server_at(top / "state"):
        base_s = ready_s("base")
    os.environ[PREPARED] = str(top)
    return {"base_s": [base_s]}


def prepared() -> Path | None:
    """Where `prepare` made all; None where it could not, or where nobody asked it to."""
    given = os.environ.get(PREPARED)
    return Path(given) if given else None


def squall_builds(top: Path, start: Path) -> Samples:
    """Squall's turn: a server with the base and nothing else, no cache of packages either."""
    state = top / "state"
    subprocess.run(["cp", "-a", str(start / "state"), str(state)], check=True)
    with server_at(state):
        ready_s("base")
        os.sync()  # what was copied is no part of what is measured
        return {metric: [ready_s(name)] for metric, name in ASKED}


def venv_pip(top: Path) -> Samples:
    """Packages into a virtual environment by pip: with no cache, then another one with pip's cache of these."""
    environ = {**os.environ, "PIP_CACHE_DIR": str(top / "cache")}

    def into(place: Path) -> None:
        make = [sys.executable, "-m", "venv", str(place)]
        install = [str(place / "bin" / "python"), "-m", "pip", "install", *_PACKAGES]
        for command in (make, install):
            subprocess.run(command, check=True, capture_output=True, env=environ)

    return {
        "build_s": [seconds(lambda: into(top / "one"))],
        "rebuild_s": [seconds(lambda: into(top / "two"))],
    }


def built_base(state: Path) -> Built:
    """The base that a state directory has. Raises StopIteration where it has none."""
    kept = [built for built, _ in Kept(open_state(state).images).all() if built.python is not None]
    return next(iter(kept))


async def push_base(address: str, start: Path) -> None:
    """The base that Squall starts from, into a registry."""
    state = start / "state"
    built = built_base(state)
    blobs = await DiskBlobs.open(open_state(state).blobs)
    config = ImageConfig(platform=HERE, diff_ids=(), env=tuple(built.config.env.items()))
    client = RegistryClient(keys=Keychain({}), environ={})
    await push_image(client, parse_reference(f"{address}/{BASE}"), blobs, built.layers[::-1], config)
    await blobs.close()


class Buildah:
    """Buildah with storage of its own, and with the very commands that Squall runs, told the same of packages and authorities."""

    def __init__(self, top: Path, base: str, built: Built, uv: str) -> None:
        self._top = top
        self._fetched = base
        self._built = built
        self._settings = with_authorities(installer_settings())
        self._driver = "overlay"
        self._isolation = "oci"
        self._mounts = {
            CACHE: str(top / "cache"),
            f"{ROOM}/uv": uv,
            AUTHORITIES: authorities() or os.devnull,
            **{path: path for path in (self._settings.cert, self._settings.client_cert) if path},
        }
        for name in ("cache", "context"):
            (top / name).mkdir()
        for name in ("packages", "mixed", "changed"):
            self._write(name)

    @property
    def told(self) -> str:
        """How it keeps images and confines what it runs."""
        return f"storage {self._driver}, isolation {self._isolation}"

    def run(self, *arguments: str) -> None:
        """One command of buildah. Raises RuntimeError, which has what it said."""
        own = ["--root", str(self._top / "root"), "--runroot", str(self._top / "run")]
        command = ["buildah", *own, "--storage-driver", self._driver, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"buildah {arguments[0]} failed:\n{(done.stdout + done.stderr)[-4000:]}")

    def start(self) -> None:
        """Fetches the base, and finds what works here: overlay, else copies; a runtime of containers, else chroot."""
        try:
            self.run("info")
        except RuntimeError:
            self._driver = "vfs"
        self.run("pull", "--quiet", "--tls-verify=false", self._fetched)
        # Made into one layer of its own: some releases build nothing on images that do not tell how each layer was made.
        self.run("from", "--quiet", "--pull-never", "--name", "base", self._fetched)
        self.run("commit", "--quiet", "--squash", "--rm", "base", BASE_HERE)
        (self._top / "Dockerfile.probe").write_text(f"FROM {BASE_HERE}\nRUN true\n")
        (self._top / "inputs-probe").mkdir()
        try:
            self.build("probe")
        except RuntimeError:
            self._isolation = "chroot"
            self.build("probe")

    def build(self, name: str) -> None:
        """Builds a recipe; what it has built before it uses again."""
        mounts = {**self._mounts, INPUTS: str(self._top / f"inputs-{name}")}
        volumes = [f"--volume={source}:{target}" for target, source in mounts.items()]
        options = ["--layers", "--pull-never", "--network=host", f"--isolation={self._isolation}", *volumes]
        file = str(self._top / f"Dockerfile.{name}")
        self.run("build", *options, "--tag", f"bench-{name}", "--file", file, str(self._top / "context"))

    def end(self) -> None:
        """Lets go of its storage, so that it can be removed."""
        mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for place in reversed([at for at in mounted if Path(at).is_relative_to(self._top)]):
            subprocess.run(["umount", place], check=False)

    def _write(self, name: str) -> None:
        """The Dockerfile of a recipe: a line for each command, which lies among the inputs with its environment."""
        inputs = self._top / f"inputs-{name}"
        inputs.mkdir()
        recipe = ImageRecipe(base="debian_slim", steps=RECIPES[name].steps)
        tool = Tool(kind="uv", argv=(f"{ROOM}/uv",), origin="the bench's own")
        means = Means(python=self._built.python, tool=tool, settings=self._settings)
        environment, files = trusting(self._settings)
        lines = [f"FROM {BASE_HERE}"]
        for number, step in enumerate(plan_steps(self._built, recipe, {}).steps):
            command = command_of(step, means).command
            script = f"{number}-{step.key[:12]}"
            texts = {**files, **command.files, script: _script(command.argv, {**environment, **command.env})}
            for file, text in texts.items():
                (inputs / file).write_text(text)
            if isinstance(step.action, PipInstall):
                local = sources_of(step.action, self._settings).local_paths
                self._mounts |= {at: at for path in local for at in index_directories(path)}
            lines.append(f"RUN /bin/sh {INPUTS}/{script}")
        (self._top / f"Dockerfile.{name}").write_text("\n".join([*lines, ""]))


def _script(argv: Sequence[str], env: Mapping[str, str]) -> str:
    given = [f"{name}={value}" for name, value in env.items()]
    return f"exec {shlex.join(['env', '-i', *given, *argv])}\n"


def buildah(top: Path, start: Path, address: str) -> Turn:
    """Buildah's turn: storage that has the base and nothing else, no cache of packages either."""
    top.mkdir()
    asyncio.run(push_base(address, start))
    peer = Buildah(top, f"{address}/{BASE}", built_base(start / "state"), str(start / "uv" / "bin" / "uv"))
    try:
        peer.start()
        os.sync()
        samples = {metric: [seconds(partial(peer.build, name))] for metric, name in ASKED}
    finally:
        peer.end()
    return Turn(samples=samples, notes=(peer.told,))


if __name__ == "__main__":
    ask(sys.argv[1])
