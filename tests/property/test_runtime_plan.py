"""What holds for the plan of any sandbox on any host that can make one."""

from __future__ import annotations

from typing import get_args

from hypothesis import given, strategies as st

from squall.runtime import plan
from squall.runtime.cgroup_plan import Cgroups
from squall.runtime.host import Host, SubordinateIds
from squall.runtime.spec import CARRIERS, Carrier, Limits, Mount, Network, SandboxSpec, ServedMount, Veth
from squall.runtime.template.plan import plan_own_root

_names = st.text("abcdefgh", min_size=1, max_size=6)
_paths = st.lists(_names, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
_amounts = st.none() | st.integers(1, 1 << 40)
_groups = st.sampled_from(
    [
        Cgroups(version=0, why="none"),
        Cgroups(version=1, bases=(("memory", "/m"), ("cpu", "/c"), ("pids", "/p"))),
        Cgroups(version=1, bases=(("memory", "/m"),)),
        Cgroups(version=2, bases=(("memory", "/s"), ("pids", "/s"))),
    ]
)
_ids = st.none() | st.just(
    SubordinateIds(uid_first=1 << 17, uid_count=65536, gid_first=1 << 17, gid_count=65536)
)


@st.composite
def hosts(draw: st.DrawFn) -> Host:
    privileged = draw(st.booleans())
    return Host(
        kernel=(6, 1),
        machine=draw(st.sampled_from(["x86_64", "aarch64"])),
        uid=0 if privileged else 1000,
        privileged=privileged,
        upper_refused=draw(st.sampled_from(["", "it is an overlay itself"])),
        subordinate=None if privileged else draw(_ids),
        landlock_abi=draw(st.integers(0, 7)),
        cgroup=draw(_groups),
    )


@st.composite
def sandboxes(draw: st.DrawFn) -> SandboxSpec:
    lowers = tuple(draw(st.lists(_paths, min_size=1, max_size=4)))
    targets = draw(st.lists(_paths, unique=True, max_size=5))
    network = draw(st.sampled_from(get_args(Network)))
    return SandboxSpec(
        id=draw(_names),
        scratch=draw(_paths),
        lowers=lowers,
        owned=tuple(lower for lower in lowers if draw(st.booleans())),
        upper=draw(st.none() | _paths),
        mounts=tuple(
            Mount(source=draw(_paths), target=path, writable=draw(st.booleans())) for path in targets
        ),
        served=tuple(
            ServedMount(source=draw(_paths), target=path, writable=draw(st.booleans()))
            for path in draw(st.lists(_paths, unique=True, max_size=2))
        ),
        network=network,
        veth=Veth(name="sq0", address="10.88.0.16", gateway="10.88.0.1") if network == "veth" else None,
        unreachable=draw(st.sampled_from([(), ("169.254.0.0/16",)])),
        limits=Limits(
            memory_bytes=draw(_amounts), pids=draw(_amounts), nofile=draw(_amounts), disk_bytes=draw(_amounts)
        ),
        uid_base=draw(st.none() | st.integers(1 << 16, 1 << 30)),
        capabilities=draw(st.sampled_from(["none", "build"])),
    )


def _names_of(steps: tuple[plan.Step, ...]) -> list[str]:
    return [type(step).__name__ + getattr(step, "namespace", "") for step in steps]


@given(spec=sandboxes(), host=hosts())
def test_what_others_serve_is_mounted_over_the_hosts_files_and_for_templates_to_look_at(
    spec: SandboxSpec, host: Host
) -> None:
    build = plan.plan_sandbox(spec, host).build
    kinds = [type(step) for step in build]
    for at, step in enumerate(build):
        if isinstance(step, plan.MountServed):
            assert plan.BindMount not in kinds[at:]
            assert step.owner == ((spec.uid_base or 0) if host.privileged else 0)
    shown = [(one.target, one.writable) for one in build if isinstance(one, plan.MountServed)]
    assert shown == [(one.target, one.writable) for one in spec.served]
    looked_at = [one for one in plan_own_root(spec, host, ()) if isinstance(one, plan.MountServed)]
    assert [one.target for one in looked_at] == [one.target for one in spec.served]
    assert not any(one.writable for one in looked_at)


@given(spec=sandboxes(), host=hosts())
def test_the_filter_comes_last_and_everything_is_dropped_right_before_it(
    spec: SandboxSpec, host: Host
) -> None:
    made = plan.plan_sandbox(spec, host)
    steps = _names_of(made.build + made.confine)
    assert steps[-3:] == ["BecomeRootInside", "DropPrivileges", "InstallFilter"]
    assert steps.count("InstallFilter") == steps.count("DropPrivileges") == 1


@given(spec=sandboxes(), host=hosts())
def test_nothing_is_kept_but_what_a_build_needs_and_never_what_leads_out(
    spec: SandboxSpec, host: Host
) -> None:
    (drop,) = (s for s in plan.plan_sandbox(spec, host).confine if isinstance(s, plan.DropPrivileges))
    assert drop.kept == (plan.BUILD_CAPABILITIES if spec.capabilities == "build" else 0)
    # SYS_CHROOT, SYS_PTRACE, SYS_ADMIN, NET_ADMIN, NET_RAW, SYS_MODULE, MKNOD, DAC_READ_SEARCH.
    assert not any(drop.kept >> number & 1 for number in (18, 19, 21, 12, 13, 16, 27, 2))


@given(spec=sandboxes(), host=hosts())
def test_every_namespace_is_left_once_and_the_users_last_where_root_made_the_mounts(
    spec: SandboxSpec, host: Host
) -> None:
    made = plan.plan_sandbox(spec, host)
    later = [s.namespace for s in made.build + made.confine if isinstance(s, plan.NewNamespace)]
    left = [*made.namespaces, *later]
    assert len(left) == len(set(left))
    assert set(left) == {"user", "mount", "pid", "ipc", "uts", "cgroup"} | (
        {"net"} if spec.network != "host" else set()
    )
    if host.privileged:
        assert "user" not in made.namespaces
        assert _names_of(made.build)[-1] == "NewNamespaceuser"
    else:
        assert made.namespaces[0] == "user"


@given(spec=sandboxes(), host=hosts())
def test_mounts_are_hidden_first_made_before_the_root_is_entered_and_outer_ones_before_inner_ones(
    spec: SandboxSpec, host: Host
) -> None:
    build = plan.plan_sandbox(spec, host).build
    names = _names_of(build)
    assert names[0] == "HideMounts"
    entered = names.index("EnterRoot")
    mounting = [i for i, name in enumerate(names) if name.startswith(("Mount", "Bind"))]
    assert max(mounting) < entered
    assert names.index("MountRoot") < min(i for i in mounting if names[i] not in {"MountRoot", "MountMemory"})
    targets = [step.target for step in build if isinstance(step, plan.BindMount)]
    for inner_at, inner in enumerate(targets):
        assert not any(outer.startswith(inner + "/") for outer in targets[:inner_at])
    assert {(s.source, s.target, s.writable) for s in build if isinstance(s, plan.BindMount)} == {
        (mount.source, mount.target, mount.writable) for mount in spec.mounts
    }


@given(spec=sandboxes(), host=hosts())
def test_only_root_makes_devices_and_gives_away_directories(spec: SandboxSpec, host: Host) -> None:
    build = plan.plan_sandbox(spec, host).build
    (devices,) = (step for step in build if isinstance(step, plan.MountDevices))
    (root,) = (step for step in build if isinstance(step, plan.MountRoot))
    assert devices.make_nodes == host.privileged
    notes_of_layers = bool(spec.owned) or spec.upper is not None
    assert root.user_attributes == (not host.privileged or notes_of_layers)
    assert root.owner == (spec.uid_base if host.privileged else None)
    assert root.base.startswith(spec.scratch)
    assert root.mapped == (host.privileged and bool(spec.owned))


@given(spec=sandboxes(), host=hosts())
def test_ownership_is_played_only_for_a_build_where_there_is_one_id(spec: SandboxSpec, host: Host) -> None:
    (filter_,) = (s for s in plan.plan_sandbox(spec, host).confine if isinstance(s, plan.InstallFilter))
    alone = not host.privileged and host.subordinate is None
    assert filter_.one_owner == (alone and spec.capabilities == "build")


@given(spec=sandboxes(), host=hosts())
def test_processes_are_bounded_once_by_the_best_that_there_is(spec: SandboxSpec, host: Host) -> None:
    made = plan.plan_sandbox(spec, host)
    by_rlimit = [s for s in made.build if isinstance(s, plan.SetLimit) and s.name == "NPROC"]
    by_group = [s for s in made.host if isinstance(s, plan.MakeCgroup)] if host.cgroup.limits_pids else []
    if spec.limits.pids is not None:
        assert len(by_rlimit) + len(by_group) == 1
    else:
        assert not by_rlimit


@given(spec=sandboxes(), host=hosts())
def test_what_is_made_on_the_host_is_taken_back_in_reverse(spec: SandboxSpec, host: Host) -> None:
    made = plan.plan_sandbox(spec, host)
    assert list(made.undo) == list(made.host)[::-1]
    assert isinstance(made.host[0], plan.MakeScratch)


@given(spec=sandboxes(), host=hosts())
def test_a_plan_depends_on_nothing_else(spec: SandboxSpec, host: Host) -> None:
    assert plan.plan_sandbox(spec, host) == plan.plan_sandbox(spec, host)


@given(spec=sandboxes())
def test_a_spec_comes_back_from_json_as_it_was(spec: SandboxSpec) -> None:
    assert SandboxSpec.from_json(spec.to_json()) == spec


@given(host=hosts())
def test_without_isolation_only_limits_are_set(host: Host) -> None:
    spec = SandboxSpec(id="c", level="process", scratch="/s", interpreter="/usr/bin/python3", network="host")
    made = plan.plan_sandbox(spec, host)
    assert made.namespaces == ()
    assert all(isinstance(step, plan.SetLimit) for step in made.build + made.confine)
    assert not any(isinstance(step, plan.SetLimit) and step.name == "NPROC" for step in made.confine)


@given(spec=sandboxes(), host=hosts())
def test_only_the_hosts_own_network_is_shared_and_then_without_its_abstract_sockets(
    spec: SandboxSpec, host: Host
) -> None:
    made = plan.plan_sandbox(spec, host)
    shared = spec.network == "host"
    assert ("net" in made.namespaces) == (not shared)
    assert any(isinstance(step, plan.RaiseLoopback) for step in made.build) == (not shared)
    scoped = [step for step in made.confine if isinstance(step, plan.ScopeSockets)]
    assert len(scoped) == int(shared and host.landlock_abi >= 6)


@given(spec=sandboxes(), host=hosts())
def test_what_must_not_be_reached_is_closed_before_the_right_to_open_it_goes(
    spec: SandboxSpec, host: Host
) -> None:
    steps = plan.plan_sandbox(spec, host).confine
    closed = [n for n, step in enumerate(steps) if isinstance(step, plan.LeadNowhere)]
    dropped = next(n for n, step in enumerate(steps) if isinstance(step, plan.DropPrivileges))
    assert len(closed) == int(bool(spec.unreachable))
    assert all(number < dropped for number in closed)


@given(
    privileged=st.booleans(),
    refused=st.sampled_from(["", "no"]),
    carrier=st.sampled_from([None, *CARRIERS]),
    landlock=st.integers(0, 8),
)
def test_the_hosts_network_is_the_last_resort_and_never_without_a_scope_for_sockets(
    privileged: bool, refused: str, carrier: Carrier | None, landlock: int
) -> None:
    host = Host(
        kernel=(6, 1),
        machine="x86_64",
        uid=0 if privileged else 1000,
        privileged=privileged,
        veth_refused=refused,
        carrier=None if privileged else carrier,
        landlock_abi=landlock,
    )
    if host.network == "host":
        assert landlock >= 6
        assert host.carrier is None
        assert not privileged or refused
    assert (host.network == "veth") == (privileged and not refused)
