"""The greeting: what the server that listens on a socket says of itself."""

import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from squall.model.errors import FrameError, ServerNotStarted, VersionConflict, from_wire
from squall.settings.version import PROTOCOL, VERSION
from squall.wire.address import address_of, check_peer
from squall.wire.codec import Decoder, Frame, Kind, encode, write_head

_TIMEVAL = struct.Struct("@ll")


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """What a server says of itself. busy: work would be lost if it ended; why_busy names it."""

    version: str
    protocol: int
    pid: int
    busy: bool
    why_busy: str

    @property
    def understood(self) -> bool:
        """Whether it is of this very version."""
        return (self.version, self.protocol) == (VERSION, PROTOCOL)


def greet(path: Path, *, timeout_s: float) -> Greeting | None:
    """What the server that listens on `path` says of itself; None where nobody listens, or it just went away.

    Raises ServerNotStarted when it does not answer, PeerRefused when another user's process listens, and
    VersionConflict when it does not speak this protocol.
    """
    try:
        with _connected(path, timeout_s) as server:
            head = {
                "t": "hello",
                "version": VERSION,
                "protocol": PROTOCOL,
                "uid": os.geteuid(),
                "pid": os.getpid(),
                "role": "client",
            }
            for part in encode(Frame(kind=Kind.OPEN, stream=1, header=write_head(head))):
                server.sendall(part)
            answer = _answer(server)
    except BlockingIOError:
        raise ServerNotStarted(
            f"the server that listens on {path} has not answered for {timeout_s:g} s",
            remedy="end it with `squall down --force` and try again; `squall logs --server` shows what it does",
        ) from None
    except (FileNotFoundError, ConnectionError):
        return None
    except FrameError as problem:
        raise VersionConflict(
            f"the server that listens on {path} does not speak the protocol of squall {VERSION}: {problem}",
            remedy="end it with the squall that started it, or with `squall down --force`",
        ) from problem
    return None if answer is None else greeting_in(answer)


def listens(path: Path) -> bool:
    """Whether a process of this user listens on `path`. Raises PeerRefused when it is another user's."""
    try:
        _connected(path, 1.0).close()
    except (FileNotFoundError, ConnectionError):
        return False
    except BlockingIOError:  # its queue is full: somebody is there
        return True
    return True


def _connected(path: Path, timeout_s: float) -> socket.socket:
    """A blocking connection to `path`, whose calls give up with BlockingIOError after timeout_s."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        seconds = int(timeout_s)
        limit = _TIMEVAL.pack(seconds, int((timeout_s - seconds) * 1e6))
        # Not settimeout: a connect would then fail at once where the server's queue is full.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        with address_of(path) as address:
            connection.connect(address)
        check_peer(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _answer(server: socket.socket) -> Frame | None:
    """The frame that answers our stream; None if the server went away before."""
    decoder = Decoder()
    while data := server.recv(65_536):
        for frame, _ in decoder.feed(data):
            if frame.stream == 1 and frame.kind in {Kind.END, Kind.FAIL}:
                return frame
    return None


def greeting_in(answer: Frame) -> Greeting:
    """What the answer to a hello says. Raises the error that it is instead."""
    head = answer.head()
    if answer.kind is Kind.FAIL:
        raise from_wire(head)
    return Greeting(
        version=str(head.get("version", "unknown")),
        protocol=int(head.get("protocol", 0)),
        pid=int(head.get("pid", 0)),
        busy=bool(head.get("busy", True)),
        why_busy=str(head.get("why_busy") or ""),
    )
