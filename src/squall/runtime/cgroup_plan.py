"""Which control groups a launcher can use: a decision over what the machine's cgroup trees look like."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_WANTED = ("memory", "cpu", "pids")


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupMount:
    """One mounted hierarchy. version: 1 or 2; controllers: what it was mounted with (version 1 only)."""

    path: str
    version: int
    controllers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupTree:
    """What was seen of a machine's control groups.

    own: this process's group in each hierarchy, keyed by controller ("" for version 2). writable: directories in which
    groups can be made and to whose groups this process may move its children. available: the controllers that a
    directory of version 2 can give to its children. occupied: directories of version 2 with processes of their own.
    """

    mounts: tuple[CgroupMount, ...] = ()
    own: Mapping[str, str]
    writable: frozenset[str] = frozenset()
    available: Mapping[str, frozenset[str]]
    occupied: frozenset[str] = frozenset()

    def to_json(self) -> dict[str, Any]:
        """This tree as a recording; `from_json` reads it back."""
        return {
            "mounts": [
                {"path": m.path, "version": m.version, "controllers": sorted(m.controllers)}
                for m in self.mounts
            ],
            "own": dict(self.own),
            "writable": sorted(self.writable),
            "available": {path: sorted(found) for path, found in self.available.items()},
            "occupied": sorted(self.occupied),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "CgroupTree":
        """The tree that a recording holds."""
        return cls(
            mounts=tuple(
                CgroupMount(path=m["path"], version=m["version"], controllers=frozenset(m["controllers"]))
                for m in value["mounts"]
            ),
            own=dict(value["own"]),
            writable=frozenset(value["writable"]),
            available={path: frozenset(found) for path, found in value["available"].items()},
            occupied=frozenset(value["occupied"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cgroups:
    """The groups that containers get. version: 0 for none, else 1 or 2.

    bases: for each controller the directory in which a container's group is made; one and the same for version 2.
    why: in a sentence, what stands in the way of what is missing; empty if nothing is.
    """

    version: int
    bases: tuple[tuple[str, str], ...] = ()
    why: str = ""

    @property
    def usable(self) -> bool:
        return self.version != 0

    @property
    def limits_memory(self) -> bool:
        return self.base_of("memory") is not None

    @property
    def limits_cpu(self) -> bool:
        return self.base_of("cpu") is not None

    @property
    def limits_pids(self) -> bool:
        return self.base_of("pids") is not None

    def base_of(self, controller: str) -> str | None:
        """The directory where groups of `controller` are made, None where they cannot be."""
        return next((path for name, path in self.bases if name == controller), None)


NO_CGROUPS = Cgroups(version=0, why="no control group is writable for this user")


def choose_cgroups(tree: CgroupTree) -> Cgroups:
    """The best groups that `tree` allows: those of version 1 where it has the controllers, else those of version 2."""
    in_version_1 = {name for mount in tree.mounts if mount.version == 1 for name in mount.controllers}
    if in_version_1 & set(_WANTED):
        return _choose_version_1(tree)
    if any(mount.version == 2 for mount in tree.mounts):
        return _choose_version_2(tree)
    return Cgroups(version=0, why="no cgroup file system is mounted")


def _choose_version_1(tree: CgroupTree) -> Cgroups:
    bases: list[tuple[str, str]] = []
    for name in _WANTED:
        mount = next((m for m in tree.mounts if m.version == 1 and name in m.controllers), None)
        base = None if mount is None else _join(mount.path, tree.own.get(name, "/"))
        if base is not None and base in tree.writable:
            bases.append((name, base))
    missing = [name for name in _WANTED if name not in dict(bases)]
    if not bases:
        return Cgroups(version=0, why="the cgroups (version 1) are not writable for this user")
    why = f"no writable cgroup (version 1) for {', '.join(missing)}" if missing else ""
    return Cgroups(version=1, bases=tuple(bases), why=why)


def _choose_version_2(tree: CgroupTree) -> Cgroups:
    """The nearest directory above us that is ours to divide: writable, with controllers, without processes of its own."""
    mount = next(mount for mount in tree.mounts if mount.version == 2)
    own = tree.own.get("", "/").strip("/")
    parts = own.split("/") if own else []
    candidates = [_join(mount.path, "/".join(parts[:depth])) for depth in range(len(parts), -1, -1)]
    for base in candidates:
        given = tree.available.get(base, frozenset())
        # Only the real root of the tree may have processes beside groups with controllers.
        divisible = base not in tree.occupied or base == mount.path
        if base in tree.writable and divisible and "memory" in given:
            found = tuple((name, base) for name in _WANTED if name in given)
            missing = [name for name in _WANTED if name not in given]
            why = f"{', '.join(missing)} not delegated in {base}" if missing else ""
            return Cgroups(version=2, bases=found, why=why)
    return Cgroups(
        version=0,
        why="no delegated cgroup: start Squall with `systemd-run --user --scope -p Delegate=yes squall up`",
    )


def _join(mount: str, path: str) -> str:
    return f"{mount}/{path.strip('/')}".rstrip("/")
