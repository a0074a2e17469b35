"""What a suite of tests leaves on the machine: `squall.testing.leaks` for the folders that the suite has made."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from squall.testing import leaks
from squall.testing.leaks import Seen, descriptors, left

__all__ = ["Seen", "descriptors", "fresh_folder", "left", "look", "nothing_left"]

# How long the kernel and our own processes may take to let go of what has ended.
_PATIENCE_S = 10.0
_folders: set[Path] = set()


def fresh_folder(*, prefix: str = "squall-t-", below: str | None = None) -> Path:
    """A directory with a short name (those of sockets are not long) by which what is in it is known as ours."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=below))
    _folders.add(folder)
    return folder


@contextmanager
def nothing_left() -> Iterator[None]:
    """Of what is done in it, nothing may be left: AssertionError with what is, once it was waited for."""
    # What an earlier suite has left is told of there.
    known, before = set(_folders), look(frozenset(_folders))
    yield
    mine = frozenset(_folders - known)
    until = time.monotonic() + _PATIENCE_S
    while found := left(before, look(mine)):
        assert time.monotonic() < until, "left behind:\n" + "\n".join(found)
        time.sleep(0.05)


def look(folders: frozenset[Path] | None = None) -> Seen:
    """What there is now of what was made in these folders; of all of ours where none are named."""
    return leaks.look(frozenset(_folders) if folders is None else folders, orphans=True)
