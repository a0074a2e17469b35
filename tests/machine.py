"""What this machine allows the tests, found by trying: independent of the probes that Squall itself makes."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

_TRY_NAMESPACES = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
NEWNS, NEWUSER = 0x00020000, 0x10000000
sys.exit(0 if libc.unshare(NEWUSER | NEWNS) == 0 or libc.unshare(NEWNS) == 0 else 1)
"""

_PROGRAMS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# The facts that a test may need, by `@pytest.mark.needs("...")`, and what to do to have them.
REMEDIES = {
    "linux": "run the tests on Linux",
    "root": "run the tests as root",
    "namespaces": "allow user namespaces: sysctl user.max_user_namespaces above 0, and no profile that forbids them",
    "cgroups": "run as root, or in a session whose cgroup is delegated (systemd-run --user --scope -p Delegate=yes)",
    "subordinate_ids": "install newuidmap (Debian: uidmap) and give the user ranges in /etc/subuid and /etc/subgid",
    "venv": "install the venv module (Debian: python3-venv)",
    "iproute": "install ip and nsenter (Debian: iproute2, util-linux)",
    "network": "connect the machine to its package index",
    "crun": "install crun (Debian: crun)",
    "runc": "install runc (Debian: runc)",
    "runsc": "install gVisor's runsc (Debian: runsc)",
    "openssl": "install openssl (Debian: openssl)",
    "registry": "install a registry (Debian: docker-registry)",
    "skopeo": "install skopeo (Debian: skopeo)",
    "umoci": "install umoci (Debian: umoci)",
    "buildah": "install buildah (Debian: buildah)",
    "git": "install git",
    "strace": "install strace",
    "fiu": "install fiu-ctrl (Debian: fiu-utils)",
    "faketime": "install faketime",
    "gpg": "install gpg and gpgv (Debian: gpg, gpgv)",
    "dpkg": "install dpkg",
    "apt": "run the tests on Debian, with apt-get, gpgv and the distribution's keys",
}


@functools.cache
def facts() -> dict[str, bool]:
    """Each fact by its name, and whether it holds here."""
    linux = sys.platform == "linux"
    root = linux and _root()
    return {
        "linux": linux,
        "root": root,
        "namespaces": linux and _namespaces(),
        "fuse": linux and _namespaces() and os.access("/dev/fuse", os.R_OK | os.W_OK),
        "cgroups": linux and _cgroups(),
        "subordinate_ids": linux and _has("newuidmap") and (root or _subordinate_ids()),
        "venv": _venv(),
        "iproute": linux and _has("ip", "nsenter"),
        "openssl": _has("openssl"),
        "registry": linux and _has("docker-registry"),
        "git": _has("git"),
        "strace": linux and _has("strace"),
        "fiu": linux and _has("fiu-ctrl"),
        "faketime": linux and _has("faketime"),
        "gpg": _has("gpg", "gpgv", "gpgconf"),
        "dpkg": _has("dpkg"),
        "apt": linux and _has("apt-get", "gpgv") and _is_debian(),
        "network": True,  # what installed the test packages reached the index
        **{name: linux and _has(name) for name in ("crun", "runc", "runsc", "skopeo", "umoci", "buildah")},
    }


def _venv() -> bool:
    # Not by looking whether it is there: Debian leaves a part of it out, and says so when it is imported.
    return (
        subprocess.run([sys.executable, "-c", "import venv"], capture_output=True, check=False).returncode
        == 0
    )


def mount_points() -> set[str]:
    """Where this machine has something mounted."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return {line.split()[4] for line in lines}


def _has(*programs: str) -> bool:
    return all(shutil.which(name, path=_PROGRAMS) for name in programs)


def _is_debian() -> bool:
    """Whether this is Debian with the keys of its archive; what is like it has other keys."""
    try:
        says = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return "ID=debian" in says and Path("/usr/share/keyrings/debian-archive-keyring.gpg").exists()


def _root() -> bool:
    """Whether this is root over all ids, with every power: not root of a user namespace."""
    if os.geteuid() != 0:
        return False
    ids = Path("/proc/self/uid_map").read_text(encoding="utf-8").split()
    powers = re.search(
        r"^CapEff:\s*(\w+)", Path("/proc/self/status").read_text(encoding="utf-8"), re.MULTILINE
    )
    sys_admin = 1 << 21
    return int(ids[2]) > 65534 and powers is not None and bool(int(powers[1], 16) & sys_admin)


def _namespaces() -> bool:
    tried = subprocess.run([sys.executable, "-c", _TRY_NAMESPACES], capture_output=True, check=False)
    return tried.returncode == 0


def _cgroups() -> bool:
    """Whether a memory limit can be set on a group below ours: cgroup v1, or a delegated v2 tree."""
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return os.access(f"/sys/fs/cgroup/memory{path}", os.W_OK)
        if number == "0":
            own = Path("/sys/fs/cgroup" + path)
            offered = own / "cgroup.controllers"
            if offered.exists() and "memory" in offered.read_text(encoding="utf-8").split():
                return os.access(own / "cgroup.subtree_control", os.W_OK)
    return False


def _subordinate_ids() -> bool:
    try:
        granted = Path("/etc/subuid").read_text(encoding="utf-8")
    except OSError:
        return False
    names = {str(os.getuid()), _user_name()}
    return any(line.split(":")[0] in names for line in granted.splitlines())


def _user_name() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""
