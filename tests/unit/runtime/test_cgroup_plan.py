"""Which groups a launcher takes, decided from recordings of machines."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from squall.runtime.cgroup_plan import CgroupTree, choose_cgroups

_RECORDED = Path(__file__).parent / "cgroups"


def recorded(name: str) -> CgroupTree:
    return CgroupTree.from_json(json.loads((_RECORDED / f"{name}.json").read_text()))


@pytest.mark.parametrize("path", sorted(_RECORDED.glob("*.json")), ids=lambda path: path.stem)
def test_a_recording_comes_back_as_it_was(path: Path) -> None:
    tree = CgroupTree.from_json(json.loads(path.read_text()))
    assert CgroupTree.from_json(json.loads(json.dumps(tree.to_json()))) == tree


def test_a_hybrid_machine_gives_root_its_groups_of_version_1() -> None:
    chosen = choose_cgroups(recorded("hybrid-root"))
    assert chosen.version == 1
    assert chosen.limits_memory
    assert chosen.limits_cpu
    assert chosen.limits_pids
    assert chosen.base_of("memory") == "/sys/fs/cgroup/memory/machine/one"
    assert not chosen.why


def test_a_hybrid_machine_gives_an_ordinary_user_none_and_says_why() -> None:
    chosen = choose_cgroups(recorded("hybrid-user"))
    assert not chosen.usable
    assert "not writable" in chosen.why


def test_a_delegated_scope_is_divided_above_the_group_that_we_are_in() -> None:
    chosen = choose_cgroups(recorded("systemd-delegated"))
    assert chosen.version == 2
    scope = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/squall.scope"
    assert {path for _, path in chosen.bases} == {scope}
    assert chosen.limits_memory
    assert chosen.limits_pids
    assert chosen.limits_cpu


def test_a_session_that_is_not_delegated_gives_nothing_and_says_how_to_get_it() -> None:
    chosen = choose_cgroups(recorded("systemd-session"))
    assert chosen.version == 0
    assert "Delegate=yes" in chosen.why


def test_root_on_version_2_takes_the_real_root_of_the_tree() -> None:
    chosen = choose_cgroups(recorded("systemd-root"))
    assert chosen.version == 2
    assert chosen.base_of("memory") == "/sys/fs/cgroup"


def test_a_container_without_cgroups_has_none() -> None:
    chosen = choose_cgroups(CgroupTree(own={}, available={}))
    assert not chosen.usable
    assert "no cgroup file system" in chosen.why


def test_a_group_with_processes_of_its_own_is_passed_over() -> None:
    tree = recorded("systemd-delegated")
    scope = choose_cgroups(tree).base_of("memory")
    assert scope is not None
    above = choose_cgroups(replace(tree, occupied=tree.occupied | {scope})).base_of("memory")
    assert above == scope.rpartition("/")[0]


def test_what_is_missing_is_named() -> None:
    tree = recorded("hybrid-root")
    without = replace(tree, writable=tree.writable - {"/sys/fs/cgroup/cpu"})
    chosen = choose_cgroups(without)
    assert chosen.limits_memory
    assert not chosen.limits_cpu
    assert "cpu" in chosen.why
