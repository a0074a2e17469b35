"""Attachments: open files that travel by value, in pieces ahead of the frame that they belong to."""

from __future__ import annotations

import logging
import os
import stat
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from squall.model.call import LARGEST_VALUE
from squall.model.errors import ConnectionLost, DescriptorNotSent, FrameError
from squall.wire.codec import MAX_FDS, Buffer, Frame, Kind, encode, length, write_head
from squall.wire.rights import close_all
from squall.wire.sealed import empty, fixed, write_all

if sys.platform != "win32":
    import fcntl

# What one piece carries at most, and what is put into one: less of it lets other frames through more often.
MAX_PIECE: Final = 256 * 1024
_PIECE_SIZE: Final = 128 * 1024
# What the files of one channel and direction may have together that have begun and whose frame is not there yet.
# Every frame that can be sent has room in it.
MOST_ATTACHED: Final = MAX_FDS * LARGEST_VALUE
# Frames whose files are on their way at once: each may hold eight descriptors open at the other side.
MOST_AT_ONCE: Final = 64

_O_PATH: Final = int(getattr(os, "O_PATH", 0))
Key: TypeAlias = tuple[int, int]
_log: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class _File:
    """A file that is being sent: its descriptor, its length when it was given, how much of it has gone."""

    fd: int
    size: int
    at: int = 0


@dataclass(slots=True)
class _Waiting:
    """A frame, encoded, that waits for its files, or for those of a frame before it."""

    buffers: Sequence[Buffer]
    files: deque[_File] = field(default_factory=deque)
    size: int = 0


class Outbox:
    """Frames with files, and those of the same streams behind them; every stream whose files go has its turn.

    Frames of one stream keep their order, those of other streams do not wait. most_bytes: what the files may have
    together that have begun; the other side takes no more. held: bytes of the frames that wait.
    """

    def __init__(self) -> None:
        self.most_bytes = MOST_ATTACHED
        self.held = 0
        self._lines: dict[Key, deque[_Waiting]] = {}
        self._turns: deque[Key] = deque()
        self._later: deque[Key] = deque()
        self._begun_bytes = self._begun = 0
        self._released: deque[tuple[int, int]] = deque()
        self._just_released = 0

    def __bool__(self) -> bool:
        return bool(self._lines)

    def holds(self, route: int, stream: int) -> bool:
        """Whether frames of this stream wait here, so that those that come later have to."""
        return (route, stream) in self._lines

    def holds_route(self, route: int) -> bool:
        """Whether frames of any stream of `route` wait here."""
        return any(held == route for held, _ in self._lines)

    def add(self, frame: Frame, buffers: Sequence[Buffer]) -> None:
        """Take `frame`, which is `buffers` on the wire, with duplicates of its descriptors.

        Raises DescriptorNotSent for one that is no file that can be read, FrameError for one that is too long, OSError
        when this process may open no more; nothing is kept then.
        """
        waiting = _Waiting(buffers, _opened(frame.fds))
        waiting.size = sum(file.size for file in waiting.files)
        if waiting.size > self.most_bytes:
            close_all(file.fd for file in waiting.files)
            raise FrameError(f"files of {waiting.size} bytes; at most {self.most_bytes} go with a frame here")
        self._put((frame.route, frame.stream), waiting)

    def put(self, frame: Frame, buffers: Sequence[Buffer]) -> None:
        """Take `frame`, whose stream has frames here, to go behind them."""
        self._put((frame.route, frame.stream), _Waiting(buffers))

    def next(self) -> tuple[Sequence[Buffer], Sequence[Buffer]]:
        """The next piece, and the frames that may go now because it was their last. Both are empty when none may begin."""
        self._begin()
        if not self._turns:
            return (), ()
        key = self._turns.popleft()
        first = self._lines[key][0]
        piece = _next_piece(key, first.files)
        if first.files:
            self._turns.append(key)
            return piece, ()
        return piece, self._release(key)

    def note_released(self, place: int) -> None:
        """What `next` has just released is out of this process once `passed` is told of `place` or more."""
        self._released.append((place, self._just_released))

    def passed(self, place: int) -> None:
        """Everything up to `place` is on its way, so the other side soon has room for more."""
        while self._released and self._released[0][0] <= place:
            self._begun -= 1
            self._begun_bytes -= self._released.popleft()[1]

    def close(self) -> None:
        """Drop everything."""
        for line in self._lines.values():
            for waiting in line:
                close_all(file.fd for file in waiting.files)
        self._lines.clear()
        self._turns.clear()
        self._later.clear()
        self.held = 0

    def _put(self, key: Key, waiting: _Waiting) -> None:
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = deque()
            self._later.append(key)
        line.append(waiting)
        self.held += sum(map(length, waiting.buffers))

    def _begin(self) -> None:
        """Let those that stand first in their lines begin, as far as there is room at the other side."""
        while self._later and self._begun < MOST_AT_ONCE:
            size = self._lines[self._later[0]][0].size
            if self._begun_bytes + size > self.most_bytes:
                return
            self._begun += 1
            self._begun_bytes += size
            self._turns.append(self._later.popleft())

    def _release(self, key: Key) -> list[Buffer]:
        """The first of this line, which has all its files, and those behind it that have none."""
        line = self._lines[key]
        self._just_released = line[0].size
        freed: list[Buffer] = []
        while line and not line[0].files:
            freed += line.popleft().buffers
        self.held -= sum(map(length, freed))
        if line:
            self._later.append(key)
        else:
            del self._lines[key]
        return freed


@dataclass(slots=True)
class _Arriving:
    """The files that have arrived for the next frame of a stream that claims some, and the one that is being filled."""

    fds: list[int] = field(default_factory=list)
    announced: int = 0
    fd: int = -1
    left: int = 0


class Inbox:
    """Files that arrive in pieces, until their frame claims them.

    most_bytes: what those may have together that no frame has claimed yet, by the length that they were announced with.
    """

    def __init__(self) -> None:
        self.most_bytes = MOST_ATTACHED
        self._announced = 0
        self._arriving: dict[Key, _Arriving] = {}

    def take(self, piece: Frame) -> None:
        """Take a PIECE. Raises FrameError for one that makes no sense or is too much, ConnectionLost without room for it."""
        arriving = self._of((piece.route, piece.stream))
        head, size = piece.head(), length(piece.payload)
        announced = head.get("s")
        if arriving.fd < 0:
            self._open(arriving, announced)
        elif announced is not None:
            raise FrameError("a file begins within another")
        if size > MAX_PIECE or size > arriving.left:
            raise FrameError(f"a piece of {size} bytes, of {arriving.left} that were to come")
        try:
            write_all(arriving.fd, [piece.payload])
        except OSError as error:
            raise ConnectionLost(f"there is no room here for a value that was arriving: {error}") from None
        arriving.left -= size
        if not arriving.left or head.get("e") == 1:
            fixed(arriving.fd)
            arriving.fds.append(arriving.fd)
            arriving.fd, arriving.left = -1, 0
        elif not size:
            raise FrameError("a piece without anything in it")

    def claim(self, frame: Frame, count: int) -> None:
        """Give `frame` the files that have arrived for it. Raises FrameError unless there are `count` of them."""
        arriving = self._arriving.get((frame.route, frame.stream))
        found = len(arriving.fds) if arriving is not None else 0
        if arriving is None or found != count or arriving.fd >= 0:
            raise FrameError(f"a frame claims {count} files, and {found} have arrived for it")
        del self._arriving[frame.route, frame.stream]
        self._announced -= arriving.announced
        frame.fds = tuple(arriving.fds)

    def close(self) -> None:
        """Close what nobody has claimed."""
        for arriving in self._arriving.values():
            close_all(arriving.fds)
            if arriving.fd >= 0:
                os.close(arriving.fd)
        self._arriving.clear()

    def _of(self, key: Key) -> _Arriving:
        arriving = self._arriving.get(key)
        if arriving is None:
            if len(self._arriving) >= MOST_AT_ONCE:
                raise FrameError(f"files for more than {MOST_AT_ONCE} frames arrive at once")
            arriving = self._arriving[key] = _Arriving()
        return arriving

    def _open(self, arriving: _Arriving, announced: object) -> None:
        if type(announced) is not int or not 0 <= announced <= LARGEST_VALUE:
            raise FrameError(f"a file begins with its length, from 0 to {LARGEST_VALUE} bytes")
        if len(arriving.fds) >= MAX_FDS:
            raise FrameError(f"more than {MAX_FDS} files arrive for one frame")
        if not self.most_bytes:
            raise FrameError("a file was sent by somebody who has not said who it is")
        if self._announced + announced > self.most_bytes:
            raise FrameError(
                f"files of {self._announced + announced} bytes are announced; at most {self.most_bytes} are taken"
            )
        try:
            arriving.fd = empty()
        except OSError as error:
            raise ConnectionLost(f"there is no room here for a value that was arriving: {error}") from None
        arriving.left = announced
        arriving.announced += announced
        self._announced += announced


def _opened(fds: Sequence[int]) -> deque[_File]:
    """Duplicates of `fds`, which are files that can be read."""
    files: deque[_File] = deque()
    try:
        for fd in fds:
            size = _size_of(fd)
            files.append(_File(os.dup(fd), size))
    except BaseException:
        close_all(file.fd for file in files)
        raise
    return files


def _size_of(fd: int) -> int:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise DescriptorNotSent("an open file was to go to another machine which is no file with a length")
    if not _is_readable(fd):
        raise DescriptorNotSent("an open file was to go to another machine which cannot be read here")
    if found.st_size > LARGEST_VALUE:
        raise FrameError(f"a file of {found.st_size} bytes; at most {LARGEST_VALUE} go to another machine")
    return found.st_size


def _is_readable(fd: int) -> bool:
    if sys.platform == "win32":
        return True  # it would be noticed while it is read
    return fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_ACCMODE | _O_PATH) in {os.O_RDONLY, os.O_RDWR}


def _next_piece(key: Key, files: deque[_File]) -> list[Buffer]:
    """The next piece of the first of `files`, which is closed and taken out when it was the last of it."""
    file = files[0]
    wanted = min(_PIECE_SIZE, file.size - file.at)
    head = {} if file.at else {"s": file.size}
    try:
        data = os.pread(file.fd, wanted, file.at)
    except OSError as error:
        _log.warning("a file could not be read to its end while it was sent: %s", error)
        data = b""
    if len(data) < wanted:
        # Its owner has cut it meanwhile. Who reads it at the other side sees that it is too short.
        head["e"] = 1
    file.at += len(data)
    if len(data) < wanted or file.at == file.size:
        files.popleft()
        os.close(file.fd)
    route, stream = key
    return encode(Frame(Kind.PIECE, stream, route, write_head(head), data))
