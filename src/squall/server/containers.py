"""Containers: what agents and containers report, applied to the data path."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from squall.model.call import OutcomeKind
from squall.model.container import ContainerEnd, ContainerState
from squall.model.errors import FunctionNeverStarts, StartupTimeout
from squall.model.ids import ContainerId, FunctionId
from squall.model.jsonable import to_json
from squall.scheduling.inputs import Segment
from squall.scheduling.loss import End, Suspect, describe_end, is_own_doing, plan_loss
from squall.server.calls import Calls, failed_parts
from squall.server.records import FunctionRecord, Worker
from squall.wire.codec import Frame, Kind
from squall.wire.stream import Stream

START_TRIES = 3
_log = logging.getLogger("squall.server")


class Containers:
    """The life of every container as the server sees it. `changed` is told the function when something changed."""

    def __init__(self, calls: Calls, *, clock: Callable[[], float], wake: Callable[[], None]) -> None:
        self._calls = calls
        self._clock = clock
        self._wake = wake
        self.changed: Callable[[FunctionRecord], None] = lambda _record: None
        self.broken: Callable[[Worker], None] = lambda _worker: None
        self.lifted: Callable[[Worker, ContainerEnd], None] = lambda _worker, _end: None

    def expect(self, container: ContainerId, record: FunctionRecord) -> Worker:
        """A container that has been wanted, or that an agent already has: not ready yet."""
        now = self._clock()
        worker = Worker(
            id=container, function=record.function.id, created_s=now, idle_since_s=now, progress_s=now
        )
        record.workers[container] = worker
        self._calls.workers[container] = worker
        return worker

    def serve(self, worker: Worker, stream: Stream, head: dict[str, Any]) -> None:
        """A container opened its serving stream: the first time, or again after a connection was lost."""
        record = self._calls.functions.get(worker.function)
        if record is None:
            stream.end({"t": "end"})
            return
        worker.stream = stream
        stream.on_frame = lambda frame: self._on_frame(worker, frame)
        if head.get("ready") is None:
            self._send_function(record, worker)
        elif not head["ready"].get("failed"):
            for call, start, stop, attempt in head.get("holding", []):
                part = Segment(call, start, stop, attempt)
                if record.line.attempt_of(worker.id, call, start) is None:
                    record.line.adopt(worker.id, part)
            self._ready(record, worker)

    def ended(self, container: ContainerId, end: ContainerEnd) -> None:
        """A container is gone: its inputs run again or end, as `scheduling.loss` says."""
        worker = self._calls.workers.pop(container, None)
        if worker is None:
            return
        worker.ended = True
        record = self._calls.functions.get(worker.function)
        self.lifted(worker, end)
        if record is None:
            return
        record.workers.pop(container, None)
        if worker in record.free:
            record.free.remove(worker)
        if not worker.ready and not worker.retiring:
            self._failed_to_start(record, worker, end)
        self._apply_loss(record, worker, end)
        self._calls.feed(record)
        self.changed(record)
        self._wake()

    def refused(self, container: ContainerId, error: dict[str, Any]) -> None:
        """The agent could not start a container; the error says why."""
        worker = self._calls.workers.get(container)
        if worker is not None:
            record = self._calls.functions.get(worker.function)
            if record is not None:
                record.last_failure = error
        self.ended(container, ContainerEnd(cause="exit", said=str(error.get("message", ""))))

    # -- frames of the serving stream

    def _on_frame(self, worker: Worker, frame: Frame) -> None:
        if frame.kind is not Kind.DATA:
            return
        try:
            self._obey(worker, frame)
        except Exception:
            # What a container sends is not to be trusted, and what it had in hand must not be stuck with it.
            _log.exception("a message of container %s could not be taken: it is ended", worker.id)
            self.broken(worker)

    def _obey(self, worker: Worker, frame: Frame) -> None:
        head = frame.head()
        kind = head.get("t")
        if kind == "out":
            self._calls.finish(worker, head, frame)
        elif kind == "item":
            self._calls.item(worker, head, frame)
        elif kind == "ready":
            worker.seen = max(worker.seen, head["n"])
            record = self._calls.functions.get(worker.function)
            if record is not None:
                record.start_failures = 0
                self._ready(record, worker)
        elif kind == "unready":
            worker.seen = max(worker.seen, head["n"])
            self._unready(worker, head)

    def _send_function(self, record: FunctionRecord, worker: Worker) -> None:
        assert worker.stream is not None
        function = replace(record.function, image={}, client_python={})
        head = {
            "t": "function",
            "container": worker.id,
            "function": to_json(function),
            "env": record.function.env,
        }
        if record.pickled is not None:
            worker.stream.send({**head, "pickled": True}, record.pickled)
        else:
            worker.stream.send(head)

    def _ready(self, record: FunctionRecord, worker: Worker) -> None:
        worker.ready = True
        worker.state = ContainerState.BUSY if record.line.leases.get(worker.id) else ContainerState.IDLE
        worker.idle_since_s = self._clock()
        if worker.state is ContainerState.IDLE and not worker.retiring:
            record.free.append(worker)
            self._calls.feed(record)
        self.changed(record)
        self._wake()

    def _unready(self, worker: Worker, head: dict[str, Any]) -> None:
        """The user's code could not be loaded: whoever waits for the function gets that very exception."""
        record = self._calls.functions.get(worker.function)
        if record is None:
            return
        described = dict(head["error"])
        if head.get("missing"):
            described["missing_module"] = head["missing"]
        worker.retiring = True
        text = _dumps(described)
        self._calls.fail_waiting(record, OutcomeKind.RAISED, [text, b""])
        self._wake()

    def _failed_to_start(self, record: FunctionRecord, worker: Worker, end: ContainerEnd) -> None:
        record.start_failures += 1
        record.not_before_s = self._clock() + min(5.0, 0.1 * 2**record.start_failures)
        if record.start_failures < START_TRIES and record.last_failure is None:
            return
        name = record.function.name
        if record.last_failure is not None:
            parts = [_dumps(record.last_failure)]
        elif end.cause == "oom":
            parts = failed_parts(describe_end(end, function=name))
        else:
            why = describe_end(end, function=name)
            parts = failed_parts(
                FunctionNeverStarts(
                    f"{name} never starts: {record.start_failures} containers ended first. {why}"
                )
            )
        self._calls.fail_waiting(record, OutcomeKind.FAILED, parts)
        record.start_failures = 0
        record.last_failure = None

    def startup_timed_out(self, record: FunctionRecord, worker: Worker) -> None:
        """A container took longer to load its code than it may: it goes, and who waits is told."""
        worker.retiring = True
        limit = record.function.startup_timeout_s
        error = StartupTimeout(f"{record.function.name} was not ready within {limit:g} s", limit_s=limit)
        self._calls.fail_waiting(record, OutcomeKind.FAILED, failed_parts(error))

    def _apply_loss(self, record: FunctionRecord, worker: Worker, end: ContainerEnd) -> None:
        """What the container had in hand runs again or ends, the last of it first: so the line keeps its order."""
        lost = record.line.held(worker.id)
        if lost:
            suspect = self._suspect(record, worker, lost[0], end)
            for step in reversed(plan_loss(lost, end, suspect, function=record.function.name)):
                if isinstance(step, End):
                    self._calls.end_input(record, worker.id, step.part, step.error)
                else:
                    record.line.requeue(worker.id, step.part, alone=step.alone)
        record.line.leave(worker.id)

    def _suspect(self, record: FunctionRecord, worker: Worker, first: Segment, end: ContainerEnd) -> Suspect:
        """The input that was being run, and how often its containers have ended: this end is counted."""
        call = self._calls.calls.get(first.call)
        line = record.line.calls.get(first.call)
        kills = losses = 0
        if line is not None and is_own_doing(end):
            kills = line.kills[first.start] = line.kills.get(first.start, 0) + 1
        elif line is not None and end.cause != "killed":
            losses = line.losses[first.start] = line.losses.get(first.start, 0) + 1
        return Suspect(
            kills=kills,
            losses=losses,
            items_sent=call.items_sent if call is not None and record.function.is_generator else 0,
            timed_out_s=record.function.timeout_s if worker.interrupted_s is not None else None,
        )

    def function_of(self, worker: Worker) -> FunctionRecord | None:
        """The function that a container runs, while its app lives."""
        return self._calls.functions.get(FunctionId(worker.function))


def _dumps(head: dict[str, Any]) -> bytes:
    return json.dumps(head).encode()
