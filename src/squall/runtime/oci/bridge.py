"""The bridge: channels and log records of a container over one socket, where no descriptor can be passed.

gVisor takes descriptors at its start and none afterwards. So its pid 1 and the container's first process hold the two
ends of one packet socket, and either carries what its side writes to the other: frames, the values that they lend as
descriptors (read here, and laid into memory there), and records of the log. Only one channel is open at a time.
"""

import os
import select
import socket
import stat
import struct
from collections import deque
from collections.abc import Callable, Iterator
from enum import IntEnum

from squall.model.errors import FrameError
from squall.wire.codec import Frame, encode, length
from squall.wire.rights import ANCILLARY_SIZE, READ_FLAGS, Arrivals, close_all, rights
from squall.wire.sealed import fixed

_PIECE = 32 * 1024
_PACKET = 68 * 1024
_READ = 64 * 1024
_HEAD = struct.Struct("=BI")
_SIZE = struct.Struct("=Q")
_CREDENTIALS = struct.Struct("3i")
_READS = 16


class Word(IntEnum):
    """What a packet on the line is. The number behind it says which channel it is of, 0 for none."""

    RUNNING = 1
    ENDED = 2
    LOG = 3
    CHANNEL = 4
    CLOSED = 5
    VALUE = 6
    VALUE_PIECE = 7
    FRAME = 8
    FRAME_PIECE = 9


class Bridge:
    """One end of the line. log: where records are read (inside) or written (outside).

    make_channel: inside, gives our end of a new channel when the other end has one; outside there is none, and channels
    are announced. words: what was heard that is no channel's and no record, with its bytes, and the sender's pid where
    the line tells it.
    """

    def __init__(
        self,
        line: socket.socket,
        log: socket.socket,
        make_channel: Callable[[], socket.socket] | None = None,
    ) -> None:
        self.line = line
        self._make_channel = make_channel
        self.words: deque[tuple[Word, bytes, int]] = deque()
        self._log = log
        self._reads_log = make_channel is not None
        self._number = 0
        self._channel: socket.socket | None = None
        self._arrivals = Arrivals()
        self._out: deque[Iterator[bytes]] = deque()
        self._unsent: bytes | None = None
        self._back: deque[tuple[socket.socket, bytes, tuple[int, ...]]] = deque()
        self._values: list[int] = []
        for end in (line, log):
            end.setblocking(False)

    @property
    def idle(self) -> bool:
        """Whether everything that has been read has been passed on."""
        return not self._out and not self._back

    def wants(self) -> dict[int, int]:
        """What is waited for, by descriptor. Each side is read only once what it said before has been passed on."""
        wanted = {self.line.fileno(): 0 if self._back else select.POLLIN}
        if self._out:
            wanted[self.line.fileno()] |= select.POLLOUT
        elif self._reads_log:
            wanted[self._log.fileno()] = select.POLLIN
        if self._channel is not None and not self._out:
            wanted[self._channel.fileno()] = select.POLLIN
        for end, _, _ in self._back:
            wanted[end.fileno()] = wanted.get(end.fileno(), 0) | select.POLLOUT
            break
        return wanted

    def turn(self) -> bool:
        """Pass on what can be passed on now. False once the other end is gone."""
        self._write_back()
        alive = self._read_line()
        self._write_back()
        if not self._out:
            self._read_channel()
            self._read_log()
        self._write_line()
        return alive

    def announce_channel(self, channel: socket.socket) -> None:
        """Carry a new channel, and have the other end make one of its own for it."""
        self._open(self._number + 1, channel)
        self.say(Word.CHANNEL)

    def close_channel(self) -> None:
        """Let go of the channel."""
        if self._channel is None:
            return
        for end, _, fds in self._back:
            if end is self._channel:
                close_all(fds)
        self._back = deque(one for one in self._back if one[0] is not self._channel)
        close_all(self._values)
        self._values = []
        self._arrivals.close()
        self._channel.close()
        self._channel = None

    def say(self, word: Word, body: bytes = b"") -> None:
        """Say a word, after everything that was said before."""
        self._out.append(iter([_HEAD.pack(word, self._number) + body]))

    def _open(self, number: int, channel: socket.socket) -> None:
        self.close_channel()
        channel.setblocking(False)
        self._number, self._channel, self._arrivals = number, channel, Arrivals()

    # from this side to the other

    def _read_channel(self) -> None:
        """Frames of the channel, after what was printed before them: a record is there before its frame is."""
        channel = self._channel
        if channel is None:
            return
        try:
            data, ancillary, flags, _ = channel.recvmsg(_READ, ANCILLARY_SIZE, READ_FLAGS)
            self._arrivals.note(ancillary, flags)
            frames = self._arrivals.sort(self._arrivals.decoder.feed(data)) if data else []
        except BlockingIOError:
            return
        except (OSError, FrameError):
            data, frames = b"", []
        self._read_log()
        self._out += [self._packets(frame) for frame in frames]
        if not data:
            self.say(Word.CLOSED)
            self.close_channel()

    def _read_log(self) -> None:
        while self._reads_log:
            try:
                record = self._log.recv(_READ)
            except BlockingIOError:
                return
            except OSError:
                record = b""
            if not record:
                self._reads_log = False
                return
            self.say(Word.LOG, record)

    def _packets(self, frame: Frame) -> Iterator[bytes]:
        """A frame as packets, made as they are sent: a value may be larger than what is kept in memory twice."""
        number, fds = self._number, frame.fds
        try:
            for fd in fds:
                seen = os.fstat(fd)
                size = seen.st_size if stat.S_ISREG(seen.st_mode) else 0
                yield _HEAD.pack(Word.VALUE, number) + _SIZE.pack(size)
                for at in range(0, size, _PIECE):
                    yield _HEAD.pack(Word.VALUE_PIECE, number) + os.pread(fd, _PIECE, at)
        finally:
            close_all(fds)
        word = Word.FRAME
        for buffer in encode(frame):
            whole = memoryview(buffer).cast("B")
            for at in range(0, length(whole), _PIECE):
                yield _HEAD.pack(word, number) + bytes(whole[at : at + _PIECE])
                word = Word.FRAME_PIECE

    def _write_line(self) -> None:
        while self._unsent is not None or self._out:
            if self._unsent is None:
                self._unsent = next(self._out[0], None)
                if self._unsent is None:
                    self._out.popleft()
                    continue
            try:
                self.line.send(self._unsent, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except OSError:
                self._out.clear()  # The other end is gone, which reading finds too.
            self._unsent = None

    # from the other side to this one

    def _read_line(self) -> bool:
        for _ in range(_READS):
            if self._back:
                return True
            try:
                packet, ancillary, _, _ = self.line.recvmsg(_PACKET, socket.CMSG_SPACE(_CREDENTIALS.size))
            except BlockingIOError:
                return True
            except OSError:
                return False
            if len(packet) < _HEAD.size:
                return False
            self._take(packet, _sender_in(ancillary))
            self._write_back()
        return True

    def _take(self, packet: bytes, sender: int) -> None:
        word, number = _HEAD.unpack_from(packet)
        body = packet[_HEAD.size :]
        if word == Word.LOG:
            self._back.append((self._log, body, ()))
        elif word in {Word.RUNNING, Word.ENDED}:
            self.words.append((Word(word), body, sender))
        elif word == Word.CHANNEL and self._make_channel is not None:
            # At once: what follows is of this channel already.
            self._open(number, self._make_channel())
        elif number == self._number and self._channel is not None:
            self._take_of_channel(word, body, self._channel)

    def _take_of_channel(self, word: int, body: bytes, channel: socket.socket) -> None:
        match word:
            case Word.VALUE:
                self._values.append(os.memfd_create("squall-value", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
            case Word.VALUE_PIECE:
                _write_all(self._values[-1], body)
            case Word.FRAME:
                for value in self._values:
                    fixed(value)
                self._back.append((channel, body, tuple(self._values)))
                self._values = []
            case Word.FRAME_PIECE:
                self._back.append((channel, body, ()))
            case Word.CLOSED:
                self.close_channel()

    def _write_back(self) -> None:
        while self._back:
            end, data, fds = self._back[0]
            try:
                sent = end.sendmsg([data], rights(fds), socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except OSError:
                sent = len(data)  # Nobody reads it any more, which reading finds too.
            close_all(fds)
            self._back.popleft()
            if sent < len(data):
                self._back.appendleft((end, data[sent:], ()))


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _sender_in(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == getattr(socket, "SCM_CREDENTIALS", 2):
            return int(_CREDENTIALS.unpack(content)[0])
    return 0
