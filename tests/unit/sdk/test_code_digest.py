from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from squall.model.errors import FunctionNotSerializable
from squall.sdk.code import own_modules
from squall.sdk.code_digest import call_digest

ROOT = Path(__file__).parents[3]

PROGRAM = '''
import dataclasses, enum, json, os.path, re
import helper
from helper import double as twice

LIMIT = 3
WORDS = {{"a", "b", "c", "d", "e"}}
TABLE = {{"x": [1, 2.5, None], "y": ({{"p", "q", "r"}}, b"z", re.compile("a+"))}}

class Colour(enum.Enum):
    RED = 1
    GREEN = 2

@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    tags: frozenset = frozenset({{"s", "t", "u"}})
    def far(self):
        return self.x > LIMIT

def even(n):
    return n == 0 or odd(n - 1)

def odd(n):
    return n != 0 and even(n - 1)

def make(offset):
    def inner(path, *more, scale=2):
        """Says something."""
        if path in {{"one", "two", "three"}}:
            return os.path.join(path, json.dumps(TABLE, default=str))
        return [twice(word, offset) for word in WORDS], helper.NAME, even(LIMIT), Colour.RED, {body}
    return inner

if __name__ == "__main__":
    from squall.sdk.code import own_modules, pickled_call
    from squall.sdk.code_digest import call_digest
    call = (make({offset}), ("a", {{"k", "l", "m"}}, [Point(1)], Point), {{"scale": {scale}}})
    open("call", "wb").write(pickled_call(*call))
    print(call_digest(*call, own=own_modules()))
'''
HELPER = """
NAME = "{name}"
CACHE = {{"f", "g", "h"}}
def double(word, offset):
    return word * 2 + str(offset) + helped()
def helped():
    return "{helped}"
"""
SAID = {"offset": "1", "scale": "2", "body": "Point(2).far()", "name": "n", "helped": "h"}


def _digest(folder: Path, seed: int, **changed: str) -> str:
    said = SAID | changed
    (folder / "helper.py").write_text(HELPER.format(**said), encoding="utf-8")
    (folder / "program.py").write_text(said.get("head", "") + PROGRAM.format(**said), encoding="utf-8")
    environ = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": str(ROOT / "src")}
    environ["PYTHONDONTWRITEBYTECODE"] = "1"  # files of one second and size would be taken for the same
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_two_runs_of_one_program_say_the_same(tmp_path: Path) -> None:
    digests = {_digest(tmp_path, seed) for seed in (0, 1, 2, 3)}
    assert len(digests) == 1
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert {_digest(elsewhere, 4, head="# a comment\n\n")} == digests


def test_a_call_needs_none_of_the_users_modules_where_it_is_run(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    _digest(tmp_path, 0)
    read = "import pickle, sys; f, args, kwargs = pickle.loads(sys.stdin.buffer.read()); print(f(*args, **kwargs)[1:])"
    done = subprocess.run(
        [sys.executable, "-c", read],
        cwd=tmp_path / "there",
        input=(tmp_path / "call").read_bytes(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().startswith("('n', False, <Colour.RED: 1>, False)"), done.stdout


@pytest.mark.parametrize(
    "changed",
    [
        {"offset": "2"},
        {"scale": "3"},
        {"body": "Point(3).far()"},
        {"body": "not Point(2).far()"},
        {"name": "m"},
        {"helped": "help"},
    ],
)
def test_whatever_changes_what_a_call_does_changes_what_it_says(
    tmp_path: Path, changed: dict[str, str]
) -> None:
    assert _digest(tmp_path, 0, **changed) != _digest(tmp_path, 0)


LIMIT = 1


def _plain(number: int = 1) -> int:
    return number + LIMIT


def _adding(offset: int) -> Callable[[int], int]:
    return lambda number: number + offset


def _says(function: Any, *args: Any, **kwargs: Any) -> str:
    return call_digest(function, args, kwargs, own=own_modules())


def test_defaults_globals_closures_and_arguments_count(monkeypatch: pytest.MonkeyPatch) -> None:
    said = [_says(_plain), _says(_plain, 1), _says(_plain, 2), _says(_plain, number=1)]
    monkeypatch.setattr(sys.modules[__name__], "LIMIT", 2)
    said.append(_says(_plain))
    monkeypatch.setattr(_plain, "__defaults__", (2,))
    said.append(_says(_plain))
    said += [_says(_adding(offset)) for offset in (1, 2)]
    assert len(set(said)) == len(said)


def test_two_functions_of_one_line_are_told_apart() -> None:
    one, two = (lambda: 1), (lambda: 2)
    assert _says(one) != _says(two)


def test_values_that_look_alike_are_told_apart() -> None:
    values: list[Any] = [
        *(0, 0.0, -0.0, False, None, "", b"", bytearray(), (), [], {}, set(), frozenset(), "0", b"0", 0j),
        *(
            [[]],
            [()],
            [[], []],
            ["ab"],
            ["a", "b"],
            {"a": 1},
            {1: "a"},
            {"a", 1},
            [("a", 1)],
            10**5000,
            int,
            str,
        ),
    ]
    assert len({_says(_plain, value) for value in values}) == len(values)


def test_equal_values_say_the_same_whether_they_are_one_or_two() -> None:
    word = ["a"]
    assert _says(_plain, [word, word]) == _says(_plain, [["a"], ["a"]])


def test_a_value_that_holds_itself_ends() -> None:
    def ring() -> list[Any]:
        found: list[Any] = [1]
        found.append(found)
        return found

    assert _says(_plain, ring()) == _says(_plain, ring())


def test_what_is_nested_too_deeply_is_named() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(FunctionNotSerializable, match="nested too deeply"):
        _says(_plain, deep)


def test_own_modules_are_those_of_files_where_no_packages_are_installed() -> None:
    own = own_modules()
    assert __name__ in own
    assert "__main__" in own
    assert not {"pytest", "os", "json", "cloudpickle", "squall", "squall.sdk.code", "sys"} & set(own)
