"""Closure: which packages a root is made of. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from squall.images.debian.catalog import Catalog
from squall.images.debian.nouns import Package
from squall.images.debian.relation import Alternatives, One, show
from squall.model.errors import ImageBuildError, PackageNotFound

# What a shell script, a download and a Python of any origin need at run time. Names that a release has changed are found by what
# their successors stand for.
ALWAYS: Final = ("apt", "ca-certificates")
WHERE_THERE_IS: Final = (
    "usr-is-merged",  # else the far larger program that merges /usr in a system that is in use
    "netbase",
    "tzdata",
    "libbz2-1.0",
    "libcrypt1",
    "libdb5.3",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "libgdbm6",
    "liblzma5",
    "libncursesw6",
    "libnsl2",
    "libreadline8",
    "libsqlite3-0",
    "libssl3",
    "libstdc++6",
    "libuuid1",
    "zlib1g",
)

_PRIORITIES: Final = {"required": 0, "important": 1, "standard": 2, "optional": 3}
_MAX_PACKAGES: Final = 20_000


def packages_for(catalog: Catalog, further: Iterable[str]) -> tuple[Package, ...]:
    """What a root with these further packages is made of, sorted by name: whatever any of it depends on is in it.

    Of alternatives, one that is in the root already, else the first that there is; of several packages that stand for a name,
    the one of the highest priority, then the first by name. The same catalog gives the same packages.

    Raises PackageNotFound, ImageBuildError where two cannot be together, ValueError for an entry that cannot be used.
    """
    root = _Root(catalog)
    for name in catalog.essential():
        root.want(name, by="every root")
    for name in ALWAYS:
        root.want(name, by="every root")
    for name in WHERE_THERE_IS:
        root.want_if_there(name)
    for name in further:
        root.want(name, by=None)
    root.complete()
    root.check_together()
    return tuple(root.chosen[name] for name in sorted(root.chosen))


class _Root:
    """The packages that were chosen so far."""

    def __init__(self, catalog: Catalog) -> None:
        self.chosen: dict[str, Package] = {}
        self._catalog = catalog
        self._given: dict[str, list[str]] = {}
        self._waiting: deque[tuple[Package, Alternatives]] = deque()

    def want(self, name: str, by: str | None) -> None:
        """Raises PackageNotFound. by: what wants it; None: the user."""
        found = self._best((One(name),))
        if found is not None:
            self._choose(found)
            return
        if by is not None:
            raise PackageNotFound(f"{by} needs the package {name}, and no mirror has it", package=name)
        near = self._catalog.near(name)
        meant = f"; did you mean {', '.join(near)}?" if near else ""
        raise PackageNotFound(
            f"there is no Debian package {name} in this release{meant}",
            remedy="correct the name: packages.debian.org finds the package that a file or program is in",
            package=name,
        )

    def want_if_there(self, name: str) -> None:
        found = self._best((One(name),))
        if found is not None:
            self._choose(found)

    def complete(self) -> None:
        """Chooses what the chosen ones depend on: first where there is nothing to choose, for that may settle the rest."""
        put_off: deque[tuple[Package, Alternatives]] = deque()
        while self._waiting or put_off:
            if self._waiting:
                by, wanted = self._waiting.popleft()
                if len(wanted) > 1:
                    put_off.append((by, wanted))
                    continue
            else:
                by, wanted = put_off.popleft()
            if not self._is_met(wanted):
                found = self._best(wanted)
                if found is None:
                    raise PackageNotFound(
                        f"{by.name} depends on {show(wanted)}, and no mirror has that", package=wanted[0].name
                    )
                self._choose(found)

    def check_together(self) -> None:
        """Raises ImageBuildError where one of the chosen excludes another."""
        for package in self.chosen.values():
            for group in package.excludes:
                for one in group:
                    for name in (one.name, *self._given.get(one.name, ())):
                        other = self.chosen.get(name)
                        if other is not None and other is not package and _is(other, one):
                            raise ImageBuildError(
                                f"the packages {package.name} and {other.name} cannot be in one root: "
                                f"{package.name} excludes {one}",
                                remedy="leave one of them out",
                            )

    def _choose(self, package: Package) -> None:
        known = self.chosen.get(package.name)
        if known is not None:
            return
        if len(self.chosen) >= _MAX_PACKAGES:
            raise ImageBuildError(f"the root would have more than {_MAX_PACKAGES} packages")
        self.chosen[package.name] = package
        for name in package.gives:
            self._given.setdefault(name, []).append(package.name)
        self._waiting.extend((package, wanted) for wanted in package.needs)

    def _is_met(self, wanted: Alternatives) -> bool:
        for one in wanted:
            names = (one.name, *self._given.get(one.name, ()))
            if any(name in self.chosen and _is(self.chosen[name], one) for name in names):
                return True
        return False

    def _best(self, wanted: Alternatives) -> Package | None:
        for one in wanted:
            found = self._catalog.find(one.name)
            if found is not None and _is(found, one):
                return found
            others = [other for other in self._catalog.providing(one.name) if _is(other, one)]
            if others:
                return min(others, key=lambda other: (_PRIORITIES.get(other.priority, 4), other.name))
        return None


def _is(package: Package, one: One) -> bool:
    """Whether the package is what is meant, by its own name or by one that it stands for."""
    if package.name == one.name:
        return one.accepts(package.version)
    version = package.gives.get(one.name)
    if version is None:
        return False
    return not one.relation or (version != "" and one.accepts(version))
