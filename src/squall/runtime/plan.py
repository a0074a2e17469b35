"""The plan of a sandbox: which steps, in which order, turn a spec into an isolated process on this host."""

from dataclasses import dataclass
from typing import Literal

from squall.model.gpu_device import DeviceNode
from squall.runtime.host import LANDLOCK_SCOPES, Host
from squall.runtime.spec import Limits, Mount, SandboxSpec

Namespace = Literal["user", "mount", "pid", "net", "ipc", "uts", "cgroup"]

# What an image build may do, inside its own user namespace only: chown, dac_override, fowner, fsetid, kill, setgid,
# setuid, setpcap, net_bind_service, setfcap. Never sys_chroot: the old root lies below the new one.
BUILD_CAPABILITIES = sum(1 << number for number in (0, 1, 3, 4, 5, 6, 7, 8, 10, 31))

MASKED_FILES = (
    "/proc/kcore",
    "/proc/keys",
    "/proc/key-users",
    "/proc/kallsyms",
    "/proc/kmsg",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/kpagecgroup",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/sysrq-trigger",
    "/proc/modules",
    "/proc/slabinfo",
    "/proc/vmallocinfo",
    "/proc/iomem",
    "/proc/ioports",
    "/proc/interrupts",
)
MASKED_DIRECTORIES = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/bus",
    "/proc/driver",
    "/proc/dynamic_debug",
    "/proc/fs",
    "/proc/irq",
    "/proc/scsi",
)
READ_ONLY_PATHS = ("/proc/sys",)

# Terminals one container can have at once; the host has 4,096 for all of them.
TERMINALS = 64
_DEFAULT_SHM_BYTES = 8 << 30
_LOCKED_BYTES = 8 << 20
_OPEN_FILES = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeScratch:
    """Make the container's directory on the host, for the upper half of its root; undone by removing it."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeCgroup:
    """Make the container's control group with its limits; undone by removing it."""

    name: str
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class HideMounts:
    """Let nothing that is mounted from here on be seen outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MountMemory:
    """Mount a tmpfs at a path of the host for what cannot be kept on its disk."""

    target: str
    size_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MountWorkshop:
    """Mount a root with nothing in it but what is `shown` of the host, the harmless devices and /proc.

    owned: those of the sources whose files show the container's ids as owners. serves: the device is there too by which
    other processes serve file systems.
    """

    target: str
    shown: tuple[Mount, ...]
    owned: tuple[str, ...] = ()
    serves: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MountRoot:
    """Mount the overlay that is the container's root.

    owner: the host id of the container's root. user_attributes: the overlay keeps its notes where any user may write. made: what is made in the top layer beforehand, folders (True) and files, for
    whoever may make nothing in folders of the layers below. owned: those of the lowers whose files have the container's
    ids as owners; mapped: they still have to be shown so. upper: where the changes are kept, if they are.
    mounts: what comes to lie in a root whose changes are kept, for which there are places in a layer of their own.
    """

    lowers: tuple[str, ...]
    base: str
    owner: int | None
    user_attributes: bool
    made: tuple[tuple[str, bool], ...] = ()
    owned: tuple[str, ...] = ()
    mapped: bool = False
    upper: str | None = None
    mounts: tuple[Mount, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MountDevices:
    """Fill /dev with the harmless devices, those of its GPUs, terminals and shared memory of its own."""

    make_nodes: bool
    shared_memory_bytes: int
    terminals: int
    gpus: tuple[DeviceNode, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MountProc:
    """Mount /proc of the new pid namespace, and hide what speaks of the host. anew: or show the one that is there."""

    masked_files: tuple[str, ...]
    masked_directories: tuple[str, ...]
    read_only: tuple[str, ...]
    anew: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowTexts:
    """Have a hidden directory of /proc show these files, by name, and what is read there."""

    path: str
    texts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BindMount:
    """Show a file or directory of the host inside."""

    source: str
    target: str
    writable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MountServed:
    """Mount a file system that a process of the host serves, whom the socket in the directory `source` leads to.

    owner: the id, user and group, that its files belong to, as whoever carries this out counts ids.
    """

    source: str
    target: str
    writable: bool
    owner: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeBundle:
    """Lay the root out for an OCI runtime, with its configuration beside it, where the container's ids can reach both.

    config: the JSON text. owner: the host id of the container's root. hide_cgroups: show the runtime no control groups.
    """

    config: str
    owner: int | None
    hide_cgroups: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EnterRoot:
    """Make the overlay the root.

    detach_old: let go of the host's mounts altogether. Where the mount namespace belongs to the container's own user
    namespace, powers won in there could uncover what lies below; root's mount namespace is out of their reach.
    """

    detach_old: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SkipPids:
    """Let the next process of this pid namespace have a number above `last`."""

    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RaiseLoopback:
    """Bring up the network's only device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadNowhere:
    """Let nothing reach these networks: where no rules of the host stand in between."""

    networks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeSockets:
    """Keep the process from the sockets of others that have a name and no file: the host's network has those too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NameHost:
    """Give the container its host name. resolved: also so that it is found by that name inside."""

    hostname: str
    resolved: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewNamespace:
    """Leave one more of the host's namespaces."""

    namespace: Namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class BecomeRootInside:
    """Take the ids that are 0 inside, and no groups."""

    drop_groups: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SetLimit:
    """Bound one resource of each process (RLIMIT_`name`), soft and hard."""

    name: str
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DropPrivileges:
    """Give up all capabilities but `kept` (a bit set), and every way of getting them back.

    root_is_nobody: no program that is run from here on has a capability for being run by root. held: what this very process
    keeps beside `kept`, until it gives that up itself.
    """

    kept: int
    root_is_nobody: bool
    held: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallFilter:
    """Put the process under the seccomp filter.

    may_join: it may enter namespaces that it was handed and has powers in. one_owner: giving files or itself to other ids
    succeeds and changes nothing.
    """

    machine: str
    may_join: bool = False
    one_owner: bool = False


HostStep = MakeScratch | MakeCgroup
MountStep = (
    MountMemory
    | MountWorkshop
    | MountRoot
    | MountDevices
    | MountProc
    | ShowTexts
    | BindMount
    | MountServed
    | MakeBundle
)
Step = (
    HideMounts
    | MountStep
    | EnterRoot
    | SkipPids
    | RaiseLoopback
    | LeadNowhere
    | ScopeSockets
    | NameHost
    | NewNamespace
    | BecomeRootInside
    | SetLimit
    | DropPrivileges
    | InstallFilter
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How one container comes to be.

    host: what the launcher makes, undone in reverse. namespaces: what the first process is born into. build: what
    that process does first; confine: what it does once the launcher has put it into its cgroup and mapped its ids.
    """

    host: tuple[HostStep, ...]
    namespaces: tuple[Namespace, ...]
    build: tuple[Step, ...]
    confine: tuple[Step, ...]

    @property
    def undo(self) -> tuple[HostStep, ...]:
        """The host's steps in the order in which they are taken back."""
        return tuple(reversed(self.host))


def plan_sandbox(spec: SandboxSpec, host: Host) -> Plan:
    """The steps that make `spec` on `host`; for a host that `rungs` finds able to."""
    host_steps: list[HostStep] = [MakeScratch(path=spec.scratch)]
    if host.cgroup.usable:
        host_steps.append(MakeCgroup(name=spec.id, limits=spec.limits))
    if spec.level == "process":
        return Plan(host=tuple(host_steps), namespaces=(), build=(), confine=_process_limits(spec, host))
    return Plan(
        host=tuple(host_steps),
        namespaces=namespaces_of(spec, host),
        build=_build(spec, host),
        confine=_confine(spec, host),
    )


def namespaces_of(spec: SandboxSpec, host: Host) -> tuple[Namespace, ...]:
    """What the first process is born into.

    Root keeps its powers over the host's files until the mounts are made; nobody else has any before the first.
    """
    first: tuple[Namespace, ...] = () if host.privileged else ("user",)
    network: tuple[Namespace, ...] = () if spec.network == "host" else ("net",)
    return (*first, "mount", "pid", "ipc", "uts", *network)


def _build(spec: SandboxSpec, host: Host) -> tuple[Step, ...]:
    steps: list[Step] = [HideMounts()]
    base = spec.scratch
    if not host.upper_on_disk:
        base = f"{spec.scratch}/memory"
        steps.append(MountMemory(target=base, size_bytes=spec.limits.disk_bytes or spec.limits.memory_bytes))
    steps += [
        MountRoot(
            lowers=spec.lowers,
            base=base,
            owner=spec.uid_base if host.privileged else None,
            # Those of layers are kept in one way: a template's sandboxes read them, and root's without a template.
            user_attributes=not host.privileged or bool(spec.owned) or spec.upper is not None,
            owned=spec.owned,
            mapped=host.privileged and bool(spec.owned),
            upper=spec.upper,
            mounts=() if spec.upper is None else spec.mounts,
        ),
        *(
            BindMount(source=mount.source, target=mount.target, writable=mount.writable)
            # Outer targets first, so that none covers another.
            for mount in sorted(spec.mounts, key=lambda mount: mount.target.count("/"))
        ),
        *(
            MountServed(
                source=mount.source,
                target=mount.target,
                writable=mount.writable,
                owner=(spec.uid_base or 0) if host.privileged else 0,
            )
            for mount in spec.served
        ),
        MountDevices(
            make_nodes=host.privileged,
            shared_memory_bytes=spec.limits.memory_bytes or _DEFAULT_SHM_BYTES,
            terminals=TERMINALS,
            gpus=spec.devices,
        ),
        MountProc(
            masked_files=MASKED_FILES, masked_directories=MASKED_DIRECTORIES, read_only=READ_ONLY_PATHS
        ),
    ]
    if spec.driver_texts:
        steps.append(ShowTexts(path="/proc/driver", texts=tuple(sorted(spec.driver_texts.items()))))
    if spec.network != "host":
        steps.append(RaiseLoopback())
    steps += [
        # What a build writes is kept in an image, where the name of this one container has no place.
        NameHost(hostname=spec.hostname, resolved=spec.capabilities != "build" and spec.upper is None),
        EnterRoot(detach_old=not host.privileged),
    ]
    # Raising a limit is the right of the host's root, so limits come while it is still held.
    steps += resource_limits(spec, host)
    if host.privileged:
        steps.append(NewNamespace(namespace="user"))
    return tuple(steps)


def _confine(spec: SandboxSpec, host: Host) -> tuple[Step, ...]:
    """From root of its own namespaces down to nothing. The filter comes last: it forbids every step before it."""
    steps: list[Step] = [NewNamespace(namespace="cgroup")]
    if spec.unreachable:
        steps.append(LeadNowhere(networks=spec.unreachable))
    return (
        *steps,
        *scope_of(spec, host),
        BecomeRootInside(drop_groups=host.privileged or host.subordinate is not None),
        DropPrivileges(
            kept=BUILD_CAPABILITIES if spec.capabilities == "build" else 0,
            root_is_nobody=spec.capabilities != "build",
        ),
        InstallFilter(machine=host.machine, one_owner=has_one_owner(spec, host)),
    )


def has_one_owner(spec: SandboxSpec, host: Host) -> bool:
    """Whether `spec` is a build where there is one id only: what gives files or processes to another then says it did."""
    return spec.capabilities == "build" and not host.privileged and host.subordinate is None


def scope_of(spec: SandboxSpec, host: Host) -> tuple[Step, ...]:
    """What keeps whoever has the host's network from the sockets of others there, as far as the kernel can."""
    return (ScopeSockets(),) if spec.network == "host" and host.landlock_abi >= LANDLOCK_SCOPES else ()


def _process_limits(spec: SandboxSpec, host: Host) -> tuple[Step, ...]:
    return tuple(resource_limits(spec, host))


def resource_limits(spec: SandboxSpec, host: Host) -> list[SetLimit]:
    """The bounds of each process in it."""
    # One byte, not none: a host that pipes core dumps to a program does so at a limit of 0 too, but not at 1.
    limits = [SetLimit(name="CORE", value=1), SetLimit(name="RTPRIO", value=0)]
    if spec.level != "process":
        limits.append(SetLimit(name="MEMLOCK", value=_LOCKED_BYTES))
    limits.append(SetLimit(name="NOFILE", value=spec.limits.nofile or _OPEN_FILES))
    # The kernel counts processes per user namespace, so this bounds one container; without one it would bound the user.
    if spec.limits.pids is not None and not host.cgroup.limits_pids and spec.level != "process":
        limits.append(SetLimit(name="NPROC", value=spec.limits.pids))
    return limits
