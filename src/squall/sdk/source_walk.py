"""Walks a directory for the files that ship, by the rules of the ignore files it meets."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from squall.model.errors import SourceTooLarge
from squall.sdk.ignore import BUILT_IN_RULES, Rule, Rules, RuleSet, docker_rules, git_rules

# A directory with one of these in it was made by a machine: a virtual environment, a conda environment, a cache.
_MADE_BY_MACHINES: Final = frozenset({"pyvenv.cfg", "conda-meta", "CACHEDIR.TAG"})
# And one with all of these is a state directory of Squall: it grows while it is walked.
_STATE_DIRECTORY: Final = frozenset({"blobs", "layers", "run", "trees"})
_IGNORE_FILE_LIMIT: Final = 256 * 1024
_NOTED_LINKS: Final = 5


class SourceFile(NamedTuple):
    """A file that ships. path: in the container's source directory, with slashes; the others as stat tells them.

    absolute: where its bytes are read. size: bytes. mtime_ns, ctime_ns, inode: to know it again unchanged.
    """

    path: str
    absolute: str
    mode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def at(cls, root: str, path: str, *, absolute: str | None = None) -> Self:
        """The file at a path below root, or the one at `absolute` under that path. Raises OSError."""
        place = absolute or os.path.join(root, path)
        status = os.stat(place)
        return cls(
            path, place, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A module or directory below a root. path: relative, with slashes."""

    path: str
    is_directory: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """What a walk found. notes: links that lead out of the root, and directories that cannot be read."""

    files: tuple[SourceFile, ...]
    notes: tuple[str, ...] = ()


def walk(root: str, *, below: Place | None = None, limit: int) -> Walk:
    """The files of a directory that ship, in no order; with `below`, those of that directory of it only.

    Links are followed where they lead to something inside the root, and noted where they do not. Raises
    SourceTooLarge beyond four times `limit` files: what is so far off is not counted to its end.
    """
    walker = _Walker(root, limit * 4)
    start = below.path if below else ""
    rules = rules_down_to(root, start)
    walker.enter(os.path.join(root, start) if start else root, f"{start}/" if start else "", rules, ())
    return Walk(files=tuple(walker.files), notes=tuple(walker.notes()))


def rules_down_to(root: str, directory: str) -> Rules:
    """The rules that hold in a directory (relative to root; "" is the root): those above, and all on the way down.

    Without those of the directory itself, except for the root, since its own are read when it is entered.
    """
    rules = Rules((BUILT_IN_RULES, *_rules_above(root)))
    names = directory.split("/") if directory else []
    for count in range(len(names)):
        base = "/".join(names[:count])
        path = os.path.join(root, base) if base else root
        rules = with_rules_of(path, base, rules, _names(path))
    return rules


def with_rules_of(directory: str, base: str, rules: Rules, names: frozenset[str] | set[str]) -> Rules:
    """The rules with those of the ignore files that stand in a directory of these names."""
    sets = rules.sets
    if not base and ".dockerignore" in names:
        text = _read(os.path.join(directory, ".dockerignore"))
        sets = _inserted(sets, RuleSet(docker_rules(text, file=".dockerignore"), parents=True), rank=3)
    for name, rank in ((".gitignore", 2), (".squallignore", 0)):
        if name in names:
            file = f"{base}/{name}" if base else name
            found = RuleSet(git_rules(_read(os.path.join(directory, name)), file=file), base=base)
            sets = _inserted(sets, found, rank=rank)
    return Rules(sets)


def machine_made(names: frozenset[str] | set[str]) -> str | None:
    """What gives a directory with these names away as made by a machine."""
    found = _STATE_DIRECTORY if names >= _STATE_DIRECTORY else _MADE_BY_MACHINES & names
    return min(found) if found else None


class _Walker:
    """Collects files, one directory after the other."""

    def __init__(self, root: str, limit: int) -> None:
        self.files: list[SourceFile] = []
        self._root = root
        self._real_root = os.path.join(os.path.realpath(root), "")
        self._limit = limit
        self._links_out: list[str] = []
        self._unreadable: list[str] = []

    def enter(self, directory: str, base: str, rules: Rules, above: tuple[str, ...]) -> None:
        """Add what ships of a directory. base: its relative path with a slash; above: links on the way, by target."""
        try:
            with os.scandir(directory) as scan:
                entries = list(scan)
        except OSError:
            self._unreadable.append(base or ".")
            return
        names = {entry.name for entry in entries}
        if base and machine_made(names):
            return
        if not names.isdisjoint((".gitignore", ".squallignore", ".dockerignore")):
            rules = with_rules_of(directory, base[:-1], rules, names)
        if len(self.files) > self._limit:
            raise SourceTooLarge(f"the source in {self._root} has more than {self._limit:,} files")
        ignoring = rules.ignoring
        for entry in entries:
            name = entry.name
            path = base + name
            if entry.is_symlink():
                self._link(entry, path, rules, above)
                continue
            is_directory = entry.is_dir(follow_symlinks=False)
            rule = ignoring(path, name, is_directory=is_directory)
            if rule is not None and not (is_directory and rules.may_ship_below(rule)):
                continue
            if is_directory:
                self.enter(entry.path, path + "/", rules, above)
            else:
                self._add(entry, path)

    def _add(self, entry: os.DirEntry[str], path: str) -> None:
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            return  # gone since it was listed
        if stat.S_ISREG(status.st_mode):
            times = (status.st_mtime_ns, status.st_ctime_ns)
            self.files.append(
                SourceFile(path, entry.path, status.st_mode, status.st_size, *times, status.st_ino)
            )

    def _link(self, entry: os.DirEntry[str], path: str, rules: Rules, above: tuple[str, ...]) -> None:
        target = os.path.realpath(entry.path)
        is_directory = os.path.isdir(target)
        if rules.ignoring(path, entry.name, is_directory=is_directory) is not None:
            return
        if not target.startswith(self._real_root):
            self._links_out.append(path)
            return
        if is_directory:
            # A link to a directory that it lies in, or that is being walked through another link, has no end.
            around = (*above, os.path.realpath(os.path.dirname(entry.path)))
            if not any(os.path.join(each, "").startswith(os.path.join(target, "")) for each in around):
                self.enter(entry.path, path + "/", rules, (*above, target))
        elif os.path.isfile(target):
            self.files.append(SourceFile.at(self._root, path, absolute=target))

    def notes(self) -> list[str]:
        """What the user should know."""
        notes = []
        if self._links_out:
            some = ", ".join(self._links_out[:_NOTED_LINKS])
            more = len(self._links_out) - _NOTED_LINKS
            notes.append(
                f"links that lead out of {self._root} do not ship: {some}"
                + (f" and {more} more" if more > 0 else "")
            )
        if self._unreadable:
            notes.append(
                f"directories that cannot be read do not ship: {', '.join(self._unreadable[:_NOTED_LINKS])}"
            )
        return notes


def _inserted(sets: tuple[RuleSet, ...], new: RuleSet, *, rank: int) -> tuple[RuleSet, ...]:
    """The sets with a new one: .squallignore (0) before the built-in (1) before .gitignore (2) before .dockerignore (3).

    Within a rank the newest first, since it stands deepest.
    """
    position = next((at for at, each in enumerate(sets) if _rank(each) >= rank), len(sets))
    return (*sets[:position], new, *sets[position:])


def _rank(each: RuleSet) -> int:
    if each is BUILT_IN_RULES:
        return 1
    if each.parents:
        return 3
    return 0 if each.rules and each.rules[0].file.endswith(".squallignore") else 2


def _rules_above(root: str) -> tuple[RuleSet, ...]:
    """The rules of the `.gitignore` files between the root and the top of the repository it lies in, inner first."""
    sets = []
    above = ""
    directory = root
    while not os.path.exists(os.path.join(directory, ".git")):
        parent, name = os.path.split(directory)
        if parent == directory or len(above) > 4096:
            return ()  # no repository: what lies above is none of ours
        above = f"{name}/{above}"
        directory = parent
        file = os.path.join(directory, ".gitignore")
        if os.path.isfile(file):
            sets.append(RuleSet(git_rules(_read(file), file=file), above=above))
    return tuple(sets)


def _names(directory: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(directory))
    except OSError:
        return frozenset()


def _read(file: str) -> str:
    try:
        with open(file, encoding="utf-8", errors="replace") as opened:
            return opened.read(_IGNORE_FILE_LIMIT)
    except OSError:
        return ""


__all__ = ["Place", "Rule", "SourceFile", "Walk", "machine_made", "rules_down_to", "walk", "with_rules_of"]
