"""Containers: what agents and containers report, applied to the data path."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from squall.model.call import OutcomeKind
from squall.model.container import ContainerEnd
from squall.model.errors import Error, FunctionNeverStarts, StartupTimeout, TooManyFiles
from squall.model.function import Function
from squall.model.ids import ContainerId
from squall.model.jsonable import to_json
from squall.scheduling.inputs import Segment, singles
from squall.scheduling.loss import (
    End,
    Requeue,
    Suspect,
    describe_end,
    is_own_doing,
    plan_loss,
    plan_loss_of_all,
)
from squall.scheduling.retry import MOST_LOSSES
from squall.scheduling.start_words import duration, start_in_words
from squall.server import hands, outlived
from squall.server.calls import Calls
from squall.server.outcome_runs import error_text, read_segment
from squall.server.records import FunctionRecord, Worker
from squall.server.slow_starts import seen_of
from squall.wire.codec import Frame, Kind, write_head
from squall.wire.stream import Stream

START_TRIES = 3
PASSING: Final = frozenset({TooManyFiles.code})
"""Codes of what keeps a machine from starting a container now, and is over soon: it is tried again, as after the loss of one."""
MOST_UNREADY_S = 60.0
"""How long nothing is tried at most after code could not be loaded, while nobody calls."""
_log = logging.getLogger("squall.server")


class Containers:
    """The life of every container as the server sees it.

    changed: told the function when something changed. say: a line for the log of a container's function, such as where the
    time of a start went that took slow_start_s seconds or more; 0: none does. secrets: the variables of a function's secrets, as they
    are now. let_go: has output go on that is held back, before an outcome does.
    """

    def __init__(self, calls: Calls, *, clock: Callable[[], float], wake: Callable[[], None]) -> None:
        self._calls = calls
        self._clock = clock
        self._wake = wake
        self.most_losses = MOST_LOSSES
        self.largest_value = 4 * 2**30
        self.changed: Callable[[FunctionRecord], None] = lambda _record: None
        self.broken: Callable[[Worker], None] = lambda _worker: None
        self.lifted: Callable[[Worker, ContainerEnd], None] = lambda _worker, _end: None
        self.slow_start_s = 10.0
        self.say: Callable[[Worker, str], None] = lambda _worker, _line: None
        self.secrets: Callable[[Function], dict[str, str]] = lambda _function: {}
        self.let_go: Callable[[ContainerId], None] = lambda _container: None

    def expect(self, container: ContainerId, record: FunctionRecord) -> Worker:
        """A container that has been wanted, or that an agent already has: not ready yet."""
        now = self._clock()
        worker = Worker(
            id=container,
            function=record.function.id,
            asks=record.function.asks,
            created_s=now,
            idle_since_s=now,
            progress_s=now,
        )
        record.workers[container] = worker
        self._calls.workers[container] = worker
        return worker

    def runs(self, worker: Worker) -> None:
        """Its node says that it runs: its runner is the next to be heard of."""
        worker.waits_for = ""
        if worker.started_s is None:
            worker.started_s = self._clock()

    def serve(self, worker: Worker, stream: Stream, head: dict[str, Any]) -> None:
        """A container opened its serving stream: the first time, or again after a connection was lost."""
        record = self._calls.functions.get(worker.function)
        if record is None:
            stream.end({"t": "end"})
            return
        worker.stream = stream
        stream.on_frame = lambda frame: self._on_frame(worker, frame)
        try:
            self._take_up(record, worker, head)
        except Exception as wrong:  # noqa: BLE001 - what a container says of itself is not to be trusted either
            self.end_broken(worker, wrong)

    def end_broken(self, worker: Worker, wrong: Exception) -> None:
        """A container sent what no runner sends: it is ended, and its end is its own doing."""
        _log.error("container %s sent what no container sends, and is ended: %r", worker.id, wrong)
        worker.broken = True
        self.broken(worker)

    def _take_up(self, record: FunctionRecord, worker: Worker, head: dict[str, Any]) -> None:
        ready = head.get("ready")
        if ready is None:
            if worker.loading_s is None:
                worker.loading_s = self._clock()
            self._send_function(record, worker)
        elif not ready.get("failed"):
            worker.missing_at = sent = int(head.get("sent", worker.seen))
            # What it keeps no more, an earlier server has acknowledged: there is nothing to wait for.
            worker.seen = max(worker.seen, sent - int(head.get("kept", sent)))
            if worker.outlived:
                outlived.claim(self._calls, record, worker, map(read_segment, head.get("holding", ())))
            self._note_missing(record, worker, head)
            for part in record.line.held(worker.id):
                if (call := self._calls.calls.get(part.call)) is not None:
                    self._calls.grant(call, worker)
            self._serves(record, worker)
        self._catch_up(worker)

    def ended(self, container: ContainerId, end: ContainerEnd) -> None:
        """A container is gone: its inputs run again or end, as `scheduling.loss` says."""
        worker = self._calls.workers.pop(container, None)
        if worker is None:
            return
        worker.ended = True
        if worker.broken:
            end = replace(end, cause="exit", code=None, signal=None, said="it sent what no container sends")
        record = self._calls.functions.get(worker.function)
        self.lifted(worker, end)
        if record is None:
            return
        record.workers.pop(container, None)
        record.catching_up.discard(container)
        if worker in record.free:
            record.free.remove(worker)
        if not worker.ready and not worker.retiring and end.cause != "unplaced":
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
        except Exception as wrong:  # noqa: BLE001 - what a container sends is not to be trusted: it ends, and nobody else
            self.end_broken(worker, wrong)

    def _obey(self, worker: Worker, frame: Frame) -> None:
        head = frame.head()
        match head.get("t"):
            case "out":
                self.let_go(worker.id)
                self._calls.finish(worker, head, frame)
            case "item":
                self._calls.item(worker, head, frame)
            case "ready":
                self._is_ready(worker, head)
            case "unready":
                self._is_unready(worker, head)
            case unknown:
                raise ValueError(f"a container sends no message {unknown!r}")
        self._catch_up(worker)

    def _catch_up(self, worker: Worker) -> None:
        """Once everything is in that a container had sent before its connection was new, the rest can be judged."""
        if worker.seen < worker.missing_at:
            return
        if worker.missing:
            self._take_back_missing(worker)
        record = self._calls.functions.get(worker.function)
        if record is not None and worker.id in record.catching_up:
            record.catching_up.discard(worker.id)
            self._calls.feed(record)

    def _send_function(self, record: FunctionRecord, worker: Worker) -> None:
        """Gives a container its function, and, as nobody has before, its secrets."""
        try:
            secrets = self.secrets(record.function)
        except Error as problem:
            self._cannot_begin(record, worker, problem)
            return
        function = replace(record.function, image={}, client_python={})
        head = {
            "t": "function",
            "container": worker.id,
            "function": to_json(function),
            "env": record.function.env,
            "largest": self.largest_value,
        }
        if worker.stream is None:
            return
        payload = []
        if record.pickled is not None:
            head["pickled"] = True
            payload.append(record.pickled)
        if secrets:
            payload.append(json.dumps(secrets).encode())
            head["secrets"] = len(payload[-1])
        worker.stream.send(head, *payload)

    def _cannot_begin(self, record: FunctionRecord, worker: Worker, error: Error) -> None:
        """What a container needs cannot be given to it: whoever waits for the function is told, and it goes."""
        worker.retiring = True
        self._note_unready(record)
        self._calls.fail_waiting(record, error_text(error))
        self._wake()

    def _is_ready(self, worker: Worker, head: dict[str, Any]) -> None:
        """The user's code is loaded."""
        record = self._calls.functions.get(worker.function)
        if self._calls.is_news(worker, head) and record is not None:
            record.start_failures = record.start_losses = record.unready = 0
            record.unready_until_s = 0.0
            if not worker.outlived:
                took_s = self._clock() - worker.created_s
                record.starts = record.starts.seen(seconds=took_s, beside=worker.beside, cores=worker.cores)
                self._say_if_slow(worker, ready=True)
            self._serves(record, worker)

    def _serves(self, record: FunctionRecord, worker: Worker) -> None:
        """A container takes inputs from now on, or again."""
        worker.ready = True
        self._calls.go_on(record, worker, self._clock())
        self._calls.feed(record)
        self.changed(record)
        self._wake()

    def _is_unready(self, worker: Worker, head: dict[str, Any]) -> None:
        """The user's code could not be loaded: whoever waits for the function gets that very exception."""
        described = dict(head["error"])
        record = self._calls.functions.get(worker.function)
        if not self._calls.is_news(worker, head) or record is None:
            return
        if head.get("missing"):
            described["missing_module"] = head["missing"]
        worker.retiring = True
        self._note_unready(record)
        self._calls.fail_waiting(record, write_head(described), OutcomeKind.RAISED)
        self._wake()

    def _note_unready(self, record: FunctionRecord) -> None:
        """Those that are kept alive come again, later each time; whoever calls meanwhile is not kept waiting."""
        record.unready += 1
        record.unready_until_s = self._clock() + min(MOST_UNREADY_S, 0.1 * 2.0 ** min(record.unready, 20))

    def _note_missing(self, record: FunctionRecord, worker: Worker, head: dict[str, Any]) -> None:
        """Inputs that were on their way to a container when its connection was lost have never reached it.

        It says what it holds, and the number of the last message that it has sent, some of which are on their way.
        """
        holding = {
            (part.call, index, part.attempt)
            for part in map(read_segment, head.get("holding", ()))
            for index in range(part.start, part.stop)
        }
        worker.missing = [
            one
            for part in record.line.held(worker.id)
            for one in singles(part)
            if (one.call, one.start, one.attempt) not in holding
        ]

    def _take_back_missing(self, worker: Worker) -> None:
        record = self._calls.functions.get(worker.function)
        missing, worker.missing = worker.missing, []
        if record is not None:
            for part in reversed(missing):
                record.line.give_back(worker.id, part)
            # Who has nothing in hand never tells that it has made way.
            worker.yielding = worker.yielding and bool(record.line.leases.get(worker.id))
            self._calls.go_on(record, worker, self._clock())
            self._calls.feed(record)

    def _failed_to_start(self, record: FunctionRecord, worker: Worker, end: ContainerEnd) -> None:
        refused = record.last_failure
        passing = refused is not None and refused.get("code") in PASSING
        # Who was killed by somebody else, went with its launcher, or found no room on its machine, says nothing of the function.
        if not passing and (is_own_doing(end) or end.cause == "exit"):
            record.start_failures += 1
        else:
            record.start_losses += 1
        tries = record.start_failures + record.start_losses
        record.not_before_s = self._clock() + min(5.0, 0.1 * 2**tries)
        given_up = record.start_failures >= START_TRIES or record.start_losses > self.most_losses
        if not given_up and (refused is None or passing):
            record.last_failure = None
            return
        name = record.function.name
        error = describe_end(end, function=name)
        if refused is not None:
            text = write_head(refused)
        elif end.cause == "oom":
            text = error_text(error)
        else:
            how = start_in_words(seen_of(worker, self._clock()))
            text = error_text(
                FunctionNeverStarts(
                    f"{name} never starts: {tries} containers ended first. {error}; of the last one: {how}"
                )
            )
        self._calls.fail_waiting(record, text)
        record.start_failures = record.start_losses = 0
        record.last_failure = None

    def startup_timed_out(self, record: FunctionRecord, worker: Worker) -> None:
        """A container took longer to load its code than it may: it goes, and who waits is told."""
        worker.retiring = True
        limit = record.function.startup_timeout_s
        how = start_in_words(seen_of(worker, self._clock()))
        error = StartupTimeout(
            f"{record.function.name} was not ready within {limit:g} s: {how}", limit_s=limit
        )
        self._say_if_slow(worker, ready=False)
        self._calls.fail_waiting(record, error_text(error))

    def _say_if_slow(self, worker: Worker, *, ready: bool) -> None:
        """Where the time of a start went that is over, or given up."""
        seen = seen_of(worker, self._clock())
        if 0 < self.slow_start_s <= seen.took_s:
            over = "took" if ready else "was given up after"
            how = start_in_words(seen, ready=ready)
            self.say(worker, f"squall: the start of {worker.id} {over} {duration(seen.took_s)}: {how}\n")

    def _apply_loss(self, record: FunctionRecord, worker: Worker, end: ContainerEnd) -> None:
        """What the container had in hand runs again or ends, the last of it first: so the line keeps its order."""
        lost = [part for part in record.line.held(worker.id) if record.line.is_current(part)]
        if lost:
            self._note_busy(worker, lost[0])
            for step in reversed(self._plan_loss(record, worker, lost, end)):
                if isinstance(step, End):
                    self._calls.end_input(record, worker.id, step.part, step.error)
                else:
                    record.line.requeue(worker.id, step.part, alone=step.alone)
        record.line.leave(worker.id)

    def _plan_loss(
        self, record: FunctionRecord, worker: Worker, lost: list[Segment], end: ContainerEnd
    ) -> tuple[Requeue | End, ...]:
        name, once = record.function.name, record.function.at_most_once
        if record.function.begins_all:
            each = [(one, self._suspect(record, worker, one, end)) for part in lost for one in singles(part)]
            return plan_loss_of_all(each, end, function=name, at_most_once=once)
        suspect = self._suspect(record, worker, lost[0], end)
        return plan_loss(lost, end, suspect, function=name, at_most_once=once)

    def _note_busy(self, worker: Worker, first: Segment) -> None:
        """The time that a container spent on what it did not end counts too."""
        call = self._calls.calls.get(first.call)
        if call is not None:
            spent_s = max(0.0, self._clock() - worker.progress_s)
            call.busy_s[worker.id] = call.busy_s.get(worker.id, 0.0) + spent_s

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
            most_losses=self.most_losses,
            kills=kills,
            losses=losses,
            items_sent=call.items_sent if call is not None else 0,
            timed_out_s=record.function.timeout_s if hands.is_interrupted(worker, first) else None,
        )
