"""Build log: what was said while a layer was built, kept by the layer's key, and told to whoever follows."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from squall.images.flight import Say
from squall.model.errors import Error

MOST_BYTES: Final = 1 << 20
"""Of one log; of a longer one the middle is left out."""

_KEY: Final = re.compile(r"[0-9a-f]{64}")


class BuildLogs:
    """The logs of builds below one directory, one for each key. Whoever writes has taken secrets out already.

    Lives on one loop. most_bytes: of one log.
    """

    def __init__(self, directory: Path, most_bytes: int = MOST_BYTES) -> None:
        self._directory = directory
        self._most = most_bytes
        self._writing: dict[str, _Writing] = {}

    @property
    def building(self) -> frozenset[str]:
        """The keys of what is being built now."""
        return frozenset(self._writing)

    def keys(self) -> frozenset[str]:
        """The keys of all logs that are here, also of builds that failed."""
        try:
            return frozenset(name for name in os.listdir(self._directory) if _KEY.fullmatch(name))
        except FileNotFoundError:
            return frozenset()

    @contextlib.contextmanager
    def recording(self, key: str, say: Say) -> Iterator[Say]:
        """What says each line to `say`, and keeps it; with the first, the log of an earlier build of this key is gone."""
        writing = self._writing[key] = _Writing(self._path(key), self._most)

        def tell(line: str) -> None:
            writing.add(line)
            say(line)

        try:
            yield tell
        except Error as failed:
            writing.add(f"failed: {str(failed).splitlines()[0]}")
            raise
        except BaseException:
            writing.add("ended before it was done")
            raise
        finally:
            if self._writing.get(key) is writing:
                del self._writing[key]
            writing.end()

    def read(self, key: str) -> tuple[str, ...]:
        """The lines of a log; none where there is no log."""
        try:
            text = self._path(key).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ()
        return tuple(text.splitlines())

    async def follow(self, key: str, take: Callable[[str], None]) -> None:
        """Gives `take` each line of a log, and those that come until its build has ended."""
        writing = self._writing.get(key)
        for line in self.read(key):
            take(line)
        if writing is None:
            return
        writing.followers.append(take)
        try:
            await writing.ended.wait()
        finally:
            writing.followers.remove(take)

    def drop(self, key: str) -> int:
        """Removes a log that is not being written; how many bytes it had."""
        path = self._path(key)
        if key in self._writing:
            return 0
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
        return size

    def written_s(self, key: str) -> float:
        """When its last line came, in seconds since 1970; 0 where there is no log."""
        try:
            return self._path(key).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"no image has the key {key!r}")
        return self._directory / key


class _Writing:
    """One log while its build runs. A disk that takes no more ends the log, and not the build."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        self._path = path
        self._most = most_bytes
        self._size = 0
        self._fd = -1
        self._begun = False
        self.followers: list[Callable[[str], None]] = []
        self.ended = asyncio.Event()

    def add(self, line: str) -> None:
        self._size += len(line.encode("utf-8", "replace")) + 1
        try:
            # Only now: whoever finds that another was faster says nothing, and must not take the other's log away.
            if not self._begun:
                self._begun = True
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._open(os.O_TRUNC)
            if self._fd >= 0:
                _write(self._fd, f"{line}\n")
            if self._fd >= 0 and self._size > self._most:
                self._leave_out()
        except OSError:
            self._close()
        for take in tuple(self.followers):
            with contextlib.suppress(Error):
                # Its connection is gone, which it will notice itself; the others must not suffer for it.
                take(line)

    def end(self) -> None:
        self._close()
        self.ended.set()

    def _leave_out(self) -> None:
        """The first and the last quarter stay: why a build failed stands at its end."""
        lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        first, last = _within(lines, self._most // 4), _within(lines[::-1], self._most // 4)[::-1]
        left_out = len(lines) - len(first) - len(last)
        text = "".join([*first, f"... {left_out} lines are left out ...\n", *last])
        beside = self._path.with_name(f".coming-{secrets.token_hex(8)}")
        try:
            beside.write_text(text, encoding="utf-8")
            os.rename(beside, self._path)
        finally:
            beside.unlink(missing_ok=True)
        self._close()
        self._open(0)
        self._size = len(text.encode())

    def _open(self, how: int) -> None:
        self._fd = os.open(
            self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | how, 0o600
        )

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _write(fd: int, text: str) -> None:
    rest = memoryview(text.encode("utf-8", "replace"))
    while rest:
        rest = rest[os.write(fd, rest) :]


def _within(lines: list[str], most_bytes: int) -> list[str]:
    taken: list[str] = []
    for line in lines:
        most_bytes -= len(line.encode())
        if most_bytes < 0:
            break
        taken.append(line)
    return taken
