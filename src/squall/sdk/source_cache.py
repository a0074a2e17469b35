"""Remembers digests and imports of source files that have not changed since."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable
from typing import Any, Final

from squall.blobs.chunks import CHUNK_BYTES
from squall.blobs.digest import Digest, digest_of, is_digest
from squall.blobs.local_files import LocalDirectory, LocalFile, LocalLink, local_manifest
from squall.model.errors import SourceChanged
from squall.sdk.imports import names_in
from squall.sdk.ship import LocalTree, Place
from squall.sdk.source_walk import SourceFile

_VERSION: Final = 2
# A file may be written twice within one tick of the file system's clock; until then its times prove nothing.
_TICK_NS: Final = 1_000_000_000


class SourceCache:
    """What is known of files, by path, size, times and inode; kept in one small file, or only here when that is None.

    A cache file that is missing, damaged or not to be written costs time only.
    """

    def __init__(self, file: str | None) -> None:
        self._file = file
        self._known = _load(file) if file else {}
        self._used: dict[str, list[Any]] = {}
        self._changed = False

    @classmethod
    def for_root(cls, directory: str, root: str) -> SourceCache:
        """The cache of the sources below `root`, in a directory that holds the caches of all."""
        name = hashlib.sha256(os.path.abspath(root).encode(errors="surrogateescape")).hexdigest()[:32]
        return cls(os.path.join(directory, f"source-{name}.json"))

    def chunks(self, file: SourceFile) -> tuple[Digest, ...]:
        """The digests of each CHUNK_BYTES of the file. Raises SourceChanged when it changes while it is read, OSError when it cannot be."""
        return tuple(map(Digest, self._entry(file)[4]))

    def imports(self, file: SourceFile) -> frozenset[str]:
        """The modules that a Python file imports; none for any other file."""
        return frozenset(self._entry(file)[5])

    def tree(
        self,
        files: Iterable[SourceFile],
        others: Iterable[LocalLink | LocalDirectory] = (),
        *,
        below: str = "",
    ) -> LocalTree:
        """The files and what is beside them as a manifest; saves what is new. below: a directory that all are put into."""
        found: list[LocalFile] = []
        places: dict[Digest, Place] = {}
        for file in files:
            chunks = self.chunks(file)
            places.update(
                (chunk, Place(file.absolute, number * CHUNK_BYTES)) for number, chunk in enumerate(chunks)
            )
            found.append(
                LocalFile(path=file.path, size=file.size, chunks=chunks, executable=bool(file.mode & 0o111))
            )
        self.save()
        return LocalTree(local_manifest([*found, *others], below=below), places)

    def save(self) -> None:
        """Write what is known of the files that were asked for, if it is not written already."""
        if self._file is None or not (self._changed or self._used.keys() != self._known.keys()):
            return
        text = json.dumps({"version": _VERSION, "files": self._used}, separators=(",", ":"))
        try:
            os.makedirs(os.path.dirname(self._file), mode=0o700, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=os.path.dirname(self._file))
            with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as opened:
                opened.write(text)
            os.replace(name, self._file)
        except OSError:
            return  # a read-only or full disk: the next run reads the files again
        self._known = dict(self._used)
        self._changed = False

    def _entry(self, file: SourceFile) -> list[Any]:
        seen = [file.size, file.mtime_ns, file.ctime_ns, file.inode]
        entry = self._used.get(file.absolute) or self._known.get(file.absolute)
        if entry is None or entry[:4] != seen:
            entry = [*seen, *_read(file)]
            self._changed = True
        if max(file.mtime_ns, file.ctime_ns) < time.time_ns() - _TICK_NS:
            self._used[file.absolute] = entry
        return entry


def _read(file: SourceFile) -> tuple[list[Digest], list[str]]:
    """The digests of the chunks and the imports of a file, read once."""
    chunks: list[Digest] = []
    size = 0
    start = b""
    with open(file.absolute, "rb") as opened:
        while part := opened.read(CHUNK_BYTES):
            chunks.append(digest_of(part))
            size += len(part)
            start = start or part
    after = os.stat(file.absolute)
    if size != file.size or after.st_mtime_ns != file.mtime_ns:
        raise SourceChanged(f"{file.absolute} changed while it was read", path=file.absolute)
    return chunks, sorted(names_in(start)) if file.path.endswith(".py") else []


def _load(file: str) -> dict[str, list[Any]]:
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as opened:
            told = json.load(opened)
        files = told["files"] if told["version"] == _VERSION else {}
        return {path: entry for path, entry in files.items() if _is_entry(entry)}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _is_entry(entry: list[Any]) -> bool:
    return len(entry) == 6 and len(entry[4]) == -(-entry[0] // CHUNK_BYTES) and all(map(is_digest, entry[4]))
