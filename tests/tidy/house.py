"""The tree as the house rules see it: its files, their code, its contracts."""

from __future__ import annotations

import ast
import configparser
import functools
import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "squall"
CODE_FOLDERS = ("src", "bootstrap", "tests", "bench", "examples", "docs", "scripts", ".ci")
_NOT_OURS = {".git", "__pycache__", "vendor", "node_modules"}


def files(root: Path = ROOT) -> Iterator[Path]:
    """Every file of the tree that people wrote."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(
            name
            for name in folders
            if name not in _NOT_OURS and not name.startswith(".squall-env") and not name.endswith("_cache")
        )
        if folder == str(root):
            folders[:] = [name for name in folders if name in {*CODE_FOLDERS, "changes", ".github"}]
        for name in sorted(names):
            # In a worktree .git is a file.
            if name not in _NOT_OURS and not name.endswith((".pyc", ".png", ".svg")):
                yield Path(folder, name)


def python_files(*folders: str) -> list[Path]:
    """The Python files below these folders of the tree; below all of its folders where none is named."""
    wanted = [ROOT / folder for folder in folders or CODE_FOLDERS]
    return [
        path
        for path in files()
        if path.suffix == ".py" and any(path.is_relative_to(folder) for folder in wanted)
    ]


@functools.cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def short(path: Path) -> str:
    """The path as people write it, from the root of the clone."""
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a file, nested ones too."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def ranks() -> list[list[str]]:
    """The folders of each rank of the layers contract, the highest first."""
    reader = configparser.ConfigParser()
    reader.read(ROOT / ".importlinter", encoding="utf-8")
    lines = reader["importlinter:contract:layers"]["layers"].split("\n")
    return [[name.strip(" ()") for name in line.split("|")] for line in lines if line.strip()]


def folders() -> list[str]:
    """The folders of the package, as they are on disk."""
    return sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
