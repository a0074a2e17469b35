"""The link to a process that serves one bucket: started, asked, watched, told to end."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from squall.blobs.buckets.names import CONTROL, DOOR
from squall.blobs.buckets.source import Source
from squall.model.errors import BucketMountFailed, Error
from squall.runtime.spawn import spawn_with_input
from squall.wire.address import address_of, peer_of

START_S: Final = 15.0
LOOK_S: Final = 90.0
PING_S: Final = 5.0
SILENT_S: Final = 40.0
"""After so long without an answer it is killed: whoever waits for a file then gets an error, and no end of waiting."""
_log: Final = logging.getLogger("squall.agent")


class BucketLink:
    """One process, by the name of its directory. said: what it has to say of its bucket; lost: called once when it is gone."""

    def __init__(self, directory: Path) -> None:
        self.name = directory.name
        self.directory = directory
        self.pid = 0
        self.good = False
        self.said: Callable[[str], None] = lambda _text: None
        self.lost: Callable[[], None] = lambda: None
        self._writer: asyncio.StreamWriter | None = None
        self._answers: dict[int, asyncio.Future[dict[str, Any] | None]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._heard_s = 0.0
        self._asked = 0

    @property
    def door(self) -> str:
        """The directory that containers' first processes find it by."""
        return str(self.directory / DOOR)

    async def start(self, source: Source, *, log: Path) -> None:
        """Starts the process, which is told its keys through a pipe. Raises BucketMountFailed, OSError."""
        door = self.directory / DOOR
        self.directory.mkdir(mode=0o700, exist_ok=True)
        door.mkdir(exist_ok=True)
        # Containers' first processes may be other users, and are shown this one alone: those above are closed to others.
        door.chmod(0o711)
        (self.directory / CONTROL).unlink(missing_ok=True)
        pid = await asyncio.to_thread(
            spawn_with_input,
            "squall.blobs.buckets",
            str(self.directory),
            text=json.dumps(source.to_json()).encode(),
            log=str(log),
        )
        try:
            async with asyncio.timeout(START_S):
                while not await self.dial():
                    if os.waitpid(pid, os.WNOHANG)[0]:  # noqa: ASYNC222 - it does not wait
                        raise self._failed(source, "it ended as it started")
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise self._failed(source, f"it was not there after {START_S:g} s") from None

    async def dial(self) -> bool:
        """Whether there is a process, to which this is linked from now on."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with address_of(self.directory / CONTROL) as address:
                sock.connect(address)
            self.pid = peer_of(sock).pid
        except OSError:
            sock.close()
            return False
        reader, self._writer = await asyncio.open_unix_connection(sock=sock)
        self._heard_s = asyncio.get_running_loop().time()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._hear(reader)), loop.create_task(self._watch())]
        return True

    async def look(self) -> None:
        """Returns once the bucket was listed, once for all. Raises the Bucket errors, BucketMountFailed."""
        if self.good:
            return
        self._asked += 1
        number = self._asked
        answer: asyncio.Future[dict[str, Any] | None] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            self._tell({"t": "look", "id": number})
            async with asyncio.timeout(LOOK_S):
                error = await answer
        except TimeoutError:
            raise BucketMountFailed(
                f"the process that serves a bucket has not answered for {LOOK_S:g} s"
            ) from None
        finally:
            del self._answers[number]
        if error is not None:
            raise Error.from_wire(error)
        self.good = True

    def end(self) -> None:
        """Has it end once the last container that it serves is gone."""
        self._tell({"t": "end"})

    def _tell(self, message: dict[str, Any]) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        with suppress(OSError, ValueError):
            while line := await reader.readline():
                self._heard_s = asyncio.get_running_loop().time()
                message = json.loads(line)
                match message.get("t"):
                    case "looked":
                        waits = self._answers.get(message["id"])
                        if waits is not None and not waits.done():
                            waits.set_result(message["error"])
                    case "said":
                        self.said(str(message["text"]))
        self._gone()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._tell({"t": "ping"})
            await asyncio.sleep(PING_S)
            if loop.time() - self._heard_s > SILENT_S:
                _log.warning("the process %s, which serves a bucket, does not answer: it is killed", self.pid)
                with suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGKILL)
                return

    def _gone(self) -> None:
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        if self._writer is not None:
            self._writer.close()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(BucketMountFailed("the process that serves a bucket has ended"))
        # Where this agent has started it, it is its child, and is there to be reaped.
        with suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        self.lost()

    def _failed(self, source: Source, why: str) -> BucketMountFailed:
        bucket = source.address.bucket
        return BucketMountFailed(
            f"the process that serves the bucket {bucket!r} could not be started: {why}", bucket=bucket
        )
