"""The spec of a sandbox: everything that a launcher must know to start one container."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from operator import attrgetter
from typing import Any, Literal, get_args

from squall.model.gpu_device import DeviceNode

Level = Literal["process", "sandbox", "sandbox-strict", "crun", "runc", "gvisor"]
# Levels at which an OCI runtime makes the inner half of the sandbox.
OCI_LEVELS: frozenset[Level] = frozenset({"crun", "runc", "gvisor"})
LEVELS: frozenset[Level] = frozenset(get_args(Level))
Carrier = Literal["pasta", "slirp4netns"]
CARRIERS: tuple[Carrier, ...] = ("pasta", "slirp4netns")
Network = Literal["none", "veth", "pasta", "slirp4netns", "host"]
Capabilities = Literal["none", "build"]

# A container's ids 0..65535 are this many ids of the host.
UID_RANGE = 65_536
RUNNER_ENTRY = "squall.runner.main:main"
# What user code imports first: a fork of a launcher has it already, and pays for no import of ours.
USER_ENTRY = "squall.sdk.app:App"
# What a template calls to have the code loaded, and what each fork of it calls before anything else.
PRELOAD_ENTRY = "squall.runner.preload:preload"
RENEW_ENTRY = "squall.runner.fresh:renew"
# What a template calls before that to have the packages imported which the code begins with, and one of a later version to
# see whether they are what its code begins with too.
PACKAGES_ENTRY = "squall.runner.packages:ahead"
SUITS_ENTRY = "squall.runner.packages:suits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A file or directory of the host that shows at `target` inside; read-only unless `writable`."""

    source: str
    target: str
    writable: bool = False

    def __post_init__(self) -> None:
        _check_path("a mount's source", self.source)
        _check_path("a mount's target", self.target)
        if self.target == "/":
            raise ValueError(
                "nothing can be mounted over the root of a container: give it as a lower directory"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedMount:
    """A file system that another process of the host serves: it is met at the socket `sock` in the directory `source`.

    It shows at `target` inside; read-only unless `writable`.
    """

    source: str
    target: str
    writable: bool = False

    def __post_init__(self) -> None:
        _check_path("the door of a served mount", self.source)
        _check_path("a mount's target", self.target)
        if self.target == "/":
            raise ValueError("nothing can be mounted over the root of a container")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one container may use; None is no limit of its own.

    memory_bytes counts everything that the container keeps in memory, its tmpfs and shared memory too; cpu_milli is a
    ceiling in thousandths of a core; pids counts processes and threads; disk_bytes bounds its writable root; nofile
    is open files per process.
    """

    memory_bytes: int | None = None
    cpu_milli: int | None = None
    pids: int | None = None
    disk_bytes: int | None = None
    nofile: int | None = None

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"the limit {name} must be above zero, not {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Veth:
    """How one container is joined to the host: the name of the host's end, its address, the gateway, the MTU.

    Both addresses are IPv4; the gateway is the host's, the same for every container. Raises ValueError for what
    cannot be.
    """

    name: str
    address: str
    gateway: str
    mtu: int = 1500

    def __post_init__(self) -> None:
        for one in (self.address, self.gateway):
            IPv4Address(one)
        if not 0 < len(self.name) < 16 or not self.name.isascii() or not self.name.isalnum():
            raise ValueError(f"no device can be called {self.name!r}")
        if not 576 <= self.mtu <= 65_535:
            raise ValueError(f"an MTU is from 576 to 65535, not {self.mtu}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """One container: what it sees, what it runs, what it may use.

    lowers: directories of the host that make up its root, the top one first. owned: those of them whose files have the
    container's ids as owners, as a rendered layer has. upper: a directory of the host, made and empty, in which the
    changes to its root are kept after its end, below `changes`; None where they go with its scratch. uid_base: the host id that its id 0 is,
    where the launcher is root; None where it is not. served: what lies above `mounts`, and is none of the host's disk. interpreter: None starts the runner by forking the launcher's
    own warm interpreter; a path starts that one. argv: a command to run in place of the runner. user: the ids, of user
    and group, under which that runs, where the capabilities of builds let it have another than root's. scratch: a directory
    of the host, for this container alone, that the launcher makes and removes. network: loopback only, joined to the
    host's by `veth` or by a carrier of that name, or the host's own. veth: None where a template is described, whose
    sandboxes are each given one of their own. unreachable: what a carrier must not lead to. runtime: at the levels that
    have an OCI runtime, its program and its options, as they were found to work here. devices: of GPUs, what its /dev
    has beside the harmless ones; driver_texts: what is to be read below /proc/driver, which is empty else.
    Raises ValueError for a spec that says two things at once.
    """

    id: str
    level: Level = "sandbox"
    scratch: str
    lowers: tuple[str, ...] = ()
    owned: tuple[str, ...] = ()
    upper: str | None = None
    mounts: tuple[Mount, ...] = ()
    served: tuple[ServedMount, ...] = ()
    hostname: str = "squall"
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str = "/"
    network: Network = "none"
    veth: Veth | None = None
    unreachable: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    uid_base: int | None = None
    interpreter: str | None = None
    entry: str = RUNNER_ENTRY
    argv: tuple[str, ...] | None = None
    user: tuple[int, int] | None = None
    capabilities: Capabilities = "none"
    runtime: tuple[str, ...] = ()
    devices: tuple[DeviceNode, ...] = ()
    driver_texts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.id or not all(char.isalnum() or char in "-_." for char in self.id) or self.id[0] in "-.":
            raise ValueError(f"a container's id is letters, digits, '-', '_' and '.', not {self.id!r}")
        if self.level not in LEVELS or self.network not in get_args(Network):
            raise ValueError(f"no such level or network: {self.level!r}, {self.network!r}")
        if self.veth is not None and self.network != "veth":
            raise ValueError("only a container that is joined by veth has one described")
        for one in self.unreachable:
            IPv4Network(one)
        if self.capabilities not in {"none", "build"}:
            raise ValueError(f"no such set of capabilities: {self.capabilities!r}")
        _check_path("the scratch directory", self.scratch)
        _check_path("the working directory", self.workdir)
        for name in self.driver_texts:
            _check_path("a text of the driver", f"/{name}")
        for lower in self.lowers:
            _check_path("a lower directory", lower)
        if not set(self.owned) <= set(self.lowers):
            raise ValueError("only lower directories can be owned by the container's ids")
        if self.upper is not None:
            _check_path("the directory for changes", self.upper)
        if self.argv is not None and not self.argv:
            raise ValueError("an empty command cannot be run")
        if self.user is not None and (self.argv is None or self.capabilities != "build"):
            raise ValueError("only the commands of builds run as another user than root")
        if self.user is not None and not all(0 <= number < UID_RANGE for number in self.user):
            raise ValueError(f"a container has no user and group {self.user}")
        for name, value in self.env.items():
            if not name or "=" in name or "\0" in name or "\0" in value:
                raise ValueError(f"no environment can hold the variable {name!r}")
        if self.level == "process":
            self._check_process()
        else:
            self._check_sandbox()
        self._check_runtime()

    def like(self, other: "SandboxSpec") -> bool:
        """Whether it differs from the other one in nothing but what each container has of its own."""
        return _SHARED(self) == _SHARED(other)

    @property
    def oci(self) -> bool:
        """Whether an OCI runtime makes the inner half of this sandbox."""
        return self.level in OCI_LEVELS

    @property
    def changes(self) -> str | None:
        """The directory that holds what the container changes in its root, as a layer, where that is kept."""
        return None if self.upper is None else f"{self.upper}/upper"

    @property
    def carrier(self) -> Carrier | None:
        """The program that joins its network to the host's, if that is how it is done."""
        return next((one for one in CARRIERS if one == self.network), None)

    def _check_sandbox(self) -> None:
        if not self.lowers:
            raise ValueError("a sandbox needs at least one lower directory for its root")
        if self.uid_base is not None and self.uid_base < UID_RANGE:
            raise ValueError(f"uid_base must be at least {UID_RANGE}: the ids below it are the host's own")

    def _check_runtime(self) -> None:
        if self.oci != bool(self.runtime):
            raise ValueError(
                f"the level {self.level!r} goes with {'a' if self.oci else 'no'} runtime's program"
            )
        if not self.oci:
            return
        _check_path("the runtime's program", self.runtime[0])
        if self.interpreter is None and self.argv is None:
            raise ValueError(f"the level {self.level!r} forks no interpreter: give one, or a command")
        if self.upper is not None:
            raise ValueError(f"the level {self.level!r} keeps no changes")
        if self.capabilities != "none" or self.network == "host":
            raise ValueError(f"the level {self.level!r} gives no capabilities and no network of the host")

    def _check_process(self) -> None:
        asked = {
            "lowers": self.lowers,
            "an upper directory": self.upper is not None,
            "a network of its own": self.network not in {"none", "host"},
            "mounts": self.mounts or self.served,
            "devices": self.devices or self.driver_texts,
            "uid_base": self.uid_base is not None,
            "capabilities": self.capabilities != "none",
            "an interpreter of None": self.interpreter is None and self.argv is None,
        }
        for name, is_asked in asked.items():
            if is_asked:
                raise ValueError(f"the level 'process' has no namespaces, so it cannot give {name}")

    def to_json(self) -> dict[str, Any]:
        """This spec as JSON can carry it; `from_json` reads it back."""
        # By hand: `asdict` copies whatever lies in it, and every start waits for this.
        plain = _fields_of(self)
        plain["mounts"] = [_fields_of(one) for one in self.mounts]
        plain["served"] = [_fields_of(one) for one in self.served]
        plain["devices"] = [_fields_of(one) for one in self.devices]
        plain["limits"] = _fields_of(self.limits)
        plain["veth"] = None if self.veth is None else _fields_of(self.veth)
        plain["env"], plain["driver_texts"] = dict(self.env), dict(self.driver_texts)
        return plain

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "SandboxSpec":
        """The spec that `value` says. Raises ValueError for one that cannot be."""
        try:
            given = dict(value)
            given["mounts"] = tuple(_known_mount(**mount) for mount in given.get("mounts", ()))
            given["served"] = tuple(_known_served(**mount) for mount in given.get("served", ()))
            given["lowers"] = tuple(given.get("lowers", ()))
            given["owned"] = tuple(given.get("owned", ()))
            if given.get("user") is not None:
                given["user"] = tuple(given["user"])
            given["unreachable"] = tuple(given.get("unreachable", ()))
            if given.get("veth") is not None:
                given["veth"] = Veth(**given["veth"])
            given["runtime"] = tuple(given.get("runtime", ()))
            given["limits"] = Limits(**given.get("limits", {}))
            given["env"] = dict(given.get("env", {}))
            given["devices"] = tuple(DeviceNode(**node) for node in given.get("devices", ()))
            given["driver_texts"] = dict(given.get("driver_texts", {}))
            if given.get("argv") is not None:
                given["argv"] = tuple(given["argv"])
            return cls(**given)
        except (TypeError, AttributeError) as problem:
            raise ValueError(f"this is no spec of a sandbox: {problem}") from problem


# Every container of a function has the same: looked at once, and compared by being the same.
_known_mount = functools.lru_cache(maxsize=1024)(Mount)
_known_served = functools.lru_cache(maxsize=1024)(ServedMount)
_OWN = frozenset({"id", "scratch", "env", "veth"})
_SHARED = attrgetter(*(name for name in SandboxSpec.__slots__ if name not in _OWN))


def _check_path(what: str, path: str) -> None:
    if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise ValueError(f"{what} must be an absolute path without '..', not {path!r}")


def _fields_of(one: Any) -> dict[str, Any]:
    """The fields of a dataclass with slots, as they are."""
    return {name: getattr(one, name) for name in one.__slots__}
