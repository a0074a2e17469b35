"""Serving: one open FUSE device, from the kernel's greeting to its unmounting."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from typing import Final

from squall.blobs.buckets import fuse
from squall.blobs.buckets.file_system import FileSystem, Reply
from squall.blobs.buckets.fuse import Opcode, Request

_TURN: Final = 16  # requests before others have theirs
_GONE: Final = frozenset({errno.ENODEV, errno.EBADF})
_NOT_NOW: Final = frozenset({errno.EAGAIN, errno.EINTR, errno.ENOENT})
_FORGET: Final = frozenset({Opcode.FORGET, Opcode.BATCH_FORGET})
# What changes nothing, so that whoever was interrupted may go: the others end as a whole.
_MAY_STOP: Final = frozenset(
    {Opcode.LOOKUP, Opcode.GETATTR, Opcode.OPEN, Opcode.READ, Opcode.OPENDIR, Opcode.READDIR}
)


class Serving:
    """Reads requests from `device`, which it owns, and answers them. ended: called once it is unmounted."""

    def __init__(self, device: int, files: FileSystem, ended: Callable[[Serving], None]) -> None:
        self._device = device
        self._files = files
        self._ended = ended
        self._buffer = bytearray(fuse.REQUEST_BYTES)
        self._view = memoryview(self._buffer)
        self._under_way: dict[int, tuple[int, asyncio.Task[None]]] = {}
        self._loop = asyncio.get_running_loop()
        os.set_blocking(device, False)
        self._loop.add_reader(device, self._on_readable)

    def close(self) -> None:
        """Lets go of the device: whoever uses the mount finds it dead (ENOTCONN)."""
        if self._device < 0:
            return
        self._loop.remove_reader(self._device)
        for _, task in self._under_way.values():
            task.cancel()
        os.close(self._device)
        self._device = -1
        self._files.close()
        self._ended(self)

    def _on_readable(self) -> None:
        for _ in range(_TURN):
            try:
                size = os.readv(self._device, [self._buffer])
            except OSError as problem:
                if problem.errno in _NOT_NOW:
                    return
                if problem.errno not in _GONE:
                    raise
                self.close()
                return
            try:
                request = fuse.parse(self._view[:size])
            except fuse.MalformedError:
                self.close()
                return
            self._take(request)
            if self._device < 0:
                return

    def _take(self, request: Request) -> None:
        try:
            if request.opcode in _FORGET:
                self._files.forget(request)
            elif request.opcode == Opcode.INTERRUPT:
                self._interrupt(fuse.interrupted(request))
            elif request.opcode == Opcode.INIT:
                hello = fuse.greeting(request.body)
                self._reply(request, OSError(errno.EPROTO, "too old") if hello is None else hello)
            elif request.opcode == Opcode.DESTROY:
                self._reply(request, b"")
                self.close()
            elif (reply := self._files.now(request)) is not None:
                self._reply(request, reply)
            else:
                self._under_way[request.unique] = (
                    request.opcode,
                    self._loop.create_task(self._answer(request)),
                )
        except fuse.MalformedError:
            self._reply(request, OSError(errno.EIO, "malformed"))
        except OSError as problem:
            self._reply(request, problem)
        except Exception as problem:  # noqa: BLE001 - as below
            self._reply(request, self._broken(problem))

    async def _answer(self, request: Request) -> None:
        reply: Reply | OSError
        try:
            reply = await self._files.answer(request)
        except OSError as problem:
            reply = problem
        except asyncio.CancelledError:
            reply = OSError(errno.EINTR, "interrupted")
        except Exception as problem:  # noqa: BLE001 - whatever it is: somebody waits in the kernel, and cannot be killed meanwhile
            reply = self._broken(problem)
        finally:
            self._under_way.pop(request.unique, None)
        self._reply(request, reply)

    def _broken(self, problem: Exception) -> OSError:
        self._files.say(f"a request could not be answered: {problem!r}")
        return OSError(errno.EIO, "broken")

    def _interrupt(self, unique: int) -> None:
        opcode, task = self._under_way.get(unique, (0, None))
        if task is not None and opcode in _MAY_STOP:
            task.cancel()

    def _reply(self, request: Request, reply: Reply | OSError) -> None:
        if self._device < 0:
            return
        data: list[bytes | memoryview]
        if isinstance(reply, OSError):
            data = [fuse.answer(request.unique, error=reply.errno or errno.EIO)]
        else:
            data = [fuse.answer(request.unique, len(reply)), reply]
        try:
            os.writev(self._device, data)
        except OSError as problem:
            # Nobody waits for it any more, or nobody is there: then the reader finds out.
            if problem.errno not in _GONE | _NOT_NOW:
                raise
