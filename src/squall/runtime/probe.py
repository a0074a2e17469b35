"""Looks at a machine: what it allows is tried, not guessed from its version."""

import errno
import os
import pwd
import resource
import stat
import sys
from dataclasses import replace

from squall.runtime import syscalls
from squall.runtime.cgroup_plan import CgroupTree, choose_cgroups
from squall.runtime.cgroups import look_at_cgroups
from squall.runtime.host import Host, SubordinateIds
from squall.runtime.spec import CARRIERS, Carrier
from squall.runtime.syscall_numbers import NUMBERS
from squall.runtime.trial import try_network, try_sandbox

# CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID, SETPCAP, NET_ADMIN, SYS_CHROOT, SYS_ADMIN, MKNOD.
_NEEDED_BY_ROOT = sum(1 << number for number in (0, 1, 3, 5, 6, 7, 8, 12, 18, 21, 27))
_WHOLE_ID_MAP = ["0", "0", "4294967295"]


def probe(state: str, *, network: bool = False) -> Host:
    """What this machine allows this user, for containers whose directories lie in `state`.

    Takes some ten milliseconds: sandboxes are really made. network: whether root's way of joining networks is tried
    too, for twenty more; who puts a firewall up learns it from that.
    """
    found = _look()
    if found.machine not in NUMBERS:
        return replace(found, sandbox_refused=f"no table of system calls for a {found.machine} machine")
    try:
        os.makedirs(state, mode=0o700, exist_ok=True)
    except OSError as problem:
        return replace(found, sandbox_refused=f"{state} cannot be made: {problem.strerror}")
    sandboxed = _with_sandbox(state, found)
    return sandboxed if sandboxed.sandbox_refused else _with_network(sandboxed, tried=network)


def _with_sandbox(state: str, found: Host) -> Host:
    first = try_sandbox(state, found)
    if not first:
        return found
    # From what is best to what asks for least.
    for lesser, refused in _lesser(found, first):
        if not try_sandbox(state, lesser):
            return refused
    return replace(found, sandbox_refused=first, subordinate=None)


def _with_network(found: Host, *, tried: bool) -> Host:
    if found.privileged:
        return replace(found, veth_refused=try_network() if tried else "")
    carrier, refused = _carrier()
    return replace(found, carrier=carrier, carrier_refused=refused)


def _carrier() -> tuple[Carrier | None, str]:
    """The program that joins a user's networks to the host's, or why there is none."""
    installed = [program for program in CARRIERS if _on_path(program)]
    if not installed:
        return None, "neither pasta nor slirp4netns is installed"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return None, f"{installed[0]} is installed, but /dev/net/tun cannot be opened"
    return installed[0], ""


def _lesser(found: Host, first: str) -> list[tuple[Host, Host]]:
    in_memory = replace(found, upper_refused=first)
    tries = [(in_memory, in_memory)]
    if found.privileged:
        unmapped = replace(found, owned_refused=first)
        both = replace(in_memory, owned_refused=first)
        return [(unmapped, unmapped), *tries, (both, both)]
    if found.subordinate is not None:
        alone = replace(found, subordinate=None)
        alone_in_memory = replace(in_memory, subordinate=None)
        tries += [(alone, alone), (alone_in_memory, alone_in_memory)]
    return tries


def _look() -> Host:
    tree = look_at_cgroups()
    privileged = _is_privileged()
    major, minor = (int("".join(filter(str.isdigit, part))) for part in os.uname().release.split(".")[:2])
    return Host(
        kernel=(major, minor),
        machine=os.uname().machine,
        uid=os.geteuid(),
        privileged=privileged,
        exe_protected=privileged or _exe_is_protected(),
        subordinate=None if privileged else subordinate_ids(),
        cgroup=choose_cgroups(tree),
        seccomp=os.path.exists("/proc/sys/kernel/seccomp/actions_avail"),
        landlock_abi=syscalls.landlock_abi(),
        shm_bytes=_size_of("/dev/shm"),  # noqa: S108 - a place to look at
        tmp_noexec=_is_noexec(os.environ.get("TMPDIR") or "/tmp"),  # noqa: S108 - a place to look at
        pids_limit=_pids_limit(tree),
        python=sys.executable,
        python_private=_is_private(os.path.realpath(sys.executable)),
    )


def _is_privileged() -> bool:
    """Whether this is root of the machine itself, not of a user namespace, with the powers that mounting takes."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        whole = file.read().split() == _WHOLE_ID_MAP
    with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
        effective = next((line.split()[1] for line in file if line.startswith("CapEff:")), "0")
    return os.geteuid() == 0 and whole and int(effective, 16) & _NEEDED_BY_ROOT == _NEEDED_BY_ROOT


def _exe_is_protected() -> bool:
    """Whether the program that we run cannot be written to: a forked container could get at it through /proc/self/exe.

    Kernels refuse it for a running program, some of them did not for a while.
    """
    try:
        os.close(os.open("/proc/self/exe", os.O_WRONLY | os.O_CLOEXEC))
    except OSError as problem:
        return problem.errno in {errno.ETXTBSY, errno.EACCES, errno.EPERM, errno.EROFS}
    return False


def subordinate_ids() -> SubordinateIds | None:
    """The ranges that the administrator gave this user, and that the two programs are there to map."""
    if not all(_on_path(program) for program in ("newuidmap", "newgidmap")):
        return None
    uids, gids = _range_in("/etc/subuid"), _range_in("/etc/subgid")
    if uids is None or gids is None:
        return None
    return SubordinateIds(uid_first=uids[0], uid_count=uids[1], gid_first=gids[0], gid_count=gids[1])


def _on_path(program: str) -> bool:
    """Whether the program is where the system's programs are."""
    return any(os.access(f"{place}/{program}", os.X_OK) for place in os.defpath.split(":"))


def _range_in(path: str) -> tuple[int, int] | None:
    names = {str(os.getuid())}
    try:
        names.add(pwd.getpwuid(os.getuid()).pw_name)
    except KeyError:
        pass  # An id without a name can still have a range.
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip().split(":") for line in file]
    except OSError:
        return None
    ranges = [(int(fields[1]), int(fields[2])) for fields in lines if len(fields) == 3 and fields[0] in names]
    return max(ranges, key=lambda found: found[1], default=None)


def _size_of(path: str) -> int:
    try:
        seen = os.statvfs(path)
    except OSError:
        return 0
    return seen.f_blocks * seen.f_frsize


def _is_noexec(path: str) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_NOEXEC)


def _pids_limit(tree: CgroupTree) -> int | None:
    """The lowest of the limits of processes that hold for us now."""
    limits = [resource.getrlimit(resource.RLIMIT_NPROC)[0]]
    for mount in tree.mounts:
        own = tree.own.get("pids" if mount.version == 1 else "", "/").strip("/")
        try:
            with open(f"{mount.path}/{own}/pids.max", encoding="ascii") as file:
                text = file.read().strip()
        except OSError:
            continue
        limits += [int(text)] if text.isdigit() else []
    known = [limit for limit in limits if limit not in {resource.RLIM_INFINITY, -1}]
    return min(known, default=None)


def _is_private(path: str) -> bool:
    """Whether some directory above `path` lets nobody else through."""
    above = os.path.dirname(path)
    while above != "/":
        if not os.stat(above).st_mode & stat.S_IXOTH:
            return True
        above = os.path.dirname(above)
    return False
