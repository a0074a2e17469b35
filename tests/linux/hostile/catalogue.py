"""The catalogue of what hostile code tries in a container.

E-numbers are the checks of the threat model; R-numbers are the probes of the container runtime. What a kernel must have
for an attempt to mean anything stands in `may_lack`.
"""

from __future__ import annotations

from squall.runtime.plan import BUILD_CAPABILITIES
from tests.linux.hostile.probe import Elsewhere, NotStopped, NotTried, Probe, Stopped

_BUILD = f"{BUILD_CAPABILITIES:x}"
_SYS_ADMIN = f"{1 << 21:x}"
_NOBODY = "nobody has any from the start, with or without a sandbox"
_NO_MODULES = "this kernel may have loading switched off"
_NO_RESOURCES = "the root of a machine that is itself a container may not do it either"
_NO_FILE = "ENOENT|EACCES|EPERM"
_HIDDEN = "ENOENT|ESRCH"
_CLOSED = "EACCES|EPERM"
_OPTIONAL = ("sys/kernel/modprobe", "sys/fs/binfmt_misc/register", "sysrq-trigger")
# As from a kernel that has no such protocol.
_NO_NETLINK = "EPROTONOSUPPORT|EPERM"
_USER = NotStopped(says="as your user")
_FILES = NotStopped(says="your files")
_NETWORK = NotStopped(says="your network")
_PROCESSES = NotStopped(says="your processes in reach")
_NOTHING = NotStopped(says="nothing else is kept apart")

KERNEL = (
    Probe(
        id="E01",
        title="make namespaces of its own",
        code="kernel.new_namespaces",
        refused={"*": "EPERM"},
        process=_NOTHING,
    ),
    Probe(
        id="E02",
        title="the call that a filter cannot look into (`clone3`)",
        code="kernel.clone3",
        refused={"*": "ENOSYS"},
        process=_NOTHING,
    ),
    Probe(
        id="E03",
        title="enter namespaces of other processes, or its own again",
        code="kernel.other_namespaces",
        refused={"open *": _NO_FILE, "*": "EPERM"},
        # That of its own template, for which it has the one power.
        loading={"enter its own again": "done"},
        process=_NOTHING,
    ),
    Probe(
        id="E04",
        title="mount, unmount, change its root",
        code="kernel.mounts",
        refused={"*": "EPERM"},
        process=_USER,
    ),
    Probe(
        id="E05",
        title="make devices, and the whiteouts of an overlay",
        code="kernel.devices",
        refused={"everyday *": "done", "*": "EPERM"},
        # Where there is one id only, a build is told that it was done.
        build={"make *": "EPERM|no effect"},
        process=_USER,
    ),
    Probe(
        id="E06",
        title="debug processes that are not its children, take their descriptors",
        code="kernel.other_processes",
        refused={"everyday *": "done", "* outside": "ESRCH", "*": "EPERM"},
        process=_PROCESSES,
    ),
    Probe(
        id="E07",
        title="bpf, perf, userfaultfd, io_uring, keys, fanotify",
        code="kernel.subsystems",
        refused={"*": "EPERM"},
        process=_NOTHING,
    ),
    Probe(
        id="E08",
        title="modules, reboot, swap, the clock, the kernel's log",
        code="kernel.the_machine",
        refused={"*": "EPERM"},
        unproven={
            "init_module": _NO_MODULES,
            "finit_module": _NO_MODULES,
            "kexec_load": "this kernel may have it switched off",
        },
        process=_USER,
    ),
    Probe(
        id="E09",
        title="sockets other than the everyday ones: ALG, VSOCK, packet, raw, netlink",
        code="kernel.sockets",
        refused={
            "everyday *": "done",
            "audit": _NO_NETLINK,
            "netfilter": _NO_NETLINK,
            "*": "EPERM|EAFNOSUPPORT",
        },
        may_lack=(
            "alg",
            "vsock",
            "bluetooth",
            "kcm",
            "can",
            "sctp",
            "rds",
            "tipc",
            "xdp",
            "netfilter",
            "audit",
        ),
        process=_NETWORK,
    ),
    Probe(
        id="E10",
        title="system calls of a foreign ABI (i386, x32)",
        code="kernel.foreign_abi",
        refused={"*": "SIGSYS"},
        process=_NOTHING,
    ),
    Probe(
        id="E11",
        title="files by their handle (`open_by_handle_at`)",
        code="kernel.by_handle",
        refused={"*": "EPERM"},
        process=_USER,
    ),
    Probe(
        id="E12",
        title="switch off random addresses",
        code="kernel.no_random_addresses",
        refused={"*": "EPERM"},
        process=_NOTHING,
    ),
    Probe(
        id="E49",
        title="realtime priority, locked memory, all terminals",
        code="kernel.limits",
        refused={"lock all memory": "ENOMEM|EPERM", "terminals": "at most 64", "*": _CLOSED},
        unproven={
            "raise rtprio": _NO_RESOURCES,
            "realtime": "the group that the tests run in may have no share of it",
        },
        process=_NOTHING,
    ),
)

HOST = (
    Probe(
        id="E13",
        title="type into a terminal (TIOCSTI)",
        code="host.typing_for_others",
        refused={"*": "EPERM"},
        process=_USER,
    ),
    Probe(
        id="E14",
        title="run a program as the host's root through a control group's release agent",
        code="host.release_agent",
        refused={"mount *": "EPERM", "write *": _NO_FILE},
        may_lack=("write *",),
        process=_USER,
    ),
    Probe(
        id="E15",
        title="write the kernel's settings: core_pattern, modprobe, binfmt_misc, sysrq",
        code="host.settings",
        refused={"write /proc/sysrq-trigger": f"null|{_NO_FILE}|EROFS", "*": f"EROFS|{_NO_FILE}"},
        may_lack=tuple(f"write /proc/{name}" for name in _OPTIONAL),
        process=_USER,
    ),
    Probe(
        id="E16",
        title="read what the kernel shows of the host: kcore, keys, symbols, firmware",
        code="host.shown_by_kernel",
        refused={"open kmsg": f"null|{_NO_FILE}", "*": f"empty|{_NO_FILE}"},
        may_lack=("read *", "list *"),
        process=_USER,
    ),
    Probe(
        id="E17",
        title="see, read or signal processes of the host",
        code="host.host_processes",
        refused={"processes seen": "own", "*": _HIDDEN},
        # Those of its own template: its init, and the sandboxes that are made for it.
        loading={"processes seen": "own|others: *"},
        process=_PROCESSES,
    ),
    Probe(
        id="R01",
        title="read, signal, stop or kill the first process of its sandbox",
        code="host.first_process",
        refused={"signals": "alive", "list fd": f"done|{_CLOSED}", "*": _CLOSED},
        unproven={"list fd": "the numbers may be seen inside too; what they are of, may not"},
        process=_PROCESSES,
    ),
    Probe(
        id="R02",
        title="files of the host, the state, other containers' scratch",
        code="host.host_files",
        refused={"mounts that name the state": "none", "*": _NO_FILE},
        unproven={"mounts that name the state": "the host itself has no mount there"},
        process=_FILES,
    ),
    Probe(
        id="R03",
        title="past its root by the working directory or a descriptor (CVE-2024-21626)",
        code="host.beneath_the_root",
        refused={"working directory": "inside", "*": f"none|{_NO_FILE}"},
        unproven={
            "working directory": "only a runtime that got it wrong has one outside",
            "directories open": "the same",
            "the secret through a descriptor": "the same",
        },
        process=_FILES,
    ),
    Probe(
        id="R04",
        title="write to a file system of the host",
        code="host.writable_mounts",
        refused={"*": "none"},
        process=_FILES,
    ),
    Probe(
        id="R05",
        title="open devices of the host",
        code="host.host_devices",
        refused={"devices beyond the harmless": "none", "*": f"{_NO_FILE}|ENXIO|ENODEV"},
        may_lack=("open *",),
        process=_USER,
    ),
    Probe(
        id="R06",
        title="sockets of the host: abstract, in a directory, on its loopback",
        code="host.host_sockets",
        refused={"*": f"ECONNREFUSED|ENETUNREACH|{_NO_FILE}"},
        process=_NETWORK,
    ),
    Probe(
        id="R07",
        title="shared memory of the host by its key",
        code="host.shared_ipc",
        refused={"*": "ENOENT"},
        process=_NOTHING,
    ),
)

SELF = (
    Probe(
        id="E18, E19",
        title="set-user-id programs and file capabilities that the image brings",
        code="self.planted_programs",
        refused={"*": "nothing|EPERM"},
        process=_USER,
    ),
    Probe(
        id="E20",
        title="powers that it still has, or that a program gains",
        code="self.powers",
        refused={
            "Cap*": "0",
            "NoNewPrivs": "1",
            "Seccomp": "2",
            "secure bits": "239",
            "groups": "none",
        },
        build={"Cap[PEB]*": _BUILD, "secure bits": "0"},
        loading={"CapEff of a program": "0", "Cap[PEB]*": _SYS_ADMIN},
        # Nothing can be gained all the same: no new privileges.
        oci={"secure bits": "0"},
        unproven={"CapInh": _NOBODY, "CapAmb": _NOBODY},
        process=_USER,
    ),
    Probe(
        id="R08",
        title="raise powers again: ambient, permitted, bounding set, secure bits",
        code="self.more_powers",
        refused={"*": "EPERM"},
        build={"secure bits": "done", "capset": "EPERM|no effect"},
        # What is raised is what it has.
        loading={"capset": "done"},
        unproven={"ambient": "root has none to inherit either", "own memory map": _NO_RESOURCES},
        process=_USER,
    ),
    Probe(
        id="R09",
        title="become a user of the host, or give it files",
        code="self.other_ids",
        refused={"*": "EINVAL|EPERM"},
        build={"*": "EINVAL|EPERM|no effect"},
        process=_USER,
    ),
    Probe(
        id="E63",
        title="descriptors beyond its own: another sandbox's handle, the agent's streams",
        code="self.descriptors",
        refused={
            "stream: 0": "/dev/null",
            "stream: *": "pipe",
            "own: *": "socket",
            "*": "never",
        },
        # At the numbers of a runner's own there is nothing yet, which is held so that nothing else comes to lie there.
        loading={"own: 4": "/dev/null", "beyond: [5-9]": "/dev/null", "beyond: 10": "/dev/null"},
        oci={"stream: 0": "/dev/null|pipe"},
        here=True,
        twice=True,
        process=Stopped(),
    ),
    Probe(
        id="E64",
        title="find in its memory what another container was told",
        code="self.canary",
        refused={"*": "none"},
        process=Stopped(),
    ),
    Probe(
        id="E65",
        title="the same random numbers, ids and names as its siblings",
        code="self.luck",
        refused={"*": "never"},
        twice=True,
        differs=True,
        process=Stopped(),
    ),
    Probe(
        id="E66",
        title="overwrite the program that it was started from (CVE-2019-5736)",
        code="self.own_program",
        refused={"*": f"ETXTBSY|EROFS|{_NO_FILE}"},
        process=_FILES,
    ),
    Probe(
        id="E69",
        title="find what another container of the function left: files, shared memory, environment",
        code="self.left_behind",
        refused={"*": "ENOENT"},
        may_lack=("file in /app",),
        unproven={"environment": "no two processes share one"},
        here=True,
        twice=True,
        process=_FILES,
    ),
    Probe(
        id="E67, R10",
        title="send garbage, too much, and descriptors to the launcher and the agent",
        code="self.nonsense",
        refused={"everyday sending": "done"},
        process=Stopped(),
    ),
)

CATALOGUE = (*KERNEL, *HOST, *SELF)

ELSEWHERE = (
    Elsewhere(
        id="E27",
        title="mount points of the image that are links out of it",
        test="tests/linux/runtime/test_images.py::test_e27_an_image_of_links_stays_contained",
    ),
    Elsewhere(
        id="E67",
        title="nonsense, foreign and repeated words to the server",
        test="tests/unit/server/test_containers.py::test_a_container_that_sends_nonsense_ends_and_nobody_else",
    ),
    Elsewhere(
        id="E68",
        title="an outcome for another container's input, or for an earlier try",
        test="tests/unit/server/test_containers.py::test_outcomes_that_a_container_has_no_right_to_are_fenced",
    ),
    Elsewhere(
        id="E70",
        title="the environment of an image reaching a process of the host",
        test="tests/linux/runtime/test_images.py::test_e70_the_environment_of_an_image_reaches_nobody_else",
    ),
    Elsewhere(
        id="E13",
        title="the caller's terminal, from a shell in the container",
        test="tests/linux/runtime/test_agents.py::test_a_shell_has_a_terminal_of_its_own_that_cannot_be_typed_into",
    ),
)

NOT_TRIED = (
    NotTried(
        id="E10",
        title="foreign ABIs of 64-bit ARM",
        why="these tests run on x86-64 only",
    ),
)
