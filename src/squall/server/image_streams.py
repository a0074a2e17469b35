"""Image streams: what clients ask about images, passed on to the agent that has them, unread; to a pruning is added what names hold."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from squall.model.errors import ConnectionLost, Error
from squall.server.house import House
from squall.server.listing import pass_up
from squall.wire.codec import Frame, Kind
from squall.wire.session import Session
from squall.wire.stream import Stream

MESSAGES: Final = tuple(
    f"image.{name}"
    for name in ("build", "list", "inspect", "logs", "pull", "push", "export", "prune", "shell")
)


async def pass_on(house: House, stream: Stream, head: dict[str, Any], payload: bytes) -> None:
    """Passes a question to the agent, and all that the agent says, back. A client that goes away takes it back.

    A build goes on with the next agent where one ends. Raises what the agent answers with FAIL, NotFoundError where no
    agent joins, ConnectionLost where it goes away.
    """
    await house.apps.preparing.await_node(lambda _head: None)
    match head["t"]:
        case "image.build":
            await house.apps.preparing.by_agents(
                lambda session: _pass_to(session, stream, head, payload),
                "an image was being built",
                lambda line: _tell(stream, line),
            )
        case "image.prune":
            async with house.image_names.held() as held:
                await _pass_to(_agent(house), stream, head, json.dumps({"held": held}).encode())
        case _:
            await _pass_to(_agent(house), stream, head, payload)


def _agent(house: House) -> Session:
    session = house.nodes.session_of()
    if session is None:
        raise ConnectionLost("the agent, which has the images, is away")
    return session


def _tell(stream: Stream, line: str) -> None:
    if stream.live:
        stream.send({"line": line})


async def _pass_to(session: Session, stream: Stream, head: dict[str, Any], payload: bytes) -> None:
    if not stream.live:
        return  # who asked has gone, while the agent before this one was at it
    ended: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()

    def from_agent(frame: Frame) -> None:
        if frame.kind is Kind.DATA:
            if stream.live:
                stream.send(frame.head(), bytes(frame.payload), fds=frame.fds)
        elif not ended.done() and frame.kind in (Kind.END, Kind.FAIL):
            ended.set_result(frame)

    wish = _without_name(head) | {"apart": not (session.channel.local and stream.local)}
    down = session.open(str(head["t"]), wish, payload, on_frame=from_agent)
    stream.on_frame = lambda frame: pass_up(down, frame)
    last = await ended
    if last.kind is Kind.FAIL:
        raise Error.from_wire(last.head())
    if stream.live:
        stream.end(last.head(), bytes(last.payload))


def _without_name(head: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in head.items() if name != "t"}
