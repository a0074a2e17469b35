"""What is installed: the wheel holds the package and nothing else, and promises what pyproject.toml says."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile

import pytest

import squall
from tests.tidy import house


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=house.ROOT,
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("squall-*.whl")
    return zipfile.ZipFile(path)


def test_it_holds_every_file_of_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    ours = {
        path.relative_to(house.PACKAGE.parent).as_posix()
        for path in house.PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside == ours


def test_it_is_typed_licensed_and_of_this_version(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert "squall/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    metadata = next(name for name in names if name.endswith("dist-info/METADATA"))
    text = wheel.read(metadata).decode()
    assert f"\nVersion: {squall.__version__}\n" in text
    assert "\nLicense-Expression: Apache-2.0\n" in text


def test_it_brings_the_command(wheel: zipfile.ZipFile) -> None:
    entry = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "squall = squall.cli.main:main" in wheel.read(entry).decode()


def test_the_front_door_is_one_table() -> None:
    """Type checkers read the imports, programs read the table: both must say the same."""
    told = {
        alias.asname: (node.module, alias.name)
        for node in ast.walk(house.tree(house.PACKAGE / "__init__.py"))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    table = {}
    for name, home in squall._HOMES.items():
        module, _, original = home.partition(":")
        assert hasattr(squall, name), name
        if not name.startswith("__"):
            table[name] = (module, original or name)
    assert told == table
