"""Buildah: Debian's program, with its storage in a directory of the test's."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self


class Buildah:
    """Makes images. driver: "vfs" keeps each layer as a whole directory, which needs no mount wherever the test runs."""

    def __init__(self, place: Path, driver: str = "vfs") -> None:
        storage = ("--root", f"{place}/root", "--runroot", f"{place}/run", "--storage-driver", driver)
        self._command = ("buildah", *storage)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        self.says("rm", "--all")

    def root_of(self, container: str) -> Path:
        """The directory of a container's files."""
        return Path(self.says("mount", container))

    def says(self, *arguments: str | Path) -> str:
        """What it prints, without the line's end. Raises AssertionError with its complaint."""
        done = subprocess.run(
            [*self._command, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout.strip()
