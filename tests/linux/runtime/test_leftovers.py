"""What launchers that were killed have left goes, and nothing of those that live."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from squall.runtime import scratch
from squall.runtime.cgroups import groups_named, make_group, remove_group
from squall.runtime.leftovers import remove_leftovers
from squall.runtime.probe import probe
from squall.runtime.spec import Limits

pytestmark = pytest.mark.needs("root", "namespaces")


def test_groups_of_sandboxes_that_are_being_made_stay_and_those_of_templates_that_are_gone_go(
    tmp_path: Path,
) -> None:
    host = probe(str(tmp_path))
    prefix = f"squall-{os.urandom(6).hex()}-"
    instance = prefix.removeprefix("squall-").removesuffix("-")
    places = tmp_path / "scratch"
    held = scratch.make(str(places / "co-alive"))
    os.close(scratch.make(str(places / "co-dead")))
    names = ("co-alive.1", "co-dead", "co-dead.1", "co-gone.2")
    try:
        for name in names:
            make_group(host.cgroup, prefix + name, Limits())
        assert remove_leftovers(str(places), host, instance) == []  # made just now, it may not be locked yet
        assert groups_named(host.cgroup, prefix) == {
            prefix + name for name in ("co-alive.1", "co-dead", "co-dead.1")
        }
    finally:
        os.close(held)
        for name in names:
            remove_group(host.cgroup, prefix + name)


def test_groups_go_with_the_directory_of_who_has_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = probe(str(tmp_path))
    instance = os.urandom(6).hex()
    prefix = f"squall-{instance}-"
    os.close(scratch.make(str(tmp_path / "scratch" / "co-dead")))
    monkeypatch.setattr(scratch, "_NEW_S", -1.0)
    names = ("co-dead", "co-dead.1")
    try:
        for name in names:
            make_group(host.cgroup, prefix + name, Limits())
        assert remove_leftovers(str(tmp_path / "scratch"), host, instance) == ["co-dead"]
        assert groups_named(host.cgroup, prefix) == set()
    finally:
        for name in names:
            remove_group(host.cgroup, prefix + name)
