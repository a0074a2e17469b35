"""Mounted volumes: what code in a container asks of the volumes that it has, passed on to its machine."""

from __future__ import annotations

from typing import Any

from squall.model.errors import InvalidError, VolumeNotMounted
from squall.model.ids import ContainerId
from squall.model.volume import check_volume_id
from squall.wire.session import Session
from squall.wire.stream import Stream

OPS = ("commit", "reload")


async def pass_on(
    session: Session, container: ContainerId | None, stream: Stream, head: dict[str, Any]
) -> None:
    """Has the agent do it, and passes its answer back. session: to the agent; container: who asks.

    Raises VolumeNotMounted, InvalidError, and what the agent answers.
    """
    if container is None:
        raise VolumeNotMounted("a volume is committed and reloaded by code in a container that has it")
    if head.get("op") not in OPS:
        raise InvalidError(f"of a mounted volume one asks {' or '.join(OPS)}, not {head.get('op')!r}")
    wish = {"op": head["op"], "container": container, "volume": check_volume_id(head["volume"])}
    answer = await session.ask("volumes", wish)
    if stream.live:
        stream.end(answer.head())
