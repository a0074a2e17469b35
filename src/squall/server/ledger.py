"""Ledger: what containers took of their machines, and for which calls, kept in the history as they end."""

from __future__ import annotations

import time
from collections.abc import Callable

from squall.model.call import CallState
from squall.model.container import ContainerEnd
from squall.server.durable import Durable
from squall.server.records import CallRecord, Worker
from squall.state.records import BusyRecord, ContainerRecord, History
from squall.state.state_store import StateStore

_MIB = 2**20


class Ledger:
    """Writes summaries of calls and containers. clock: seconds, monotonic. on_record: told what each container took."""

    def __init__(self, store: StateStore, durable: Durable, *, clock: Callable[[], float]) -> None:
        self._store = store
        self._durable = durable
        self._clock = clock
        self._since_s = time.time()
        self.on_record: Callable[[ContainerRecord], None] = lambda _record: None

    def call_over(self, call: CallRecord, state: CallState) -> None:
        """A call is over: what it was, if it is not on record by itself, and where its inputs were being run."""
        now_s = time.time()
        rows: list[History] = [
            BusyRecord(
                container=container, call=call.id, since_s=self._since_s, at_s=now_s, busy_s=round(busy_s, 6)
            )
            for container, busy_s in call.busy_s.items()
        ]
        if not call.durable:
            rows.insert(0, self._durable.summary(call, state))
        self._store.history(rows)

    def container_over(self, worker: Worker, end: ContainerEnd) -> None:
        """A container is over. Of one whose end nobody saw, what counts is what was last heard of it."""
        until_s = self._clock()
        if end.cpu_s is None:
            until_s = max(worker.created_s, worker.heard_s, worker.progress_s)
        record = self.record_of(worker, end, until_s=until_s)
        self._store.history([record])
        self.on_record(record)

    def so_far(self, worker: Worker) -> ContainerRecord:
        """What a container that runs has taken by now."""
        return self.record_of(worker, ContainerEnd(), until_s=self._clock())

    def record_of(self, worker: Worker, end: ContainerEnd, *, until_s: float) -> ContainerRecord:
        """What a container took up to an instant of the clock."""
        ended_s = time.time() - (self._clock() - until_s)
        lived_s = until_s - worker.created_s + worker.lived_before_s
        asks, gpus = worker.asks, worker.gpus
        return ContainerRecord(
            id=worker.id,
            function=worker.function,
            started_s=ended_s - lived_s,
            ended_s=ended_s,
            reason=end.cause,
            peak_memory_bytes=end.memory_peak_bytes,
            cpu_s=worker.used_cpu_s if end.cpu_s is None else end.cpu_s,
            cpu_kept_s=asks.cpu_milli / 1000 * lived_s,
            memory_byte_s=worker.memory_byte_s(end.memory_byte_s),
            memory_kept_byte_s=asks.memory_mib * _MIB * lived_s,
            gpu_s=0.0 if gpus is None else gpus.count * lived_s,
            gpu_type="" if gpus is None else gpus.type,
            labels=worker.labels,
        )
