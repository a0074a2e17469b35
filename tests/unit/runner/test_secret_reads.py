"""What code asks the environment for is noted while a template loads it, whichever way it asks, and not afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[3] / "src"
# In a process of its own: what was read is noted for its whole life.
PROGRAM = """
import json, os, sys
from squall.model.function import Code, Function
from squall.model.ids import AppId, FunctionId
from squall.model.secret import SecretUse
from squall.runner import secret_reads

uses = (SecretUse(name="db", required=("NEEDED",), variables=("PASSWORD", "USER")),) if {secrets} else ()
function = Function(
    id=FunctionId("ap-1/f"), app=AppId("ap-1"), name="f", code=Code(module="m", qualname="f"), secrets=uses
)
found = None
with secret_reads.noted(function):
    try:
        {read}
    except KeyError:
        pass
kind = type(os.environ).__name__
os.environ.get("USER")
print(json.dumps([secret_reads.read_of(function), kind, type(os.environb).__name__, found]))
"""


def read(statement: str, *, secrets: bool = True) -> tuple[list[str], object]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(read=statement, secrets=secrets)],
        env={"PYTHONPATH": str(SOURCES), "THERE": "there"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found, *kinds, value = json.loads(done.stdout)
    assert kinds == ["_Environ", "_Environ"]
    return found, value


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ('os.environ["PASSWORD"]', ["PASSWORD"]),
        ('os.environ.get("PASSWORD")', ["PASSWORD"]),
        ('os.getenv("PASSWORD", "x")', ["PASSWORD"]),
        ('"NEEDED" in os.environ', ["NEEDED"]),
        ('os.environ.pop("PASSWORD", None)', ["PASSWORD"]),
        ('os.environ.setdefault("PASSWORD", "x")', ["PASSWORD"]),
        ('os.getenvb(b"PASSWORD")', ["PASSWORD"]),
        ("dict(os.environ)", ["*"]),
        ("os.environ.copy()", ["*"]),
        ("os.environ | {}", ["*"]),
        ("[name for name in os.environ.items()]", ["*"]),
        ("list(os.environb)", ["*"]),
        ('os.environ["OTHER"]', []),
        ('os.environ["SET"] = "1"', []),
        ("import subprocess; subprocess.run(['true'])", []),
        ("import http.client, uuid, tempfile, ssl", []),
    ],
)
def test_each_way_to_ask_is_noted(statement: str, found: list[str]) -> None:
    assert read(statement)[0] == found


def test_who_asks_gets_what_is_there() -> None:
    assert read('found = os.environ["THERE"], os.environ.get("NOT")') == ([], ["there", None])


def test_where_a_function_has_no_secrets_nothing_is_noted() -> None:
    assert read("dict(os.environ)", secrets=False)[0] == []
