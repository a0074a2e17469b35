"""Real builds: real uv and pip, in real sandboxes and as plain processes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from squall.images.apply import Builder, Job, Sandboxes
from squall.images.command import Exit
from squall.images.host import Facts, host_image
from squall.images.installer import InstallerSettings
from squall.images.layers import Layers, walk
from squall.images.plan import BuildFacts, ImagePlan, plan_image
from squall.images.seen import look
from squall.images.sweep import Layer
from squall.model.errors import ImageBuildError, ImageDownloadError, PackageNotFound
from squall.runtime.spec import Level, SandboxSpec
from squall.sdk.image import Image
from squall.sdk.image_recipe import recipe_of
from squall.sdk.this_python import installer_settings, this_python
from tests.linux.images.index import private_index
from tests.linux.images.launcher_sandboxes import LauncherSandboxes, launcher_sandboxes
from tests.linux.images.process_sandboxes import ProcessSandboxes
from tests.linux.images.wheels import make_wheel
from tests.machine import mount_points

pytestmark = [pytest.mark.needs("linux"), pytest.mark.timeout(180)]

OFFLINE = InstallerSettings(no_index=True)
LOGIN = "ada:hunter22secret"


@dataclass
class Place:
    """A state directory with its sandboxes and what a build there has said."""

    state: Path
    wheels: Path
    sandboxes: Sandboxes
    settings: InstallerSettings = OFFLINE
    environ: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    lines: list[str] = field(default_factory=list)
    probes: int = 0

    def __post_init__(self) -> None:
        self.layers = Layers(self.state / "layers")
        self.builder = Builder(
            self.layers, tools=self.state / "tools", scratch=self.state / "scratch", sandboxes=self.sandboxes
        )
        own = Path(__file__).parents[3] / "src" / "squall"
        self.facts = Facts(
            python=this_python(),
            home=os.path.expanduser("~"),
            private=(str(self.state),),
            packages=(("squall", str(own)),),
        )
        self.host = host_image(self.facts, look)

    @property
    def isolated(self) -> bool:
        return self.sandboxes.level == "sandbox"

    def plan(self, image: Image) -> ImagePlan:
        return plan_image(
            recipe_of(image, sources=self.settings.sources).recipe,
            BuildFacts(
                python=self.facts.python,
                host=self.host,
                built=self.layers.keys(),
                layers_dir=str(self.layers.directory),
                isolated=self.isolated,
            ),
        )

    async def build(self, image: Image, say: Callable[[str], None] | None = None) -> tuple[Layer, ...]:
        settings = InstallerSettings.from_json(
            {**self.settings.to_json(), "secrets": {**self.settings.secrets, **recipe_of(image).secrets}}
        )
        job = Job(facts=self.facts, host=self.host, settings=settings, environ=self.environ)
        return await self.builder.build(self.plan(image), job, say or self.lines.append)

    def run(self, image: Image, *argv: str) -> tuple[Exit, str]:
        """A command in a container of the image."""
        said: list[bytes] = []
        plan = self.plan(image)
        self.probes += 1
        if self.isolated:
            spec = SandboxSpec(
                id=f"probe-{self.probes}",
                scratch=str(self.state / "scratch" / f"probe-{self.probes}"),
                lowers=(*plan.lowers, str(self.layers.skeleton(plan.skeleton))),
                mounts=plan.mounts,
                env=plan.environment,
                workdir="/",
                uid_base=self.sandboxes.uid_base,
                argv=("/usr/bin/env", *argv),
            )
        else:
            spec = SandboxSpec(
                id="probe", level="process", scratch="/x", env=plan.environment, argv=("/usr/bin/env", *argv)
            )
        return asyncio.run(self.sandboxes.run(spec, said.append)), b"".join(said).decode()


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that holds a uv, fetched once."""
    place = tmp_path_factory.mktemp("tools")
    # The environment of the tests need not have a pip; the Python that it was made from, or another one here, has.
    pythons = [
        sys.executable,
        getattr(sys, "_base_executable", sys.executable),  # CPython has it
        *filter(None, (shutil.which(f"python3{v}") for v in ("", ".11"))),
    ]
    for python in dict.fromkeys(pythons):
        command = [python, "-m", "pip", "install", "-q", "--target", str(place / "uv-any"), "uv"]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return place
    pytest.skip("needs network: no package index gave uv")


@pytest.fixture(params=["process", pytest.param("sandbox", marks=pytest.mark.needs("namespaces"))])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    yield from _place(request.param, tmp_path)


@pytest.fixture
def sandboxed(tmp_path: Path) -> Iterator[Place]:
    yield from _place("sandbox", tmp_path)


def _place(level: str, tmp_path: Path) -> Iterator[Place]:
    state = tmp_path / "state"
    for name in ("layers", "tools", "scratch"):
        (state / name).mkdir(parents=True)
    wheels = _wheels(tmp_path / "wheels")
    if level == "process":
        yield Place(state, wheels, ProcessSandboxes())
    else:
        with launcher_sandboxes(state) as sandboxes:
            yield Place(state, wheels, sandboxes)


def _wheels(folder: Path) -> Path:
    for version in ("1.0", "2.0"):
        make_wheel(folder, "sqleaf", version, {"sqleaf/__init__.py": f"VERSION = '{version}'\n"})
    main = "import sqleaf\n\n\ndef main():\n    print('leaf', sqleaf.VERSION)\n"
    make_wheel(
        folder, "sqtop", "1.0", {"sqtop/__init__.py": main}, needs=("sqleaf",), command="sqtop=sqtop:main"
    )
    return folder


def _with_uv(place: Place, tools: Path) -> Place:
    (place.state / "tools" / "uv-any").symlink_to(tools / "uv-any")
    return place


def _image(place: Place) -> Image:
    links = str(place.wheels)
    return Image.host().uv_pip_install("sqleaf<2", find_links=links).uv_pip_install("sqtop", find_links=links)


def _digest(top: Path) -> str:
    files = sorted(at for at in walk(top) if os.path.isfile(at))
    return hashlib.sha256(b"".join(Path(at).read_bytes() + at.encode() for at in files)).hexdigest()


def test_a_layer_is_built_once_and_its_packages_and_commands_work(place: Place, tools: Path) -> None:
    _with_uv(place, tools)
    image = _image(place)
    (layer,) = asyncio.run(place.build(image))
    exit_, said = place.run(image, "sqtop")
    # The second step has kept what the first one chose, though a newer one was there.
    assert (exit_.code, said) == (0, "leaf 1.0\n")
    top = place.layers.path(layer.key)
    assert list(top.glob("sqtop/__pycache__/*.pyc"))
    assert not (top / ".lock").exists()
    assert layer.size_bytes > 0
    assert "uv" in layer.tool
    assert place.plan(image).builds == ()
    before = len(place.lines)
    asyncio.run(place.build(image))
    assert len(place.lines) == before


def test_building_on_a_layer_leaves_that_layer_as_it_was(place: Place, tools: Path) -> None:
    _with_uv(place, tools)
    first = Image.host().uv_pip_install("sqleaf<2", find_links=str(place.wheels))
    (layer,) = asyncio.run(place.build(first))
    before = _digest(place.layers.path(layer.key))
    newer = first.uv_pip_install("sqleaf>=2", find_links=str(place.wheels))
    asyncio.run(place.build(newer))
    assert _digest(place.layers.path(layer.key)) == before
    python = place.facts.python.executable
    assert place.run(newer, python, "-c", "import sqleaf; print(sqleaf.VERSION)")[1] == "2.0\n"
    assert place.run(first, python, "-c", "import sqleaf; print(sqleaf.VERSION)")[1] == "1.0\n"


def test_a_certain_uv_is_fetched_once_and_used_for_its_step_alone(place: Place, tools: Path) -> None:
    _with_uv(place, tools)
    place.settings = installer_settings()
    image = Image.host().uv_pip_install("sqleaf", find_links=str(place.wheels), uv_version="0.9.1")
    (layer,) = asyncio.run(place.build(image))
    assert layer.tool == "uv 0.9.1 (fetched by Squall)"
    (other,) = asyncio.run(
        place.build(image.uv_pip_install("sqtop", find_links=str(place.wheels), uv_version="0.9.1"))
    )
    assert other.tool == layer.tool
    assert len([line for line in place.lines if line.startswith("fetching")]) == 1


def test_pip_does_it_where_no_uv_can_be_had(place: Place) -> None:
    place.environ = {"PATH": "/nonexistent", "HOME": "/nonexistent"}
    if place.facts.python.uv:
        pytest.skip("this environment has its own uv")
    image = _image(place)
    (layer,) = asyncio.run(place.build(image))
    assert layer.tool.startswith("pip")
    assert any("pip installs instead" in line for line in place.lines)
    assert place.run(image, "sqtop")[1] == "leaf 1.0\n"


def test_a_package_that_does_not_exist_is_named_and_leaves_nothing(place: Place, tools: Path) -> None:
    _with_uv(place, tools)
    image = Image.host().uv_pip_install("sqnothing-here", find_links=str(place.wheels))
    with pytest.raises(PackageNotFound) as raised:
        asyncio.run(place.build(image))
    assert raised.value.package == "sqnothing-here"
    assert "uv pip install sqnothing-here" in raised.value.message
    assert place.layers.keys() == frozenset()
    assert [name for name in os.listdir(place.layers.directory) if name.startswith(".")] == []


def test_credentials_reach_the_index_and_nothing_that_is_kept_or_said(place: Place, tools: Path) -> None:
    _with_uv(place, tools)
    place.settings = InstallerSettings()
    user, password = LOGIN.split(":")
    with private_index(place.wheels, LOGIN) as address:
        wheel = f"http://{LOGIN}@{address}/files/sqleaf-1.0-py3-none-any.whl"
        index = f"http://{LOGIN}@{address}/simple"
        image = Image.host().uv_pip_install("sqtop", f"sqleaf @ {wheel}", index_url=index, extra_options="-v")
        (layer,) = asyncio.run(place.build(image))
    assert place.run(image, "sqtop")[1] == "leaf 1.0\n"
    top = place.layers.directory
    kept = [Path(at) for at in walk(top) if os.path.isfile(at)]
    assert not [path for path in kept if password.encode() in path.read_bytes()]
    url = place.layers.path(layer.key) / "sqleaf-1.0.dist-info" / "direct_url.json"
    assert f"http://{address}/files" in url.read_text(encoding="utf-8")
    assert password not in "\n".join(place.lines)
    assert isinstance(place.sandboxes, ProcessSandboxes | LauncherSandboxes)
    assert not [spec for spec in place.sandboxes.specs if spec.argv and password in " ".join(spec.argv)]
    assert password not in str(recipe_of(image).recipe.to_json())
    assert user


def test_a_refused_login_is_told_as_such_without_the_password(place: Place, tools: Path) -> None:
    _with_uv(place, tools)
    place.settings = InstallerSettings()
    with private_index(place.wheels, LOGIN) as address:
        image = Image.host().uv_pip_install("sqleaf", index_url=f"http://ada:wrong-pw@{address}/simple")
        with pytest.raises(ImageDownloadError) as raised:
            asyncio.run(place.build(image))
    assert "wrong-pw" not in raised.value.message + "\n".join(place.lines)


def test_two_that_want_one_layer_get_one_build(place: Place, tools: Path) -> None:
    _with_uv(place, tools)
    image = Image.host().uv_pip_install("sqleaf", find_links=str(place.wheels))
    heard: tuple[list[str], list[str]] = ([], [])

    async def both() -> None:
        await asyncio.gather(*(place.build(image, say.append) for say in heard))

    asyncio.run(both())
    assert isinstance(place.sandboxes, ProcessSandboxes | LauncherSandboxes)
    assert len([spec for spec in place.sandboxes.specs if spec.id.startswith("build-")]) == 1
    assert heard[0] == heard[1]
    assert any(line.startswith("built") for line in heard[0])


def test_requirements_with_an_include_and_constraints_are_installed(
    place: Place, tools: Path, tmp_path: Path
) -> None:
    _with_uv(place, tools)
    (tmp_path / "more.txt").write_text("sqtop\n", encoding="utf-8")
    (tmp_path / "bounds.txt").write_text("sqleaf<2\n", encoding="utf-8")
    text = "--find-links ./wheels\n-r more.txt\n-c bounds.txt\n"
    (tmp_path / "requirements.txt").write_text(text, encoding="utf-8")
    image = Image.host().pip_install_from_requirements(str(tmp_path / "requirements.txt"))
    asyncio.run(place.build(image))
    assert place.run(image, "sqtop")[1] == "leaf 1.0\n"


def test_what_a_killed_agent_left_goes_before_the_first_build(place: Place, tools: Path) -> None:
    _with_uv(place, tools)
    left = place.layers.begin("a" * 64)
    (left.layer / "half.py").touch()
    asyncio.run(place.build(Image.host().uv_pip_install("sqleaf", find_links=str(place.wheels))))
    assert [name for name in os.listdir(place.layers.directory) if name.startswith(".")] == []
    assert len(place.layers.keys()) == 1


def test_a_cancelled_build_leaves_nothing_and_the_next_one_does_it(tmp_path: Path, tools: Path) -> None:
    slow = _Stuck()
    (tmp_path / "state" / "layers").mkdir(parents=True)
    place = _with_uv_at(Place(tmp_path / "state", _wheels(tmp_path / "wheels"), slow), tools)
    image = Image.host().uv_pip_install("sqleaf", find_links=str(place.wheels))

    async def broken_off() -> None:
        build = asyncio.ensure_future(place.build(image))
        await slow.begun.wait()
        build.cancel()
        with pytest.raises(asyncio.CancelledError):
            await build

    asyncio.run(broken_off())
    assert os.listdir(place.layers.directory) == []
    slow.stuck = False
    asyncio.run(place.build(image))
    assert len(place.layers.keys()) == 1


def _with_uv_at(place: Place, tools: Path) -> Place:
    (place.state / "tools").mkdir()
    return _with_uv(place, tools)


class _Stuck(ProcessSandboxes):
    """Writes half a layer and then waits for ever, until told otherwise."""

    level: Level = "process"

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()
        self.stuck = True

    async def run(self, spec: SandboxSpec, on_output: Callable[[bytes], None]) -> Exit:
        if not self.stuck:
            return await super().run(spec, on_output)
        assert spec.argv is not None
        target = Path(spec.argv[spec.argv.index("--target") + 1])
        (target / "half.py").write_text("x", encoding="utf-8")
        self.begun.set()
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.needs("namespaces")
def test_a_directory_that_holds_more_than_packages_is_not_shown_to_a_build(
    sandboxed: Place, tools: Path
) -> None:
    _with_uv(sandboxed, tools)
    image = Image.host().uv_pip_install("sqleaf", find_links=str(sandboxed.state.parent))
    with pytest.raises(ImageBuildError, match="holds more than packages"):
        asyncio.run(sandboxed.build(image))


LOOK_AROUND = """
import os, sys
allowed = set(sys.argv[1].split(","))
seen = set()
for line in open("/proc/self/mountinfo"):
    at = line.split()[4]
    if at != "/" and not at.startswith(("/proc", "/dev", "/sys")):
        seen.add(at)
print("unexpected mounts:", sorted(seen - allowed))
print("etc:", ",".join(sorted(os.listdir("/etc"))))
print("ssl:", ",".join(sorted(os.listdir("/etc/ssl"))) if os.path.isdir("/etc/ssl") else "")
print("root:", ",".join(sorted(os.listdir("/root"))))
for path in ("/usr/x", sys.prefix + "/x", "/squall/python/squall/x"):
    try:
        open(path, "w")
        print("wrote", path)
    except OSError:
        pass
for path in ("/root/x", "/app/x", "/tmp/x", "/home/user/x", "/var/tmp/x"):
    open(path, "w").close()
import ssl, sqlite3, ctypes, shutil
print("python:", shutil.which("python") is not None)
print("certificates:", bool(ssl.create_default_context().get_ca_certs()) or not os.path.exists("/etc/ssl/certs"))
"""


@pytest.mark.needs("namespaces")
def test_a_container_sees_the_allow_list_and_nothing_else_of_this_machine(sandboxed: Place) -> None:
    image = Image.host()
    plan = sandboxed.plan(image)
    python = sandboxed.facts.python.executable
    # What this machine has mounted below one of them is there too.
    nested = [path for path in mount_points() if any(path.startswith(f"{m.target}/") for m in plan.mounts)]
    allowed = ",".join([*(mount.target for mount in plan.mounts), *nested])
    exit_, said = sandboxed.run(image, python, "-c", LOOK_AROUND, allowed)
    assert exit_.ok, said
    told = {line.partition(": ")[0]: line.partition(": ")[2] for line in said.splitlines()}
    assert told["unexpected mounts"] == "[]"
    forbidden = {"shadow", "gshadow", "sudoers", "sudoers.d", "ssh", "machine-id", "pip.conf", "gitconfig"}
    assert not forbidden & set(told["etc"].split(","))
    assert "private" not in told["ssl"].split(",")
    own = {mount.target.split("/")[2] for mount in plan.mounts if mount.target.startswith("/root/")}
    assert set(filter(None, told["root"].split(","))) == own
    assert not [line for line in said.splitlines() if line.startswith("wrote")]
    assert (told["certificates"], told["python"]) == ("True", "True")
