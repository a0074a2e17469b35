"""Rights: open descriptors that travel beside the bytes of a UNIX socket."""

from __future__ import annotations

import array
import errno
import os
import socket
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from squall.model.errors import FrameError
from squall.wire.codec import MAX_FDS, Buffer, Decoder, Frame, length

# One descriptor more than a frame may have: what does not fit is closed by the kernel and flagged.
ANCILLARY_SIZE: Final = socket.CMSG_SPACE((MAX_FDS + 1) * 4) if hasattr(socket, "CMSG_SPACE") else 0
# What the kernel is asked to hold for a connection: a megabyte then goes out at once, in two thirds of the time.
KERNEL_BUFFER: Final = 1024 * 1024
# The kernel takes at most 1,024 buffers in one call.
MOST_BUFFERS: Final = 512
# The socket takes no more now, and says when it does again.
NOT_NOW: Final = frozenset({errno.EAGAIN, errno.EINTR})
# The kernel has no room now and does not say when it has: too many descriptors of this user on their way, or no memory.
NO_ROOM: Final = frozenset({errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM})
NO_ROOM_REST_S: Final = 0.01
# Plain numbers: `&` on the socket module's enum costs 0.7 us, at every read.
READ_FLAGS: Final = int(getattr(socket, "MSG_CMSG_CLOEXEC", 0))
CUT: Final = int(getattr(socket, "MSG_CTRUNC", 0))


class Arrivals:
    """What one connection has received: bytes go to the decoder, descriptors wait for the frame that claims them.

    The kernel gives descriptors with the first byte of their frame, and never two frames' in one read, so whatever is
    here when a frame is complete belongs to the frames in order.
    """

    __slots__ = ("decoder", "waiting")

    def __init__(self) -> None:
        self.decoder = Decoder()
        self.waiting: deque[int] = deque()

    def note(self, ancillary: Iterable[tuple[int, int, bytes]], flags: int) -> None:
        """Keep the descriptors in `ancillary`. Raises FrameError when there were more than a frame may have."""
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
                self.waiting.extend(fds)
        if flags & CUT:
            raise FrameError(
                f"descriptors were lost: more than {MAX_FDS} arrived at once, or this process may open no more"
            )

    def sort(self, done: list[tuple[Frame, int]]) -> list[Frame]:
        """The frames of `done` with their descriptors. Raises FrameError when some are missing or nobody claims them."""
        frames: list[Frame] = []
        for frame, claimed in done:
            if claimed:
                if claimed > len(self.waiting):
                    missing = claimed - len(self.waiting)
                    for earlier in frames:
                        close_all(earlier.take_fds())
                    raise FrameError(
                        f"a frame claims {claimed} descriptors, {missing} of which did not arrive"
                    )
                frame.fds = tuple(self.waiting.popleft() for _ in range(claimed))
            frames.append(frame)
        if self.waiting and len(self.waiting) > self.decoder.fds_expected:
            for earlier in frames:
                close_all(earlier.take_fds())
            raise FrameError("descriptors arrived that no frame claims")
        return frames

    def close(self) -> None:
        """Close the descriptors that no frame has taken."""
        close_all(self.waiting)
        self.waiting.clear()


def rights(fds: Sequence[int]) -> list[tuple[int, int, bytes]]:
    """The ancillary data of sendmsg that carries `fds`."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds).tobytes())] if fds else []


def after(buffers: Sequence[Buffer], sent: int) -> list[Buffer]:
    """What is left of `buffers` once `sent` bytes of them are gone."""
    for index, buffer in enumerate(buffers):
        size = length(buffer)
        if sent < size:
            return [memoryview(buffer)[sent:] if sent else buffer, *buffers[index + 1 :]]
        sent -= size
    return []


def duplicates(fds: Sequence[int]) -> tuple[int, ...]:
    """Descriptors for the same open files as `fds`. Raises OSError, with none left open, when there is no room."""
    made: list[int] = []
    try:
        for fd in fds:
            made.append(os.dup(fd))  # noqa: PERF401 - those made so far must be known when one fails
    except OSError:
        close_all(made)
        raise
    return tuple(made)


def close_all(fds: Iterable[int]) -> None:
    """Close each of `fds`."""
    for fd in fds:
        os.close(fd)
