"""Heartbeat: signs of life to the server, and from it."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from squall.model.errors import ChannelClosed, ConnectionLost
from squall.scheduling.liveness import Health, Patience, health, was_away
from squall.settings.options import Options
from squall.wire.session import Session
from squall.wire.stream import Stream

_log = logging.getLogger("squall.agent")


async def beat(session: Session, stream: Stream, patience: Patience) -> None:
    """Says every heartbeat on `stream` that this agent lives; closes a session whose server is silent too long, or has
    ended the stream: a node joins once with each connection, so only a new one brings it back.

    Returns when the session has ended. Silence while this agent was itself stopped does not count.
    """
    loop = asyncio.get_running_loop()
    answered_s = loop.time()
    asked: asyncio.Task[None] | None = None
    while stream.live:
        try:
            stream.send({"t": "alive"})
        except ChannelClosed:
            return
        if asked is None or asked.done():
            answered_s = loop.time()
            asked = loop.create_task(_ask(session))
        looked_s = loop.time()
        await asyncio.sleep(patience.heartbeat_s)
        now_s = loop.time()
        if was_away(now_s - looked_s, patience):
            answered_s = now_s
        if not asked.done() and health(now_s - answered_s, patience) is Health.DEAD:
            _log.warning("the server has not answered for %g s: connecting anew", now_s - answered_s)
            session.close()
            return
    if not session.channel.closed:
        _log.warning("the server has let go of this node: connecting anew")
        session.close()


async def _ask(session: Session) -> None:
    with contextlib.suppress(ConnectionLost, ChannelClosed):
        await session.ping()


def patience_of(options: Options) -> Patience:
    """How long silence may last, as the owner of the machine says."""
    return Patience(
        heartbeat_s=options.heartbeat_s,
        suspect_after_s=options.suspect_after_s,
        dead_after_s=options.dead_after_s,
    )
