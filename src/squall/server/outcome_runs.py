"""Outcome runs: what a container says became of consecutive inputs; checked, cut and passed on unread."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Any

from squall.model.call import OutcomeKind
from squall.model.errors import Error
from squall.model.ids import CallId
from squall.scheduling.inputs import Segment
from squall.server.sizes import inline, measure
from squall.wire.codec import Buffer, Frame, write_head

MOST_CODE = 32
_KINDS = frozenset(map(int, OutcomeKind))


@dataclass(slots=True)
class OutcomeRun:
    """The outcomes of the inputs `part`.

    sizes: one an input, as the wire says them. kinds: one an input; none when all of them returned. payload: their
    bytes, one after another. fds: the descriptors that sizes name, owned by the frame. seconds: what all of them took.
    let_go: what was lent for its one input is not read any more.
    """

    part: Segment
    sizes: list[Any]
    kinds: list[int]
    payload: Buffer
    fds: tuple[int, ...] = ()
    seconds: float = 0.0
    let_go: bool = False

    def cut(self, start: int, stop: int) -> OutcomeRun:
        """Only the inputs [start, stop), which must be some of these."""
        part = self.part
        if start == part.start and stop == part.stop:
            return self
        low, high = start - part.start, stop - part.start
        skipped = sum(map(inline, self.sizes[:low]))
        sizes = self.sizes[low:high]
        return OutcomeRun(
            Segment(part.call, start, stop, part.attempt, part.alone),
            sizes,
            self.kinds[low:high],
            memoryview(self.payload)[skipped : skipped + sum(map(inline, sizes))],
            self.fds,
        )

    def apart(self) -> Iterator[OutcomeRun]:
        """The same, one input at a time where some ended with an error of ours."""
        several = len(self.part) > 1 and OutcomeKind.FAILED in self.kinds
        return self.each() if several else iter((self,))

    def each(self) -> Iterator[OutcomeRun]:
        """The same, one input at a time."""
        at = 0
        view = memoryview(self.payload)
        for offset, size in enumerate(self.sizes):
            index = self.part.start + offset
            one = Segment(self.part.call, index, index + 1, self.part.attempt, self.part.alone)
            length = inline(size)
            yield OutcomeRun(one, [size], self.kinds[offset : offset + 1], view[at : at + length], self.fds)
            at += length


def read_runs(head: dict[str, Any], frame: Frame) -> list[OutcomeRun]:
    """What a frame of outcomes says, in its order.

    Raises ValueError, TypeError or KeyError when it contradicts itself; nothing may have been done with it before.
    """
    runs: list[OutcomeRun] = []
    payload = memoryview(frame.payload)
    at = 0
    for call, start, attempt, sizes, kinds, seconds, *let_go in head["L"]:
        length = measure(sizes, fds=len(frame.fds))
        part = read_segment((call, start, start + len(sizes), attempt))
        if kinds and (len(kinds) != len(sizes) or not _KINDS.issuperset(kinds)):
            raise ValueError("the kinds of outcomes do not fit their number")
        if not 0 <= seconds < inf:
            raise ValueError(f"{seconds} s is no duration")
        runs.append(
            OutcomeRun(part, sizes, kinds or [], payload[at : at + length], frame.fds, seconds, bool(let_go))
        )
        at += length
    if at != len(payload):
        raise ValueError("the sizes of the outcomes do not add up to what was sent")
    return runs


def read_segment(plain: Any) -> Segment:
    """A run [call, start, stop, attempt] of inputs. Raises ValueError or TypeError for anything else."""
    call, start, stop, attempt = plain
    if type(call) is not str or not (type(start) is type(stop) is type(attempt) is int):
        raise TypeError("a run of inputs is a call, two indexes and an attempt")
    if not 0 <= start <= stop or attempt < 1:
        raise ValueError(f"[{start}, {stop}) in attempt {attempt} is no run of inputs")
    return Segment(CallId(call), start, stop, attempt)


def code_of(one: OutcomeRun) -> str:
    """The code of the error of ours that one outcome is; a container may have said nonsense in its place."""
    if not one.kinds or one.kinds[0] != OutcomeKind.FAILED:
        return ""
    try:
        return str(json.loads(bytes(one.payload))["code"])[:MOST_CODE]
    except (ValueError, KeyError, TypeError):
        return Error.code


def error_text(error: Error) -> bytes:
    """An error of ours as the payload of an outcome."""
    return write_head(error.to_wire())


def with_error(part: Segment, text: bytes, kind: OutcomeKind = OutcomeKind.FAILED) -> OutcomeRun:
    """The same end for every input of `part`: an error of ours as JSON or, with kind RAISED, a described exception."""
    count = len(part)
    size: Any = [len(text), 0] if kind is OutcomeKind.RAISED else len(text)
    return OutcomeRun(part, [size] * count, [int(kind)] * count, text * count)
