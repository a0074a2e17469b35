"""A kernel for tests: walks paths and makes system calls of them, by the requests that a real one makes."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import struct
from itertools import count
from typing import Any

from squall.blobs.buckets import fuse
from squall.blobs.buckets.file_system import FileSystem
from squall.blobs.buckets.fuse import Opcode


class Kernel:
    """What it asks of one mount. Each method is a system call, and raises OSError as that does."""

    def __init__(self, files: FileSystem) -> None:
        self._files = files
        self._numbers = count(1)

    async def ask(self, opcode: int, node: int, body: bytes = b"") -> bytes:
        request = fuse.parse(fuse.packed(opcode, next(self._numbers), node, body))
        reply = self._files.now(request)
        return bytes(await self._files.answer(request) if reply is None else reply)

    async def look_up(self, path: str) -> int:
        """The node at a path."""
        node, folder = fuse.ROOT, True
        for name in filter(None, path.split("/")):
            if not folder:
                raise OSError(errno.ENOTDIR, path)
            entry = await self.ask(Opcode.LOOKUP, node, name.encode() + b"\0")
            node, folder = node_of(entry), stat.S_ISDIR(struct.unpack_from("=I", entry, 100)[0])
        return node

    async def folder(self, path: str) -> int:
        """The node of a folder."""
        node = await self.look_up(path)
        if path and not (await self.stat(path))[0]:
            raise OSError(errno.ENOTDIR, path)
        return node

    async def stat(self, path: str) -> tuple[bool, int]:
        """Whether it is a folder, and its size."""
        answer = await self.ask(Opcode.GETATTR, await self.look_up(path), struct.pack("=IIQ", 0, 0, 0))
        _, size, *rest = struct.unpack_from("=6Q4I", answer, 16)
        return stat.S_ISDIR(rest[-1]), size

    async def open(self, path: str, flags: int = os.O_RDONLY) -> int:
        if flags & os.O_CREAT and not await self.exists(path):
            folder, _, name = path.rpartition("/")
            body = struct.pack("=IIII", flags, 0o644, 0o022, 0) + name.encode() + b"\0"
            answer = await self.ask(Opcode.CREATE, await self.folder(folder), body)
            return int(struct.unpack_from("=Q", answer, 128)[0])
        node = await self.look_up(path)
        answer = await self.ask(Opcode.OPEN, node, struct.pack("=II", flags & ~os.O_CREAT, 0))
        return int(struct.unpack_from("=Q", answer)[0])

    async def exists(self, path: str) -> bool:
        try:
            await self.look_up(path)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    async def pwrite(self, handle: int, offset: int, data: bytes) -> None:
        await self.ask(Opcode.WRITE, 0, fuse.packed_transfer(handle, offset, len(data)) + data)

    async def pread(self, handle: int, offset: int, size: int) -> bytes:
        return await self.ask(Opcode.READ, 0, fuse.packed_transfer(handle, offset, size))

    async def close(self, handle: int) -> None:
        try:
            await self.ask(Opcode.FLUSH, 0, struct.pack("=QIIQ", handle, 0, 0, 0))
        finally:
            await self.ask(Opcode.RELEASE, 0, struct.pack("=QIIQ", handle, 0, 0, 0))

    async def write(self, path: str, data: bytes, flags: int = os.O_CREAT | os.O_TRUNC) -> None:
        """Opens, writes from the front, closes."""
        handle = await self.open(path, os.O_WRONLY | flags)
        await self.pwrite(handle, 0, data)
        await self.close(handle)

    async def append(self, path: str, data: bytes) -> None:
        handle = await self.open(path, os.O_WRONLY)
        _, size = await self.stat(path)
        await self.pwrite(handle, size, data)
        await self.close(handle)

    async def read(self, path: str) -> bytes:
        handle = await self.open(path)
        parts, offset = [], 0
        while part := await self.pread(handle, offset, 128 * 1024):
            parts.append(part)
            offset += len(part)
        await self.close(handle)
        return b"".join(parts)

    async def truncate(self, path: str, size: int) -> None:
        await self.ask(Opcode.SETATTR, await self.look_up(path), fuse.packed_change(fuse.SET_SIZE, size=size))

    async def mkdir(self, path: str) -> None:
        folder, _, name = path.rpartition("/")
        node = await self.folder(folder)
        await self.ask(Opcode.MKDIR, node, struct.pack("=II", 0o755, 0o022) + name.encode() + b"\0")

    async def unlink(self, path: str) -> None:
        await self._remove(Opcode.UNLINK, path)

    async def rmdir(self, path: str) -> None:
        await self._remove(Opcode.RMDIR, path)

    async def rename(self, old: str, new: str, flags: int = 0) -> None:
        (at, _, name), (to, _, other) = old.rpartition("/"), new.rpartition("/")
        source = await self.folder(at)
        body = struct.pack("=QII", await self.folder(to), flags, 0)
        body += name.encode() + b"\0" + other.encode() + b"\0"
        # As a real one does, which then knows what it is.
        await self.look_up(old)
        await self.ask(Opcode.RENAME2, source, body)

    async def listdir(self, path: str) -> list[str]:
        node = await self.look_up(path)
        handle = int(
            struct.unpack_from("=Q", await self.ask(Opcode.OPENDIR, node, struct.pack("=II", 0, 0)))[0]
        )
        names: list[str] = []
        offset = 0
        while data := await self.ask(Opcode.READDIR, node, fuse.packed_transfer(handle, offset, 200)):
            while data:
                _, offset, size, _ = struct.unpack_from("=QQII", data)
                names.append(data[24 : 24 + size].decode())
                data = data[-(-(24 + size) // 8) * 8 :]
        await self.ask(Opcode.RELEASEDIR, node, struct.pack("=QIIQ", handle, 0, 0, 0))
        return [name for name in names if name not in {".", ".."}]

    async def _remove(self, opcode: Opcode, path: str) -> None:
        folder, _, name = path.rpartition("/")
        # As a real one does, which then knows what it is.
        await self.look_up(path)
        await self.ask(opcode, await self.folder(folder), name.encode() + b"\0")


def node_of(entry: bytes) -> int:
    return int(struct.unpack_from("=Q", entry)[0])


def run(work: Any) -> Any:
    """What a coroutine gives, in a loop of its own."""
    return asyncio.run(work)
