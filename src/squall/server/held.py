"""Held: a stream that was opened and waits, with all that comes on it, until what it asks for can be done."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from squall.wire.codec import Frame
from squall.wire.stream import Stream

GoOn = Callable[[Stream, dict[str, Any], Frame], object]


@dataclass(slots=True)
class Held:
    """One of them. go_on: given the stream and its first frame, once it may go on."""

    stream: Stream
    frame: Frame
    go_on: GoOn
    _later: list[Frame] = field(default_factory=list)

    @classmethod
    def hold(cls, stream: Stream, frame: Frame, go_on: GoOn) -> Held:
        """Takes a stream with its first frame, and all that comes on it from now on."""
        held = cls(stream, _taken(frame), go_on)
        stream.on_frame = held._keep
        return held

    def release(self) -> None:
        """It goes on, with what has come meanwhile; where its other side has gone, it is forgotten."""
        if self.stream.live:
            self.go_on(self.stream, self.frame.head(), self.frame)
            for later in self._later:
                self.stream.on_frame(later)
        # Who has taken none of a frame's descriptors has only borrowed them.
        for frame in (self.frame, *self._later):
            for fd in frame.take_fds():
                os.close(fd)

    def _keep(self, frame: Frame) -> None:
        self._later.append(_taken(frame))


def _taken(frame: Frame) -> Frame:
    return Frame(frame.kind, frame.stream, frame.route, frame.header, frame.payload, frame.take_fds())
