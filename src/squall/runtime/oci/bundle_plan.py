"""The plan of a container that an OCI runtime makes: our own outer half, and the configuration of the inner one.

The outer half is that of a sandbox: namespaces, ids, root and control group are ours, made in the same way. The runtime
is started inside them, as root of the container's own user namespace, and makes another pid, mount, IPC and host name
namespace there. So no runtime ever has a right over the host, and none leaves anything behind: what it made ends with
the first process.
"""

import json
from dataclasses import replace
from typing import Any

from squall.runtime import plan
from squall.runtime.host import Host
from squall.runtime.oci.profile import profile_for
from squall.runtime.spec import OCI_LEVELS, Level, SandboxSpec

VERSION = "1.0.2"
CONTAINER = "squall"
# Pid 1 of the container: beside the descriptors that it inherits, or with one stream for all of them.
INSIDE = "squall.runtime.oci.inside"
GUEST = "squall.runtime.oci.guest"
# Tasks that the runtime itself has beside the container's; the control group counts them too.
_OWN_TASKS: dict[Level, int] = {"crun": 8, "runc": 32, "gvisor": 256}
_DEFAULT_SHM_BYTES = 8 << 30
_QUIET = ["nosuid", "noexec", "nodev"]


def plan_container(spec: SandboxSpec, host: Host) -> plan.Plan:
    """The steps that make `spec`, whose level has an OCI runtime, on `host`."""
    shared = plan.plan_sandbox(replace(spec, level="sandbox", runtime=()), host)
    tasks = None if spec.limits.pids is None else spec.limits.pids + _OWN_TASKS[spec.level]
    return plan.Plan(
        host=tuple(
            replace(step, limits=replace(step.limits, pids=tasks))
            if isinstance(step, plan.MakeCgroup)
            else step
            for step in shared.host
        ),
        namespaces=shared.namespaces,
        build=tuple(_build(shared.build, spec, host)),
        confine=tuple(
            step for step in shared.confine if not isinstance(step, plan.DropPrivileges | plan.InstallFilter)
        ),
    )


def _build(steps: tuple[plan.Step, ...], spec: SandboxSpec, host: Host) -> list[plan.Step]:
    """A sandbox's steps, but for what the runtime does in there itself: devices, /proc, entering the root."""
    made: list[plan.Step] = []
    for step in steps:
        match step:
            case plan.MountDevices() | plan.MountProc():
                continue
            case plan.SetLimit(name="NPROC"):
                # It would bound the runtime's own threads.
                continue
            case plan.EnterRoot():
                made.append(_bundle(spec, host))
            case _:
                made.append(step)
    return made


def _bundle(spec: SandboxSpec, host: Host) -> plan.MakeBundle:
    return plan.MakeBundle(
        config=json.dumps(config_of(spec, host)),
        owner=spec.uid_base if host.privileged else None,
        # crun refuses a tree of both versions, and needs none: the group is there before it starts. runc needs to see one.
        hide_cgroups=spec.level != "runc",
    )


def config_of(spec: SandboxSpec, host: Host) -> dict[str, Any]:
    """The runtime's configuration (runtime-spec 1.0.2) for `spec`.

    No user, network or cgroup namespace and no resources are in it: the runtime is started within the container's own.
    What the container sees of the host is mounted below its root already.
    """
    if spec.level not in OCI_LEVELS:
        raise ValueError(f"the level {spec.level!r} has no OCI runtime")
    linux: dict[str, Any] = {
        "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")],
        "maskedPaths": [*plan.MASKED_FILES, *plan.MASKED_DIRECTORIES, "/sys/firmware"],
        "readonlyPaths": list(plan.READ_ONLY_PATHS),
    }
    # gVisor's kernel is its own, and the host's sees no call of the container.
    if spec.level != "gvisor":
        linux["seccomp"] = profile_for(host.machine)
    return {
        "ociVersion": VERSION,
        "root": {"path": "rootfs", "readonly": False},
        "hostname": spec.hostname,
        "process": {
            **process_of(_arguments(spec), dict(spec.env), spec.workdir),
            "rlimits": [
                {"type": f"RLIMIT_{limit.name}", "soft": limit.value, "hard": limit.value}
                for limit in plan.resource_limits(spec, host)
                # The others are the first process's own, and inherited; gVisor's kernel is told all.
                if spec.level == "gvisor" or limit.name == "NPROC"
            ],
        },
        "mounts": _mounts(spec),
        "linux": linux,
    }


def process_of(argv: list[str], env: dict[str, str], cwd: str) -> dict[str, Any]:
    """One process without a single right, as the runtime is told of it: at the start, and for each `exec`."""
    kinds = ("bounding", "effective", "inheritable", "permitted", "ambient")
    return {
        "terminal": False,
        "user": {"uid": 0, "gid": 0, "umask": 0o022},
        "args": argv,
        "env": [f"{name}={value}" for name, value in env.items()],
        "cwd": cwd,
        "noNewPrivileges": True,
        "capabilities": {kind: [] for kind in kinds},
    }


def _arguments(spec: SandboxSpec) -> list[str]:
    if spec.argv is not None:
        return list(spec.argv)
    first = GUEST if spec.level == "gvisor" else INSIDE
    # -P: the user's directory is no place for the modules of pid 1.
    return [str(spec.interpreter), "-P", "-m", first, spec.entry]


def _mounts(spec: SandboxSpec) -> list[dict[str, Any]]:
    shared = spec.limits.memory_bytes or _DEFAULT_SHM_BYTES
    return [
        _mount("/proc", "proc", *_QUIET),
        _mount("/dev", "tmpfs", "nosuid", "noexec", "mode=755", "size=256k"),
        _mount(
            "/dev/pts",
            "devpts",
            "nosuid",
            "noexec",
            "newinstance",
            "ptmxmode=0666",
            "mode=0620",
            f"max={plan.TERMINALS}",
        ),
        _mount("/dev/shm", "tmpfs", "nosuid", "nodev", "mode=1777", f"size={shared}"),  # noqa: S108 - the container's
    ]


def _mount(target: str, kind: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": kind, "options": list(options)}
