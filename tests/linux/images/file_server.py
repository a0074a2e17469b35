"""File server: a directory over http on loopback."""

from __future__ import annotations

import functools
import http.server
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.http_server import http_server


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def file_server(top: Path) -> Iterator[str]:
    """The address (host and port) of a server of the files below `top`."""
    pages = functools.partial(_Quiet, directory=str(top))
    with http_server(pages) as address:
        yield address
