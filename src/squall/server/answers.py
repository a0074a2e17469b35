"""Answers: a handler's slow part, done beside everything else."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from squall.model.errors import Error, InternalFailure
from squall.server.house import House
from squall.wire.stream import Stream


def answer_later(house: House, stream: Stream, work: Coroutine[Any, Any, None]) -> None:
    """Does the work, whose end nobody waits for; what it raises fails its stream."""

    async def guarded() -> None:
        try:
            await work
        except Error as refused:
            stream.fail(refused)
        except (KeyError, TypeError, ValueError, OSError) as wrong:
            stream.fail(InternalFailure(f"{type(wrong).__name__}: {wrong}"))

    house.answer(guarded())
