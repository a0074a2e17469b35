"""Telling: what is sent to a container or a caller, either of which may just have gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from squall.model.errors import ChannelClosed
from squall.scheduling.inputs import Segment
from squall.server.records import Worker
from squall.wire.codec import Buffer

Send = Callable[..., None]


def tell(worker: Worker, head: dict[str, Any]) -> None:
    """Sends a message to a container, if it can be reached."""
    if worker.stream is not None and worker.stream.live:
        pass_on(worker.stream.send, head, b"", ())


def interrupt(worker: Worker, part: Segment, *, why: str) -> None:
    """Has a container end inputs that it has in hand; why: "cancel" or "timeout"."""
    tell(worker, {"t": "interrupt", "call": part.call, "start": part.start, "stop": part.stop, "why": why})


def pass_on(send: Send, head: dict[str, Any], payload: Buffer, fds: tuple[int, ...]) -> None:
    """Sends to one side what the other side has caused: that the first has just gone is not the other's fault."""
    try:
        send(head, payload, fds=fds)
    except ChannelClosed:
        return
