"""Git server: repositories over http on loopback, for who says a login, by git's own program for that."""

from __future__ import annotations

import base64
import http.server
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.http_server import http_server

_ALONE = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "PATH": os.defpath}


def make_repository(place: Path, files: dict[str, str], *, tag: str = "") -> str:
    """A bare repository with one commit of these files on `main`; the commit's name."""
    work = place.with_suffix(".work")
    for path, text in files.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text(text)
    _git("init", "--quiet", "--initial-branch=main", str(work))
    _git("-C", str(work), "add", ".")
    _git("-C", str(work), "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "-m", "all")
    if tag:
        _git("-C", str(work), "tag", tag)
    _git("clone", "--quiet", "--bare", str(work), str(place))
    return _git("-C", str(work), "rev-parse", "HEAD").strip()


@contextmanager
def git_server(top: Path, login: str) -> Iterator[str]:
    """The address (host and port) of a server of the repositories below `top`, which lets in only who says `login` ("user:password")."""
    wanted = "Basic " + base64.b64encode(login.encode()).decode()

    pages = type("Pages", (_Pages,), {"top": top, "wanted": wanted})
    with http_server(pages) as address:
        yield address


class _Pages(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    top: Path
    wanted: str

    def do_GET(self) -> None:
        body = self._body()
        if self.headers.get("Authorization") != self.wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="repositories"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        environ = {
            **_ALONE,
            "GIT_PROJECT_ROOT": str(self.top),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        done = subprocess.run(
            ["git", "http-backend"], input=body, env=environ, capture_output=True, check=False
        )
        head, _, rest = done.stdout.partition(b"\r\n\r\n")
        said = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
        self.send_response(int(said.pop("Status", "200").split()[0]))
        for name, value in said.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest)

    do_POST = do_GET  # noqa: N815 - the name is http.server's

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, *_: object) -> None:
        pass


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], env=_ALONE, capture_output=True, text=True, check=True)
    return done.stdout
