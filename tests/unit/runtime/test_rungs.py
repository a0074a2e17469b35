"""The table of rungs: five kinds of host, reviewed row by row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from squall.runtime.cgroup_plan import Cgroups
from squall.runtime.host import Host, SubordinateIds
from squall.runtime.rungs import Row, row_of, rungs

_GROUPS = Cgroups(version=1, bases=(("memory", "/m"), ("cpu", "/c"), ("pids", "/p")))
_DELEGATED = Cgroups(version=2, bases=(("memory", "/s"), ("cpu", "/s"), ("pids", "/s")))
ROOT = Host(
    kernel=(6, 1),
    machine="x86_64",
    uid=0,
    privileged=True,
    cgroup=_GROUPS,
    shm_bytes=1 << 30,
    python="/usr/bin/python3",
    landlock_abi=7,
)
BARE = replace(
    ROOT,
    uid=1000,
    privileged=False,
    cgroup=Cgroups(version=0, why="no delegated cgroup: start it so"),
    carrier_refused="neither pasta nor slirp4netns is installed",
)
IDS = SubordinateIds(uid_first=100_000, uid_count=65_536, gid_first=100_000, gid_count=65_536)
DELEGATED = replace(BARE, cgroup=_DELEGATED, subordinate=IDS)
REFUSED = replace(BARE, sandbox_refused="the kernel refuses new namespaces: no")
PRIVATE = replace(BARE, python="/home/me/.pyenv/python3", python_private=True)


@pytest.mark.parametrize(
    ("host", "row"),
    [
        (ROOT, "root"),
        (DELEGATED, "delegated user"),
        (BARE, "bare user"),
        (REFUSED, "refused"),
        (PRIVATE, "bare user"),
    ],
)
def test_each_host_is_of_one_kind(host: Host, row: Row) -> None:
    assert row_of(host) == row


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (
            ROOT,
            {
                "isolation": "sandbox",
                "ids": "a range",
                "memory limit": "by the kernel",
                "CPU limit": "by the kernel",
            },
        ),
        (
            DELEGATED,
            {
                "ids": "0 is you, the others",
                "memory limit": "by the kernel",
                "process limit": "by the kernel",
            },
        ),
        (
            BARE,
            {
                "ids": "0 is you, there is no other",
                "memory limit": "sampled",
                "process limit": "by rlimit",
                "CPU limit": "none",
            },
        ),
        (
            REFUSED,
            {
                "isolation": "process: none",
                "writable root": "none",
                "network": "the host's",
                "start": "a new",
            },
        ),
        (PRIVATE, {"interpreter": "shown in containers at its own path, the home around it not"}),
        (ROOT, {"network": "an address for each container"}),
        (replace(ROOT, veth_refused="no nf_tables"), {"network": "the host's, shared"}),
        (replace(ROOT, veth_refused="no nf_tables", landlock_abi=5), {"network": "loopback only"}),
        (BARE, {"network": "the host's, shared"}),
        (replace(BARE, landlock_abi=0), {"network": "loopback only"}),
        (
            replace(BARE, carrier="pasta", carrier_refused=""),
            {"network": "a network for each container, and out"},
        ),
        (
            replace(BARE, carrier="slirp4netns"),
            {"network": "a network for each container, and out through slirp"},
        ),
        (replace(BARE, exe_protected=False), {"start": "a new interpreter"}),
        (replace(BARE, upper_refused="MountRoot: no"), {"writable root": "an overlay in memory"}),
        (ROOT, {"image owners": "as the image says"}),
        (replace(ROOT, owned_refused="MountRoot: no"), {"image owners": "none"}),
        (DELEGATED, {"image owners": "as the image says"}),
        (BARE, {"image owners": "all of it belongs to root inside, builds too"}),
        (REFUSED, {"image owners": "none"}),
        (replace(BARE, kernel=(5, 10)), {"process limit": "none"}),
        (replace(BARE, shm_bytes=64 << 20), {"large values": "in memory, few at a time"}),
        (replace(BARE, tmp_noexec=True), {"temporary files": "usable for data only"}),
        (replace(BARE, pids_limit=100), {"processes": "few"}),
    ],
)
def test_each_feature_has_its_rung(host: Host, expected: dict[str, str]) -> None:
    found = {rung.feature: rung.rung for rung in rungs(host)}
    for feature, rung in expected.items():
        assert found[feature].startswith(rung), feature


@pytest.mark.parametrize("host", [ROOT, DELEGATED, BARE, REFUSED, PRIVATE])
def test_every_rung_has_a_reason_and_every_lower_one_a_way_up(host: Host) -> None:
    table = rungs(host)
    assert len({rung.feature for rung in table}) == len(table)
    assert all(rung.why for rung in table)
    lower = [rung for rung in table if rung.rung.startswith(("none", "process", "sampled"))]
    assert all(rung.more for rung in lower)


@pytest.mark.parametrize(
    ("host", "word"),
    [
        (BARE, "passt or slirp4netns"),
        (replace(BARE, landlock_abi=0), "passt or slirp4netns"),
        (replace(ROOT, veth_refused="no nf_tables"), "nf_tables"),
    ],
)
def test_a_network_that_could_be_better_says_by_what(host: Host, word: str) -> None:
    (network,) = (rung for rung in rungs(host) if rung.feature == "network")
    assert word in network.more
    assert (host.veth_refused or host.carrier_refused) in network.why


def test_root_has_nothing_left_to_wish_for() -> None:
    assert all(rung.good for rung in rungs(ROOT))
