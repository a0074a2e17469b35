"""Deploys and rollbacks while calls come without a pause: none fails, and each is answered by a whole version that served."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.end_to_end.terminal import Terminal, fresh_folder, leave_nothing

pytestmark = [pytest.mark.needs("linux", "namespaces"), pytest.mark.timeout(580)]

APP = """
import squall

app = squall.App("busy")
VERSION = {version}
{more}

@app.function(max_containers=3)
def which(number: int) -> tuple[int, int, int]:
    return VERSION, inner(number), number


def inner(number: int) -> int:
    return VERSION
"""
BROKEN = "if not squall.is_local():\n    raise LookupError(VERSION)\n"
# Calls of each kind, without a pause, until somebody says that it is enough; then what came of each, as a line of JSON.
PROBER = """
import asyncio, json, sys, time
import squall

which = squall.Function.from_name("busy", "which")
enough = False
ended = []

async def calls(lane):
    number = lane * 1_000_000
    while not enough or len(ended) < {least}:
        number += 1
        began = time.time()
        try:
            if lane == 0:
                call = await which.spawn.aio(number)
                told = await call.get.aio(timeout=60)
            elif lane == 1:
                told = [row async for row in which.map.aio([number] * 20)]
                assert len({{row[0] for row in told}}) == 1, told
                ended.extend([[began, time.time(), *row, number] for row in told[1:]])
                told = told[0]
            else:
                told = await which.remote.aio(number)
            ended.append([began, time.time(), *told, number])
        except BaseException as error:
            ended.append([began, time.time(), repr(error), 0, number, number])

async def main():
    global enough
    lanes = [asyncio.create_task(calls(lane)) for lane in range(12)]
    print("began", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    enough = True
    await asyncio.gather(*lanes)
    print(json.dumps(ended))

asyncio.run(main())
"""
DEPLOYS, LEAST = 20, 10_000


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal(folder=fresh_folder())
    yield terminal
    leave_nothing(terminal)


class Served:
    """What serves from when on: changes are (instant, version of the code), each written down once its command has ended."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self.changes: list[tuple[float, int]] = []
        self.begun: list[tuple[float, int]] = []

    def deploy(self, version: int, *, broken: bool = False) -> None:
        path = self._terminal.write(APP.format(version=version, more=BROKEN if broken else ""), "busy.py")
        self._change(version, "deploy", str(path), broken=broken)

    def roll_back(self, number: int, version: int) -> None:
        self._change(version, "app", "rollback", "busy", str(number))

    def _change(self, version: int, *arguments: str, broken: bool = False) -> None:
        began = time.time()
        said = self._terminal.squall(*arguments, within_s=90)
        assert said.status == (1 if broken else 0), said
        if not broken:
            self.begun.append((began, version))
            self.changes.append((time.time(), version))

    def may_answer(self, began: float, ended: float) -> set[int]:
        """The versions that a call may be answered by: the one that served as it began, and those that came while it was under way."""
        before = [version for when, version in self.changes if when <= began]
        return {
            *before[-1:],
            *(
                version
                for (start, version), (end, _) in zip(self.begun, self.changes, strict=True)
                if start < ended and end > began
            ),
        }


def test_twenty_deploys_and_as_many_rollbacks_fail_none_of_ten_thousand_calls(terminal: Terminal) -> None:
    served = Served(terminal)
    served.deploy(100)
    with subprocess.Popen(
        [sys.executable, "-c", PROBER.format(least=LEAST)],
        env=terminal.environment(),
        cwd=terminal.folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as prober:
        assert prober.stdout is not None
        assert prober.stdout.readline() == "began\n"
        for version in range(101, 101 + DEPLOYS):
            served.deploy(version)
            if version % 5 == 0:
                served.deploy(-version, broken=True)
        numbers = _numbers(terminal)
        for at in range(DEPLOYS):
            served.roll_back(numbers[at % 7], 100 + at % 7)
        out, _ = prober.communicate("\n", timeout=200)
    calls: list[list[Any]] = json.loads(out)
    assert len(calls) >= LEAST
    failed = [row for row in calls if not isinstance(row[2], int)]
    assert not failed, (len(failed), failed[:3])
    for began, ended, version, inner, told, asked in calls:
        assert (told, inner) == (asked, version)
        assert version in served.may_answer(began, ended), (version, served.may_answer(began, ended))
    assert len({row[2] for row in calls}) > DEPLOYS
    took = sorted(ended - began for began, ended, *_ in calls)
    print(
        f"{len(calls):,} calls, 0 failed, during {2 * DEPLOYS} versions and {DEPLOYS // 5} broken ones in "
        f"{served.changes[-1][0] - served.changes[0][0]:.0f} s; a call took {1e3 * took[len(took) // 2]:.0f} ms in the "
        f"middle and {took[-1]:.2f} s at most"
    )


def _numbers(terminal: Terminal) -> list[int]:
    """The numbers of the versions that served, in their order; their code is 100, 101 and so on."""
    rows = json.loads(terminal.squall("app", "history", "busy", "--json").out)
    assert [row["state"] for row in rows].count("failed") == DEPLOYS // 5
    return sorted(row["version"] for row in rows if row["state"] != "failed")
