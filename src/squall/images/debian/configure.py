"""Configure: what a root gets beside its packages' files, and what must run in it before it is of use. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from squall.images.debian.dpkg_record import ADMIN, AdminFile, Record
from squall.images.debian.left_out import DPKG_CONFIG
from squall.images.debian.nouns import RootCommand

KEYRING: Final = "usr/share/keyrings/debian-archive-keyring.gpg"

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_APT_CONFIG: Final = """\
// A root is made small, and once: what is fetched again at need is not kept.
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::AutoRemove::SuggestsImportant "false";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
// The sandbox is the border. Of the users that apt would fetch as, a sandbox may have root alone.
APT::Sandbox::User "root";
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin || true"; };
APT::Update::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin || true"; };
"""

# Asked by what would start a service: no, and that is no failure.
_NO_SERVICES: Final = "#!/bin/sh\n# Nothing runs in a root that is being made.\nexit 101\n"

_CLEAN: Final = """\
rm -rf /var/cache/apt/* /var/lib/apt/lists/* /var/cache/debconf/*-old /var/cache/ldconfig /var/lib/dpkg/*-old
rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/.pwd.lock /etc/machine-id /var/lib/systemd/random-seed
rm -f /var/lib/dpkg/lock /var/lib/dpkg/lock-frontend /var/lib/dpkg/triggers/Lock /root/.bash_history
find /var/log -type f -delete
find /tmp /var/tmp -mindepth 1 -delete
mkdir -p /var/cache/apt/archives/partial /var/lib/apt/lists/partial
"""

# The first scripts that run, in this order, before those of all other packages: they make the users.
_FIRST: Final = ("base-passwd",)


def settings_files(sources: Sequence[tuple[str, str]], *, keyring: bool) -> list[AdminFile]:
    """Files by which apt and dpkg go on as the root was begun. sources: (address of a mirror, suite).

    keyring: whether the distribution's keys are at KEYRING.
    """
    option = f"[signed-by=/{KEYRING}] " if keyring else ""
    lines = "".join(f"deb {option}{mirror} {suite} main\n" for mirror, suite in sources)
    return [
        AdminFile(path="etc/apt/sources.list", data=lines.encode()),
        AdminFile(path="etc/apt/apt.conf.d/90squall", data=_APT_CONFIG.encode()),
        AdminFile(path="etc/dpkg/dpkg.cfg.d/squall", data=DPKG_CONFIG.encode()),
        AdminFile(path="usr/sbin/policy-rc.d", data=_NO_SERVICES.encode(), executable=True),
    ]


def commands_for(records: Iterable[Record], epoch_s: int) -> tuple[RootCommand, ...]:
    """What must run in the root, in this order: what packages wanted run before they were unpacked, their configuring,
    and a cleaning that leaves the same files each time.
    """
    env = {
        "PATH": _PATH,
        "HOME": "/root",
        "LC_ALL": "C",
        "DEBIAN_FRONTEND": "noninteractive",
        "DEBCONF_NONINTERACTIVE_SEEN": "true",
        "SOURCE_DATE_EPOCH": str(epoch_s),
    }
    before = sorted(
        (record for record in records if "preinst" in record.control.scripts),
        key=lambda record: (record.name not in _FIRST, record.name),
    )
    return (
        *(_preinst(record, env) for record in before),
        RootCommand(argv=("/usr/bin/dpkg", "--force-confold", "--configure", "-a"), env=env),
        RootCommand(argv=("/sbin/ldconfig",), env=env),
        RootCommand(argv=("/bin/sh", "-ec", _CLEAN), env=env),
    )


def _preinst(record: Record, env: dict[str, str]) -> RootCommand:
    fields = record.control.fields
    return RootCommand(
        argv=(f"/{ADMIN}/info/{record.file_stem}.preinst", "install"),
        env=env
        | {
            "DPKG_MAINTSCRIPT_PACKAGE": record.name,
            "DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT": "1",
            "DPKG_MAINTSCRIPT_ARCH": fields["Architecture"],
            "DPKG_MAINTSCRIPT_NAME": "preinst",
            "DPKG_ADMINDIR": f"/{ADMIN}",
            "DPKG_ROOT": "",
        },
    )
