"""A host: what one machine allows a launcher to do, as it was found by trying."""

from dataclasses import dataclass

from squall.runtime.cgroup_plan import NO_CGROUPS, Cgroups
from squall.runtime.spec import Carrier, Network, SandboxSpec

# The first version of Landlock that keeps a process from sockets that have a name and no file.
LANDLOCK_SCOPES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class SubordinateIds:
    """The range of host ids that this user may map into its containers."""

    uid_first: int
    uid_count: int
    gid_first: int
    gid_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What this machine allows this user.

    privileged: root of the host itself, with all its powers. sandbox_refused, upper_refused: in a sentence, why no
    sandbox can be made, and why the state directory cannot hold the upper half of an overlay; empty if it can.
    owned_refused: why root cannot show layers in it with a container's ids as owners; empty if it can, or need not.
    exe_protected: the running interpreter cannot be written to. shm_bytes: size of /dev/shm. pids_limit: processes that
    this user may have, None for no limit. python_private: the interpreter lies in a home that others cannot enter.
    veth_refused: in a sentence, why root cannot join containers to this host's network by devices of their own; empty
    if it can. carrier: the program that does it for another user, None for none; carrier_refused: why there is none.
    """

    kernel: tuple[int, int]
    machine: str
    uid: int
    privileged: bool
    sandbox_refused: str = ""
    upper_refused: str = ""
    owned_refused: str = ""
    exe_protected: bool = True
    subordinate: SubordinateIds | None = None
    cgroup: Cgroups = NO_CGROUPS
    seccomp: bool = True
    landlock_abi: int = 0
    shm_bytes: int = 0
    tmp_noexec: bool = False
    pids_limit: int | None = None
    python: str = ""
    python_private: bool = False
    veth_refused: str = ""
    carrier: Carrier | None = None
    carrier_refused: str = ""

    @property
    def network(self) -> Network:
        """The best network that a container can have here, at the level `sandbox` on one's own machine."""
        if self.sandbox_refused:
            return "host"
        if self.privileged and not self.veth_refused:
            return "veth"
        if self.carrier is not None:
            return self.carrier
        return "host" if self.landlock_abi >= LANDLOCK_SCOPES else "none"

    def refuses(self, spec: SandboxSpec) -> str:
        """In a sentence, why no container like `spec` can be made here; empty if one can."""
        if spec.level == "process":
            return ""
        if spec.owned and self.owned_refused:
            return f"images with owners of their own cannot be shown here: {self.owned_refused}"
        if spec.upper is not None and self.upper_refused:
            return f"what a container changes cannot be kept here: {self.upper_refused}"
        return self.sandbox_refused

    @property
    def upper_on_disk(self) -> bool:
        """Whether a container's writable root can lie in the state directory."""
        return not self.upper_refused
