"""Small rooms: how long a file and a function may be, and how much a function may ask for."""

from __future__ import annotations

import ast

from tests.tidy import house

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 5

# Public functions whose options users write by name; each goes at once into one frozen noun.
MANY_PARAMETERS = {
    "src/squall/cli/volume.py cp": "every option of the command",
    "src/squall/cli/volume.py ls": "the same",
    "src/squall/cli/volume.py snapshot": "the same",
    "src/squall/cli/volume_transfer.py get_files": "the same",
    "src/squall/cli/volume_transfer.py put_files": "the same",
    "src/squall/sdk/app.py App.__init__": "what its functions have in common",
    "src/squall/sdk/app.py App.function": "every option of a function",
    "src/squall/sdk/app.py App.cls": "the same, of a class",
    "src/squall/sdk/cls.py Cls.with_options": "every option that a variant may change",
    "src/squall/sdk/function.py Function.with_options": "the same",
    "src/squall/sdk/image.py Image.from_dockerfile": "every option of a build by Dockerfile",
    "src/squall/sdk/image_commands.py Runs.run_function": "every option of a step",
    "src/squall/sdk/image_installs.py Installs.micromamba_install": "every option of a step of conda",
    "src/squall/sdk/image_installs.py Installs.pip_install": "every option of pip",
    "src/squall/sdk/image_installs.py Installs.pip_install_from_pyproject": "the same",
    "src/squall/sdk/image_installs.py Installs.pip_install_from_requirements": "the same",
    "src/squall/sdk/image_installs.py Installs.pip_install_private_repos": "the same",
    "src/squall/sdk/image_installs.py Installs.poetry_install_from_file": "every option of poetry install",
    "src/squall/sdk/image_installs.py Installs.uv_pip_install": "the same",
    "src/squall/sdk/image_installs.py Installs.uv_sync": "every option of uv sync",
}


def test_a_file_is_short() -> None:
    long = {
        house.short(path): lines
        for path in house.python_files()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MAX_FILE_LINES
    }
    assert not long, "a noun or verb of its own wants out"


def test_a_function_is_short() -> None:
    long = {
        f"{house.short(path)} {node.name}": length
        for path in house.python_files()
        for node in house.functions(path)
        if (length := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION_LINES
    }
    assert not long


def test_a_function_asks_for_little() -> None:
    many = _asks_for_much() - MANY_PARAMETERS.keys()
    assert not many, "a noun is missing"


def test_the_exceptions_are_still_needed() -> None:
    assert set(MANY_PARAMETERS) <= _asks_for_much()


def _asks_for_much() -> set[str]:
    return {
        f"{house.short(path)} {name}"
        for path in house.python_files("src", "bootstrap", "bench", "examples")
        for name, node in _named_functions(house.tree(path))
        if _parameters(node) > MAX_PARAMETERS
    }


def _named_functions(
    node: ast.AST, prefix: str = ""
) -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    found: list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]] = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            found.append((prefix + child.name, child))
            found += _named_functions(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.ClassDef):
            found += _named_functions(child, f"{prefix}{child.name}.")
        else:
            found += _named_functions(child, prefix)
    return found


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return len([name for name in names if name not in {"self", "cls"}])
