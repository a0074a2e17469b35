"""A trial: makes one sandbox with nothing in it, to see what the kernel says on this very machine."""

import os
import signal
import socket

from squall.runtime import namespaces, packet, scratch, syscalls
from squall.runtime.apply import NAMESPACES, Site
from squall.runtime.host import Host
from squall.runtime.id_maps import id_map
from squall.runtime.network import nft, veth
from squall.runtime.network.firewall_plan import Firewall, plan_table
from squall.runtime.plan import Plan, plan_sandbox
from squall.runtime.spec import UID_RANGE, SandboxSpec, Veth

# Ids that no container is given: the trial's are gone before any is.
_TRIAL_UID_BASE = 1 << 30
_PATIENCE_S = 10.0


def try_sandbox(state: str, host: Host) -> str:
    """Why a sandbox as planned for `host`, with its files in `state`, cannot be made; empty if it can."""
    top = f"{state}/.trial-{os.urandom(8).hex()}"
    try:
        os.mkdir(top, 0o700)
    except OSError as problem:
        return f"{state} is not writable: {problem.strerror}"
    try:
        lower = f"{top}/lower"
        os.makedirs(f"{lower}/owned")
        spec = SandboxSpec(
            id="trial",
            scratch=f"{top}/scratch",
            lowers=(lower,),
            owned=(lower,) if host.privileged and not host.owned_refused else (),
            uid_base=_TRIAL_UID_BASE // UID_RANGE * UID_RANGE if host.privileged else None,
        )
        os.close(scratch.make(spec.scratch))
        return _try(spec, host)
    finally:
        scratch.remove(top)


def try_network() -> str:
    """Why containers cannot be joined to the host's network by devices and rules of their own; empty if they can.

    Tried in a network namespace that nobody else sees.
    """
    reads, writes = os.pipe()
    try:
        pid = syscalls.clone(syscalls.CLONE_NEWNET)
    except OSError as problem:
        os.close(reads)
        os.close(writes)
        return f"the kernel refuses a network namespace: {problem.strerror}"
    if pid == 0:
        _join_to_itself(writes)
    os.close(writes)
    with os.fdopen(reads, encoding="utf-8") as told:
        why = told.read()
    os.waitpid(pid, 0)
    return why


def _join_to_itself(writes: int) -> None:
    """What a firewall and a launcher do, in one network; never returns."""
    why = ""
    try:
        veth.attach(Veth(name="sqtrial", address="10.64.0.16", gateway="10.64.0.1"), os.getpid())
        why = "this kernel's packet filter (nf_tables) refuses the rules"
        rules = Firewall(table="squall_trial", prefix="sqtrial", network="10.64.0.0/16")
        nft.install(plan_table(rules))
        why = ""
    except BaseException as problem:  # noqa: BLE001 - nothing may unwind into the caller's own stack
        why = f"{why or 'no device can be made'}: {problem}"
    try:
        os.write(writes, why.encode())
    finally:
        os._exit(0)


def _try(spec: SandboxSpec, host: Host) -> str:
    plan = plan_sandbox(spec, host)
    ours, theirs = packet.pair()
    ours.settimeout(_PATIENCE_S)
    flags = 0
    for name in plan.namespaces:
        flags |= NAMESPACES[name]
    ids = None
    try:
        ids = id_map(spec.uid_base) if spec.owned and spec.uid_base is not None else None
        pid = syscalls.clone(flags)
        if pid == 0:
            _build(plan, theirs, ids)
    except OSError as problem:
        ours.close()
        return f"the kernel refuses new namespaces: {problem.strerror}"
    finally:
        theirs.close()
        if ids is not None:
            os.close(ids)
    try:
        return _follow(ours, pid, spec, host)
    except OSError as problem:
        return f"ids cannot be mapped: {problem.strerror or problem}"
    finally:
        ours.close()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _follow(line: socket.socket, pid: int, spec: SandboxSpec, host: Host) -> str:
    if not host.privileged:
        namespaces.write_id_maps(pid, host, uid_base=spec.uid_base)
        packet.send(line, {"t": "mapped"})
    while (got := packet.receive(line)) is not None:
        if got.message["t"] == "ready":
            if host.privileged:
                namespaces.write_id_maps(pid, host, uid_base=spec.uid_base)
            packet.send(line, {"t": "go"})
        else:
            return str(got.message["why"])
    return "the trial's process ended without a word"


def _build(plan: Plan, line: socket.socket, ids: int | None) -> None:
    """What a container's first process does, without a runner; never returns."""
    why = ""
    try:
        syscalls.close_others((0, 1, 2, line.fileno(), *(() if ids is None else (ids,))))
        if "user" in plan.namespaces:
            packet.receive(line)
        os.umask(0)
        site = Site(ids=ids)
        site.carry_out(plan.build)
        packet.send(line, {"t": "ready"})
        packet.receive(line)
        site.carry_out(plan.confine)
        # A file system that cannot hold the upper half may give an overlay that is silently read-only.
        os.mkdir("/trial")
        if ids is not None and os.stat("/owned").st_uid != 0:
            raise PermissionError(
                "this kernel shows files of a layer with another owner than the container's root"
            )
    except BaseException as problem:  # noqa: BLE001 - nothing may unwind into the caller's own stack
        why = str(problem)
    try:
        packet.send(line, {"t": "done", "why": why})
    finally:
        os._exit(0)
