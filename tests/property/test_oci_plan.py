"""What holds for the plan, the configuration and the filter of any container that an OCI runtime makes."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given, settings, strategies as st

from squall.runtime import plan
from squall.runtime.host import Host
from squall.runtime.oci.bundle_plan import config_of, plan_container, process_of
from squall.runtime.oci.profile import profile_for
from squall.runtime.seccomp import filter_for
from squall.runtime.spec import OCI_LEVELS, Level, SandboxSpec
from squall.runtime.syscall_numbers import NUMBERS
from tests.property.test_runtime_plan import hosts, sandboxes
from tests.unit.runtime.bpf import ALLOW, ERRNO, judge

ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_RUNTIME = ("/usr/bin/runtime", "--quiet")


@st.composite
def containers(draw: st.DrawFn) -> SandboxSpec:
    """Any sandbox, at a level that has a runtime."""
    spec = draw(sandboxes())
    level: Level = draw(st.sampled_from(sorted(OCI_LEVELS)))
    return replace(
        spec,
        level=level,
        runtime=_RUNTIME,
        network="none",
        veth=None,
        unreachable=(),
        capabilities="none",
        upper=None,
        interpreter=draw(st.just("/usr/bin/python3")),
        argv=draw(st.none() | st.just(("/bin/true",))),
    )


@given(spec=containers(), host=hosts())
def test_the_outer_half_is_that_of_a_sandbox(spec: SandboxSpec, host: Host) -> None:
    made = plan_container(spec, host)
    same = plan.plan_sandbox(replace(spec, level="sandbox", runtime=()), host)
    assert made.namespaces == same.namespaces
    assert {"mount", "pid", "net", "ipc", "uts"} <= set(made.namespaces)
    assert [type(step) for step in made.undo] == [type(step) for step in same.undo]
    for kind in (plan.MountRoot, plan.BindMount, plan.RaiseLoopback):
        assert [s for s in made.build if isinstance(s, kind)] == [
            s for s in same.build if isinstance(s, kind)
        ]


@given(spec=containers(), host=hosts())
def test_the_runtime_is_started_by_no_root_but_the_containers(spec: SandboxSpec, host: Host) -> None:
    made = plan_container(spec, host)
    leaves = [*made.namespaces, *(s.namespace for s in made.build if isinstance(s, plan.NewNamespace))]
    assert leaves.count("user") == 1
    assert isinstance(made.confine[-1], plan.BecomeRootInside)
    assert plan.NewNamespace(namespace="cgroup") in made.confine
    bundles = [step for step in made.build if isinstance(step, plan.MakeBundle)]
    assert len(bundles) == 1
    # Everything that is shown inside is below the root before the root is laid out.
    assert all(
        not isinstance(s, plan.BindMount | plan.MountRoot) for s in made.build[made.build.index(bundles[0]) :]
    )


@given(spec=containers(), host=hosts())
def test_a_limit_of_processes_leaves_room_for_the_runtimes_own(spec: SandboxSpec, host: Host) -> None:
    for step in plan_container(spec, host).host:
        if isinstance(step, plan.MakeCgroup):
            asked, given_ = spec.limits.pids, step.limits.pids
            assert (asked is None) == (given_ is None)
            assert asked is None or (given_ or 0) > asked
            assert replace(step.limits, pids=asked) == spec.limits


@given(spec=containers(), host=hosts())
def test_no_process_has_a_right_or_can_gain_one(spec: SandboxSpec, host: Host) -> None:
    config = config_of(spec, host)
    process = config["process"]
    assert process["noNewPrivileges"] is True
    assert all(held == [] for held in process["capabilities"].values())
    assert len(process["capabilities"]) == 5
    assert process["user"]["uid"] == process["user"]["gid"] == 0
    assert process["cwd"] == spec.workdir
    assert {entry.partition("=")[0] for entry in process["env"]} == set(spec.env)
    assert config == json.loads(json.dumps(config))


@given(spec=containers(), host=hosts())
def test_the_configuration_asks_for_nothing_of_the_host(spec: SandboxSpec, host: Host) -> None:
    config = config_of(spec, host)
    linux = config["linux"]
    kinds = {namespace["type"] for namespace in linux["namespaces"]}
    assert {"pid", "mount"} <= kinds
    # These are the first process's; a new one would be a second network without its addresses.
    assert not {"network", "user", "cgroup"} & kinds
    assert all("path" not in namespace for namespace in linux["namespaces"])
    assert all(mount["type"] in {"proc", "tmpfs", "devpts"} for mount in config["mounts"])
    assert all("nosuid" in mount["options"] for mount in config["mounts"])
    assert not {"hooks", "annotations"} & set(config)
    assert {*plan.MASKED_FILES, *plan.MASKED_DIRECTORIES} <= set(linux["maskedPaths"])
    assert set(plan.READ_ONLY_PATHS) <= set(linux["readonlyPaths"])
    assert ("seccomp" in linux) == (spec.level != "gvisor")


def test_a_level_without_a_runtime_has_no_configuration() -> None:
    spec = SandboxSpec(id="c", scratch="/s", lowers=("/l",))
    host = Host(kernel=(6, 1), machine="x86_64", uid=0, privileged=True)
    with pytest.raises(ValueError, match="no OCI runtime"):
        config_of(spec, host)


def test_a_command_beside_the_runner_has_no_more_rights_than_it() -> None:
    process = process_of(["/bin/sh"], {"A": "b"}, "/app")
    assert process["noNewPrivileges"]
    assert not any(process["capabilities"].values())


def answer_of(profile: dict[str, Any], name: str, arguments: list[int]) -> int:
    """What a profile says to one call, as the runtime-spec has it: the first rule all of whose conditions hold."""
    found = {
        ALLOW if rule["action"] == "SCMP_ACT_ALLOW" else ERRNO | rule.get("errnoRet", errno.EPERM)
        for rule in profile["syscalls"]
        if name in rule["names"] and all(_holds(condition, arguments) for condition in rule.get("args", ()))
    }
    assert len(found) <= 1, f"two rules decide {name}{arguments} differently"
    return found.pop() if found else ERRNO | profile["defaultErrnoRet"]


def _holds(condition: dict[str, Any], arguments: list[int]) -> bool:
    assert condition["op"] == "SCMP_CMP_MASKED_EQ"
    return bool(arguments[condition["index"]] & condition["value"] == condition["valueTwo"])


_interesting = st.sampled_from(
    [
        0,
        1,
        2,
        10,
        16,
        17,
        38,
        40,
        0x5412,
        0x541C,
        0x5413,
        0x2000,
        0x6000,
        0x8000,
        0x20000000,
        0xFFFFFFFF,
        0x80000002,
    ]
)
_argument = st.one_of(
    _interesting, st.integers(0, (1 << 64) - 1), _interesting.map(lambda low: low | 1 << 40)
)


@settings(max_examples=400)
@given(
    machine=st.sampled_from(sorted(ARCH)),
    name=st.sampled_from(
        [
            "clone",
            "clone3",
            "ioctl",
            "socket",
            "socketpair",
            "personality",
            "mknodat",
            "memfd_secret",
            "mount",
            "read",
        ]
    ),
    arguments=st.lists(_argument, min_size=6, max_size=6),
)
def test_the_profile_decides_as_the_filter_does(machine: str, name: str, arguments: list[int]) -> None:
    expected = judge(
        filter_for(machine), arch=ARCH[machine], number=NUMBERS[machine][name], arguments=tuple(arguments)
    )
    assert answer_of(profile_for(machine), name, arguments) == expected


_EDGES = (
    0,
    1,
    2,
    10,
    16,
    17,
    38,
    0x5412,
    0x541C,
    0x5413,
    0x2000,
    0x6000,
    0x8000,
    0x20000000,
    0x80000002,
    0xFFFFFFFF,
)
_ASKED = {
    "socket": (2, 1, 6),
    "socketpair": (1, 1, 0),
    "clone": (0,),
    "personality": (0,),
    "ioctl": (0, 0x5401),
    "mknod": (0, 0x8000),
}


@pytest.mark.parametrize("machine", sorted(ARCH))
@pytest.mark.parametrize("name", sorted(_ASKED))
def test_the_profile_decides_at_every_edge_as_the_filter_does(machine: str, name: str) -> None:
    """Also where the upper half of an argument, which the kernel does not read, is not empty."""
    number = NUMBERS[machine].get(name)
    for place in range(3):
        for value in (*_EDGES, *(edge | 1 << 40 for edge in _EDGES)):
            arguments = [*_ASKED[name], 0, 0, 0, 0, 0, 0][:6]
            arguments[place] = value
            if number is not None:
                expected = judge(
                    filter_for(machine), arch=ARCH[machine], number=number, arguments=tuple(arguments)
                )
                assert answer_of(profile_for(machine), name, arguments) == expected, (name, arguments)


@pytest.mark.parametrize("machine", sorted(ARCH))
def test_the_profile_decides_every_call_as_the_filter_does(machine: str) -> None:
    profile = profile_for(machine)
    for name, number in NUMBERS[machine].items():
        expected = judge(filter_for(machine), arch=ARCH[machine], number=number)
        assert answer_of(profile, name, [0] * 6) == expected, name


def test_every_level_is_one_of_the_specs() -> None:
    assert set(get_args(Level)) > OCI_LEVELS
