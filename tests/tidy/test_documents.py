"""What the documents say is there: files, names, folders, tests, pages, links."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest

from tests.tidy import house

DOCUMENTS = sorted([*house.ROOT.glob("*.md"), *(house.ROOT / "docs").rglob("*.md")])


def test_every_file_and_name_in_the_architecture_exists() -> None:
    text = (house.ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+/\w+\.py)(?: ([\w.]+))?`", text)
    assert named
    missing = [f"{path} {name}".strip() for path, name in named if not _exists(path, name)]
    assert not missing


def test_the_walk_names_every_layer_it_passes() -> None:
    text = (house.ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    walk = text.partition("## The walk of `f.remote(3)`")[2].partition("\n## ")[0]
    for folder in ("sdk", "wire", "server", "scheduling", "agent", "runner"):
        assert f"`{folder}/" in walk, folder


def test_the_diagram_shows_the_folders_that_there_are() -> None:
    text = (house.ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    diagram = re.search(r"```text\n(.*?)```", text, re.DOTALL)
    assert diagram
    shown = re.findall(r"^ *(\w+)/", diagram[1], re.MULTILINE)
    assert sorted(shown) == house.folders()
    heights = {name: height for height, rank in enumerate(house.ranks()) for name in rank}
    assert [heights[name] for name in shown] == sorted(heights[name] for name in shown), "not by rank"


def test_every_guarantee_names_a_proof_that_exists() -> None:
    text = (house.ROOT / "GUARANTEES.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.partition("## What is not promised")[0].splitlines()
        if line.startswith("|") and not re.match(r"\|[ -]*(promise|-)", line, re.IGNORECASE)
    ]
    assert rows
    wrong = [row[0] for row in rows if len(row) != 4 or not _proves(row[2])]
    assert not wrong


def test_links_lead_somewhere() -> None:
    broken = [
        f"{house.short(page)}: {target}"
        for page in DOCUMENTS
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
        if not target.startswith(("http", "#", "mailto:"))
        and not (page.parent / target.partition("#")[0]).exists()
    ]
    assert not broken


def test_every_page_is_in_the_index() -> None:
    index = (house.ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    docs = house.ROOT / "docs"
    missing = [
        path.relative_to(docs).as_posix()
        for path in docs.rglob("*.md")
        if path.name != "0000-template.md"
        and path.parent.name != "errors"  # their index is errors.md
        and path.relative_to(docs).as_posix() not in index
    ]
    assert not missing


@pytest.mark.parametrize("script", ["scripts/changes.py", "scripts/reference.py"])
def test_what_is_made_is_up_to_date(script: str) -> None:
    arguments = ["--check"] if script.endswith("reference.py") else []
    ended = subprocess.run(
        [sys.executable, script, *arguments], cwd=house.ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def _exists(path: str, name: str) -> bool:
    """Whether the file is in the package (or the tree), and defines the dotted name."""
    file = next((base / path for base in (house.PACKAGE, house.ROOT) if (base / path).is_file()), None)
    if file is None:
        return False
    node: ast.AST = house.tree(file)
    for part in name.split(".") if name else ():
        found = next((child for child in ast.iter_child_nodes(node) if _defines(child, part)), None)
        if found is None:
            return False
        node = found
    return True


def _defines(node: ast.AST, name: str) -> bool:
    match node:
        case ast.FunctionDef(name=known) | ast.AsyncFunctionDef(name=known) | ast.ClassDef(name=known):
            return known == name
        case ast.Assign(targets=targets):
            return any(isinstance(target, ast.Name) and target.id == name for target in targets)
        case ast.AnnAssign(target=ast.Name(id=known)):
            return known == name
        case _:
            return False


def _proves(cell: str) -> bool:
    """Whether each test or bench that the cell names exists; one at least, unless it says that none does yet."""
    named = re.findall(r"`((?:tests|bench|scripts)/[\w/.]+)(?:(?:::| )(\w+))?`", cell)
    if not named:
        return cell.startswith("none yet")
    return all(_in_tree(path, name) for path, name in named)


def _in_tree(path: str, name: str) -> bool:
    target = house.ROOT / path
    if target.is_dir():
        return not name
    return target.is_file() and (not name or name in target.read_text(encoding="utf-8"))


def test_a_name_that_is_not_there_is_noticed() -> None:
    assert _exists("model/resources.py", "Resources")
    assert not _exists("model/resources.py", "Resources.nothing")
    assert not _exists("model/nothing.py", "")
    assert _proves("`tests/tidy/test_documents.py::test_links_lead_somewhere`")
    assert not _proves(f"`tests/tidy/test_documents.py::test_{'x' * 3}`")
    assert not _proves("trust us")
