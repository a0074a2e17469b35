"""The stream of an app: it opens one, adds functions to it, and ends it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from squall.model.errors import Error
from squall.server.answers import answer_later
from squall.server.house import House
from squall.server.records import AppRecord, FunctionRecord
from squall.wire.codec import Frame, Kind
from squall.wire.stream import Stream

_log: Final = logging.getLogger(__name__)


def open_app(
    house: House, stream: Stream, head: dict[str, Any], frame: Frame, *, is_gone: Callable[[], bool]
) -> AppRecord:
    """An app for as long as this stream lives. is_gone: whether its connection has ended. Raises what `Apps.open` raises."""
    record = house.apps.open(stream, head, frame)
    house.awaited.release(record.id)
    stream.on_frame = lambda frame: _on_frame(house, record, stream, frame, is_gone=is_gone)
    ran = head.get("again") is True
    answer_later(house, stream, _make_ready(house, record, stream, ran=ran))
    return record


async def _make_ready(house: House, record: AppRecord, stream: Stream, *, ran: bool) -> None:
    """Makes an app's functions ready; one that cannot be made ready ends, unless it ran before its connection was lost."""
    apps = house.apps
    try:
        await apps.make_ready(record, list(record.functions.values()), partial(_tell, stream))
    except (Error, OSError) as problem:
        if not ran:
            if record.id in apps.apps:
                record.stream = None
                apps.stop(record.id, why="failed")
            raise
        # Its calls go on where they can: each node on which a container is placed is made ready then.
        _log.warning("the app %s goes on, and no node is ready for it: %s", record.id, problem)
    _tell(stream, {"opened": record.id})


async def _add_functions(
    house: House, record: AppRecord, stream: Stream, added: list[FunctionRecord], number: int
) -> None:
    await house.apps.make_ready(record, added, partial(_tell, stream))
    _tell(stream, {"added": number})


def _tell(stream: Stream, what: dict[str, Any]) -> None:
    if stream.live:
        stream.send(what)


def _on_frame(
    house: House, record: AppRecord, stream: Stream, frame: Frame, *, is_gone: Callable[[], bool]
) -> None:
    if frame.kind is Kind.DATA and "functions" in frame.head():
        described = json.loads(bytes(frame.payload))
        house.apps.secrets(record.id, described.get("secrets", {}))
        added = house.apps.add_functions(record, described["functions"])
        work = _add_functions(house, record, stream, added, frame.head()["functions"])
        answer_later(house, stream, work)
    elif frame.kind in (Kind.END, Kind.CANCEL):
        is_current = house.apps.apps.get(record.id) is record and record.stream is stream
        # A lost connection is a CANCEL too, made here: then the app lives on for a grace.
        if is_current and not is_gone():
            house.apps.stop(record.id)
        elif stream.live:
            stream.end({})
