"""The channel: a two-way, ordered stream of frames to one peer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from squall.wire.codec import Buffer, Frame

OnFrame: TypeAlias = Callable[[Frame], None]
OnClose: TypeAlias = Callable[[Exception | None], None]

# Writers that wait in `drain` go on below this many bytes.
DRAINED_BELOW: Final = 1024 * 1024
# What a peer that does not read may cost in memory before the channel gives it up.
MAX_BUFFERED: Final = 256 * 1024 * 1024


class Channel(Protocol):
    """Frames to and from one peer, on one event loop and from its thread only.

    Frames arrive in the order in which the peer sent them. A channel that breaks is closed and says so once.
    """

    def start(self, on_frame: OnFrame, on_close: OnClose) -> None:
        """Begin to read; on_frame gets every frame, on_close comes once, after the last of them.

        on_frame may keep header and payload. Its descriptors are closed when it returns, except those it took with
        `frame.take_fds()`, which are its own from then on. A FrameError that it raises closes the channel, anything
        else goes to the loop's exception handler.
        on_close gets None when either side closed in good order, FrameError when the peer broke the protocol,
        ConnectionLost when the connection broke. It is called from the loop, never from within `send` or `close`.
        """
        ...

    def send(self, frame: Frame, *more: Buffer) -> None:
        """Send `frame`, its payload continued by the buffers in `more`; never waits.

        Buffers are not copied: they must not change until `buffered` has been 0. The channel makes its own
        duplicates of the descriptors where it needs them, so the caller keeps and closes its own as soon as it likes.
        Raises ChannelClosed on a closed channel, FrameError for a frame beyond the limits (nothing is sent then).
        """
        ...

    @property
    def local(self) -> bool:
        """Whether the other side gets descriptors as they are, being on this machine."""
        ...

    @property
    def buffered(self) -> int:
        """Bytes sent that are not yet out of this process."""
        ...

    @property
    def closed(self) -> bool:
        """Whether nothing more can be sent."""
        ...

    async def drain(self, below: int = DRAINED_BELOW) -> None:
        """Wait until `buffered` is less than `below` bytes (1: until all is out). Raises ChannelClosed if it ends before."""
        ...

    async def passed(self, route: int) -> None:
        """Wait until nothing that is sent from now on can arrive before what was sent on `route` up to now.

        Between machines, frames that wait for large values are passed by those of other streams: who says on one stream
        that all of a route is over waits for this first. Elsewhere there is no need to wait. Raises ChannelClosed when
        it ends before.
        """
        ...

    def pause(self) -> None:
        """Stop reading: no frame arrives until `resume`. Pausing twice is pausing once."""
        ...

    def resume(self) -> None:
        """Read again."""
        ...

    def close(self) -> None:
        """End the channel now; what is still buffered is dropped. Closing twice is closing once."""
        ...


def report(loop: asyncio.AbstractEventLoop, error: Exception) -> None:
    """Tell the loop's exception handler of an `error` that a callback of a channel has raised."""
    loop.call_exception_handler(
        {"message": "the code that takes a channel's frames failed", "exception": error}
    )
