"""A lock: which one process of this state directory is the server, the agent or the supervisor."""

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path

from squall.model.errors import StateDirectoryError
from squall.settings.process import ProcessMark, open_process, own_mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """What a lock's file says: who took it last, and why it ended if it ended in good order."""

    mark: ProcessMark
    ended: str = ""


class Lock:
    """A lock that this process holds until it ends, however it ends; the kernel lets go of it then.

    Its file stays and is never unlinked: two processes could otherwise each hold a lock of the same name.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: Path, *, wait: bool = False) -> "Lock | None":
        """The lock at `path`; None where another process holds it. With `wait`, once that one has let go.

        Raises StateDirectoryError where the file system knows no locks.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as problem:
            os.close(descriptor)
            raise StateDirectoryError(
                f"{path} cannot be locked: {problem.strerror}",
                remedy="keep the state on a local disk: point SQUALL_STATE_DIR at one",
                path=str(path),
            ) from problem
        lock = cls(descriptor)
        try:
            lock._write({"holder": own_mark().to_json()})
        except OSError:
            lock.close()  # a full disk: the lock must not stay with a process that was told it has none
            raise
        return lock

    def finish(self, reason: str) -> None:
        """Leave word that this process ends in good order, and why ("idle", "down"); the lock stays held."""
        self._write({"holder": own_mark().to_json(), "ended": reason})

    def close(self) -> None:
        os.close(self._descriptor)

    def _write(self, value: dict[str, object]) -> None:
        text = json.dumps(value).encode()
        os.pwrite(self._descriptor, text, 0)
        os.ftruncate(self._descriptor, len(text))


def last_holder(path: Path) -> Holder | None:
    """Who took the lock at `path` last, alive or not; None where nobody has, or the file says nothing."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(value, dict):
        return None
    mark = ProcessMark.from_json(value.get("holder"))
    return None if mark is None else Holder(mark=mark, ended=str(value.get("ended", "")))


def open_holder(path: Path) -> tuple[ProcessMark, int] | None:
    """The live process that took the lock at `path` last, and a pidfd of it; None where it has ended."""
    holder = last_holder(path)
    pidfd = None if holder is None else open_process(holder.mark)
    return None if holder is None or pidfd is None else (holder.mark, pidfd)
