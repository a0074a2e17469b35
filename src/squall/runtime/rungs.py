"""Rungs: which of several ways each feature gets on a host, why, and what would give it a better one."""

from dataclasses import dataclass
from typing import Literal

from squall.runtime.host import Host

Row = Literal["root", "delegated user", "bare user", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """What one feature got. good: nothing better is there to be had; more: what would give more, empty if nothing."""

    feature: str
    rung: str
    why: str
    more: str = ""

    @property
    def good(self) -> bool:
        return not self.more


def row_of(host: Host) -> Row:
    """Which of the known kinds of host this is."""
    if host.sandbox_refused:
        return "refused"
    if host.privileged:
        return "root"
    delegated = host.cgroup.limits_memory and host.subordinate is not None
    return "delegated user" if delegated else "bare user"


def rungs(host: Host) -> tuple[Rung, ...]:
    """The table that `squall doctor` prints."""
    return (
        _isolation(host),
        _ids(host),
        _owners(host),
        _writable_root(host),
        _memory(host),
        _pids(host),
        _cpu(host),
        _network(host),
        _start(host),
        _interpreter(host),
        _shared_memory(host),
        _temporary(host),
        _processes(host),
    )


def _isolation(host: Host) -> Rung:
    if host.sandbox_refused:
        return Rung(
            feature="isolation",
            rung="process: none, the code runs as you",
            why=host.sandbox_refused,
            more="allow user namespaces: sysctl user.max_user_namespaces=10000, and on Ubuntu "
            "kernel.apparmor_restrict_unprivileged_userns=0; in a container, run it with user namespaces and SYS_ADMIN",
        )
    landlock = f", Landlock {host.landlock_abi} there" if host.landlock_abi else ""
    why = f"kernel {host.kernel[0]}.{host.kernel[1]}{landlock}"
    return Rung(feature="isolation", rung="sandbox: own namespaces, no capabilities, seccomp", why=why)


def _ids(host: Host) -> Rung:
    if host.sandbox_refused:
        return Rung(feature="ids", rung="your own", why="no user namespace", more="what isolation says")
    if host.privileged:
        return Rung(feature="ids", rung="a range of 65,536 for each container", why="root maps any")
    if host.subordinate is not None:
        return Rung(
            feature="ids",
            rung="0 is you, the others are your subordinate ids",
            why="from /etc/subuid and /etc/subgid",
        )
    return Rung(
        feature="ids",
        rung="0 is you, there is no other",
        why="no subordinate ids, or newuidmap is not installed",
        more="install the package uidmap, and give a range: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER",
    )


def _owners(host: Host) -> Rung:
    if host.sandbox_refused:
        return Rung(
            feature="image owners",
            rung="none: no images",
            why="no mount namespace",
            more="what isolation says",
        )
    if host.owned_refused:
        return Rung(
            feature="image owners",
            rung="none: images with a root of their own are refused",
            why=host.owned_refused,
            more="a kernel from 5.19 on, and the state on a local disk (ext4, xfs, btrfs): SQUALL_STATE_DIR=/path",
        )
    if host.privileged:
        return Rung(
            feature="image owners", rung="as the image says", why="layers are mounted with mapped ids"
        )
    if host.subordinate is not None:
        return Rung(
            feature="image owners",
            rung="as the image says",
            why="layers are made on the disk with your subordinate ids",
        )
    return Rung(
        feature="image owners",
        rung="all of it belongs to root inside, builds too",
        why="there is one id",
        more="what ids says",
    )


def _writable_root(host: Host) -> Rung:
    if host.sandbox_refused:
        return Rung(
            feature="writable root",
            rung="none: your files",
            why="no mount namespace",
            more="what isolation says",
        )
    if host.upper_on_disk:
        return Rung(feature="writable root", rung="an overlay on disk", why="the state directory can hold it")
    return Rung(
        feature="writable root",
        rung="an overlay in memory, counted as the container's",
        why=host.upper_refused,
        more="keep the state on a local disk (ext4, xfs, btrfs): SQUALL_STATE_DIR=/path",
    )


def _memory(host: Host) -> Rung:
    if host.cgroup.limits_memory:
        return Rung(feature="memory limit", rung="by the kernel", why=f"cgroup version {host.cgroup.version}")
    return Rung(
        feature="memory limit",
        rung="sampled 20 times a second, killed at the limit",
        why=host.cgroup.why,
        more=_delegation(host),
    )


def _pids(host: Host) -> Rung:
    if host.cgroup.limits_pids:
        return Rung(
            feature="process limit", rung="by the kernel", why=f"cgroup version {host.cgroup.version}"
        )
    if host.sandbox_refused:
        return Rung(
            feature="process limit",
            rung="none",
            why="no user namespace to count in",
            more="what isolation says",
        )
    if host.kernel < (5, 14):
        return Rung(
            feature="process limit",
            rung="none",
            why="before 5.14 the kernel counts all processes of a user together",
            more="a newer kernel, or a delegated cgroup",
        )
    return Rung(feature="process limit", rung="by rlimit", why=host.cgroup.why, more=_delegation(host))


def _cpu(host: Host) -> Rung:
    if host.cgroup.limits_cpu:
        return Rung(feature="CPU limit", rung="by the kernel", why=f"cgroup version {host.cgroup.version}")
    return Rung(feature="CPU limit", rung="none", why=host.cgroup.why, more=_delegation(host))


def _network(host: Host) -> Rung:
    if host.sandbox_refused:
        return Rung(
            feature="network", rung="the host's", why="no network namespace", more="what isolation says"
        )
    if host.network == "veth":
        return Rung(
            feature="network",
            rung="an address for each container, and out from there",
            why="devices and rules of the kernel (veth, nf_tables)",
        )
    if host.carrier is not None:
        return Rung(
            feature="network",
            rung=f"a network for each container, and out through {host.carrier}",
            why=f"only root may join networks itself, and {host.carrier} is installed",
        )
    more = (
        "a kernel with veth, nf_tables, nft_masq and nft_reject_inet: modprobe nf_tables"
        if host.privileged
        else "install the package passt or slirp4netns, and let everybody open /dev/net/tun (mode 0666)"
    )
    why = host.veth_refused or host.carrier_refused or "only root may join networks itself"
    if host.network == "host":
        return Rung(feature="network", rung="the host's, shared with containers", why=why, more=more)
    why += f"; Landlock {host.landlock_abi} cannot keep containers from the host's sockets"
    return Rung(feature="network", rung="loopback only", why=why, more=more)


def _start(host: Host) -> Rung:
    if host.sandbox_refused:
        return Rung(
            feature="start",
            rung="a new interpreter",
            why="no namespaces to fork into",
            more="what isolation says",
        )
    if not host.exe_protected:
        return Rung(
            feature="start",
            rung="a new interpreter",
            why="this kernel lets a running program be overwritten, and the interpreter is yours",
            more="a newer kernel, or an interpreter that root installed",
        )
    return Rung(
        feature="start",
        rung="forked from a template with the code loaded, into a sandbox made ahead",
        why="the image has the same Python; the first containers of a function, and code that cannot be forked, "
        "from a warm interpreter",
    )


def _interpreter(host: Host) -> Rung:
    if not host.python_private:
        return Rung(feature="interpreter", rung="shown in containers at its own path", why=host.python)
    return Rung(
        feature="interpreter",
        rung="shown in containers at its own path, the home around it not",
        why=f"{host.python} is in a directory that others cannot enter",
    )


def _shared_memory(host: Host) -> Rung:
    mib = host.shm_bytes >> 20
    why = f"shared memory (/dev/shm) holds {mib} MiB"
    if mib >= 256:
        return Rung(feature="large values", rung="in memory, not copied", why=why)
    return Rung(
        feature="large values",
        rung="in memory, few at a time",
        why=why,
        more="a larger one: mount -o remount,size=2g /dev/shm (in Docker: --shm-size=2g)",
    )


def _temporary(host: Host) -> Rung:
    if not host.tmp_noexec:
        return Rung(
            feature="temporary files", rung="usable", why="programs may run from the temporary directory"
        )
    return Rung(
        feature="temporary files",
        rung="usable for data only",
        why="the temporary directory is mounted noexec",
        more="point TMPDIR at a directory from which programs may run",
    )


def _processes(host: Host) -> Rung:
    if host.pids_limit is None or host.pids_limit >= 512:
        limit = "no limit" if host.pids_limit is None else f"{host.pids_limit} allowed"
        return Rung(feature="processes", rung="enough", why=limit)
    return Rung(
        feature="processes",
        rung="few",
        why=f"only {host.pids_limit} are allowed for all that you run here",
        more="raise `ulimit -u`, or the pids limit of the container that this machine is",
    )


def _delegation(host: Host) -> str:
    if host.privileged:
        return "mount the cgroup file system writable (in Docker: --cgroupns=private --privileged)"
    if host.cgroup.version == 2 or "delegated" in host.cgroup.why:
        return "start Squall in a scope of your own: systemd-run --user --scope -p Delegate=yes squall up"
    return "let root give you a cgroup (version 1): mkdir and chown one for memory, cpu and pids"
