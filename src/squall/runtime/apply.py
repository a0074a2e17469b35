"""Carries out the steps of a sandbox's plan, in the process that becomes the container's first."""

import os
import resource
import signal
import socket
from typing import assert_never

from squall.runtime import devices, overlay, plan, proc, root, seccomp, served, syscalls, workshop
from squall.runtime.network import loopback, routes
from squall.runtime.oci import bundle

NAMESPACES: dict[plan.Namespace, int] = {
    "user": syscalls.CLONE_NEWUSER,
    "mount": syscalls.CLONE_NEWNS,
    "pid": syscalls.CLONE_NEWPID,
    "net": syscalls.CLONE_NEWNET,
    "ipc": syscalls.CLONE_NEWIPC,
    "uts": syscalls.CLONE_NEWUTS,
    "cgroup": syscalls.CLONE_NEWCGROUP,
}


# Of the loopback, so that it is there whatever the network is; another than that of "localhost", as Debian has it.
_OWN_ADDRESS = "127.0.1.1"


class StepError(OSError):
    """A step of the plan could not be carried out; str() names the step and what the kernel said."""


class Site:
    """Where steps are carried out: the process, and the root that it builds.

    memory_fds: descriptors of the file systems in memory that the container can fill, for whoever counts its memory.
    ids: a user namespace with the container's ids, for showing files that have those as owners; None where none is needed.
    """

    def __init__(self, *, ids: int | None = None) -> None:
        self._ids = ids
        self._root = -1
        self.memory_fds: list[int] = []

    def carry_out(self, steps: tuple[plan.Step, ...]) -> None:
        """Do `steps` one after the other. Raises StepError; the caller then ends this process, which undoes all."""
        for step in steps:
            try:
                self._do(step)
            except OSError as problem:
                text = f"{type(step).__name__}: {problem.strerror or problem} ({problem.filename or step})"
                raise StepError(text) from problem

    def _do(self, step: plan.Step) -> None:
        match step:
            case plan.HideMounts():
                # Slave, not private: what the host unmounts later must not stay busy in here.
                syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_SLAVE)
            case (
                plan.MountMemory()
                | plan.MountWorkshop()
                | plan.MountRoot()
                | plan.MountDevices()
                | plan.MountProc()
                | plan.ShowTexts()
                | plan.BindMount()
                | plan.MountServed()
                | plan.MakeBundle()
            ):
                self._mount(step)
            case plan.EnterRoot():
                overlay.enter_root(self._root, detach_old=step.detach_old)
                os.close(self._root)
            case plan.SkipPids():
                with open("/proc/sys/kernel/ns_last_pid", "w", encoding="ascii") as file:
                    file.write(str(step.last))
            case plan.RaiseLoopback():
                loopback.raise_loopback()
            case plan.LeadNowhere():
                routes.make_unreachable(step.networks)
            case plan.ScopeSockets():
                syscalls.scope_abstract_sockets()
            case plan.NameHost():
                socket.sethostname(step.hostname)
                if step.resolved:
                    overlay.append_inside(self._root, "etc/hosts", f"{_OWN_ADDRESS} {step.hostname}\n")
            case plan.NewNamespace():
                syscalls.unshare(NAMESPACES[step.namespace])
            case plan.BecomeRootInside():
                _become_root_inside(drop_groups=step.drop_groups)
            case plan.SetLimit():
                _set_limit(step.name, step.value)
            case plan.DropPrivileges():
                _drop_privileges(step)
            case plan.InstallFilter():
                syscalls.install_filter(
                    seccomp.filter_for(step.machine, may_join=step.may_join, one_owner=step.one_owner)
                )
            case _:
                assert_never(step)

    def _mount(self, step: plan.MountStep) -> None:
        match step:
            case plan.MountMemory():
                _mount_memory(step)
                self.memory_fds.append(os.open(step.target, os.O_PATH | os.O_CLOEXEC))
            case plan.MountWorkshop():
                self._root = workshop.mount_workshop(step, ids=self._ids)
            case plan.MountRoot():
                self._root = root.mount_root(step, ids=self._ids)
            case plan.MountDevices():
                devices.mount_devices(
                    self._root,
                    make_nodes=step.make_nodes,
                    shared_memory_bytes=step.shared_memory_bytes,
                    terminals=step.terminals,
                    gpus=step.gpus,
                )
                if (shm := overlay.open_inside(self._root, "dev/shm")) is not None:
                    self.memory_fds.append(shm)
            case plan.MountProc():
                proc.mount_proc(
                    self._root,
                    masked_files=step.masked_files,
                    masked_directories=step.masked_directories,
                    read_only=step.read_only,
                    anew=step.anew,
                )
            case plan.ShowTexts():
                proc.show_texts(self._root, step.path, step.texts)
            case plan.BindMount():
                overlay.bind_inside(self._root, step.source, step.target, writable=step.writable)
            case plan.MountServed():
                served.mount_served(self._root, step)
            case plan.MakeBundle():
                bundle.make(self._root, step.config, owner=step.owner, hide_cgroups=step.hide_cgroups)
                os.close(self._root)
            case _:
                assert_never(step)


def _mount_memory(step: plan.MountMemory) -> None:
    os.makedirs(step.target, exist_ok=True)
    size = "" if step.size_bytes is None else f",size={step.size_bytes}"
    syscalls.mount("tmpfs", step.target, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, f"mode=0755{size}")


def _become_root_inside(*, drop_groups: bool) -> None:
    if drop_groups:
        os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    # The kernel forgets this at a change of ids.
    syscalls.die_with_parent(signal.SIGKILL)


def _set_limit(name: str, value: int) -> None:
    which: int = getattr(resource, f"RLIMIT_{name}")
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY and value > hard:
        try:
            resource.setrlimit(which, (value, value))
            return
        except (ValueError, PermissionError):
            value = hard
    resource.setrlimit(which, (value, value))


def _drop_privileges(step: plan.DropPrivileges) -> None:
    try:
        syscalls.new_session_keyring()
    except OSError:
        pass  # No keys in this kernel, or too many already; the filter keeps the container from all of them.
    securebits = syscalls.SECUREBITS_NO_ROOT if step.root_is_nobody else 0
    syscalls.keep_capabilities(step.kept, securebits=securebits, held=step.held)
    syscalls.set_no_new_privileges()
