"""Index: a package index on loopback that wants a login, as a company's own would."""

from __future__ import annotations

import base64
import http.server
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from tests.http_server import http_server


@contextmanager
def private_index(wheels: Path, login: str) -> Iterator[str]:
    """The address (host and port) of an index of `wheels` that lets in only who says `login` ("user:password")."""
    wanted = "Basic " + base64.b64encode(login.encode()).decode()

    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Authorization") != wanted:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="packages"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = _page(wheels, unquote(self.path))
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/zip")
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body or b"")

        do_HEAD = do_GET  # noqa: N815 - the name is http.server's

        def log_message(self, *_: object) -> None:
            pass

    with http_server(Pages) as address:
        yield address


def _page(wheels: Path, path: str) -> bytes | None:
    if path.startswith("/files/"):
        wheel = wheels / path.removeprefix("/files/")
        return wheel.read_bytes() if wheel.is_file() else None
    name = path.removeprefix("/simple/").strip("/")
    found = sorted(wheels.glob(f"{name}-*.whl"))
    links = "".join(f'<a href="/files/{wheel.name}">{wheel.name}</a>\n' for wheel in found)
    return f"<!DOCTYPE html><html><body>{links}</body></html>".encode() if found else None
