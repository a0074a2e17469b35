"""Callers: the clients of a run. They hold their calls until every outcome is in, and send them again to a new server."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from squall.model.ids import CallId, FunctionId
from squall.simulation.durable import Run, runs_of
from squall.simulation.serving import NOBODY, Answer
from squall.simulation.traffic import Arrival


@dataclass(slots=True, eq=False)
class OpenCall:
    """A call that is being waited for: which of its inputs have their outcome. accepted: it is on record, so its caller was told."""

    id: CallId
    function: FunctionId
    arrival: Arrival
    answered: bytearray
    left: int
    accepted: bool = False

    def runs(self) -> list[Run]:
        """Its inputs as runs [start, stop), and whether their outcomes are here."""
        return runs_of(self.answered)


@dataclass(slots=True)
class Got:
    """What the callers of one function got: the waits of inputs in seconds, how many met a container that was not ready
    when they came, how many ended with an error of ours, seconds of work that counted, and how long maps took.
    """

    waits_s: array[float] = field(default_factory=lambda: array("d"))
    cold: int = 0
    failed: int = 0
    worked_s: float = 0.0
    drains_s: list[float] = field(default_factory=list)


class Callers:
    """Every call that is waited for. doubled: outcomes that came a second time, which must not be."""

    def __init__(self) -> None:
        self.open: dict[CallId, OpenCall] = {}
        self.got: dict[FunctionId, Got] = {}
        self.doubled: list[Answer] = []

    def call(self, function: FunctionId, arrival: Arrival, name: CallId) -> OpenCall:
        """A call begins."""
        inputs = len(arrival.work_s)
        opened = OpenCall(name, function, arrival, bytearray(inputs), inputs)
        self.open[name] = opened
        return opened

    def work_s(self, call: CallId, index: int) -> float:
        """How long an input takes; nothing, once nobody waits for it."""
        known = self.open.get(call)
        return known.arrival.work_s[index] if known is not None else 0.001

    def answer(self, answer: Answer, now_s: float) -> None:
        """Outcomes have come."""
        call = self.open.get(answer.call)
        if call is None or any(call.answered[answer.start : answer.stop]):
            self.doubled.append(answer)
            return
        got = self.got.setdefault(call.function, Got())
        count = answer.stop - answer.start
        call.answered[answer.start : answer.stop] = b"\x01" * count
        call.left -= count
        if answer.container == NOBODY:
            got.failed += count
        else:
            self._note(got, call, answer)
        if not call.left:
            if len(call.answered) > 1:
                got.drains_s.append(now_s - call.arrival.at_s)
            del self.open[answer.call]

    def _note(self, got: Got, call: OpenCall, answer: Answer) -> None:
        begins_s = answer.began_s
        arrived_s = call.arrival.at_s
        if answer.ready_s > arrived_s:
            got.cold += answer.stop - answer.start
        for index in range(answer.start, answer.stop):
            got.waits_s.append(max(0.0, begins_s - arrived_s))
            begins_s += call.arrival.work_s[index]
            got.worked_s += call.arrival.work_s[index]
