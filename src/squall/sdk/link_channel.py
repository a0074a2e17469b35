"""The link channel: the client's frames out of a container, beside the runner's own."""

from __future__ import annotations

import asyncio
from typing import Any

from squall.context.current import Link
from squall.model.errors import ChannelClosed, ConnectionLost
from squall.wire.channel import DRAINED_BELOW, OnClose, OnFrame
from squall.wire.codec import Buffer, Frame

# Stream 1 is the runner's: ours follow it.
_SHIFT = 2


class LinkChannel:
    """A Channel (see squall.wire.channel) over the runner's link; it ends when the link gets a new generation."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._generation = link.generation
        self._loop = asyncio.get_running_loop()
        self._on_frame: OnFrame | None = None
        self._on_close: OnClose | None = None
        self._closed = False

    def start(self, on_frame: OnFrame, on_close: OnClose) -> None:
        """See Channel.start."""
        self._on_frame, self._on_close = on_frame, on_close
        self._link.listen(self._hear)
        # The generation may have ended before anybody listened.
        self._loop.call_soon(self._end_with_generation)

    def send(self, frame: Frame, *more: Buffer) -> None:
        """See Channel.send."""
        if self._closed:
            raise ChannelClosed("the channel is closed, so nothing can be sent")
        shifted = Frame(frame.kind, frame.stream + _SHIFT, 0, frame.header, frame.payload, frame.fds)
        self._link.send(self._generation, shifted, *more)

    @property
    def buffered(self) -> int:
        """Nothing: the link writes through."""
        return 0

    @property
    def local(self) -> bool:
        """See Channel.local."""
        return True

    @property
    def closed(self) -> bool:
        """See Channel.closed."""
        return self._closed

    async def drain(self, below: int = DRAINED_BELOW) -> None:
        """See Channel.drain."""

    async def passed(self, route: int) -> None:
        """See Channel.passed: here frames keep their order."""

    def pause(self) -> None:
        """Not needed: a container's own calls are few."""

    def resume(self) -> None:
        """See `pause`."""

    def close(self) -> None:
        """See Channel.close."""
        if not self._closed:
            self._closed = True
            self._link.listen(None)
            if self._on_close is not None:
                self._loop.call_soon(self._on_close, None)

    def _hear(self, frame: Any) -> None:
        """In the link's own thread."""
        self._loop.call_soon_threadsafe(self._arrived, frame)

    def _arrived(self, frame: Any) -> None:
        if self._closed:
            return
        if frame is None:
            self._end_with_generation()
        elif self._on_frame is not None:
            frame.stream -= _SHIFT
            self._on_frame(frame)

    def _end_with_generation(self) -> None:
        if self._closed or self._link.generation == self._generation:
            return
        self._closed = True
        if self._on_close is not None:
            self._on_close(ConnectionLost("the container was reached by a new agent or server"))
