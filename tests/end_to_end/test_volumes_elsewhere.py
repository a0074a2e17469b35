"""Volumes of a server on another machine: their bytes go over TLS, both ways, and who has no token sees none."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.machines import Machines, machines

pytestmark = [pytest.mark.needs("linux", "root", "namespaces", "iproute"), pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def town() -> Iterator[Machines]:
    with machines() as made:
        yield made


def test_files_go_to_a_volume_of_another_machine_and_come_back(town: Machines) -> None:
    caller, folder = town.machine(), town.machine().terminal.folder
    there = {"SQUALL_SERVER": town.address, "SQUALL_TOKEN": town.token()}
    large = os.urandom(5 << 20)
    (folder / "in" / "deep").mkdir(parents=True)
    (folder / "in" / "deep" / "large.bin").write_bytes(large)
    for number in range(300):
        (folder / "in" / f"{number}.txt").write_text(f"{number}\n" * 10)
    said = caller.squall("volume", "create", "data", **there)
    assert said.status == 0, said
    said = caller.squall("volume", "put", "data", str(folder / "in"), "/", **there)
    assert said.out.startswith("put 301 files"), said
    said = caller.squall("volume", "get", "data", "/", str(folder / "out"), **there)
    assert said.status == 0, said
    assert (folder / "out" / "deep" / "large.bin").read_bytes() == large
    for number in range(300):
        assert (folder / "out" / f"{number}.txt").read_text() == f"{number}\n" * 10
    # The server itself has the same volume.
    said = town.server.squall("volume", "ls", "data", "/deep")
    assert "deep/large.bin" in said.out, said


def test_who_may_only_read_changes_no_volume(town: Machines) -> None:
    caller = town.machine()
    there = {"SQUALL_SERVER": town.address, "SQUALL_TOKEN": town.token("--scope", "read")}
    caller.squall("volume", "create", "mine", **there).is_error("SQ-1625", "run")
    caller.squall("volume", "list", SQUALL_SERVER=town.address).is_error("SQ-1014")
