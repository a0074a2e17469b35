"""Errors of the server, its state directory and the machine under it."""

# ruff: noqa: N818 - the names are those that users of this field know, most of them without a suffix

from __future__ import annotations

import builtins

from squall.model.errors.asked import AuthError, ConflictError, InvalidError, PermissionDeniedError
from squall.model.errors.containers import ResourceExhaustedError
from squall.model.errors.root import Error


class ConnectionError(Error, builtins.ConnectionError):  # noqa: A001 - the field's name for it; catchable as the builtin
    """The server cannot be reached."""

    code, status = "SQ-1600", 503
    remedy = "start it with `squall up`, and look at `squall status`"


class ConnectionLost(ConnectionError):
    """The connection ended before the answer came."""

    code, status = "SQ-1601", 503
    remedy = "run the command again; `squall logs` shows why the server went away"


class ServerNotStarted(ConnectionError):
    """The server did not start."""

    code, status = "SQ-1602", 503
    remedy = "`squall logs` holds what it said; `squall doctor` names what this machine does not allow"


class VersionError(Error):
    """The two sides do not understand one another's version."""

    code, status = "SQ-1603", 426
    remedy = "install the same version of squall on both sides"
    client: str | None = None
    server: str | None = None


class VersionConflict(VersionError, ConflictError):
    """A server of another version is running and busy."""

    code, status = "SQ-1604", 409
    remedy = "wait until it is idle, or end it with `squall down --force`"


class StateDirectoryError(Error):
    """The state directory cannot be used."""

    code, status = "SQ-1605", 500
    remedy = "give a directory of your own on a local disk: `SQUALL_STATE_DIR=/path squall ...`"
    path: str | None = None


class StateDirectoryBusy(StateDirectoryError):
    """Another server uses this state directory."""

    code, status = "SQ-1606", 409
    remedy = (
        "use the one that runs, end it with `squall down`, or give another directory with `SQUALL_STATE_DIR`"
    )


class StaleSocket(ConnectionError):
    """A socket is there, but nobody listens on it."""

    code, status = "SQ-1607", 503
    remedy = "run the command again; if it stays, `squall down` removes what was left behind"
    path: str | None = None


class PeerRefused(AuthError):
    """The process at the other end of the socket belongs to another user."""

    code, status = "SQ-1608", 403
    remedy = "use a state directory of your own: `SQUALL_STATE_DIR=/path squall ...`"


class SharedMemoryTooSmall(ResourceExhaustedError):
    """The machine has too little shared memory for this value."""

    code, status = "SQ-1609", 507
    remedy = "make /dev/shm larger, or send less at once"
    limit_bytes: int | None = None


class TemporaryDirectoryError(Error):
    """The temporary directory cannot be used."""

    code, status = "SQ-1610", 500
    remedy = "point TMPDIR at a directory that can be written to and from which programs may run"
    path: str | None = None


class ProcessLimitTooLow(ResourceExhaustedError):
    """The machine allows too few processes."""

    code, status = "SQ-1611", 507
    remedy = "raise the limit with `ulimit -u` (or the pids limit of the container that this machine is)"
    limit: int | None = None


class LinuxNeeded(Error):
    """Containers need Linux, and this machine is none."""

    code, status = "SQ-1612", 501
    remedy = "point at a Linux server: `SQUALL_SERVER=HOST squall run ...`"


class StateSchemaError(StateDirectoryError):
    """The state directory was written by a newer version."""

    code, status = "SQ-1613", 409
    remedy = "install that version again, or start afresh in another directory with `SQUALL_STATE_DIR`"


class LevelRefused(PermissionDeniedError):
    """This isolation level is refused for what would run at it."""

    code, status = "SQ-1700", 403
    remedy = "run it on a machine that allows namespaces (`squall doctor` says what is missing), or let the operator allow it"
    level: str | None = None


class IsolationUnavailable(Error):
    """This machine does not allow what the isolation level needs."""

    code, status = "SQ-1701", 501
    remedy = "`squall doctor` names what is missing and how to allow it"
    level: str | None = None


class FrameError(Error):
    """Bytes arrived that are no frame of this protocol."""

    code, status = "SQ-1800", 400
    remedy = "install the same version of squall on both sides"


class ChannelClosed(ConnectionError):
    """The channel is closed."""

    code, status = "SQ-1801", 503
    remedy = "connect again"


class ProtocolError(Error):
    """The other side sent a frame that does not belong here."""

    code, status = "SQ-1802", 400
    remedy = "install the same version of squall on both sides"


class DescriptorNotSent(InvalidError):
    """An open file of this kind cannot travel to another machine."""

    code, status = "SQ-1803", 400
    remedy = "send what it holds as bytes, or through a file of its own: sockets, pipes and terminals stay on their machine"


class PeerNotTrusted(AuthError):
    """The other side's certificate is not one that this side trusts."""

    code, status = "SQ-1804", 403
    remedy = "check the address, and that both sides belong to the same server: `squall join` with a fresh token renews what is known of it"


class UpgradeRefused(ConnectionError):
    """The other side, or a proxy on the way, opened no WebSocket."""

    code, status = "SQ-1805", 502
    remedy = "check the address and the proxy settings (HTTPS_PROXY, NO_PROXY); the way has to let WebSockets through"
