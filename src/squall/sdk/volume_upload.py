"""Volume upload: files of this machine put into a volume, many as one version of it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType
from typing import IO, Any, Final, Self

from squall.blobs.chunks import CHUNK_BYTES, Cutter, Piece
from squall.blobs.digest import Digest, digest_of
from squall.blobs.manifest import ROOT, Attributes, Directory, Entry, File, Manifest, Part, Symlink, key
from squall.blobs.manifest_bytes import encode
from squall.blobs.path_names import names_in
from squall.context.fresh import fresh_id
from squall.model.errors import InvalidError, SourceChanged, SourceFileNotFound, VolumePathInvalid
from squall.model.ids import COMMIT
from squall.model.volume import MOST_AT_ONCE, inner_path
from squall.sdk.blocking import run_blocking, run_here
from squall.sdk.client import Client
from squall.sdk.lanes import ask
from squall.sdk.ship import missing, ship_bytes
from squall.sdk.who import who_asks

_AT_ONCE: Final = 16
_BATCH: Final = 32
"""Chunks that are read before it is asked which of them the server has: 16 MiB."""

_PATHS_BYTES: Final = 256 << 10
"""Of the paths of one message, before JSON makes more of them."""

_IN_MEMORY: Final = 4 << 20
_LINK_MODE: Final = 0o777


@dataclass(slots=True)
class Sent:
    """How far an upload is. files, bytes: of all that was put; done_bytes: of those that were read and are at the server.

    sent_bytes: those that the server did not have.
    """

    files: int = 0
    bytes: int = 0
    done_bytes: int = 0
    sent_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the bytes of a file are: at a path, or in a file that was filled before."""

    size: int
    attributes: Attributes
    path: str = ""
    spool: IO[bytes] | None = None


class Upload:
    """Files for a volume, for `with` or `async with`: at its end they become one version, and none where it ends with an exception.

    put_file(local_file, remote_path, mode=None): a file by its path, or one that is open for reading bytes.
    put_directory(local_path, remote_path, recursive=True): what is in a directory, with its links; sockets, pipes and devices
    are left out.
    """

    def __init__(self, of: Callable[[], Awaitable[str]], *, force: bool) -> None:
        self._of = of
        self._force = force
        self._entries: dict[str, Entry | _Source] = {}
        self.watch: Callable[[Sent], None] = lambda _sent: None
        self.sent = Sent()
        self.version: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                run_blocking(self._finish())
        finally:
            self._close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await run_here(self._finish())
        finally:
            self._close()

    def put_file(
        self, local_file: str | os.PathLike[str] | IO[bytes], remote_path: str, *, mode: int | None = None
    ) -> None:
        """A file, by its path or open for reading bytes, which are read now. mode: its permissions; those that it has.

        Raises SourceFileNotFound, VolumePathInvalid, InvalidError for what gives no bytes.
        """
        path = inner_path(remote_path)
        if path == ROOT or remote_path.endswith("/"):
            raise VolumePathInvalid(
                f"{remote_path!r} names no file",
                remedy="name the file too: put_file('a.txt', '/data/a.txt')",
                path=path,
            )
        if isinstance(local_file, str | os.PathLike):
            source = _at(os.fspath(local_file))
        else:
            source = _spooled(local_file)
        if mode is not None:
            source = replace(source, attributes=replace(source.attributes, mode=mode & 0o7777))
        self._put(path, source)

    def put_directory(
        self, local_path: str | os.PathLike[str], remote_path: str, *, recursive: bool = True
    ) -> None:
        """What is in a directory of this machine, into one of the volume. Raises SourceFileNotFound, VolumePathInvalid."""
        root, below = os.fspath(local_path), inner_path(remote_path)
        if not os.path.isdir(root):
            raise SourceFileNotFound(
                f"there is no directory {root}", remedy="name a directory of this machine"
            )
        if below:
            self._put_once(below, Directory(path=below, attributes=_attributes(os.stat(root))))
        waiting = [""]
        while waiting:
            inner = waiting.pop()
            with os.scandir(os.path.join(root, inner)) as found:
                for one in sorted(found, key=lambda one: one.name):
                    name = f"{inner}/{one.name}" if inner else one.name
                    path = inner_path(f"{below}/{name}")
                    if one.is_symlink():
                        self._put(path, _link(path, one))
                    elif one.is_dir():
                        if recursive:
                            self._put_once(path, Directory(path=path, attributes=_attributes(one.stat())))
                            waiting.append(name)
                    elif one.is_file():
                        self._put(path, _at(one.path))

    def _put(self, path: str, entry: Entry | _Source) -> None:
        if path in self._entries:
            raise VolumePathInvalid(f"{path!r} is put twice", remedy="put each path once", path=path)
        self._entries[path] = entry

    def _put_once(self, path: str, entry: Directory) -> None:
        if not isinstance(self._entries.get(path), Directory):
            self._put(path, entry)

    def _close(self) -> None:
        for source in self._entries.values():
            if isinstance(source, _Source) and source.spool is not None:
                source.spool.close()
        self._entries.clear()

    # -- on the loop

    async def _finish(self) -> None:
        if not self._entries:
            return
        of = await self._of()
        sources = {path: one for path, one in self._entries.items() if isinstance(one, _Source)}
        self.sent = Sent(files=len(sources), bytes=sum(one.size for one in sources.values()))
        self.watch(self.sent)
        if not self._force:
            await _check_free(of, list(sources))
        parts = await self._send(sources)
        manifest = _layer(self._entries, parts)
        changes = await ship_bytes(Client.here(), encode(manifest))
        head = {"volume": of, "id": fresh_id(COMMIT), "changes": changes, "force": self._force}
        why = f"{len(sources)} file{'s' if len(sources) != 1 else ''} uploaded"
        told = await ask("volume.upload", {**head, "who": who_asks(), "why": why})
        self.version = int(told.head()["version"])

    async def _send(self, sources: Mapping[str, _Source]) -> dict[str, tuple[Part, ...]]:
        """The parts of each file, once the server has their bytes. What comes next is read while this is sent."""
        reading = _Reading(sources)
        chunks = reading.chunks()
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="upload") as reader:
            coming = loop.run_in_executor(reader, _some, chunks)
            try:
                while batch := await coming:
                    coming = loop.run_in_executor(reader, _some, chunks)
                    await self._send_batch(dict(batch))
            finally:
                # Nobody closes the files while a thread reads them.
                await asyncio.gather(coming, return_exceptions=True)
        return reading.parts

    async def _send_batch(self, batch: dict[Digest, bytes]) -> None:
        turns, client = asyncio.Semaphore(_AT_ONCE), Client.here()
        wanted = await missing(client, list(batch))

        async def send(digest: Digest) -> None:
            async with turns:
                # Not forced: the server forces all that a version names before it has that.
                await ask("blob.put", {"digest": digest, "forced": False}, batch[digest])
                self.sent.sent_bytes += len(batch[digest])
                self.sent.done_bytes += len(batch[digest])
                self.watch(self.sent)

        await asyncio.gather(*map(send, wanted))
        self.sent.done_bytes += sum(len(batch[digest]) for digest in batch.keys() - set(wanted))
        self.watch(self.sent)


class _Reading:
    """Reads files into chunks: a large one into chunks of its own, small ones into shared ones, in the order of their paths."""

    def __init__(self, sources: Mapping[str, _Source]) -> None:
        self._sources = sources
        self.parts: dict[str, tuple[Part, ...]] = {}
        self._pieces: dict[int, list[Piece]] = {}

    def chunks(self) -> Iterator[tuple[Digest, bytes]]:
        """Each chunk with its digest; what they are parts of is known once all have come. Raises SourceChanged."""
        cutter = Cutter()
        shared, held = bytearray(), list[Piece]()
        for path in sorted(self._sources, key=names_in):
            source = self._sources[path]
            pieces = cutter.cut(path, source.size)
            if source.size >= CHUNK_BYTES:
                parts: list[Part] = []
                with _Open(source) as file:
                    for piece in pieces:
                        data = file.read(piece.length)
                        digest = digest_of(data)
                        parts.append(Part(chunk=digest, offset=0, length=piece.length))
                        yield digest, data
                self.parts[path] = tuple(parts)
                continue
            for piece in pieces:
                if held and held[0].chunk != piece.chunk:
                    yield self._shared(shared, held)
                    shared, held = bytearray(), []
                with _Open(source) as file:
                    shared += file.read(piece.length)
                held.append(piece)
            if not pieces:
                self.parts[path] = ()
        if held:
            yield self._shared(shared, held)

    def _shared(self, data: bytearray, held: list[Piece]) -> tuple[Digest, bytes]:
        digest = digest_of(data)
        for piece in held:
            self.parts[piece.path] = (Part(chunk=digest, offset=piece.offset, length=piece.length),)
        return digest, bytes(data)


class _Open:
    """A file that is read from its beginning to its end, which stays what it was seen to be."""

    def __init__(self, source: _Source) -> None:
        self._source = source
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        spool = self._source.spool
        if spool is not None:
            spool.seek(0)
        self._file = spool if spool is not None else open(self._source.path, "rb")
        self._check()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._file is not None
        try:
            if kind is None:
                self._check()
        finally:
            if self._source.spool is None:
                self._file.close()

    def read(self, size: int) -> bytes:
        """The next bytes. Raises SourceChanged where there are fewer."""
        assert self._file is not None
        data = self._file.read(size)
        if len(data) != size:
            raise self._changed()
        return data

    def _check(self) -> None:
        if self._source.spool is None:
            assert self._file is not None
            now = os.fstat(self._file.fileno())
            if (now.st_size, now.st_mtime_ns) != (self._source.size, self._source.attributes.mtime_ns):
                raise self._changed()

    def _changed(self) -> SourceChanged:
        return SourceChanged(f"{self._source.path} changed while it was being sent", path=self._source.path)


async def _check_free(of: str, paths: list[str]) -> None:
    """Raises VolumePathTaken, before anything is sent, where something is at one of these paths. That holds for now only."""
    some: list[str] = []
    size = 0
    for path in paths:
        some.append(path)
        size += len(path)
        if len(some) == MOST_AT_ONCE or size > _PATHS_BYTES or path is paths[-1]:
            await ask("volume.free", {"volume": of}, json.dumps(some).encode())
            some, size = [], 0


def _some(chunks: Iterator[tuple[Digest, bytes]]) -> list[tuple[Digest, bytes]]:
    return [chunk for chunk, _ in zip(chunks, range(_BATCH), strict=False)]


def _layer(entries: Mapping[str, Entry | _Source], parts: Mapping[str, tuple[Part, ...]]) -> Manifest:
    """What was put, with the directories above. Raises VolumePathInvalid for what lies in a file."""
    made = Attributes(mode=0o755, mtime_ns=time.time_ns())
    found: dict[str, Entry] = {ROOT: Directory(path=ROOT, attributes=made)}
    for path, one in entries.items():
        if isinstance(one, _Source):
            found[path] = File(path=path, attributes=one.attributes, size=one.size, parts=parts[path])
        else:
            found[path] = one
    for path in entries:
        names = path.split("/")
        for count in range(1, len(names)):
            above = "/".join(names[:count])
            if not isinstance(found.setdefault(above, Directory(path=above, attributes=made)), Directory):
                raise VolumePathInvalid(f"{path!r} lies in {above!r}, which is put as a file", path=path)
    return Manifest(tuple(sorted(found.values(), key=key)))


def _at(path: str) -> _Source:
    try:
        seen = os.stat(path)
    except OSError as problem:
        raise SourceFileNotFound(
            f"{path} cannot be read: {problem.strerror}", remedy="name a file of this machine"
        ) from problem
    if not stat.S_ISREG(seen.st_mode):
        raise InvalidError(
            f"{path} is no file",
            remedy="put a directory with `put_directory`; pipes and devices cannot be put",
        )
    return _Source(size=seen.st_size, attributes=_attributes(seen), path=path)


def _spooled(file: Any) -> _Source:
    spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed with the upload
    try:
        shutil.copyfileobj(file, spool, 1 << 20)
    except (TypeError, AttributeError) as problem:
        spool.close()
        raise InvalidError(
            f"{file!r:.90} gives no bytes: {problem}", remedy="open it for reading bytes: open(path, 'rb')"
        ) from problem
    attributes = Attributes(mode=0o644, mtime_ns=time.time_ns())
    return _Source(size=spool.tell(), attributes=attributes, spool=spool)


def _link(path: str, one: os.DirEntry[str]) -> Symlink:
    mtime_ns = one.stat(follow_symlinks=False).st_mtime_ns
    attributes = Attributes(mode=_LINK_MODE, mtime_ns=mtime_ns)
    return Symlink(path=path, attributes=attributes, target=os.readlink(one.path))


def _attributes(seen: os.stat_result) -> Attributes:
    return Attributes(mode=stat.S_IMODE(seen.st_mode), mtime_ns=seen.st_mtime_ns)
