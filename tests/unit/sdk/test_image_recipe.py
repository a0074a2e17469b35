from __future__ import annotations

import os
import pickle
import sys
import threading
from pathlib import Path
from typing import TypeVar

import pytest

from squall.images.redact import reveal
from squall.model.errors import (
    ArgumentNotSerializable,
    FunctionNotSerializable,
    ImageStepUnavailable,
    InvalidError,
    ModuleNotMountable,
    PythonVersionMismatch,
    SourceFileNotFound,
)
from squall.model.gpu import Gpus
from squall.model.image import ImageRecipe
from squall.model.image_steps import (
    AddLocal,
    DockerfileCommands,
    PipInstall,
    PoetryInstall,
    RunCommands,
    RunFunction,
    Step,
    UvSync,
)
from squall.model.resources import Limits, Resources
from squall.sdk.image import Image
from squall.sdk.image_recipe import Needed, read_image, recipe_of
from squall.sdk.secret import Secret

T = TypeVar("T", bound=Step)
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def _write(top: Path, *paths: str) -> None:
    for path in paths:
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(path, encoding="utf-8")


def _shipped(image: Image) -> list[list[str]]:
    return [[file.path for file in each.files] for each in read_image(image).local]


def _pip(image: Image) -> tuple[PipInstall, dict[str, str]]:
    needed = recipe_of(image)
    return next(step for step in needed.recipe.steps if isinstance(step, PipInstall)), needed.secrets


def test_nothing_is_looked_for_before_it_is_needed() -> None:
    image = (
        Image.host().pip_install_from_requirements("no/such/file.txt").add_local_dir("no/such/dir", "/data")
    )
    with pytest.raises(SourceFileNotFound, match="no/such/dir"):
        read_image(image)
    with pytest.raises(SourceFileNotFound, match=r"file\.txt"):
        recipe_of(image, ["tree"])


def test_files_ship_under_their_whole_path_in_the_container(tmp_path: Path) -> None:
    _write(tmp_path, "data/a.bin", "data/deep/b.bin", "data/__pycache__/c.pyc", "one.txt")
    image = (
        Image.host()
        .add_local_dir(tmp_path / "data", "/mnt/data/")
        .add_local_file(tmp_path / "one.txt", "/etc/app/")
        .add_local_file(tmp_path / "one.txt", "/other.txt")
    )
    assert _shipped(image) == [["mnt/data/a.bin", "mnt/data/deep/b.bin"], ["etc/app/one.txt"], ["other.txt"]]


def test_what_ignore_names_stays_away_be_it_patterns_or_a_function(tmp_path: Path) -> None:
    _write(tmp_path, "a.bin", "logs/x.log", "logs/keep.txt", ".gitignore", "node_modules/x.js")
    patterns = Image.host().add_local_dir(tmp_path, "/d", ignore=["**/*.log", "node_modules"])
    assert _shipped(patterns) == [["d/.gitignore", "d/a.bin", "d/logs/keep.txt"]]
    function = Image.host().add_local_dir(tmp_path, "/d", ignore=lambda path: not path.startswith("logs/"))
    assert _shipped(function) == [["d/logs/keep.txt", "d/logs/x.log"]]


def test_local_modules_and_packages_ship_their_python_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, "sqpkg/__init__.py", "sqpkg/sub/m.py", "sqpkg/py.typed", "sqpkg/weights.bin", "sqmod.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    image = Image.host().add_local_python_source("sqpkg", "sqmod")
    assert _shipped(image) == [
        ["app/sqpkg/__init__.py", "app/sqpkg/py.typed", "app/sqpkg/sub/m.py"],
        ["app/sqmod.py"],
    ]
    everything = Image.host().add_local_python_source("sqpkg", ignore=[])
    assert "app/sqpkg/weights.bin" in _shipped(everything)[0]


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(ModuleNotMountable, match="sqnowhere"):
        read_image(Image.host().add_local_python_source("sqnowhere"))
    with pytest.raises(InvalidError, match="no Python source"):
        read_image(Image.host().add_local_python_source("_ctypes"))


def test_the_trees_of_local_files_take_their_places_in_order() -> None:
    image = Image.host().add_local_dir("a", "/a").env({"X": "1"}).add_local_file("b", "/b")
    adds = [
        step for step in recipe_of(image, ["tree-a", "tree-b"]).recipe.steps if isinstance(step, AddLocal)
    ]
    assert [(add.remote, add.tree, add.origin) for add in adds] == [
        ("/a", "tree-a", "a"),
        ("/b", "tree-b", "b"),
    ]


def test_where_packages_are_found_is_a_part_of_recipes_that_install_some() -> None:
    assert recipe_of(Image.host().pip_install("six"), sources="digest").recipe.sources == "digest"
    assert recipe_of(Image.host().env({"A": "1"}), sources="digest").recipe.sources == ""


def test_credentials_travel_apart_from_the_recipe() -> None:
    image = Image.host().pip_install(
        "x @ git+https://tok1@example.org/x.git",
        index_url="https://ada:pw1@example.org/simple",
        extra_options="--no-deps --extra-index-url=https://bob:pw2@example.org/more -f https://c:pw3@example.org/links",
    )
    step, secrets = _pip(image)
    assert sorted(secrets.values()) == ["ada:pw1", "bob:pw2", "c:pw3", "tok1"]
    assert not [
        value for value in ("tok1", "pw1", "pw2", "pw3") if value in str(recipe_of(image).recipe.to_json())
    ]
    assert not [
        value for value in ("tok1", "pw1", "pw2", "pw3") if value in repr(recipe_of(image)) + repr(image)
    ]
    assert step.extra_options == "--no-deps"
    assert step.find_links[0].endswith("@example.org/links")


def test_a_requirements_file_is_read_with_all_that_it_includes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQ_TOKEN", "from-the-environment")
    texts = {
        "requirements.txt": "-r sub/more.txt\n--constraint=bounds.txt\n--index-url https://u:p@h/simple\n"
        "private @ https://${SQ_TOKEN}@h/private.whl\nsix>=1 \\\n  --hash=sha256:00\n",
        "sub/more.txt": "numpy  # a comment\n-f ../wheels\n",
        "bounds.txt": "numpy<3\n",
    }
    for path, text in texts.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    step, secrets = _pip(Image.host().pip_install_from_requirements(str(tmp_path / "requirements.txt")))
    assert step.requirements.splitlines() == [
        "numpy  # a comment",
        "private @ https://${SQ_TOKEN}@h/private.whl",
        "six>=1    --hash=sha256:00",
    ]
    assert step.constraints == "numpy<3"
    assert step.find_links == (str(tmp_path / "wheels"),)
    assert step.index_url is not None
    assert reveal(step.index_url, secrets) == "https://u:p@h/simple"
    assert "u:p" not in step.index_url
    assert sorted(secrets.values()) == ["from-the-environment", "u:p"]


@pytest.mark.parametrize(
    "line", ["-e .", "--editable=./x", "./pkg", "pkg @ file:///x.whl", "-r requirements.txt"]
)
def test_a_requirements_file_that_no_build_can_follow_is_refused_with_its_line(
    tmp_path: Path, line: str
) -> None:
    (tmp_path / "requirements.txt").write_text(f"{line}\n", encoding="utf-8")
    with pytest.raises(InvalidError, match=r"requirements\.txt"):
        recipe_of(Image.host().pip_install_from_requirements(str(tmp_path / "requirements.txt")))


def test_local_places_of_packages_are_named_by_their_whole_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    step, _ = _pip(Image.host().pip_install("six", find_links=["wheels", "https://h/links"]))
    assert step.find_links == (os.path.join(os.getcwd(), "wheels"), "https://h/links")


def _step(needed: Needed, kind: type[T]) -> T:
    return next(step for step in needed.recipe.steps if isinstance(step, kind))


def _double(number: int, *, by: int = 2) -> int:
    return number * by


def test_a_recipe_says_every_step_and_comes_back_from_its_plain_form(tmp_path: Path) -> None:
    _write(tmp_path, "pyproject.toml", "uv.lock", "conf.toml")
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n", encoding="utf-8")
    image = (
        Image.from_registry("debian:13", add_python=HERE)
        .apt_install("curl=8.14.1-2", ["git"])
        .uv_sync(tmp_path, groups=["dev"], extras=["gpu"])
        .uv_pip_install("six", secrets=[Secret.from_dict({"TOKEN": "t0ken"})])
        .run_commands("make", ["make install"], env={"A": "1"}, gpu="h100")
        .dockerfile_commands("RUN a", ["COPY conf.toml /etc/app/"], context_dir=tmp_path, gpu="any")
        .run_function(_double, args=(2,), gpu=["T4", "L4:2"], cpu=(1, 2), memory=64)
        .entrypoint(["tini", "--"])
        .cmd([])
        .shell(["/bin/bash", "-c"])
        .workdir("/srv/")
        .add_local_file(tmp_path / "conf.toml", "/usr/share/", copy=True)
    )
    read = read_image(image)
    assert [[file.path for file in local.files] for local in read.local] == [
        ["conf.toml"],
        ["usr/share/conf.toml"],
    ]
    needed = recipe_of(image, ["a" * 64, "b" * 64], read=read, sources="s")
    plain = needed.recipe.to_json()
    assert ImageRecipe.from_json(plain) == needed.recipe
    assert needed.recipe.trees == ("a" * 64, "b" * 64)
    assert [step["step"] for step in plain["steps"]] == [
        *("apt_install", "uv_sync", "pip_install", "run_commands", "dockerfile_commands"),
        "run_function",
        *("entrypoint", "cmd", "shell", "workdir", "add_local", "env"),
    ]
    assert (plain["base"], plain["image"], plain["python_version"]) == (
        "registry",
        {"reference": "debian:13"},
        HERE,
    )
    assert _step(needed, DockerfileCommands).text == "RUN a\nCOPY conf.toml /etc/app/"
    assert _step(needed, UvSync).groups == ("dev",)
    assert _step(needed, PipInstall).secrets == ("TOKEN",)
    assert _step(needed, RunCommands).commands == ("make", "make install")
    assert _step(needed, RunCommands).gpu == (Gpus(type="H100"),)
    assert _step(needed, DockerfileCommands).gpu == (Gpus(),)
    function = _step(needed, RunFunction)
    assert function.gpu == (Gpus(type="T4"), Gpus(type="L4", count=2))
    assert function.asks == Resources(cpu_milli=1000, memory_mib=64)
    assert function.limits == Limits(cpu_milli=2000, memory_mib=64)


def test_a_dockerfile_takes_its_place_before_the_steps_and_none_where_it_copies_nothing(
    tmp_path: Path,
) -> None:
    _write(tmp_path, "a.txt", "b.txt")
    (tmp_path / "Dockerfile").write_text("FROM debian:13\nCOPY a.txt /\nHEALTHCHECK NONE\n", encoding="utf-8")
    image = (
        Image.from_dockerfile(tmp_path / "Dockerfile", context_dir=tmp_path, build_args={"V": "1"})
        .dockerfile_commands("RUN true", context_dir=tmp_path)
        .dockerfile_commands("COPY b.txt /", context_dir=tmp_path)
    )
    read = read_image(image)
    assert [[file.path for file in local.files] for local in read.local] == [["a.txt"], ["b.txt"]]
    needed = recipe_of(image, ["a" * 64, "b" * 64], read=read)
    assert needed.recipe.dockerfile is not None
    assert needed.recipe.dockerfile.context == "a" * 64
    assert needed.recipe.dockerfile.build_args == {"V": "1"}
    lines = [step.context for step in needed.recipe.steps if isinstance(step, DockerfileCommands)]
    assert lines == ["", "b" * 64]
    assert any("line 3: HEALTHCHECK" in note for note in needed.notes)


@pytest.mark.parametrize(
    ("lines", "error", "what"),
    [
        (["RUN a", "FROM debian"], InvalidError, "line 2"),
        (["RUN --mount=type=cache,target=/c a"], ImageStepUnavailable, "line 1"),
        (["RUN a", "", "COPY missing.txt /x"], InvalidError, r"line 3.*missing\.txt"),
        (["COPY --from=No_Image!! /a /b"], InvalidError, "No_Image"),
        (["NOTHING a"], InvalidError, "line 1"),
    ],
)
def test_lines_that_say_nothing_are_named_before_anything_is_sent(
    tmp_path: Path, lines: list[str], error: type[Exception], what: str
) -> None:
    with pytest.raises(error, match=what):
        read_image(Image.debian_slim().dockerfile_commands(*lines, context_dir=tmp_path))


def test_a_dockerfile_that_is_not_there_or_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name in ("nowhere", "binary", "."):
        with pytest.raises(SourceFileNotFound, match="Dockerfile"):
            read_image(Image.from_dockerfile(tmp_path / name))


def test_an_image_of_no_name_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(InvalidError, match="UPPER"):
        recipe_of(Image.from_registry("UPPER/case"))


def test_values_of_secrets_travel_apart_under_their_names() -> None:
    login = Secret.from_dict(
        {"REGISTRY_USERNAME": "user-ada", "REGISTRY_PASSWORD": "password-0", "MORE": "x"}
    )
    image = (
        Image.from_registry("debian", login)
        .run_commands("a", secrets=[Secret.from_dict({"A": "value-1", "B": "value-2"})])
        .run_function(_double, args=(1,), secrets=[Secret.from_dict({"A": "value-1"})])
    )
    needed = recipe_of(image)
    assert needed.secrets == {
        "REGISTRY_USERNAME": "user-ada", "REGISTRY_PASSWORD": "password-0", "A": "value-1", "B": "value-2",
    }  # fmt: skip
    assert needed.recipe.image is not None
    assert needed.recipe.image.login
    assert _step(needed, RunCommands).secrets == ("A", "B")
    assert _step(needed, RunFunction).secrets == ("A",)
    everything = f"{needed.recipe.to_json()} {needed!r} {image!r} {image.steps!r} {image.origin!r}"
    assert not [value for value in needed.secrets.values() if value in everything]
    assert not [value for value in needed.secrets.values() if value.encode() in pickle.dumps(image)]


def test_one_name_of_two_secrets_has_one_value() -> None:
    image = (
        Image.debian_slim()
        .run_commands("a", secrets=[Secret.from_dict({"A": "one"})])
        .run_commands("b", secrets=[Secret.from_dict({"A": "two"})])
    )
    with pytest.raises(InvalidError, match="A is given two values") as raised:
        recipe_of(image)
    assert "one" not in str(raised.value).split("A is")[0]
    assert "two " not in str(raised.value).replace("two values", "")


def test_a_secret_whose_value_stayed_elsewhere_is_named() -> None:
    there = pickle.loads(pickle.dumps(Secret.from_dict({"A": "one"})))
    with pytest.raises(InvalidError, match="the secret A is not here"):
        recipe_of(Image.debian_slim().run_commands("a", secrets=[there]))


def test_a_function_travels_with_its_arguments_as_a_blob() -> None:
    needed = recipe_of(Image.debian_slim().run_function(_double, args=(4,), kwargs={"by": 3}, timeout=60))
    step = _step(needed, RunFunction)
    assert needed.recipe.blobs == (step.call,)
    function, args, kwargs = pickle.loads(needed.blobs[0])
    assert function is not _double  # by value: nothing is imported for it
    assert function(*args, **kwargs) == 12
    assert (step.name, step.timeout_s, step.python) == ("_double", 60.0, HERE)
    assert (
        _step(recipe_of(Image.debian_slim().run_function(_double, args=(5,))), RunFunction).says != step.says
    )


def test_what_cannot_travel_is_named() -> None:
    lock = threading.Lock()
    with pytest.raises(FunctionNotSerializable, match="'lock'"):
        recipe_of(Image.debian_slim().run_function(lambda: lock.locked()))
    with pytest.raises(ArgumentNotSerializable, match="argument 1"):
        recipe_of(Image.debian_slim().run_function(_double, args=(lock,)))


def test_a_function_for_another_python_is_refused_before_anything_is_sent() -> None:
    other = "3.12" if HERE != "3.12" else "3.13"
    with pytest.raises(PythonVersionMismatch, match=other):
        read_image(Image.debian_slim(other).run_function(_double, args=(1,)))
    assert read_image(Image.debian_slim(HERE).run_function(_double, args=(1,))).local == ()


def test_the_dependencies_of_a_project_are_packages_of_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[project]\nname = 'mine'\ndependencies = ['six>=1', 'x @ git+https://tok9@h/x.git']\n"
        "[project.optional-dependencies]\ngpu = ['torch']\n",
        encoding="utf-8",
    )
    step, secrets = _pip(Image.host().pip_install_from_pyproject(tmp_path / "pyproject.toml", ["gpu"]))
    assert step.packages[0] == "six>=1"
    assert step.packages[2] == "torch"
    assert list(secrets.values()) == ["tok9"]


def test_credentials_of_a_uv_project_travel_apart(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[project]\nname='x'\n[[tool.uv.index]]\nurl='https://ada:pw7@h/simple'\n", encoding="utf-8"
    )
    (tmp_path / "uv.lock").write_text("source = 'https://ada:pw7@h/simple'\n", encoding="utf-8")
    needed = recipe_of(Image.debian_slim().uv_sync(tmp_path), sources="s")
    assert "pw7" not in str(needed.recipe.to_json())
    assert "ada:pw7" in needed.secrets.values()
    assert needed.recipe.sources == "s"


def test_a_poetry_project_travels_as_the_text_of_its_files_with_credentials_apart(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("url = 'https://ada:pw7@h/simple'\n", encoding="utf-8")
    (tmp_path / "my.lock").write_text("locked\n", encoding="utf-8")
    token = Secret.from_dict({"TOKEN": "t0ken"})
    image = Image.debian_slim().poetry_install_from_file(
        tmp_path / "pyproject.toml",
        tmp_path / "my.lock",
        with_=["docs"],
        without=["dev"],
        only=["main"],
        extra_options="--all-extras",
        secrets=[token],
        gpu="T4",
    )
    needed = recipe_of(image, sources="s")
    step = _step(needed, PoetryInstall)
    assert (step.with_groups, step.without_groups, step.only_groups) == (("docs",), ("dev",), ("main",))
    assert (step.lock, step.extra_options, step.poetry_version) == ("locked\n", "--all-extras", "latest")
    assert (step.secrets, step.gpu) == (("TOKEN",), (Gpus(type="T4"),))
    assert needed.recipe.sources == "s"
    assert ImageRecipe.from_json(needed.recipe.to_json()) == needed.recipe
    for secret in ("pw7", "t0ken"):
        assert secret not in str(needed.recipe.to_json())
    assert {"ada:pw7", "t0ken"} <= set(needed.secrets.values())
    (tmp_path / "poetry.lock").write_text("beside\n", encoding="utf-8")
    plain = Image.debian_slim().poetry_install_from_file(tmp_path / "pyproject.toml", poetry_version=None)
    step = _step(recipe_of(plain), PoetryInstall)
    assert (step.lock, step.poetry_version) == ("beside\n", "")
