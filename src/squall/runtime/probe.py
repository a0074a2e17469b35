"""Looks at a machine: what it allows is tried, not guessed from its version."""

import os
import sys

from squall.runtime import syscalls
from squall.runtime.cgroup_plan import choose_cgroups
from squall.runtime.cgroups import look_at_cgroups
from squall.runtime.host import Host


def probe(state: str) -> Host:
    """What this machine allows this user, for containers whose directories lie in `state`."""
    machine = os.uname().machine
    major, minor = (int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
    return Host(
        kernel=(major, minor),
        machine=machine,
        uid=os.geteuid(),
        privileged=os.geteuid() == 0,
        cgroup=choose_cgroups(look_at_cgroups()),
        python=sys.executable,
        landlock_abi=syscalls.landlock_abi(),
    )
