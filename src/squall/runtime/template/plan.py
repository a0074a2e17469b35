"""The plan of a template: how its init comes to be, what its process is allowed, and how sandboxes are nested below it."""

from dataclasses import dataclass, replace

from squall.runtime.host import Host, SubordinateIds
from squall.runtime.plan import (
    BecomeRootInside,
    DropPrivileges,
    EnterRoot,
    HideMounts,
    HostStep,
    InstallFilter,
    MakeCgroup,
    MakeScratch,
    MountProc,
    MountRoot,
    MountWorkshop,
    Namespace,
    NewNamespace,
    Plan,
    RaiseLoopback,
    SkipPids,
    Step,
    plan_sandbox,
    scope_of,
)
from squall.runtime.spec import UID_RANGE, Mount, SandboxSpec

# The one capability of a template: to send a child into the pid namespace of a prepared sandbox. A strict one has none:
# its child enters that namespace by itself, and forks once more to be in it.
SYS_ADMIN = 1 << 21
# What it takes beside that to enter another root, as a template of a later version does: only packages run with it.
_SYS_CHROOT = 1 << 18
# Libraries find that they were forked by comparing pids: a template has one that no runner in a sandbox of its own has.
_SKIPPED_PIDS = 10_000


# What has to be made for the mounts to have their places, as `overlay.ways_to` finds it: folders (True) and files.
Ways = tuple[tuple[str, bool], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplatePlan:
    """How one template comes to be.

    host: what the launcher makes, undone in reverse. namespaces: what the template's init is born into. workshop: what
    it does first, with the powers of whoever runs the launcher; settle: what it does once its ids are mapped. confine:
    how the template's own process, in a root like that of its containers, gives up what it does not need.
    """

    host: tuple[HostStep, ...]
    namespaces: tuple[Namespace, ...]
    workshop: tuple[Step, ...]
    settle: tuple[Step, ...]
    confine: tuple[Step, ...]


def plan_template(spec: SandboxSpec, host: Host, *, top: str, source: str | None = None) -> TemplatePlan:
    """The steps that make the template from which containers like `spec` are forked, with its files below `top`.

    source: that of the lower directories which is another in later versions, and lies beside those then; None where no
    template of a later version is made from it.
    """
    host_steps: list[HostStep] = [MakeScratch(path=top)]
    if host.cgroup.usable:
        host_steps.append(MakeCgroup(name=spec.id, limits=spec.limits))
    first: tuple[Namespace, ...] = () if host.privileged else ("user",)
    leave: tuple[Step, ...] = (NewNamespace(namespace="user"),) if host.privileged else ()
    network: tuple[Namespace, ...] = () if spec.network == "host" else ("net",)
    workshop = (
        HideMounts(),
        MountWorkshop(
            target=f"{top}/workshop",
            shown=_shown(spec, top, source),
            owned=spec.owned if host.privileged else (),
            serves=bool(spec.served),
        ),
        EnterRoot(detach_old=True),
        SkipPids(last=_SKIPPED_PIDS),
        *leave,
    )
    return TemplatePlan(
        host=tuple(host_steps),
        namespaces=(*first, "mount", "pid", "ipc", "uts", *network),
        workshop=workshop,
        settle=(BecomeRootInside(drop_groups=_has_groups(host)),),
        confine=(
            NewNamespace(namespace="cgroup"),
            *scope_of(spec, host),
            DropPrivileges(
                kept=0 if is_strict(spec) else SYS_ADMIN,
                root_is_nobody=True,
                held=0 if source is None else _SYS_CHROOT,
            ),
            InstallFilter(machine=host.machine, may_join=True),
        ),
    )


def template_namespaces(spec: SandboxSpec) -> tuple[Namespace, ...]:
    """What a template leaves of the namespaces of its init: all but those of ids and processes, which its children join through.

    It has a network of its own, with nothing in it. Only where containers have the host's does it have that: the kernel
    lets none of its children return there.
    """
    return ("mount", "ipc", "uts") if spec.network == "host" else ("mount", "ipc", "uts", "net")


def without_source(spec: SandboxSpec, source: str | None) -> SandboxSpec | None:
    """What all versions of a function have in common, given where the source of this one lies; None where no version can follow it.

    A strict template has no power to enter another root. Anything but a folder in a folder is nothing that others lie beside.
    """
    if source is None or source in spec.owned or is_strict(spec):
        return None
    if len(spec.lowers) < 2 or spec.lowers[0] != source:
        return None
    if source.count("/") < 2:
        return None
    return replace(spec, id="any", scratch="/", veth=None, lowers=spec.lowers[1:])


def is_strict(spec: SandboxSpec) -> bool:
    """Whether the template of `spec` has no capability at all."""
    return spec.level == "sandbox-strict"


def boxes_of(top: str) -> str:
    """The directory that holds those of a template's sandboxes."""
    return f"{top}/boxes"


def plan_nested(spec: SandboxSpec, host: Host, ways: Ways) -> Plan:
    """The steps that make a sandbox from a template's init: in the workshop nobody is root of the machine.

    What it needs on the host (its directory, its group) is in the plan too, for the launcher to make.
    """
    plan = plan_sandbox(replace(spec, uid_base=None), nested_host(host))
    # As root's, folders of the layers belong to ids that are not mapped here: no mount point could be made in them.
    build = tuple(replace(step, made=ways) if isinstance(step, MountRoot) else step for step in plan.build)
    return replace(plan, build=build)


def plan_own_root(spec: SandboxSpec, host: Host, ways: Ways) -> tuple[Step, ...]:
    """The steps by which the process of a template gets a root like that of its containers.

    Its pid namespace is that of its init, which the machine's root has made where there is one: /proc is not mounted anew.
    Its network is nothing at all. What others serve it can read and not change: it has loaded code once for all containers.
    """
    looks_only = replace(spec, served=tuple(replace(one, writable=False) for one in spec.served))
    steps = [
        step for step in plan_nested(looks_only, host, ways).build if not isinstance(step, RaiseLoopback)
    ]
    return tuple(replace(step, anew=False) if isinstance(step, MountProc) else step for step in steps)


def nested_host(host: Host) -> Host:
    """The host as the template's init meets it."""
    ids = host.subordinate
    if host.privileged:
        ids = SubordinateIds(uid_first=1, uid_count=UID_RANGE - 1, gid_first=1, gid_count=UID_RANGE - 1)
    return replace(host, privileged=False, subordinate=ids)


def _has_groups(host: Host) -> bool:
    return host.privileged or host.subordinate is not None


def _shown(spec: SandboxSpec, top: str, source: str | None) -> tuple[Mount, ...]:
    """What the workshop shows of the host, each at its own path: outer ones first, so that none covers another."""
    lowers = [path.rpartition("/")[0] if path == source else path for path in spec.lowers]
    wanted = {path: Mount(source=path, target=path) for path in lowers}
    wanted |= {
        mount.source: Mount(source=mount.source, target=mount.source, writable=mount.writable)
        for mount in spec.mounts
    }
    # As a directory, which stays the same where the process that serves it is another one later.
    wanted |= {one.source: Mount(source=one.source, target=one.source) for one in spec.served}
    boxes = boxes_of(top)
    wanted[boxes] = Mount(source=boxes, target=boxes, writable=True)
    return tuple(wanted[path] for path in sorted(wanted, key=lambda path: (path.count("/"), path)))
