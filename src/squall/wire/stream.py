"""The stream: one question and everything that belongs to it, on a session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

from squall.model.errors import ChannelClosed, FrameError, SquallError
from squall.wire.channel import Channel, OnFrame
from squall.wire.codec import MAX_HEADER, Buffer, Frame, Kind, write_head

Head: TypeAlias = Mapping[str, Any]

_DATA, _END, _FAIL, _CANCEL, _CREDIT = Kind.DATA, Kind.END, Kind.FAIL, Kind.CANCEL, Kind.CREDIT
_MOST_CREDIT: Final = 2**31 - 1


class Owner(Protocol):
    """What a stream needs of its session."""

    @property
    def channel(self) -> Channel:
        """Where frames go."""
        ...

    def forget(self, stream: Stream) -> None:
        """The stream is over."""
        ...


class Stream:
    """One stream of a session.

    Either side sends DATA and CREDIT. The answering side's END or FAIL ends the stream. The opener's END says that no
    more DATA comes from it and the answer is awaited; its CANCEL, that no answer is wanted (one still has to come).

    on_frame gets every frame after OPEN; set it in on_open on the answering side. Until then frames are dropped.
    live: whether the stream is not over. opener: whether this side opened it.
    """

    __slots__ = (
        "_cancelled",
        "_half",
        "_owner",
        "_peer_cancelled",
        "_peer_half",
        "id",
        "live",
        "on_frame",
        "opener",
        "route",
    )

    def __init__(self, owner: Owner, route: int, stream_id: int, *, opener: bool) -> None:
        self._owner = owner
        self.route = route
        self.id = stream_id
        self.opener = opener
        self.on_frame: OnFrame = _drop
        self.live = True
        self._half = self._cancelled = self._peer_half = self._peer_cancelled = False

    @property
    def local(self) -> bool:
        """Whether the other side gets descriptors as they are, being on this machine."""
        return self._owner.channel.local

    def send(self, head: Head | None = None, *payload: Buffer, fds: Sequence[int] = ()) -> None:
        """Send DATA. Raises ChannelClosed when the stream is over or ended by this side, FrameError beyond a limit."""
        self._put(_DATA, head, payload, fds)

    def end(self, head: Head | None = None, *payload: Buffer, fds: Sequence[int] = ()) -> None:
        """Send END: the answer, or from the opener the end of what it sends. Raises like `send`."""
        self._put(_END, head, payload, fds)
        self._ended()

    def fail(self, error: SquallError) -> None:
        """Send FAIL, which the other side's `ask` raises; does nothing when the stream is over."""
        if not self.live or self._half or self._owner.channel.closed:
            return
        self._owner.channel.send(Frame(_FAIL, self.id, self.route, write_error(error)))
        self._ended()

    def cancel(self) -> None:
        """Send CANCEL: this side, the opener, wants no answer; does nothing when the stream is over or cancelled."""
        if self.live and self.opener and not self._cancelled and not self._owner.channel.closed:
            self._cancelled = True
            self._owner.channel.send(Frame(_CANCEL, self.id, self.route))

    def credit(self, n: int) -> None:
        """Send CREDIT: the other side may send n more. What one unit is, the message that opened the stream says."""
        if self.live and not self._owner.channel.closed:
            self._owner.channel.send(Frame(_CREDIT, self.id, self.route, write_head({"n": n})))

    @property
    def cancelled(self) -> bool:
        """Whether either side has cancelled it."""
        return self._cancelled or self._peer_cancelled

    def admit(self, frame: Frame) -> None:
        """Note what `frame`, which the peer sent, changes. Raises FrameError when it may not come now."""
        kind = frame.kind
        if kind is _END or kind is _FAIL:
            if self.opener:
                self.over()
            elif self._peer_half:
                raise FrameError(f"stream {self.id} was ended twice")
            else:
                self._peer_half = True
        elif kind is _DATA:
            if self._peer_half:
                raise FrameError(f"DATA arrived after the end of stream {self.id}")
        elif kind is _CREDIT:
            n = frame.head().get("n")
            if type(n) is not int or not 0 < n <= _MOST_CREDIT:
                raise FrameError(f"credit is a number from 1 to {_MOST_CREDIT}")
        elif kind is not _CANCEL or self.opener or self._peer_cancelled:
            raise FrameError(f"a {kind.name} arrived for stream {self.id}, where it makes no sense")
        else:
            self._peer_cancelled = True

    def over(self) -> None:
        """The stream has ended: nothing more is sent on it. Called by the session."""
        self.live = False
        self._owner.forget(self)

    def _put(self, kind: Kind, head: Head | None, payload: tuple[Buffer, ...], fds: Sequence[int]) -> None:
        if not self.live or self._half:
            raise ChannelClosed("the stream is over, so nothing can be sent on it")
        self._owner.channel.send(
            Frame(kind, self.id, self.route, write_head(head), b"", tuple(fds)), *payload
        )

    def _ended(self) -> None:
        self._half = True
        if not self.opener:
            self.over()


def write_error(error: SquallError) -> bytes:
    """`error` as the header of a FAIL frame; what JSON or a header cannot carry of it is left out."""
    try:
        header = write_head(error.to_wire())
    except (TypeError, ValueError):
        header = b""
    if header and len(header) <= MAX_HEADER:
        return header
    # At most six bytes a character as JSON, so that this always fits.
    return write_head({"code": error.code, "message": error.message[:8000], "remedy": error.remedy[:2000]})


def _drop(frame: Frame) -> None:
    """Where frames go that nobody has asked for."""
