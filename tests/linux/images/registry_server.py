"""Registry server: Debian's docker-registry on loopback, with its files in a directory of the test's."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

# "hunter22secret" for the user ada, as `htpasswd -nbB ada hunter22secret` writes it.
LOGINS = "ada:$2y$05$BqYkQBP44kCjmKB6EWrl7.CQZm7vsvPDO792E7mWgXZ7zMY9usF3y\n"


@contextlib.contextmanager
def registry_server(place: Path, *, logins: str | None = None) -> Iterator[str]:
    """The address (host and port) of a registry. logins: lines of htpasswd; None lets in everybody."""
    place.mkdir(parents=True)
    access = ""
    if logins is not None:
        (place / "htpasswd").write_text(logins, encoding="utf-8")
        access = f"auth: {{htpasswd: {{realm: test, path: {place}/htpasswd}}}}\n"
    config = place / "config.yml"
    # Port 0: the kernel's choice, which the registry writes into its log.
    config.write_text(
        "version: 0.1\nlog: {level: info, formatter: json}\n"
        f"storage: {{filesystem: {{rootdirectory: {place}/data}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '127.0.0.1:0'}}\n{access}",
        encoding="utf-8",
    )
    log = place / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            ["docker-registry", "serve", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "OTEL_TRACES_EXPORTER": "none"},
        )
    try:
        yield f"127.0.0.1:{_port(server, log)}"
    finally:
        server.terminate()
        server.wait()


def _port(server: subprocess.Popen[bytes], log: Path) -> int:
    # It tells nobody else when it listens: its log is looked at until it says so.
    while server.poll() is None:
        found = re.search(r"listening on 127\.0\.0\.1:(\d+)", log.read_text(encoding="utf-8"))
        if found:
            return int(found[1])
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(0.05)
    raise RuntimeError(f"the registry ended: {log.read_text(encoding='utf-8')[-2000:]}")
