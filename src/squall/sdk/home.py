"""Home: where a client finds its server outside of containers. A container never loads this: each fork of a template would pay for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from squall.sdk.local_server import ensure_server, require_named
from squall.settings.client import named_server
from squall.settings.options import Options, read_options
from squall.settings.paths import StatePaths, find_state


@dataclass(frozen=True, slots=True)
class Home:
    """One server. paths: of this machine's own, None for one that SQUALL_SERVER names; address: of its socket."""

    address: Path
    options: Options
    paths: StatePaths | None = None

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

    def start(self, progress: Callable[[str], None] | None) -> None:
        """Makes sure that it runs and answers; starts this machine's own. Blocks. Raises ServerNotStarted and its like."""
        if self.paths is None:
            require_named(self.address)
        else:
            ensure_server(self.paths, self.options, progress)


def find() -> Home:
    """The server that this process's environment means. Raises InvalidError, StateDirectoryError."""
    named = named_server()
    if named is not None:
        return Home(named, Options())
    paths = find_state()
    return Home(paths.server_socket, read_options(paths.config), paths)
