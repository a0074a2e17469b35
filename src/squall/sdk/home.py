"""Home: where a client finds its server outside of containers. A container never loads this: each fork of a template would pay for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from squall.sdk.blocking import run_blocking
from squall.sdk.local_server import ensure_listening, ensure_server, require_named
from squall.sdk.remote_server import RemoteDoor
from squall.settings.client import RemoteServer, ServerAddress, named_server, refuse_joined
from squall.settings.options import Options, read_options
from squall.settings.paths import StatePaths, find_state


@dataclass(frozen=True, slots=True)
class Home:
    """One server. paths: of this machine's own, None for one that is named; address: of its socket, or on another machine.

    door: the way to one on another machine.
    """

    address: ServerAddress
    options: Options
    paths: StatePaths | None = None
    door: RemoteDoor | None = None

    @property
    def socket(self) -> Path | None:
        """Its socket, where it is on this machine."""
        return self.address if isinstance(self.address, Path) else None

    @property
    def is_ours(self) -> bool:
        """Whether it is this machine's own, which is started where it does not run."""
        return self.paths is not None

    @property
    def largest_value(self) -> int:
        """Bytes that the arguments of one input may have."""
        return self.options.max_value_bytes

    @property
    def pool_bytes(self) -> int | None:
        """Bytes that the files of large arguments may have together; None where there are none, as the server is another's."""
        return None if self.paths is None else self.options.values_pool_bytes

    def revive(self) -> None:
        """Makes sure that somebody listens again, where it is this machine's own. Blocks. Raises ServerNotStarted and its like."""
        if self.paths is not None:
            ensure_listening(self.paths, self.options)

    def start(self, progress: Callable[[str], None] | None) -> None:
        """Makes sure that it runs and answers; starts this machine's own. Blocks. Raises ServerNotStarted and its like."""
        if self.door is not None:
            run_blocking(self.door.greet())
        elif self.paths is not None:
            ensure_server(self.paths, self.options, progress)
        elif self.socket is not None:
            require_named(self.socket)


def find() -> Home:
    """The server that this process's environment means. Raises InvalidError, StateDirectoryError."""
    named = named_server()
    if isinstance(named, RemoteServer):
        return Home(named, Options(), door=RemoteDoor(named))
    if named is not None:
        return Home(named, Options())
    paths = find_state()
    refuse_joined(paths)
    return Home(paths.server_socket, read_options(paths.config), paths)
