"""The local server: found where it runs, started where it does not."""

import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from squall.model.errors import (
    FrameError,
    LinuxNeeded,
    PeerRefused,
    ServerNotStarted,
    VersionConflict,
    from_wire,
)
from squall.settings.options import Options
from squall.settings.paths import StatePaths
from squall.settings.process import open_process
from squall.settings.record import Record, read_record
from squall.settings.start import command
from squall.settings.version import PROTOCOL, VERSION
from squall.wire.codec import Decoder, Frame, Kind, encode, write_head

# What a server gets of its first client's environment: enough to find programs and to speak the user's
# language. Not the rest: it outlives that client, and other programs' secrets are none of its business.
_KEPT = frozenset(
    {
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TMPDIR",
        "LD_LIBRARY_PATH",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "DBUS_SESSION_BUS_ADDRESS",
        "CUDA_VISIBLE_DEVICES",
        "NVIDIA_VISIBLE_DEVICES",
    }
)
_KEPT_BEGINNINGS = ("LC_", "XDG_", "SQUALL_")
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
_TIMEVAL = struct.Struct("@ll")
_SHORTEST_WAIT_S, _LONGEST_WAIT_S = 0.002, 0.05
_REAP_WITHIN_S = 1.0
_TAIL_LINES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """What a server says of itself. busy: work would be lost if it ended; why_busy names it."""

    version: str
    protocol: int
    pid: int
    busy: bool
    why_busy: str


def ensure_server(
    paths: StatePaths,
    options: Options,
    progress: Callable[[str], None] | None = None,
    *,
    supervisor: Sequence[str] | None = None,
) -> Path:
    """The socket of the server of `paths`, which answers; started, or replaced when another version idles.

    progress is told, in words for people, what is being waited for. supervisor: the command line to start one
    with. Blocks, at most options.start_deadline_s for each start. Raises LinuxNeeded; ServerNotStarted, with
    what its log says; VersionConflict when another version is busy; PeerRefused when it is another user's.
    """
    if sys.platform != "linux":
        raise LinuxNeeded(
            f"a server of Squall runs on Linux only, and this is {sys.platform}",
            remedy="forward a Linux machine's server, `ssh -L /tmp/squall.sock:STATE/run/server.sock HOST` "
            "(`squall status` there prints the path), and set SQUALL_SERVER=unix:/tmp/squall.sock",
        )
    house = _House(paths, options.start_deadline_s, progress or _tell_nobody, supervisor)
    while True:
        greeting = greet(paths.server_socket, timeout_s=options.start_deadline_s)
        if greeting is None:
            house.start()
        elif (greeting.version, greeting.protocol) == (VERSION, PROTOCOL):
            if house.tend():
                return paths.server_socket
        else:
            house.replace(greeting)


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
    return None if answer is None else _greeting(answer)


class _House:
    """The server of one state directory, as seen by a client that needs it."""

    def __init__(
        self,
        paths: StatePaths,
        deadline_s: float,
        progress: Callable[[str], None],
        supervisor: Sequence[str] | None,
    ) -> None:
        self._paths = paths
        self._deadline_s = deadline_s
        self._progress = progress
        self._command = supervisor or command(
            "squall.supervisor", "--state", str(paths.state), "--detach", bare=True
        )

    def start(self) -> None:
        """Return once somebody listens on the socket; several clients at once start one server together."""
        self._progress("starting the local server")
        before = {path: _size(path) for path in self._logs()}
        earlier = read_record(self._paths.supervisor_record)
        until_s = time.monotonic() + self._deadline_s
        wait_s = _SHORTEST_WAIT_S
        watched: _Watched | None = None
        try:
            while not _listens(self._paths.server_socket):
                if time.monotonic() > until_s:
                    raise self._not_started(before, f"it was not ready after {self._deadline_s:g} s")
                watched = watched or self._supervisor() or self._spawn()
                code = watched.ended(wait_s)
                wait_s = min(_LONGEST_WAIT_S, wait_s * 1.3)
                if code is not None:
                    watched = None
                if code:
                    raise self._not_started(before, f"the supervisor ended with exit status {code}")
                self._refuse_if_given_up(before, earlier)
        finally:
            if watched is not None:
                watched.let_go()

    def _refuse_if_given_up(self, before: dict[Path, int], earlier: Record | None) -> None:
        """Raise ServerNotStarted when a supervisor that is not the one of `earlier` has seen no hope."""
        record = read_record(self._paths.supervisor_record)
        if record is None or not record.failed:
            return
        if earlier is None or earlier.supervisor != record.supervisor:
            raise self._not_started(before, record.failed)

    def tend(self) -> bool:
        """Whether what runs is supervised and stays; a supervisor that was killed is replaced by a new one.

        False once a house that was on its way out has gone.
        """
        record = read_record(self._paths.supervisor_record)
        pidfd = None if record is None else open_process(record.supervisor)
        if pidfd is None:
            spawned = self._spawn()
            if spawned.ended(self._deadline_s) is None:
                spawned.let_go()
            return True
        watched = _Watched(pidfd, None)
        if record is None or not record.ending:
            watched.let_go()
            return True
        self._progress("waiting for the local server to end")
        if watched.ended(self._deadline_s) is None:
            watched.let_go()
        return False

    def replace(self, greeting: Greeting) -> None:
        """End the idle server of another version, so that ours can start. Raises VersionConflict when it is busy."""
        theirs = f"squall {greeting.version} (protocol {greeting.protocol}, process {greeting.pid})"
        if greeting.busy:
            raise VersionConflict(
                f"{theirs} serves {self._paths.state} and is busy: {greeting.why_busy or 'it has work'}; "
                f"this is squall {VERSION}",
                remedy="wait until it is done, or end it and its work with `squall down`",
                client=VERSION,
                server=greeting.version,
            )
        self._progress(f"replacing {theirs}, which is idle")
        before = {path: _size(path) for path in self._logs()}
        ending = self._supervisor(signal.SIGINT) or self._spawn("--down")
        code = ending.ended(self._deadline_s)
        if code is None:
            ending.let_go()
        # Asked to detach, what was spawned ends when it is at work; the socket shows when it is done.
        until_s = time.monotonic() + self._deadline_s
        while code is None or _listens(self._paths.server_socket):
            if time.monotonic() > until_s or code is None:
                raise self._not_started(before, f"{theirs} did not end")
            time.sleep(_SHORTEST_WAIT_S)

    def _supervisor(self, tell: signal.Signals | None = None) -> "_Watched | None":
        """The live supervisor of the record, told the signal if one is given; None where there is none.

        One that is ending is only of interest to who tells it to.
        """
        record = read_record(self._paths.supervisor_record)
        if record is None or (record.ending and tell is None):
            return None
        pidfd = open_process(record.supervisor)
        if pidfd is None:
            return None
        if tell is not None:
            signal.pidfd_send_signal(pidfd, tell)
        return _Watched(pidfd, None)

    def _spawn(self, *more: str) -> "_Watched":
        """A new supervisor, in a session of its own and with no file of ours but its log."""
        log = str(self._paths.log("supervisor"))
        argv = [*self._command, *more]
        pid = os.posix_spawn(
            argv[0],
            argv,
            _environment(),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}),
        )
        return _Watched(os.pidfd_open(pid), pid)

    def _logs(self) -> list[Path]:
        return [self._paths.log(name) for name in ("supervisor", "agent", "server")]

    def _not_started(self, before: dict[Path, int], why: str) -> ServerNotStarted:
        said = "\n".join(_tail(path, before[path]) for path in self._logs() if _size(path) > before[path])
        return ServerNotStarted(
            f"the local server did not start: {why}" + (f"\n{said}" if said else ""),
            remedy=f"the whole logs are in {self._paths.logs}; `squall doctor` names what this machine does not allow",
        )


class _Watched:
    """A process that is waited for. child: its number if it is ours to reap."""

    def __init__(self, pidfd: int, child: int | None) -> None:
        self._pidfd = pidfd
        self._child = child

    def ended(self, within_s: float) -> int | None:
        """Its exit status (0 where it is not our child) once it has ended, waited for; None if it has not.

        Closed then, and of no more use.
        """
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        if not poll.poll(within_s * 1000):
            return None
        self._close()
        if self._child is None:
            return 0
        try:
            return os.waitstatus_to_exitcode(os.waitpid(self._child, 0)[1])
        except ChildProcessError:  # the program reaps its children wholesale
            return 0

    def let_go(self) -> None:
        """Wait no more. A child of ours that is at its end is reaped; it lives no longer than its start takes."""
        if self._child is None or self.ended(_REAP_WITHIN_S) is None:
            self._close()

    def _close(self) -> None:
        os.close(self._pidfd)


def _connected(path: Path, timeout_s: float) -> socket.socket:
    """A blocking connection to `path`, of any length, to a process of our own; its calls give up after timeout_s.

    Raises FileNotFoundError or ConnectionError where nobody listens, PeerRefused for another user's process.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        seconds = int(timeout_s)
        limit = _TIMEVAL.pack(seconds, int((timeout_s - seconds) * 1e6))
        # Not settimeout: a connect would then fail at once where the server's queue is full.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # By way of the directory's descriptor: an address holds at most 107 bytes.
            connection.connect(f"/proc/self/fd/{directory}/{path.name}")
        finally:
            os.close(directory)
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(credentials)
        if uid != os.geteuid():
            raise PeerRefused(f"process {pid} of user {uid} listens on {path}; you are user {os.geteuid()}")
    except BaseException:
        connection.close()
        raise
    return connection


def _listens(path: Path) -> bool:
    try:
        _connected(path, 1.0).close()
    except (FileNotFoundError, ConnectionError):
        return False
    except BlockingIOError:  # its queue is full: somebody is there
        return True
    return True


def _answer(server: socket.socket) -> Frame | None:
    """The frame that answers our stream; None if the server went away before."""
    decoder = Decoder()
    while data := server.recv(65_536):
        for frame, _ in decoder.feed(data):
            if frame.stream == 1 and frame.kind in {Kind.END, Kind.FAIL}:
                return frame
    return None


def _greeting(answer: Frame) -> Greeting:
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


def _environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or name.startswith(_KEPT_BEGINNINGS)
    }


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _tail(path: Path, start: int) -> str:
    """The last lines that were written to `path` behind byte `start`."""
    try:
        with open(path, "rb") as file:
            file.seek(max(start, _size(path) - 65_536))
            lines = file.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
    except OSError:
        return ""
    return "\n".join(f"  {path.name}: {line}" for line in lines)


def _tell_nobody(_words: str) -> None:
    """Progress that nobody asked for."""
