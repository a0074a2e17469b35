"""Pending: how much may wait here, and the refusal of more."""

from __future__ import annotations

from dataclasses import dataclass

from squall.model.errors import TooManyInputs
from squall.scheduling.refusal import UNKNOWN_S, retry_after_s
from squall.server.records import FunctionRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingLimits:
    """How much may wait: inputs of one function, and inline bytes of all functions together."""

    inputs: int = 1_000_000
    size_bytes: int = 2**30


def refuse_what_is_too_much(
    record: FunctionRecord, limits: PendingLimits, *, inputs: int, size_bytes: int, pending_bytes: int
) -> None:
    """Raises TooManyInputs, which says after how long to ask again, where a function or the server has no room for these.

    A line that is empty takes what is more than its whole limit: it would never have more room.
    """
    waiting = record.pending
    if inputs and waiting and waiting + inputs > limits.inputs:
        raise TooManyInputs(
            f"{waiting} inputs wait for {record.function.name}, the limit is {limits.inputs}",
            limit=limits.inputs,
            retry_after_s=retry_after_s(
                excess=waiting + inputs - limits.inputs,
                mean_s=record.pace.mean_s,
                containers=len(record.workers),
            ),
        )
    if size_bytes and pending_bytes and pending_bytes + size_bytes > limits.size_bytes:
        raise TooManyInputs(
            f"{pending_bytes} bytes of inputs wait here, the limit is {limits.size_bytes}",
            limit=limits.size_bytes,
            retry_after_s=UNKNOWN_S,
        )
