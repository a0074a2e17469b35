"""The local server: found where it runs, started where it does not, ended when asked."""

import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from squall.model.errors import (
    ConnectionError,  # noqa: A004 - the tree's own
    LinuxNeeded,
    ServerNotStarted,
    VersionConflict,
)
from squall.sdk.greeting import Greeting, greet, listens
from squall.sdk.supervising import (
    Watched,
    find_supervisor,
    start_supervisor,
    supervisor_command,
    take_begun,
)
from squall.settings.options import Options
from squall.settings.paths import StatePaths
from squall.settings.process import is_alive, open_process
from squall.settings.record import Record, read_record
from squall.settings.version import VERSION

_SHORTEST_WAIT_S, _LONGEST_WAIT_S = 0.002, 0.05
_TAIL_LINES = 12
_NAMED_ANSWERS_WITHIN_S = 5.0
# How a supervisor ends that was killed while it began: by a shell's number, or by its parent's.
_KILLED = (128 + 9, -9 & 0xFF)


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
    require_linux()
    house = _House(paths, options.start_deadline_s, progress or _tell_nobody, supervisor)
    while True:
        greeting = greet(paths.server_socket, timeout_s=options.start_deadline_s)
        if greeting is None:
            house.start()
        elif greeting.understood:
            begun = take_begun()
            if begun is not None:
                begun.let_go()
            if house.tend():
                return paths.server_socket
        else:
            house.replace(greeting)


def ensure_listening(paths: StatePaths, options: Options) -> None:
    """Returns once a server of `paths` listens; one is started where none does, and none is replaced.

    For a client whose server went away: what comes after it may be of another version, and speaks with it as it did. Blocks.
    Raises LinuxNeeded, ServerNotStarted.
    """
    require_linux()
    if not listens(paths.server_socket):
        _House(paths, options.start_deadline_s, _tell_nobody, None).start()


def ensure_agent(paths: StatePaths, options: Options) -> int:
    """The process of the agent of `paths`, a machine that joined another's server; started where it does not run.

    Blocks, at most options.start_deadline_s. Raises LinuxNeeded, ServerNotStarted.
    """
    require_linux()
    house = _House(paths, options.start_deadline_s, _tell_nobody, None)

    def agent() -> int | None:
        record = read_record(paths.supervisor_record)
        mark = None if record is None or record.ending else record.members.get("agent")
        return mark.pid if mark is not None and is_alive(mark) else None

    while (pid := agent()) is None:
        house.start(lambda: agent() is not None)
    return pid


def require_named(socket: Path) -> None:
    """Raise ConnectionError where nobody answers on the socket that SQUALL_SERVER names: none is started for it.

    Raises VersionConflict when its server is of another version.
    """
    greeting = greet(socket, timeout_s=_NAMED_ANSWERS_WITHIN_S)
    if greeting is None:
        raise ConnectionError(
            f"no server listens on {socket}, which SQUALL_SERVER names",
            remedy="start that server with `squall up`, or unset SQUALL_SERVER to use this machine's own",
        )
    if not greeting.understood:
        raise VersionConflict(
            f"squall {greeting.version} (protocol {greeting.protocol}) listens on {socket}, which SQUALL_SERVER names; "
            f"this is squall {VERSION}",
            remedy="install the same version on both sides, or unset SQUALL_SERVER to use this machine's own server",
            client=VERSION,
            server=greeting.version,
        )


def end_server(paths: StatePaths, *, within_s: float, supervisor: Sequence[str] | None = None) -> bool:
    """Whether everything of `paths` has ended, containers first, in within_s; a supervisor is started for it
    where only its processes live.
    """
    until_s = time.monotonic() + within_s
    ending = find_supervisor(paths, tell=signal.SIGINT)
    if ending is None:
        argv = [*(supervisor or supervisor_command(paths)), "--down"]
        if start_supervisor(paths, argv).ended(within_s) is None:
            return False
        # It is at work now, or already done.
        ending = find_supervisor(paths, tell=signal.SIGINT)
    if ending is None:
        return True
    if ending.ended(max(0.0, until_s - time.monotonic())) is None:
        ending.let_go()
        return False
    return True


def require_linux() -> None:
    """Raise LinuxNeeded, which says how to reach a Linux server, where this machine is none."""
    if sys.platform != "linux":
        raise LinuxNeeded(
            f"a server of Squall runs on Linux only, and this is {sys.platform}",
            remedy="forward a Linux machine's server, `ssh -L /tmp/squall.sock:STATE/run/server.sock HOST` "
            "(`squall status` there prints the path), and set SQUALL_SERVER=unix:/tmp/squall.sock",
        )


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
        self._command = supervisor or supervisor_command(paths)

    def start(self, up: Callable[[], bool] | None = None) -> None:
        """Return once it is up: somebody listens on the socket. Several clients at once start one server together."""
        up = up or (lambda: listens(self._paths.server_socket))
        self._progress("starting the local server")
        before = self._log_sizes()
        earlier = read_record(self._paths.supervisor_record)
        until_s = time.monotonic() + self._deadline_s
        wait_s = _SHORTEST_WAIT_S
        watched: Watched | None = None
        again = False
        try:
            while not up():
                if time.monotonic() > until_s:
                    raise self._not_started(before, f"it was not ready after {self._deadline_s:g} s")
                watched = (
                    watched
                    or take_begun()
                    or find_supervisor(self._paths)
                    or start_supervisor(self._paths, self._command)
                )
                code = watched.ended(wait_s)
                wait_s = min(_LONGEST_WAIT_S, wait_s * 1.3)
                if code is not None:
                    watched = None
                if code in _KILLED and not again:
                    again = True
                elif code:
                    raise self._not_started(before, f"the supervisor ended with exit status {code}")
                self._refuse_if_given_up(before, earlier)
        finally:
            if watched is not None:
                watched.let_go()

    def tend(self) -> bool:
        """Whether what runs is supervised and stays; a supervisor that was killed is replaced by a new one.

        False once a house that was on its way out has gone.
        """
        record = read_record(self._paths.supervisor_record)
        pidfd = None if record is None else open_process(record.supervisor)
        if record is None or pidfd is None:
            spawned = start_supervisor(self._paths, self._command)
            if spawned.ended(self._deadline_s) is None:
                spawned.let_go()
            return True
        watched = Watched(pidfd)
        if not record.ending:
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
        before = self._log_sizes()
        if not end_server(self._paths, within_s=self._deadline_s, supervisor=self._command):
            raise self._not_started(before, f"{theirs} did not end")

    def _refuse_if_given_up(self, before: dict[Path, int], earlier: Record | None) -> None:
        """Raise ServerNotStarted when a supervisor that is not the one of `earlier` has seen no hope."""
        record = read_record(self._paths.supervisor_record)
        if record is None or not record.failed:
            return
        if earlier is None or earlier.supervisor != record.supervisor:
            raise self._not_started(before, record.failed)

    def _log_sizes(self) -> dict[Path, int]:
        return {path: _size(path) for path in map(self._paths.log, ("supervisor", "agent", "server"))}

    def _not_started(self, before: dict[Path, int], why: str) -> ServerNotStarted:
        said = "\n".join(_tail(path, start) for path, start in before.items() if _size(path) > start)
        return ServerNotStarted(
            f"the local server did not start: {why}" + (f"\n{said}" if said else ""),
            remedy=f"the whole logs are in {self._paths.logs}; `squall doctor` names what this machine does not allow",
        )


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
