"""The address: UNIX socket paths of any length, and who is at the other end."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from squall.model.errors import PeerRefused

# sun_path holds 108 bytes with the closing zero.
_LONGEST: Final = 107
_CREDENTIALS: Final = struct.Struct("iII")


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The process at the other end of a UNIX socket, as the kernel saw it when it connected or listened."""

    pid: int
    uid: int
    gid: int


@contextlib.contextmanager
def address_of(path: str | Path) -> Iterator[str]:
    """`path` as what bind and connect take, while the block runs; a long one goes through its open directory."""
    name = os.fspath(path)
    if len(os.fsencode(name)) <= _LONGEST:
        yield name
        return
    folder, last = os.path.split(name)
    fd = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{last}"
    finally:
        os.close(fd)


def connect(path: str | Path, *, timeout_s: float = 5.0, uid: int | None = None) -> socket.socket:
    """A blocking stream socket connected to the one at `path`, on which `uid` listens (this process's user by default).

    timeout_s bounds the wait for a listener whose line is full. Raises OSError (FileNotFoundError,
    ConnectionRefusedError, TimeoutError), PeerRefused when another user listens there.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout_s)
        with address_of(path) as address:
            sock.connect(address)
        check_peer(sock, uid)
        sock.settimeout(None)
    except BaseException:
        sock.close()
        raise
    return sock


def connect_at_once(sock: socket.socket, path: str | Path) -> bool:
    """Whether `sock`, which does not block, is connected to `path` now; False when the listener's line is full."""
    try:
        with address_of(path) as address:
            sock.connect(address)
    except BlockingIOError:
        return False
    return True


def peer_of(sock: socket.socket) -> Peer:
    """Who is at the other end of `sock`, a connected UNIX socket."""
    pid, uid, gid = _CREDENTIALS.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    return Peer(pid=pid, uid=uid, gid=gid)


def check_peer(sock: socket.socket, uid: int | None = None) -> Peer:
    """Who is at the other end of `sock`. Raises PeerRefused when it is not `uid`, by default this process's user."""
    peer, expected = peer_of(sock), os.geteuid() if uid is None else uid
    if peer.uid != expected:
        raise PeerRefused(
            f"the process at the other end of the socket belongs to user {peer.uid}, not {expected}"
        )
    return peer
