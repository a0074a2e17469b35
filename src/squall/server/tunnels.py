"""Tunnels: a container asks for a way to one of its ports, and its node opens it; the bytes never come here."""

from __future__ import annotations

import asyncio
from typing import Any

from squall.model.errors import ConnectionLost, Error, InvalidError, TunnelRefused, TunnelUnavailable
from squall.server.house import House
from squall.server.records import Worker
from squall.wire.codec import Frame, Kind
from squall.wire.stream import Stream


async def open_tunnel(house: House, worker: Worker | None, stream: Stream, head: dict[str, Any]) -> None:
    """Opens a tunnel that lives as long as `stream`. Raises TunnelUnavailable, TunnelRefused, TooManyTunnels, InvalidError."""
    if worker is None:
        raise TunnelUnavailable("a tunnel leads into the container that asks for it, and this is none")
    port = head.get("port")
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
        raise InvalidError(f"a port is a number from 1 to 65535, not {port!r}")
    record = house.calls.functions.get(worker.function)
    if record is not None and record.function.block_network:
        raise TunnelRefused(
            f"{record.function.name} has no network (block_network=True), and so nobody comes to it either",
            remedy="leave `block_network` out, or return what it has to say",
        )
    session = house.nodes.session_of(house.capacity.placed.get(worker.id))
    if session is None:
        raise ConnectionLost("the agent of that container is away")
    ended: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()

    def from_agent(frame: Frame) -> None:
        if frame.kind is Kind.DATA and stream.live:
            stream.send(frame.head())
        elif frame.kind in (Kind.END, Kind.FAIL) and not ended.done():
            ended.set_result(frame)

    wish = {"container": worker.id, "port": port, "unencrypted": bool(head.get("unencrypted"))}
    down = session.open("tunnel", {**wish, "again": int(head.get("again", 0))}, on_frame=from_agent)
    # Its container's end is a CANCEL too, made here.
    stream.on_frame = lambda frame: down.cancel() if frame.kind in (Kind.END, Kind.CANCEL) else None
    last = await ended
    if last.kind is Kind.FAIL:
        raise Error.from_wire(last.head())
    if stream.live:
        stream.end({})
