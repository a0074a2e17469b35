"""The life of a process that serves one bucket to the containers of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final, NoReturn

from squall.blobs.buckets.file_system import FileSystem
from squall.blobs.buckets.names import CONTROL, DOOR, SOCKET
from squall.blobs.buckets.s3_bucket import S3Bucket
from squall.blobs.buckets.serving import Serving
from squall.blobs.buckets.source import Source
from squall.blobs.buckets.told import Told
from squall.blobs.buckets.tree import Tree
from squall.blobs.s3_service import leave
from squall.model.errors import Error

ALONE_S: Final = 15.0
"""How long it stays with nobody to serve and no agent that knows of it."""
_PACKET: Final = 4096
_ASKED_S: Final = 10.0


def main(argv: list[str]) -> NoReturn:
    """Serves, and ends the process. argv: the directory in which it is reached; what it serves comes through standard input."""
    # One byte, not none: a host that pipes core dumps to a program does so at a limit of 0 too.
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    source = Source.from_json(json.load(sys.stdin))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    leave(asyncio.run(_Server(Path(argv[0]), source).live()))


class _Server:
    def __init__(self, directory: Path, source: Source) -> None:
        self._directory = directory
        self._name = f"{source.address.bucket}/{source.prefix}".rstrip("/")
        self._bucket = S3Bucket(source.address)
        self._prefix = source.prefix
        self._tree = Tree(self._bucket, source.prefix)
        self._told = Told(self._say)
        self._servings: set[Serving] = set()
        self._agents: set[asyncio.StreamWriter] = set()
        self._asked: set[asyncio.Task[None]] = set()
        self._last = False
        self._alone = asyncio.Event()
        self._leave: asyncio.TimerHandle | None = None

    async def live(self) -> int:
        """Serves until nobody needs it."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._alone.set)
        door = self._listen()
        loop.add_reader(door, self._on_door, door)
        control = self._directory / CONTROL
        control.unlink(missing_ok=True)
        # Last: who can reach it there can reach the door.
        server = await asyncio.start_unix_server(self._on_agent, _short(control))
        self._look_around()
        await self._alone.wait()
        server.close()
        loop.remove_reader(door)
        door.close()
        for serving in list(self._servings):
            serving.close()
        return 0

    def _listen(self) -> socket.socket:
        """The door: everybody who sees the directory may come, and nobody does but first processes of containers."""
        directory = self._directory / DOOR
        path = directory / SOCKET
        path.unlink(missing_ok=True)
        door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        door.bind(_short(path))
        os.chmod(path, 0o666)  # noqa: S103 - the directory above it is closed to others
        door.listen(128)
        door.setblocking(False)
        return door

    def _on_door(self, door: socket.socket) -> None:
        try:
            guest, _ = door.accept()
        except OSError:
            return
        guest.setblocking(False)
        loop = asyncio.get_running_loop()
        late = loop.call_later(_ASKED_S, self._let_go, guest)
        loop.add_reader(guest, self._on_guest, guest, late)

    def _let_go(self, guest: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(guest)
        guest.close()

    def _on_guest(self, guest: socket.socket, late: asyncio.TimerHandle) -> None:
        """A first process hands over the device on which its kernel asks."""
        fds: list[int] = []
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            data, fds, _, _ = socket.recv_fds(guest, _PACKET, 2)
            asked = json.loads(data)
            if len(fds) == 1:
                self._serve(fds.pop(), owner=int(asked["owner"]), read_only=bool(asked["read_only"]))
                guest.send(b"{}")
        for fd in fds:
            os.close(fd)
        late.cancel()
        self._let_go(guest)

    def _serve(self, device: int, *, owner: int, read_only: bool) -> None:
        files = FileSystem(
            self._tree, owner=owner, read_only=read_only, drafts=tempfile.gettempdir(), say=self._told
        )
        self._servings.add(Serving(device, files, self._ended))
        self._look_around()

    def _ended(self, serving: Serving) -> None:
        self._servings.discard(serving)
        self._look_around()

    async def _on_agent(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._agents.add(writer)
        self._look_around()
        try:
            while line := await reader.readline():
                asked = json.loads(line)
                match asked.get("t"):
                    case "look":
                        task = asyncio.get_running_loop().create_task(self._look(writer, asked["id"]))
                        self._asked.add(task)
                        task.add_done_callback(self._asked.discard)
                    case "ping":
                        self._tell(writer, {"t": "pong", "serves": len(self._servings)})
                    case "end":
                        self._last = True
                        self._look_around()
        except (OSError, ValueError, KeyError):
            pass  # The agent is gone, or it is none.
        finally:
            self._agents.discard(writer)
            writer.close()
            self._look_around()

    async def _look(self, writer: asyncio.StreamWriter, number: int) -> None:
        """Says whether the bucket can be listed with these keys."""
        error: dict[str, Any] | None = None
        try:
            await self._bucket.any_below(self._prefix)
        except Error as refused:
            error = refused.to_wire()
        self._tell(writer, {"t": "looked", "id": number, "error": error})

    def _look_around(self) -> None:
        """Ends a little after the last agent and the last container are gone; at once where that was asked."""
        if self._leave is not None:
            self._leave.cancel()
            self._leave = None
        if self._servings:
            return
        if self._last:
            self._alone.set()
        elif not self._agents:
            self._leave = asyncio.get_running_loop().call_later(ALONE_S, self._alone.set)

    def _tell(self, writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
        if not writer.is_closing():
            writer.write(json.dumps(message).encode() + b"\n")

    def _say(self, text: str) -> None:
        print(time.strftime("%Y-%m-%d %H:%M:%S"), f"{self._name}: {text}", file=sys.stderr, flush=True)
        for writer in self._agents:
            self._tell(writer, {"t": "said", "text": f"{self._name}: {text}"})


def _short(path: Path) -> str:
    """The same path in few characters: a socket's address has 107 at most. For as long as this process lives."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return f"/proc/self/fd/{directory}/{path.name}"
