"""Layout: a directory with images in it, as OCI says it is laid out."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import stat
from collections.abc import AsyncIterable, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from squall.blobs.blob_store import PART_BYTES
from squall.blobs.digest import Bytes, Digest, Digester, digest_of, parse_digest
from squall.blobs.threads import on_disk
from squall.images.oci.nouns import (
    MAX_DOCUMENT_BYTES,
    Descriptor,
    ImageIndex,
    index_bytes,
    read_index,
)
from squall.model.errors import DigestMismatch, ImageDocumentInvalid, NotFoundError
from squall.wire.rights import close_all

T = TypeVar("T")

REF_NAME: Final = (
    "org.opencontainers.image.ref.name"  # the annotation that gives an image its name in a layout
)

_MARK: Final = "oci-layout"
_INDEX: Final = "index.json"
_VERSION: Final = "1.0.0"
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Layout:
    """An image layout in a directory. Paths in it are made of digests only, and no link in it is followed.

    What is read is compared with its descriptor. Used by one task at a time; made by `open` or `create`, and closed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="layout")
        self._root = self._blobs = -1

    @classmethod
    async def open(cls, directory: Path) -> Layout:
        """The layout in this directory. Raises ImageDocumentInvalid where there is none, or one of another version."""
        return await cls._ready(directory, Layout._open)

    @classmethod
    async def create(cls, directory: Path) -> Layout:
        """A layout without images in this new directory. Raises StateDirectoryError, also where it is there already."""
        return await cls._ready(directory, Layout._create)

    @classmethod
    async def _ready(cls, directory: Path, make: Callable[[Layout], None]) -> Layout:
        layout = cls(directory)
        try:
            await layout._away(lambda: make(layout))
        except BaseException:
            layout.close()
            raise
        return layout

    async def index(self) -> ImageIndex:
        """What images there are. Raises ImageDocumentInvalid."""
        return read_index(await self._away(lambda: self._small(self._root, _INDEX)))

    async def document(self, descriptor: Descriptor) -> bytes:
        """The bytes of a document. Raises DigestMismatch, ImageDocumentInvalid, NotFoundError."""
        data = await self._away(lambda: self._small(self._blobs, descriptor.digest))
        arrived = digest_of(data)
        if arrived != descriptor.digest or len(data) != descriptor.size:
            raise DigestMismatch(
                f"{descriptor.digest} in {str(self._directory)!r} is not what its name says",
                announced=descriptor.digest,
                arrived=arrived,
            )
        return data

    async def stream(self, descriptor: Descriptor) -> AsyncIterator[bytes]:
        """The bytes of a blob, as they are: whoever takes them compares them. Raises NotFoundError."""
        fd = await self._away(lambda: self._opened(self._blobs, descriptor.digest))
        try:
            while part := await self._away(lambda: os.read(fd, PART_BYTES)):
                yield part
        finally:
            os.close(fd)

    async def put(self, data: Bytes | AsyncIterable[Bytes], media_type: str) -> Descriptor:
        """Keeps a blob, and gives what describes it."""
        name = f"incoming-{secrets.token_hex(16)}"
        digester = Digester()
        opened: list[int] = []
        try:
            await self._away(lambda: opened.append(os.open(name, _NEW, 0o644, dir_fd=self._blobs)))
            if isinstance(data, bytes | bytearray | memoryview):
                await self._away(partial(_fill, opened[0], digester, data))
            else:
                async for part in data:
                    await self._away(partial(_fill, opened[0], digester, part))
            digest = digester.digest()
            await self._away(partial(self._settle, opened[0], name, digest))
        finally:
            close_all(opened)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._blobs)
        return Descriptor(media_type=media_type, digest=digest, size=digester.size)

    async def name(self, index: ImageIndex) -> None:
        """Makes `index` what images there are: at once, once all that it leads to was put."""
        await self._away(lambda: self._replace(_INDEX, index_bytes(index)))

    def close(self) -> None:
        """Closes the layout; a second time does nothing."""
        self._threads.shutdown(wait=True)
        for fd in (self._root, self._blobs):
            if fd >= 0:
                os.close(fd)
        self._root = self._blobs = -1

    async def _away(self, work: Callable[[], T]) -> T:
        """The one place from which a layout leaves for a thread."""
        return await on_disk(self._threads, self._directory, work)

    # Everything below runs in a thread.

    def _open(self) -> None:
        self._root = os.open(self._directory, _DIRECTORY)
        try:
            said = json.loads(self._small(self._root, _MARK))
            self._blobs = self._way("blobs", "sha256")
        except NotFoundError as error:
            raise ImageDocumentInvalid(
                f"{str(self._directory)!r} is no image layout: {error.message}"
            ) from error
        except (ValueError, RecursionError) as error:
            raise ImageDocumentInvalid(
                f"{str(self._directory)!r} is no image layout: {_MARK} is no JSON"
            ) from error
        if not isinstance(said, dict) or said.get("imageLayoutVersion") != _VERSION:
            raise ImageDocumentInvalid(f"{str(self._directory)!r} is a layout of a version that nobody knows")

    def _create(self) -> None:
        os.mkdir(self._directory, 0o755)
        self._root = os.open(self._directory, _DIRECTORY)
        os.mkdir("blobs", 0o755, dir_fd=self._root)
        os.mkdir("blobs/sha256", 0o755, dir_fd=self._root)
        self._blobs = self._way("blobs", "sha256")
        self._replace(_INDEX, index_bytes(ImageIndex(manifests=())))
        # Last: who finds it finds a whole layout.
        self._replace(_MARK, json.dumps({"imageLayoutVersion": _VERSION}).encode())

    def _way(self, *names: str) -> int:
        fd = os.dup(self._root)
        for name in names:
            try:
                below = os.open(name, _DIRECTORY, dir_fd=fd)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise NotFoundError(f"it has no directory {name!r}") from error
            finally:
                os.close(fd)
            fd = below
        return fd

    def _opened(self, directory: int, name: str) -> int:
        """A descriptor of a regular file. Raises NotFoundError where there is none, or a link."""
        if directory == self._blobs:
            parse_digest(name)
        try:
            fd = os.open(name, _READ, dir_fd=directory)
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ELOOP, errno.ENXIO}:
                raise
            raise NotFoundError(
                f"{str(self._directory)!r} has no {name}: {error.strerror}",
                remedy="copy the whole layout again; a part of it is missing",
            ) from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise NotFoundError(f"{name} in {str(self._directory)!r} is no file")
        return fd

    def _small(self, directory: int, name: str) -> bytes:
        with open(self._opened(directory, name), "rb") as file:
            data = file.read(MAX_DOCUMENT_BYTES + 1)
        if len(data) > MAX_DOCUMENT_BYTES:
            raise ImageDocumentInvalid(f"the document {name} has more than {MAX_DOCUMENT_BYTES} bytes")
        return data

    def _replace(self, name: str, data: bytes) -> None:
        temporary = f"incoming-{secrets.token_hex(16)}"
        fd = os.open(temporary, _NEW, 0o644, dir_fd=self._root)
        try:
            _fill(fd, Digester(), data)
            os.fsync(fd)
            os.rename(temporary, name, src_dir_fd=self._root, dst_dir_fd=self._root)
        except BaseException:
            os.unlink(temporary, dir_fd=self._root)
            raise
        finally:
            os.close(fd)
        os.fsync(self._root)

    def _settle(self, fd: int, name: str, digest: Digest) -> None:
        os.fsync(fd)
        os.rename(name, digest, src_dir_fd=self._blobs, dst_dir_fd=self._blobs)
        os.fsync(self._blobs)


def _fill(fd: int, digester: Digester, part: Bytes) -> None:
    digester.update(part)
    rest = memoryview(part).cast("B")
    while rest:
        rest = rest[os.write(fd, rest) :]
