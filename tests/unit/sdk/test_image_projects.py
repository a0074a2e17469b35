from __future__ import annotations

from pathlib import Path

import pytest

from squall.model.errors import InvalidError, SourceFileNotFound
from squall.sdk.image_projects import poetry_project, project_packages, uv_project

PROJECT = """
[project]
name = "My_Project"
dependencies = ["numpy>=2", "six"]
[project.optional-dependencies]
Fast_Path = ["uvloop"]
web = ["httpx", "six"]
all = ["my-project[fast-path, web]", "extra"]
round = ["my.project[round]", "one"]
"""


def _written(tmp_path: Path, text: str, name: str = "pyproject.toml") -> str:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("extras", "packages"),
    [
        ((), ("numpy>=2", "six")),
        (("web",), ("numpy>=2", "six", "httpx")),
        (("fast.path",), ("numpy>=2", "six", "uvloop")),
        (("all",), ("numpy>=2", "six", "extra", "uvloop", "httpx")),
        (("round",), ("numpy>=2", "six", "one")),
    ],
)
def test_the_dependencies_and_groups_of_a_project(
    tmp_path: Path, extras: tuple[str, ...], packages: tuple[str, ...]
) -> None:
    assert project_packages(_written(tmp_path, PROJECT), extras) == packages


@pytest.mark.parametrize(
    ("text", "extras", "what"),
    [
        (PROJECT, ("gpu",), r"'gpu'; there are: Fast_Path, web, all, round"),
        ("[project\n", (), "no TOML"),
        ("a = " + "[" * 5000, (), "no TOML"),
        ("[tool.x]\n", (), r"no \[project\] table"),
        ("project = 1\n", (), "project is no table"),
        ("[project]\nname = 'x'\ndynamic = ['dependencies']\n", (), "dynamic"),
        ("[project]\nname = 'x'\n", (), "names no dependency"),
        ("[project]\ndependencies = 'six'\n", (), "no list of strings"),
        ("[project]\ndependencies = [1]\n", (), "no list of strings"),
        ("[project]\n[project.optional-dependencies]\na = 1\n", ("a",), "no list of strings"),
    ],
)
def test_a_project_that_tells_no_dependencies_is_refused(
    tmp_path: Path, text: str, extras: tuple[str, ...], what: str
) -> None:
    with pytest.raises(InvalidError, match=what) as raised:
        project_packages(_written(tmp_path, text), extras)
    assert raised.value.remedy


def test_a_project_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    for name in ("nowhere.toml", "binary.toml", "."):
        with pytest.raises(SourceFileNotFound, match="cannot be read"):
            project_packages(str(tmp_path / name), ())


def test_a_uv_project_is_its_two_files(tmp_path: Path) -> None:
    text = "[project]\nname = 'x'\n"
    _written(tmp_path, text)
    with pytest.raises(SourceFileNotFound, match=r"uv\.lock does not exist") as raised:
        uv_project(str(tmp_path), frozen=True)
    assert "uv lock" in raised.value.remedy
    assert uv_project(str(tmp_path), frozen=False) == (text, "")
    _written(tmp_path, "version = 1\n", "uv.lock")
    assert uv_project(str(tmp_path), frozen=True) == (text, "version = 1\n")
    with pytest.raises(SourceFileNotFound, match=r"pyproject\.toml"):
        uv_project(str(tmp_path / "nowhere"), frozen=True)


@pytest.mark.parametrize(
    "sources",
    ["mine = {path = '../mine'}", "mine = {workspace = true}", "mine = [{path = 'a'}, {index = 'b'}]"],
)
def test_a_uv_project_that_needs_a_place_of_this_machine_is_refused(tmp_path: Path, sources: str) -> None:
    _written(tmp_path, f"[project]\nname = 'x'\n[tool.uv.sources]\n{sources}\n")
    with pytest.raises(InvalidError, match="mine comes from a place on this machine"):
        uv_project(str(tmp_path), frozen=False)


def test_sources_elsewhere_are_followed(tmp_path: Path) -> None:
    _written(tmp_path, "[tool.uv.sources]\nmine = {git = 'https://h/x.git'}\nother = {index = 'own'}\n")
    assert uv_project(str(tmp_path), frozen=False)[1] == ""


def test_a_poetry_project_is_its_two_files(tmp_path: Path) -> None:
    text = "[tool.poetry.dependencies]\nsix = '*'\nmine = {git = 'https://h/x.git'}\n"
    path = _written(tmp_path, text)
    with pytest.raises(SourceFileNotFound, match=r"poetry\.lock does not exist") as raised:
        poetry_project(path, "", ignored=False)
    assert "poetry lock" in raised.value.remedy
    assert "ignore_lockfile=True" in raised.value.remedy
    assert poetry_project(path, "", ignored=True) == (text, "")
    _written(tmp_path, "locked", "poetry.lock")
    other = _written(tmp_path, "elsewhere", "other.lock")
    assert poetry_project(path, "", ignored=False) == (text, "locked")
    assert poetry_project(path, other, ignored=False) == (text, "elsewhere")
    assert poetry_project(path, other, ignored=True) == (text, "")
    with pytest.raises(SourceFileNotFound, match="cannot be read"):
        poetry_project(str(tmp_path / "nowhere.toml"), "", ignored=True)


@pytest.mark.parametrize(
    "text",
    [
        "[tool.poetry.dependencies]\nmine = {path = '../mine', develop = true}",
        "[tool.poetry.dependencies]\nmine = [{version = '1'}, {path = '../mine'}]",
        "[tool.poetry.dependencies]\nmine = {url = 'file:///mine.whl'}",
        "[tool.poetry.dev-dependencies]\nmine = {path = 'x'}",
        "[tool.poetry.group.docs.dependencies]\nmine = {path = 'x'}",
    ],
)
def test_a_poetry_project_that_needs_a_place_of_this_machine_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidError, match="mine comes from a place on this machine"):
        poetry_project(_written(tmp_path, text), "", ignored=True)


@pytest.mark.parametrize("text", ["tool = 1", "[tool]\npoetry = 1", "[tool.poetry]\ngroup = 1", "x"])
def test_what_is_no_project_of_poetrys_is_told_so(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidError):
        poetry_project(_written(tmp_path, text), "", ignored=True)
