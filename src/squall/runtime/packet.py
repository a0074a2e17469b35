"""A packet: one JSON object, with descriptors, over a SEQPACKET socket between an agent, a launcher and its containers."""

import array
import json
import os
import socket
import struct
from dataclasses import dataclass
from typing import Any

MAX_BYTES = 64 * 1024
_MAX_FDS = 16
_CREDENTIALS = struct.Struct("3i")
_ROOM = socket.CMSG_SPACE(_MAX_FDS * 4) + socket.CMSG_SPACE(_CREDENTIALS.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """What arrived: the message, the descriptors that came with it (the receiver closes them), and who sent it.

    sender: the sender's pid as the receiver sees it, 0 where the socket does not ask for it.
    """

    message: dict[str, Any]
    fds: tuple[int, ...] = ()
    sender: int = 0


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected sockets, both closed at exec."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def encode(message: dict[str, Any]) -> bytes:
    """The bytes of `message`. Raises ValueError for one that no packet can hold."""
    data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) > MAX_BYTES:
        raise ValueError(f"a message of {len(data)} bytes does not fit into a packet of {MAX_BYTES}")
    return data


def send(to: socket.socket, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
    """Send one message; the descriptors stay the sender's too. Raises OSError where nobody listens."""
    send_encoded(to, encode(message), fds)


def send_encoded(to: socket.socket, data: bytes, fds: tuple[int, ...] = ()) -> None:
    """Send what `encode` gave."""
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    to.sendmsg([data], ancillary, socket.MSG_NOSIGNAL)


def heard(at: socket.socket) -> Packet | None:
    """The next message that has come by now; None at the end, which is also where what comes is no message.

    Raises BlockingIOError where none is there yet.
    """
    try:
        return receive(at)
    except BlockingIOError:
        raise
    except (OSError, ValueError):
        return None


def receive(at: socket.socket) -> Packet | None:
    """The next message, None at the end. Descriptors arrive closed at exec.

    Raises ValueError for what is no message, OSError where the socket fails, BlockingIOError included.
    """
    data, ancillary, flags, _ = at.recvmsg(MAX_BYTES + 1, _ROOM, socket.MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    sender = 0
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            held = array.array("i")
            held.frombytes(content[: len(content) - len(content) % 4])
            fds += held
        elif level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            sender = _CREDENTIALS.unpack(content)[0]
    try:
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise ValueError("a packet was longer than it may be")
        if not data:
            for fd in fds:
                os.close(fd)
            return None
        message = json.loads(data)
        if not isinstance(message, dict):
            raise ValueError("a packet holds one JSON object")  # noqa: TRY004 - what arrived is malformed, no slip of ours
    except ValueError:
        for fd in fds:
            os.close(fd)
        raise
    return Packet(message=message, fds=tuple(fds), sender=sender)
