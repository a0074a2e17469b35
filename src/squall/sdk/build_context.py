"""Build context: which local files the COPY and ADD of a Dockerfile see, and no others."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from squall.blobs.local_files import LocalDirectory, LocalLink
from squall.images.dockerfile import Copy, Dockerfile
from squall.images.dockerfile.sources import named_by
from squall.model.errors import InvalidError, SourceFileNotFound, SourceTooLarge
from squall.sdk.ignore import Rules, RuleSet, docker_rules
from squall.sdk.source_walk import SourceFile

_Entry = SourceFile | LocalLink | LocalDirectory

FILES_LIMIT: Final = 200_000
_IGNORE_FILE_LIMIT: Final = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a context lies. stays: whether a path of the directory stays away. files: local files by paths of the context,
    which win over what is in the directory.
    """

    directory: str
    stays: Callable[[str], bool]
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildContext:
    """What a Dockerfile sees of this machine. others: links, as they are, and directories with nothing in them."""

    files: tuple[SourceFile, ...] = ()
    others: tuple[LocalLink | LocalDirectory, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to ship."""
        return not self.files and not self.others


def build_context(dockerfile: Dockerfile, place: Place) -> BuildContext:
    """What the COPY and ADD of these stages see in the context.

    Raises SourceFileNotFound for a directory that is not there, InvalidError naming the line for a COPY that finds
    nothing, and SourceTooLarge.
    """
    copies = [
        step
        for stage in dockerfile.stages
        for step in stage.steps
        if isinstance(step, Copy) and step.stage is None and not step.image and step.sources
    ]
    if not copies:
        return BuildContext()
    top = os.path.abspath(os.path.expanduser(place.directory))
    if not os.path.isdir(top):
        raise SourceFileNotFound(f"the context {top} is no directory", path=top)
    seen = _Seen(top, place)
    for copy in copies:
        for source in copy.sources:
            if not seen.want(source):
                raise _nothing_found(copy, source, top)
    return seen.context()


def ignore_of(directory: str, dockerfile: str = "") -> Callable[[str], bool]:
    """Whether a path of a context stays away, by DOCKERFILE.dockerignore or else the context's own .dockerignore."""
    top = os.path.abspath(os.path.expanduser(directory))
    own = [os.path.expanduser(f"{dockerfile}.dockerignore")] if dockerfile else []
    for file in (*own, os.path.join(top, ".dockerignore")):
        try:
            with open(file, encoding="utf-8-sig", errors="replace") as opened:
                return by_patterns(opened.read(_IGNORE_FILE_LIMIT))
        except OSError:
            continue
    return by_patterns("")


def by_patterns(text: str) -> Callable[[str], bool]:
    """Whether a path stays away, by the lines of a .dockerignore."""
    rules = Rules((RuleSet(docker_rules(text, file="ignore="), parents=True),))
    return lambda path: rules.ignoring(path, PurePosixPath(path).name, is_directory=False) is not None


class _Seen:
    """The entries of a context: those that were looked for, and those of them that are meant."""

    def __init__(self, top: str, place: Place) -> None:
        self._top = top
        self._place = place
        self._known: dict[str, _Entry] = {path: _file(path, local) for path, local in place.files.items()}
        self._hidden = {parent for path in place.files for parent in _parents(path)}
        self._walked: set[str] = set()
        self._ordered: list[str] | None = None
        self._meant: dict[str, _Entry] = {}

    def want(self, source: str) -> bool:
        """Adds what a source means: a path or a pattern, and all below it. Whether there is anything."""
        behind = next((path for path in _parents(source) if os.path.islink(self._at(path))), None)
        if behind is not None:
            # `COPY current/app /app`, where current is a link: what is copied lies behind it.
            self._look(behind)
            self._add(behind)
            return os.path.exists(self._at(source))
        self._look(_before_patterns(source))
        is_named = named_by(source)
        found = [path for path in self._known if source == "." or any(map(is_named, [path, *_parents(path)]))]
        for path in found:
            self._add(path)
        return source == "." or bool(found)

    def context(self) -> BuildContext:
        """All that is meant."""
        meant = [self._meant[path] for path in sorted(self._meant)]
        return BuildContext(
            files=tuple(entry for entry in meant if isinstance(entry, SourceFile)),
            others=tuple(entry for entry in meant if not isinstance(entry, SourceFile)),
        )

    def _at(self, path: str) -> str:
        return os.path.join(self._top, path)

    def _look(self, start: str) -> None:
        """Makes known what is at or below a path; "" is the whole context. Raises SourceTooLarge."""
        if not self._walked.isdisjoint(("", start, *_parents(start))):
            return
        self._walked.add(start)
        self._ordered = None
        for path, entry in _walk(self._top, start, self._place.stays):
            if path in self._hidden or not self._place.files.keys().isdisjoint((path, *_parents(path))):
                continue
            self._known[path] = entry
            if len(self._known) > FILES_LIMIT:
                raise SourceTooLarge(
                    f"the context {self._top} has more than {FILES_LIMIT:,} files",
                    remedy="name what no COPY needs in a .dockerignore, or choose a smaller context_dir",
                )

    def _add(self, path: str) -> None:
        """Adds an entry, and of a link what it leads to, as far as that is in the context."""
        waiting = [path]
        while waiting:
            path = waiting.pop()
            if path in self._meant or path not in self._known:
                continue
            self._meant[path] = entry = self._known[path]
            if isinstance(entry, LocalLink):
                target = os.path.relpath(os.path.realpath(self._at(path)), os.path.realpath(self._top))
                if target.split("/")[0] != os.pardir:
                    waiting += self._at_or_below("" if target == os.curdir else target)

    def _at_or_below(self, path: str) -> list[str]:
        """The entries at or below a path, which is looked at for it; a context may have very many links."""
        self._look(path)
        if path in self._known:
            return [path]
        if self._ordered is None:
            self._ordered = sorted(self._known)
        if not path:
            return self._ordered
        # What begins with "path/" stands together: "0" is the letter after "/".
        first, last = (bisect_left(self._ordered, path + end) for end in ("/", "0"))
        return self._ordered[first:last]


def _walk(top: str, start: str, stays: Callable[[str], bool]) -> Iterator[tuple[str, _Entry]]:
    """Files, links and empty directories at or below a path of a context that do not stay away, by their paths."""
    if start and not stays(start):
        yield from _entry(top, start)
    first = os.path.join(top, start)
    for here, directories, names in () if os.path.islink(first) else os.walk(first, onerror=_unreadable):
        below = os.path.relpath(here, top)
        base = "" if below == os.curdir else f"{below}/"
        directories.sort()
        links = [name for name in directories if os.path.islink(os.path.join(here, name))]
        is_empty = bool(base) and not directories
        for name in sorted([*names, *links]):
            for path, entry in () if stays(base + name) else _entry(top, base + name):
                is_empty = False
                yield path, entry
        if is_empty and not stays(base[:-1]):
            yield base[:-1], LocalDirectory(path=base[:-1])


def _entry(top: str, path: str) -> Iterator[tuple[str, _Entry]]:
    """A file or a link; nothing for what cannot be copied by itself: a directory, a socket."""
    place = os.path.join(top, path)
    try:
        if os.path.islink(place):
            yield path, LocalLink(path=path, target=os.readlink(place))
        elif os.path.isfile(place):
            yield path, SourceFile.at(top, path)
    except OSError as problem:
        _unreadable(problem)


def _before_patterns(source: str) -> str:
    """The path down to which a source is no pattern; "" for the whole context."""
    names = source.split("/")
    plain = next((at for at, name in enumerate(names) if set(name) & set("*?[\\")), len(names))
    return "" if source == "." else "/".join(names[:plain])


def _unreadable(problem: OSError) -> None:
    if isinstance(problem, FileNotFoundError | NotADirectoryError):
        return  # there is none, which whoever looks for it says, or it is gone since it was listed
    raise SourceFileNotFound(
        f"a part of the context cannot be read: {problem}",
        path=str(problem.filename),
        remedy="let yourself read it, name it in a .dockerignore, or choose another context_dir",
    ) from None


def _file(path: str, local: str) -> SourceFile:
    place = os.path.abspath(os.path.expanduser(local))
    if not os.path.isfile(place):
        raise SourceFileNotFound(f"context_files: {place} is no file", path=place)
    return SourceFile.at("", path, absolute=place)


def _parents(path: str) -> list[str]:
    names = path.split("/")
    return ["/".join(names[:count]) for count in range(1, len(names))]


def _nothing_found(copy: Copy, source: str, top: str) -> InvalidError:
    stays = " but what is ignored" if os.path.lexists(os.path.join(top, source)) else ""
    return InvalidError(
        f"line {copy.line} of the Dockerfile: there is no {source!r} in the context {top}{stays}",
        remedy="check the path, which is relative to context_dir, and the .dockerignore",
        line=copy.line,
    )
