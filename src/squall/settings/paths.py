"""State paths: where one user's Squall keeps everything that it writes on this machine."""

import errno
import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from squall.model.errors import StateDirectoryError

if sys.platform != "win32":  # the command line is imported there too, to say where a Linux server is reached
    import pwd

_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 - a directory of our own below it, owner and mode verified


@dataclass(frozen=True, slots=True, kw_only=True)
class StatePaths:
    """Every path below one state directory; nothing here touches the disk.

    state: absolute. One server, one agent and one supervisor serve one state directory.
    """

    state: Path

    def __post_init__(self) -> None:
        if not self.state.is_absolute():
            raise ValueError(f"a state directory is absolute: {self.state}")

    @property
    def config(self) -> Path:
        """The user's options, TOML."""
        return self.state / "config.toml"

    @property
    def database(self) -> Path:
        return self.state / "squall.db"

    @property
    def access(self) -> Path:
        """Keys and certificates, and where this server listens, or which server this machine has joined."""
        return self.state / "access"

    @property
    def listen(self) -> Path:
        return self.access / "listen.json"

    @property
    def joined(self) -> Path:
        """The server that this machine runs containers for; there for as long as it does."""
        return self.access / "joined.json"

    @property
    def run(self) -> Path:
        """Sockets, the lock, and what lives as long as the processes do."""
        return self.state / "run"

    @property
    def server_socket(self) -> Path:
        return self.run / "server.sock"

    @property
    def supervisor_lock(self) -> Path:
        """Held (flock) by the one supervisor of this directory for as long as it lives."""
        return self.run / "supervisor.lock"

    def member_lock(self, name: str) -> Path:
        """Held by the one "server", the one "agent"; whoever finds it held ends with exit status TAKEN."""
        return self.run / f"{name}.lock"

    @property
    def supervisor_record(self) -> Path:
        """Who runs: pids with their start times, version, executable. Written atomically."""
        return self.run / "supervisor.json"

    @property
    def network_record(self) -> Path:
        """What was changed on the host so that containers have a network; there for as long as it is."""
        return self.run / "network.json"

    @property
    def template_record(self) -> Path:
        """Which templates were worth it; outlives every process and every start of the machine."""
        return self.state / "templates.json"

    @property
    def launchers(self) -> Path:
        return self.run / "launchers"

    @property
    def layers(self) -> Path:
        return self.state / "layers"

    @property
    def images(self) -> Path:
        """A record of each image that was built here."""
        return self.state / "images"

    @property
    def leases(self) -> Path:
        """Who is putting blobs, and has not said yet what for."""
        return self.state / "leases"

    @property
    def store_notes(self) -> Path:
        """What the last collection and the last scrub of the blobs did."""
        return self.state / "store.json"

    @property
    def builds(self) -> Path:
        """What builds have under way; emptied as they end."""
        return self.state / "builds"

    @property
    def rendered(self) -> Path:
        """The layers of images as directories."""
        return self.state / "rendered"

    @property
    def heads(self) -> Path:
        """Versions of volumes as directories, shown in containers."""
        return self.state / "heads"

    @property
    def shown(self) -> Path:
        """Which versions of volumes templates were shown."""
        return self.state / "shown"

    @property
    def mounted(self) -> Path:
        """What containers have written to volumes, a directory for each container, until it is committed."""
        return self.state / "mounted"

    @property
    def trees(self) -> Path:
        return self.state / "trees"

    @property
    def blobs(self) -> Path:
        return self.state / "blobs"

    @property
    def scratch(self) -> Path:
        """What containers write; emptied as they end."""
        return self.state / "scratch"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def build_logs(self) -> Path:
        """What was said while each layer of an image was built."""
        return self.logs / "images"

    @property
    def tools(self) -> Path:
        return self.state / "tools"

    def log(self, process: str) -> Path:
        """The log of one of our own processes: "supervisor", "server" or "agent"."""
        return self.logs / f"{process}.log"

    def launcher_socket(self, launcher: str) -> Path:
        return self.launchers / f"{launcher}.sock"

    @property
    def directories(self) -> tuple[Path, ...]:
        """Every directory that must exist, parents first."""
        return (
            self.state,
            self.access,
            self.run,
            self.launchers,
            self.layers,
            self.images,
            self.builds,
            self.rendered,
            self.trees,
            self.blobs,
            self.scratch,
            self.logs,
            self.build_logs,
            self.tools,
        )


def find_state(environ: Mapping[str, str] = os.environ) -> StatePaths:
    """This user's state directory, made and verified with everything below it.

    $SQUALL_STATE_DIR; else $XDG_STATE_HOME/squall; else ~/.local/state/squall; else a directory of this
    user's own (mode 0700) below $TMPDIR, /tmp or /var/tmp. Only the first is a demand: where it cannot be
    used the error is raised; the others fall to the next, and the last error says what was wrong with each.
    Raises StateDirectoryError.
    """
    given = environ.get("SQUALL_STATE_DIR", "")
    if given:
        return open_state(given)
    tried: list[str] = []
    for candidate in _candidates(environ):
        try:
            if candidate.temporary:
                _verify_temporary(candidate.base)
            else:
                _make_base(candidate.base, candidate.below)
            return make_directories(_resolved(candidate.state, follow=not candidate.temporary))
        except StateDirectoryError as refused:
            tried.append(str(refused))
    raise StateDirectoryError(
        "no directory was found that Squall may keep its state in: " + "; ".join(tried),
        remedy="point SQUALL_STATE_DIR at a directory that you may write to",
    )


def open_state(path: str | Path) -> StatePaths:
    """The state directory `path`, made where it is missing and verified; its parent must exist.

    Raises StateDirectoryError: its parent is missing, it cannot be written to, or it is another user's.
    """
    state = Path(os.path.abspath(os.path.expanduser(path)))
    if not state.parent.is_dir():
        raise _missing(str(state), str(state.parent))
    return make_directories(_resolved(state, follow=True))


def make_directories(paths: StatePaths) -> StatePaths:
    """`paths`, once each of its directories exists, is this user's own and is closed to others.

    Raises StateDirectoryError.
    """
    for directory in paths.directories:
        _make_own(directory, is_state=directory == paths.state)
    return paths


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A place for the state: `base` must be there already, `below` is made by us."""

    base: Path
    below: tuple[str, ...]
    temporary: bool = False

    @property
    def state(self) -> Path:
        return self.base.joinpath(*self.below)


def _candidates(environ: Mapping[str, str]) -> list[_Candidate]:
    """The places to try, best first. A relative XDG_STATE_HOME is ignored, as its specification asks."""
    places: list[_Candidate] = []
    xdg = environ.get("XDG_STATE_HOME", "")
    if xdg.startswith("/"):
        places.append(_Candidate(base=Path(xdg), below=("squall",)))
    home = environ.get("HOME", "") or _home_of_record()
    if home.startswith("/"):
        places.append(_Candidate(base=Path(home), below=(".local", "state", "squall")))
    own = f"squall-{os.geteuid()}"
    temporary = [environ.get("TMPDIR", ""), *_TEMPORARY]
    places.extend(
        _Candidate(base=Path(base), below=(own,), temporary=True)
        for base in dict.fromkeys(temporary)
        if base.startswith("/")
    )
    return places


def _home_of_record() -> str:
    """The home directory that the system keeps for this user; empty for a user it does not know."""
    if sys.platform == "win32":
        return ""
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return ""


def _make_base(base: Path, below: tuple[str, ...]) -> None:
    """Make the parents of a state directory below an existing `base` that is ours, or root's and open to us.

    A home of another user is left alone: files made there (by root, under sudo) would lock its owner out.
    """
    try:
        owner = os.stat(base).st_uid
    except OSError as problem:
        raise _missing(str(base.joinpath(*below)), str(base)) from problem
    if owner not in {os.geteuid(), 0} and not base.joinpath(*below).is_dir():
        raise _unsafe(str(base.joinpath(*below)), f"{base} belongs to user {owner}")
    parent = base
    for name in below[:-1]:
        parent /= name
        try:
            os.mkdir(parent, 0o700)
        except FileExistsError:
            continue
        except OSError as problem:
            raise _read_only(str(base.joinpath(*below)), _reason(problem, parent)) from problem


def _verify_temporary(base: Path) -> None:
    """Refuse a temporary directory in which another user could put something else under our name."""
    try:
        seen = os.stat(base)
    except OSError as problem:
        raise _missing(str(base), str(base)) from problem
    others_write = seen.st_mode & 0o022
    if others_write and not seen.st_mode & stat.S_ISVTX:
        raise _unsafe(str(base), "others may rename what is in it (it has no sticky bit)")
    if seen.st_uid not in {os.geteuid(), 0}:
        raise _unsafe(str(base), f"it belongs to user {seen.st_uid}")


def _resolved(state: Path, *, follow: bool) -> StatePaths:
    """The paths below `state`; a link that the user made to another disk is followed, once and here only.

    In a shared temporary directory no link is followed: anybody could have made it.
    """
    return StatePaths(state=Path(os.path.realpath(state)) if follow else state)


def _make_own(directory: Path, *, is_state: bool) -> None:
    """Make `directory` with mode 0700, or verify that it is a directory of ours that others cannot enter.

    The state directory itself may be readable for others where the user made it so: all that is in it is
    closed. It must not be writable for them.
    """
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        pass
    except OSError as problem:
        raise _read_only(str(directory), _reason(problem, directory)) from problem
    seen = os.lstat(directory)
    if not stat.S_ISDIR(seen.st_mode):
        what = "a link" if stat.S_ISLNK(seen.st_mode) else "no directory"
        raise _unsafe(str(directory), f"it is {what}")
    if seen.st_uid != os.geteuid():
        raise _unsafe(str(directory), f"it belongs to user {seen.st_uid}, you are {os.geteuid()}")
    if is_state and seen.st_mode & 0o022:
        raise _unsafe(str(directory), f"others may write to it (mode {seen.st_mode & 0o7777:04o})")
    try:
        if not is_state and seen.st_mode & 0o077:
            os.chmod(directory, 0o700)
    except OSError as problem:
        raise _read_only(str(directory), _reason(problem, directory)) from problem
    if not os.access(directory, os.W_OK | os.X_OK):
        raise _read_only(str(directory), "it is read-only, or its mode keeps you from writing")


def _missing(state: str, parent: str) -> StateDirectoryError:
    return StateDirectoryError(
        f"the state directory {state} cannot be made: {parent} does not exist or is no directory",
        remedy=f"create it with `mkdir -p {parent}`, or point SQUALL_STATE_DIR at another directory",
        path=state,
    )


def _read_only(path: str, why: str) -> StateDirectoryError:
    return StateDirectoryError(
        f"the state directory {path} cannot be written to: {why}",
        remedy="point SQUALL_STATE_DIR at a directory that you may write to",
        path=path,
    )


def _unsafe(path: str, why: str) -> StateDirectoryError:
    return StateDirectoryError(
        f"the state directory {path} is not safe to use: {why}",
        remedy="point SQUALL_STATE_DIR at a directory of your own that others cannot write to (`chmod 700`)",
        path=path,
    )


def _reason(problem: OSError, path: Path) -> str:
    """What the system said, in words that name the place."""
    match problem.errno:
        case errno.EROFS:
            return f"{path.parent} is on a read-only file system"
        case errno.EACCES | errno.EPERM:
            return f"you may not write to {path.parent}"
        case errno.ENOSPC | errno.EDQUOT:
            return f"the disk that holds {path.parent} is full"
        case _:
            return f"{path}: {problem.strerror}"
