"""The link: frames between this container and the agent, over channels that come and go."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from squall.model.errors import Error
from squall.wire.blocking import BlockingLink
from squall.wire.codec import Frame, Kind, write_head

Head = dict[str, Any]
SERVE = 1
"""The stream on which a container asks for inputs: the first of every channel. The sdk's own follow it."""


class RunnerLink:
    """Sends outcomes until they are acknowledged, whatever happens to agent and server meanwhile.

    The launcher hands over a channel for each agent that attaches. What the server has not acknowledged is
    kept and sent again on the next channel, after a frame that says what this container has in hand.

    Frames are read by a thread of its own, in `run`; while the main thread has nothing to run, by the main thread, in
    `read_here`. So an input is taken up by the thread that the kernel woke, and the other one sleeps on.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._channel: BlockingLink | None = None
        self._lock = threading.Lock()
        self.generation = 0
        self._sent = 0
        self._outbox: deque[tuple[int, Frame, tuple[Any, ...]]] = deque()
        self._listener: Callable[[Any], None] | None = None
        # Who holds it takes frames from the channel and hands them out, so that they keep their order.
        self._turn = threading.Lock()
        self._read_elsewhere = False
        self._watch: Watch | None = None
        self.on_serve: Callable[[Head, Frame], None] = lambda _head, _frame: None
        self.on_tunnel: Callable[[Frame], None] = lambda _frame: None
        self.holding: Callable[[], Head] = dict

    def listen(self, on_frame: Callable[[Any], None] | None) -> None:
        """Where frames of the sdk's own streams go; None as a frame says that a new generation has begun."""
        self._listener = on_frame

    def send(self, generation: int, frame: Frame, *more: Any) -> None:
        """Sends a frame that nobody keeps: lost with the channel, as its sender is told by a None frame once there is a new one.

        generation: the one in which the frame's stream was opened; in a later one nobody knows the stream.
        """
        with self._lock:
            if self._channel is not None and generation == self.generation:
                try:
                    self._channel.send(frame, *more)
                except OSError:
                    return

    def post(self, head: Head, *payload: Any, fds: tuple[int, ...] = ()) -> None:
        """Sends on the serving stream and keeps it until acknowledged; takes the descriptors over."""
        with self._lock:
            self._sent += 1
            head["n"] = self._sent
            frame = Frame(Kind.DATA, SERVE, header=_dumps(head), fds=fds)
            self._outbox.append((self._sent, frame, payload))
            channel = self._channel
            if channel is not None:
                try:
                    channel.send(frame, *payload)
                except OSError:
                    return

    def acknowledged(self, seen: int) -> None:
        """The server has everything up to `seen`: it need not be sent again."""
        with self._lock:
            while self._outbox and self._outbox[0][0] <= seen:
                for fd in self._outbox.popleft()[1].fds:
                    os.close(fd)

    def run(self) -> None:
        """Reads frames for ever, from one channel after another; ends the process when the launcher is gone."""
        while True:
            channel = self._next_channel()
            self._watch = watch = Watch(channel)
            self._resume(channel)
            while self._read(channel, watch):
                pass
            with self._turn:
                self._channel = None
                watch.close()

    def read_here(self, done: Callable[[], bool], timeout_s: float | None = None) -> None:
        """Reads frames in this thread in place of `run`, until `done` or nothing has come for so long.

        Returns early when the channel ends, and at once where there is none: what comes then, `run` reads.
        """
        channel, watch = self._channel, self._watch
        if channel is None or watch is None:
            return
        with self._turn:
            if self._channel is not channel:
                # It has ended since, and what watched it is closed.
                return
            self._read_elsewhere = True
            watch.pause()
        try:
            while not done():
                if not watch.readable(timeout_s):
                    return
                frames = _ready(channel)
                if frames is None:
                    watch.end()
                    return
                for frame in frames:
                    self._dispatch(frame)
        finally:
            self._read_elsewhere = False
            watch.resume()

    def _read(self, channel: BlockingLink, watch: Watch) -> bool:
        """Reads what comes next, once nobody else does; False: the channel has ended."""
        watch.wait()
        with self._turn:
            if self._read_elsewhere:
                return True
            frames = _ready(channel)
            for frame in frames or ():
                self._dispatch(frame)
        return frames is not None

    def _next_channel(self) -> BlockingLink:
        while True:
            message, fds, _flags, _address = socket.recv_fds(self._control, 65536, 4)
            if not message:
                os._exit(0)
            head = json.loads(message)
            if head.get("t") == "channel" and len(fds) == 1:
                os.set_inheritable(fds[0], False)
                return BlockingLink(socket.socket(fileno=fds[0]))
            for fd in fds:
                os.close(fd)

    def _resume(self, channel: BlockingLink) -> None:
        """Begin a generation: what is in hand and what is kept first, then whatever the sdk has to say again."""
        with self._lock:
            self.generation += 1
            opening = {"t": "serve", "sent": self._sent, "kept": len(self._outbox), **self.holding()}
            try:
                channel.send(Frame(Kind.OPEN, SERVE, header=_dumps(opening)))
                for _number, frame, payload in self._outbox:
                    channel.send(frame, *payload)
            except OSError:
                return
            self._channel = channel
        if self._listener is not None:
            self._listener(None)

    def _dispatch(self, frame: Frame) -> None:
        if frame.stream == SERVE:
            if frame.kind == Kind.DATA:
                self.on_serve(frame.head(), frame)
        elif frame.kind == Kind.OPEN:
            word = frame.head().get("t")
            if word == "resync" and self._channel is not None:
                # The agent reached another server: say again what is in hand.
                self._resume(self._channel)
            elif word == "tunnel":
                self.on_tunnel(frame)
        elif self._listener is not None:
            self._listener(frame)


def _ready(channel: BlockingLink) -> list[Frame] | None:
    """The frames that a channel has now, None at its end."""
    try:
        return channel.recv_ready()
    except (OSError, Error):
        # Whatever is wrong with a channel, the next one is better.
        return None


class Watch:
    """Wakes the thread that waits for frames of a channel, except while another one reads them."""

    def __init__(self, channel: BlockingLink) -> None:
        self._fd = channel.fileno()
        self._epoll = select.epoll()
        self._epoll.register(self._fd, select.EPOLLIN)
        # A descriptor that is closed wakes nobody: the end is told apart.
        self._ended = os.eventfd(0, os.EFD_CLOEXEC)
        self._epoll.register(self._ended, select.EPOLLIN)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def wait(self) -> None:
        """Returns when there is something to read, and nobody else reads."""
        self._epoll.poll()

    def pause(self) -> None:
        """`wait` sleeps on, whatever comes; only the end of the channel still wakes it."""
        self._epoll.modify(self._fd, 0)

    def resume(self) -> None:
        """`wait` wakes again, at once for what has come meanwhile."""
        with contextlib.suppress(OSError, ValueError):
            self._epoll.modify(self._fd, select.EPOLLIN)

    def end(self) -> None:
        """The channel has ended: `wait` wakes."""
        os.eventfd_write(self._ended, 1)

    def readable(self, timeout_s: float | None) -> bool:
        """Whether there is something to read, within timeout_s; the end of the channel is nothing to read."""
        found = self._poll.poll(None if timeout_s is None else timeout_s * 1e3)
        return bool(found) and found[0][1] == select.POLLIN

    def close(self) -> None:
        """Lets go of it."""
        self._epoll.close()
        os.close(self._ended)


def _dumps(head: Head) -> bytes:
    return write_head(head)
