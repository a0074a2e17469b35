"""The endpoint: a UNIX socket that listens at a path, for connections of one user."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

from squall.model.errors import PeerRefused
from squall.wire.accepting import Acceptor
from squall.wire.address import Peer, address_of, check_peer, connect_at_once

OnSocket: TypeAlias = Callable[[socket.socket, Peer], None]

_BACKLOG: Final = 512
_log: Final = logging.getLogger(__name__)


def listen(path: str | Path, on_socket: OnSocket, *, mode: int = 0o600, uid: int | None = None) -> Endpoint:
    """Listen at `path` from now on; on_socket gets each connection of `uid` (this process's user), and who it is.

    Others are refused and logged. A socket that nobody listens on any more is replaced; the new one appears in one
    step, so that nobody meets it before it listens. mode: permissions of the socket.
    Raises OSError, with EADDRINUSE when somebody listens there or `path` is no socket. Who else may start at the same
    time is the caller's to settle, by a lock.
    """
    target = Path(path)
    _refuse_a_live_one(target)
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        fresh.unlink(missing_ok=True)
        # Linux gives the socket file the mode that its descriptor has when it is bound: no moment of wider rights.
        os.fchmod(sock.fileno(), mode)
        with address_of(fresh) as address:
            sock.bind(address)
        sock.listen(_BACKLOG)
        fresh.rename(target)
    except BaseException:
        sock.close()
        fresh.unlink(missing_ok=True)
        raise
    return Endpoint(sock, target, on_socket, uid)


class Endpoint:
    """A listening socket whose connections go to on_socket; made by `listen`."""

    def __init__(self, sock: socket.socket, path: Path, on_socket: OnSocket, uid: int | None) -> None:
        self.path = path
        self._on_socket = on_socket
        self._uid = uid
        self._own = _identity(path)
        self._acceptor = Acceptor(sock, self._take)

    @property
    def resting(self) -> bool:
        """Whether connections wait because this process has no descriptor left for them."""
        return self._acceptor.resting

    def close(self) -> None:
        """Stop listening and remove the socket's file; connections that were made live on. Twice is once."""
        if self._acceptor.closed:
            return
        # Another process may have put its own socket there meanwhile.
        if _identity(self.path) == self._own:
            self.path.unlink(missing_ok=True)
        self._acceptor.close()

    def _take(self, sock: socket.socket) -> None:
        try:
            peer = check_peer(sock, self._uid)
        except (PeerRefused, OSError) as error:
            _log.warning("a connection was refused: %s", error)
            sock.close()
            return
        self._on_socket(sock, peer)


def _refuse_a_live_one(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if not path.is_socket() and (path.exists() or path.is_symlink()):
            raise OSError(errno.EADDRINUSE, "something that is no socket has this name", str(path))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
            try:
                alive = connect_at_once(probe, path) or True
            except ConnectionRefusedError:
                return
            if alive:
                raise OSError(errno.EADDRINUSE, "another process listens there", str(path))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
