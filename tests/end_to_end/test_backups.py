"""Backups of the record as people make them: while the server runs, after damage, and for an older version."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.end_to_end.conftest import House
from tests.linux import leaks

pytestmark = [pytest.mark.needs("linux", "namespaces"), pytest.mark.timeout(240)]

PROGRAM = """
import squall

app = squall.App("kept")

@app.function()
def double(x):
    return 2 * x

if __name__ == "__main__":
    with app.run():
        call = double.spawn(21)
        call.get()
        print(call.object_id)
"""
FETCH = "import sys, squall; print(squall.FunctionCall.from_id(sys.argv[1]).get(timeout=20))"


@pytest.fixture
def home() -> Iterator[House]:
    folder = leaks.fresh_folder(prefix="squall-e2e-")
    house = House(folder)
    try:
        yield house
    finally:
        done = house.run("-m", "squall", "down")
        shutil.rmtree(folder, ignore_errors=True)
    assert done.returncode == 0, done.stderr


def well(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def database(home: House) -> Path:
    return home.folder / "state" / "squall.db"


def test_a_record_that_was_damaged_is_refused_by_name_and_restored(home: House) -> None:
    call = well(home.run(str(home.program(PROGRAM)))).strip()
    made = Path(json.loads(well(home.run("-m", "squall", "backup", "--json")))["backup"])
    assert made.parent == home.folder / "state" / "backups"
    elsewhere = home.folder / "copy.db"
    well(home.run("-m", "squall", "backup", str(elsewhere)))

    while_it_runs = home.run("-m", "squall", "restore", str(elsewhere))
    assert while_it_runs.returncode == 1
    assert "error[SQ-1606]" in while_it_runs.stderr
    well(home.run("-m", "squall", "down"))

    raw = bytearray(database(home).read_bytes())
    raw[4096:] = os.urandom(len(raw) - 4096)
    database(home).write_bytes(raw)
    refused = home.run("-m", "squall", "up")
    assert refused.returncode == 1
    assert "SQ-1901" in refused.stderr
    assert "squall restore --latest" in refused.stderr
    well(home.run("-m", "squall", "down"))

    assert str(made) in well(home.run("-m", "squall", "restore"))
    told = json.loads(well(home.run("-m", "squall", "restore", "--latest", "--json")))
    assert told["restored"] == str(made)
    assert (Path(told["aside"]) / "squall.db").read_bytes() == raw
    assert well(home.run("-c", FETCH, call)) == "42\n"


def test_an_older_version_is_told_the_command_and_goes_on_after_it(home: House) -> None:
    call = well(home.run(str(home.program(PROGRAM)))).strip()
    well(home.run("-m", "squall", "down"))
    with closing(sqlite3.connect(database(home), isolation_level=None)) as db:
        (newest,) = db.execute("SELECT max(version) FROM schema_version").fetchone()
        db.execute("INSERT INTO schema_version VALUES (?)", (newest + 1,))
    refused = home.run("-m", "squall", "up")
    assert f"squall migrate --to {newest}" in refused.stderr
    well(home.run("-m", "squall", "down"))
    with closing(sqlite3.connect(database(home), isolation_level=None)) as db:
        db.execute("DELETE FROM schema_version WHERE version = ?", (newest + 1,))

    assert json.loads(well(home.run("-m", "squall", "migrate", "--to", "1", "--json"))) == {"schema": 1}
    assert "before schema 1" in well(home.run("-m", "squall", "restore"))
    beyond = home.run("-m", "squall", "migrate", "--to", str(newest + 1))
    assert (beyond.returncode, "no way back" in beyond.stderr) == (1, True)
    assert well(home.run("-c", FETCH, call)) == "42\n"


@pytest.mark.parametrize("command", [("backup",), ("restore", "--latest"), ("migrate", "--to", "1")])
def test_a_record_in_postgres_is_backed_up_by_who_runs_it(home: House, command: tuple[str, ...]) -> None:
    home.environ["SQUALL_DATABASE"] = "postgresql://squall@nowhere.invalid/squall"
    refused = home.run("-m", "squall", *command)
    del home.environ["SQUALL_DATABASE"]
    assert refused.returncode == 1
    assert "pg_dump --format=custom" in refused.stderr


def test_what_cannot_be_restored_says_why(home: House) -> None:
    for arguments, says in (
        (("--latest",), "no backup was made"),
        ((str(home.folder / "absent"),), "no such file"),
        (("--latest", "--cut"), "give one of"),
    ):
        refused = home.run("-m", "squall", "restore", *arguments)
        assert refused.returncode in {1, 2}
        assert says in refused.stderr
        assert "Traceback" not in refused.stderr
