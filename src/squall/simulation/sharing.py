"""Sharing: pieces of work under way at the same time on the cores of one machine, which go on at the same pace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from squall.simulation.clock import Clock, Timer


@dataclass(slots=True, eq=False)
class Piece:
    """A piece of work that is under way, unless it is cancelled; until_s: how far `Sharing` has come when it is done."""

    until_s: float
    leave: Callable[[Piece], None]
    callback: Callable[..., object]
    args: tuple[Any, ...] = ()
    cancelled: bool = False

    def cancel(self) -> None:
        """It is never done, and leaves its share to the others."""
        self.cancelled = True
        self.leave(self)


class Sharing:
    """The cores of a machine, shared among what is under way: none gets more than one core, and none more than another.

    Each change of who is there gives the instant at which the next one is done, and nothing happens in between.
    """

    def __init__(self, clock: Clock, cores: int) -> None:
        self._clock = clock
        self._cores = max(1, cores)
        self._pieces: list[Piece] = []
        self._come_s = 0.0
        """How much work a piece has behind it that has been there since there was any."""
        self._seen_s = 0.0
        self._next: Timer | None = None

    def begin(self, work_s: float, callback: Callable[..., object], *args: object) -> Piece:
        """Has `callback(*args)` happen when so many seconds of one core's work are done."""
        self._come_to_now()
        piece = Piece(self._come_s + work_s, self._leave, callback, args)
        self._pieces.append(piece)
        self._look_ahead()
        return piece

    def stop(self) -> None:
        """Nothing of what is under way is ever done."""
        for piece in self._pieces:
            piece.cancelled = True
        self._pieces.clear()
        self._look_ahead()

    # -- inside

    @property
    def _pace(self) -> float:
        """Seconds of work that each piece gets done in a second."""
        return min(1.0, self._cores / max(1, len(self._pieces)))

    def _come_to_now(self) -> None:
        now_s = self._clock.now_s
        self._come_s = self._come_s + self._pace * (now_s - self._seen_s) if self._pieces else 0.0
        self._seen_s = now_s

    def _look_ahead(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._pieces:
            first_s = min(piece.until_s for piece in self._pieces)
            self._next = self._clock.later((first_s - self._come_s) / self._pace, self._come_to, first_s)

    def _come_to(self, come_s: float) -> None:
        # Not by the clock: rounded, it might never quite arrive.
        self._come_s, self._seen_s = come_s, self._clock.now_s
        done = [piece for piece in self._pieces if piece.until_s <= come_s]
        self._pieces = [piece for piece in self._pieces if piece.until_s > come_s]
        self._look_ahead()
        for piece in done:
            if not piece.cancelled:
                piece.callback(*piece.args)

    def _leave(self, piece: Piece) -> None:
        if piece in self._pieces:
            self._come_to_now()
            self._pieces.remove(piece)
            self._look_ahead()
