"""Disk: what the simulated server has on record, which outlives it, and what it has written and nobody has committed yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from squall.model.ids import CallId, FunctionId
from squall.simulation.clock import Clock

COMMIT_S = 0.003


@dataclass(slots=True)
class Row:
    """A call on record: its function, which of its inputs have an outcome on record, one byte each."""

    function: FunctionId
    ended: bytearray = field(default_factory=bytearray)

    def has(self, start: int, stop: int) -> bool:
        """Whether all of these inputs have their outcome."""
        return self.ended.find(0, start, stop) < 0


class Disk:
    """Changes are committed in the order in which they are written, each after COMMIT_S. refuses: no new one is taken."""

    def __init__(self, clock: Clock) -> None:
        self.rows: dict[CallId, Row] = {}
        self.refuses = False
        self._clock = clock
        self._lives = 0

    def write_call(self, call: CallId, row: Row, then: Callable[[], None]) -> bool:
        """Has a call put on record, and `then` called once it is. False: it is refused."""

        def change() -> None:
            self.rows.setdefault(call, row)

        return self.commit(change, then)

    def write_outcomes(self, call: CallId, start: int, stop: int, then: Callable[[], None]) -> bool:
        """The same for the outcomes of inputs of a call on record."""

        def change() -> None:
            self.rows[call].ended[start:stop] = b"\x01" * (stop - start)

        return self.commit(change, then)

    def commit(self, change: Callable[[], None], then: Callable[[], None]) -> bool:
        """Has a change made after a while, and told; neither if the server dies before."""
        if self.refuses:
            return False
        self._clock.later(COMMIT_S, self._committed, change, then, self._lives)
        return True

    def known(self) -> dict[CallId, Row]:
        """What a new server finds."""
        return self.rows

    def lose_what_was_written(self) -> None:
        """The server dies: what it has not committed never was."""
        self._lives += 1

    def _committed(self, change: Callable[[], None], then: Callable[[], None], life: int) -> None:
        if life == self._lives:
            change()
            then()
