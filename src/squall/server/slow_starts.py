"""Slow starts: what the server knows of a container that is not ready yet, and why the inputs of its function wait."""

from __future__ import annotations

from dataclasses import dataclass

from squall.model.container import WaitReason
from squall.scheduling.start_words import StartSeen, duration, start_in_words
from squall.server.records import FunctionRecord, Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Why inputs wait: a word for machines, and words for people where there are any.

    starting_s: for how long the oldest container has been starting, where none is ready yet.
    """

    reason: str
    words: str = ""
    starting_s: float | None = None


def why_waits(record: FunctionRecord, now_s: float) -> Wait:
    """Why the waiting inputs of a function wait: what the planner says, or for a container that is on its way."""
    reason = record.wait_reason or WaitReason.BUSY
    alive = [worker for worker in record.workers.values() if not worker.retiring]
    if (
        reason not in (WaitReason.BUSY, WaitReason.STARTING)
        or any(worker.ready for worker in alive)
        or not alive
    ):
        return Wait(reason=reason, words=record.wait_words)
    seen = seen_of(min(alive, key=lambda worker: worker.created_s), now_s)
    words = f"a container has been starting for {duration(seen.took_s)}: {start_in_words(seen)}"
    return Wait(reason=WaitReason.STARTING, words=words, starting_s=seen.took_s)


def seen_of(worker: Worker, now_s: float) -> StartSeen:
    """The start of a container, as it stands."""
    return StartSeen(
        rung=worker.rung,
        why=worker.rung_why,
        waited_ms=worker.waited_ms,
        waits_for=worker.waits_for,
        phases_ms=worker.phases_ms,
        took_s=now_s - worker.created_s,
        running_s=None if worker.started_s is None else now_s - worker.started_s,
        loading_s=None if worker.loading_s is None else now_s - worker.loading_s,
    )
