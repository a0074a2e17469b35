"""The link: frames between this container and the agent, over channels that come and go."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from squall.wire.blocking import BlockingLink
from squall.wire.codec import Frame, Kind, write_head

Head = dict[str, Any]
SERVE = 1
"""The stream on which a container asks for inputs: the first of every channel. The sdk's own follow it."""


class RunnerLink:
    """Sends outcomes until they are acknowledged, whatever happens to agent and server meanwhile.

    The launcher hands over a channel for each agent that attaches. What the server has not acknowledged is
    kept and sent again on the next channel, after a frame that says what this container has in hand.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._channel: BlockingLink | None = None
        self._lock = threading.Lock()
        self.generation = 0
        self._sent = 0
        self._outbox: deque[tuple[int, Frame, tuple[Any, ...]]] = deque()
        self._listener: Callable[[Any], None] | None = None
        self.on_serve: Callable[[Head, Frame], None] = lambda _head, _frame: None
        self.holding: Callable[[], Head] = dict

    def listen(self, on_frame: Callable[[Any], None] | None) -> None:
        """Where frames of the sdk's own streams go; None as a frame says that the channel was lost."""
        self._listener = on_frame

    def send(self, generation: int, frame: Frame, *more: Any) -> None:
        """Sends a frame that nobody keeps: lost with the channel, its sender is told by a None frame.

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
            self._resume(channel)
            while True:
                try:
                    frame = channel.recv()
                except Exception:  # noqa: BLE001 - whatever is wrong with a channel, the next one is better
                    frame = None
                if frame is None:
                    break
                self._dispatch(frame)
            self._channel = None
            if self._listener is not None:
                self._listener(None)

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
        with self._lock:
            self.generation += 1
            opening = {"t": "serve", "sent": self._sent, **self.holding()}
            try:
                channel.send(Frame(Kind.OPEN, SERVE, header=_dumps(opening)))
                for _number, frame, payload in self._outbox:
                    channel.send(frame, *payload)
            except OSError:
                return
            self._channel = channel

    def _dispatch(self, frame: Frame) -> None:
        if frame.stream == SERVE:
            if frame.kind == Kind.DATA:
                self.on_serve(frame.head(), frame)
        elif frame.kind == Kind.OPEN:
            if frame.head().get("t") == "resync" and self._channel is not None:
                # The agent reached another server: say again what is in hand.
                self._resume(self._channel)
                if self._listener is not None:
                    self._listener(None)
        elif self._listener is not None:
            self._listener(frame)


def _dumps(head: Head) -> bytes:
    return write_head(head)
