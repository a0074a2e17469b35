"""Durable: simulated calls that outlive their callers' connections and the server, as `server/durable.py` keeps them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

from squall.model.ids import CallId, FunctionId
from squall.simulation.clock import Clock
from squall.simulation.disk import Disk, Row
from squall.simulation.nodes import HOP_S
from squall.simulation.records import Worker
from squall.simulation.serving import Answer, Serving

AGAIN_S = 0.1

Run = tuple[int, int, bool]


def runs_of(flags: bytes | bytearray) -> list[Run]:
    """Bytes of 0 and 1 as runs [start, stop), and which of both they are."""
    found: list[Run] = []
    start = 0
    for flag, group in groupby(flags):
        stop = start + len(list(group))
        found.append((start, stop, bool(flag)))
        start = stop
    return found


class Durable:
    """Every durable call. accepted(call) and answer(answer) go to callers, over a connection that ends with the server."""

    def __init__(
        self,
        clock: Clock,
        disk: Disk,
        serving: Serving,
        out: tuple[Callable[[CallId], None], Callable[[Answer], None]],
    ) -> None:
        self._clock = clock
        self._disk = disk
        self._serving = serving
        self._accepted, self._answer = out
        self._lives = 0
        serving.keep = self._keep

    def submit(self, call: CallId, function: FunctionId, inputs: int) -> bool:
        """Puts a call on record, answers then, and lets it run; sent again, it changes nothing. False: it is refused."""
        if call in self._disk.rows:
            self._tell(self._accepted, call)
            return True
        return self._disk.write_call(
            call, Row(function, bytearray(inputs)), lambda: self._recorded(call, function, inputs)
        )

    def resume(self) -> None:
        """What a new server finds on record goes on, with the inputs that have no outcome."""
        for call, row in self._disk.known().items():
            if 0 in row.ended:
                self._run(call, row)

    def outcomes(self, call: CallId) -> list[Run]:
        """What is on record of a call, for a caller who asks: runs of its inputs, and whether they have their outcome."""
        row = self._disk.rows.get(call)
        return runs_of(row.ended) if row is not None else []

    def lose_server(self) -> None:
        """The server is gone, and what it would have told."""
        self._lives += 1
        self._disk.lose_what_was_written()

    # -- inside

    def _recorded(self, call: CallId, function: FunctionId, inputs: int) -> None:
        self._tell(self._accepted, call)
        self._run(call, Row(function, bytearray(inputs)))

    def _run(self, call: CallId, row: Row) -> None:
        self._serving.durable.add(call)
        self._serving.submit(row.function, call, runs_of(row.ended))

    def _keep(self, answer: Answer, worker: Worker | None, number: int) -> None:
        """Outcomes that count: on record first, then told, and then their message is done with. Tried again until they are."""
        if worker is not None:
            worker.unrecorded.append(number)
        self._write(answer, worker, number, self._lives)

    def _write(self, answer: Answer, worker: Worker | None, number: int, life: int) -> None:
        if life != self._lives:
            return

        def recorded() -> None:
            if worker is not None:
                worker.unrecorded.remove(number)
            self._tell(self._answer, answer)

        if not self._disk.write_outcomes(answer.call, answer.start, answer.stop, recorded):
            self._clock.later(AGAIN_S, self._write, answer, worker, number, life)

    def _tell(self, what: Callable[..., None], *args: object) -> None:
        life = self._lives

        def arrives() -> None:
            if life == self._lives:
                what(*args)

        self._clock.later(HOP_S, arrives)
