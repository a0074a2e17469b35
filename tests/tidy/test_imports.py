"""What import-linter cannot see: imports made late, imports by name, circles between a package and its files."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import grimp

from tests.tidy import house

# Files in which an import may wait for its use, each for a reason.
LATE_IMPORTS = {
    "src/squall/cli": "a command pays only for what it uses",
    "main.py": "a process chooses what it becomes",
    "__main__.py": "the same",
    "src/squall/settings/paths.py": "pwd exists on POSIX only",
    "src/squall/wire/sealed.py": "each library that a template has mapped costs each of its forks, and tempfile brings eight",
    "src/squall/sdk/entrypoint.py": "the same",
    "src/squall/sdk/image_projects.py": "the same",
    "src/squall/blobs/s3_service.py": "obstore is an extra: who keeps blobs on a disk does not have it",
    "src/squall/agent/dialing.py": "cryptography is an extra: who has one machine alone does not have it",
    "src/squall/server/access_streams.py": "the same",
    "src/squall/server/listening.py": "the same",
    "src/squall/server/vault.py": "cryptography is an extra: who has no secrets does not need it",
    "src/squall/state/postgres_connection.py": "asyncpg is an extra: who keeps the record in a file does not have it",
    "src/squall/images/conda/inside.py": "py-rattler is there in the sandbox of a step alone",
    "src/squall/images/oci/compression.py": "what reads zstd is there or not, depending on Python and on what is installed",
}

# Files that import by a name which they do not know beforehand.
BY_NAME = {
    "src/squall/__init__.py": "the public names, on first use",
    "src/squall/cli": "the commands, on first use",
    "src/squall/runner": "the user's modules",
    "src/squall/sdk": "the user's modules",
    "src/squall/settings/start.py": "a process is told by name which program it becomes",
    "src/squall/wire/by_value.py": "the user's modules, and cloudpickle on first use",
    "src/squall/runtime": "the runner's entry, told as a string; the driver's library, where there is one",
    "src/squall/testing/gpu/program.py": "the machine's own torch, as user's code has it",
}

# Third parties that the package may know; everything else is the user's.
# `compression` is the standard library's own, from Python 3.14 on.
KNOWN_PARTIES = {
    *(
        "asyncpg",
        "click",
        "cloudpickle",
        "compression",
        "cryptography",
        "IPython",
        "obstore",
        "pytest",
        "rattler",
    ),
    *("rich", "uvloop", "zstandard"),
}


def test_imports_stand_at_the_top() -> None:
    late = [
        f"{house.short(path)}:{node.lineno}: {ast.unparse(node)}"
        for path in house.python_files("src")
        if not _excepted(path, LATE_IMPORTS)
        for function in house.functions(path)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert not late


def test_nothing_is_imported_by_a_name_in_a_string() -> None:
    called = [
        f"{house.short(path)}:{node.lineno}: {ast.unparse(node)}"
        for path in house.python_files("src")
        if not _excepted(path, BY_NAME)
        for node in ast.walk(house.tree(path))
        if isinstance(node, ast.Call) and _callee(node) in {"import_module", "__import__"}
    ]
    assert not called


def test_a_third_party_is_a_known_one() -> None:
    foreign = {
        f"{house.short(path)}: {name}"
        for path in house.python_files("src")
        for node in ast.walk(house.tree(path))
        for name in _imported(node)
        if name.partition(".")[0] not in sys.stdlib_module_names | KNOWN_PARTIES | {"squall"}
    }
    assert not foreign


def test_no_file_stands_in_a_circle() -> None:
    graph = grimp.build_graph("squall", cache_dir=None)
    edges = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert not circles(edges)


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [{"b", "c"}]


def test_every_plan_is_pure_by_contract() -> None:
    contract = (house.ROOT / ".importlinter").read_text(encoding="utf-8")
    assert "squall.**.plan" in contract


def circles(edges: dict[str, set[str]]) -> list[set[str]]:
    """The groups of modules each of which reaches all others of its group."""
    reach: dict[str, set[str]] = {}
    for start, nearest in edges.items():
        seen: set[str] = set()
        front = list(nearest)
        while front:
            module = front.pop()
            if module not in seen:
                seen.add(module)
                front += edges.get(module, set())
        reach[start] = seen
    found: list[set[str]] = []
    for module, seen in reach.items():
        group = {other for other in seen if module in reach.get(other, set())}
        if module in group and group not in found:
            found.append(group)
    return found


def _excepted(path: Path, table: dict[str, str]) -> bool:
    return any(
        house.short(path) == entry or house.short(path).startswith(entry + "/") or path.name == entry
        for entry in table
    )


def _callee(node: ast.Call) -> str:
    match node.func:
        case ast.Name(id=name):
            return name
        case ast.Attribute(attr=name):
            return name
        case _:
            return ""


def _imported(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), level=0):
            return [module]
        case _:
            return []
