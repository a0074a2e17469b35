from __future__ import annotations

import os
from pathlib import Path

import pytest

from squall.images.redact import reveal
from squall.model.errors import InvalidError, ModuleNotMountable, SourceFileNotFound
from squall.model.image_steps import AddLocal, PipInstall
from squall.sdk.image import Image
from squall.sdk.image_recipe import local_files, recipe_of


def _write(top: Path, *paths: str) -> None:
    for path in paths:
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(path, encoding="utf-8")


def _shipped(image: Image) -> list[list[str]]:
    return [[file.path for file in each.files] for each in local_files(image)]


def _pip(image: Image) -> tuple[PipInstall, dict[str, str]]:
    needed = recipe_of(image)
    return next(step for step in needed.recipe.steps if isinstance(step, PipInstall)), needed.secrets


def test_nothing_is_looked_for_before_it_is_needed() -> None:
    image = (
        Image.host().pip_install_from_requirements("no/such/file.txt").add_local_dir("no/such/dir", "/data")
    )
    with pytest.raises(SourceFileNotFound, match="no/such/dir"):
        local_files(image)
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
        local_files(Image.host().add_local_python_source("sqnowhere"))
    with pytest.raises(InvalidError, match="no Python source"):
        local_files(Image.host().add_local_python_source("_ctypes"))


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
