"""Apart: the ends of a command, joined to a client that is not on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from squall.wire.codec import Frame, Kind
from squall.wire.ends import Ends
from squall.wire.stream import Stream

_LAST_WORDS_S: Final = 2.0
"""What a grandchild prints later than this is not waited for."""


class Apart:
    """Passes what the ends of a command read and write over a stream, from now until `finish`.

    fds: of a terminal, or of standard input, output and error; they are its own from here on. A client that goes away has them
    closed at once, as a terminal that is hung up does.
    """

    def __init__(self, stream: Stream, fds: Sequence[int], *, tty: bool) -> None:
        self._ends = Ends(stream, fds, reads=(0,) if tty else (1, 2), writes=(0,))
        self._before = stream.on_frame
        stream.on_frame = self._on_frame

    async def finish(self) -> None:
        """The command has ended: its last words go out, then all is let go."""
        await self._ends.drained(_LAST_WORDS_S)
        self._ends.close()

    def _on_frame(self, frame: Frame) -> None:
        if frame.kind is Kind.DATA:
            self._ends.take(frame)
            return
        if frame.kind is Kind.CANCEL:
            self._ends.close()
        self._before(frame)
