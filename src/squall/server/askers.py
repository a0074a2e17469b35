"""Askers: who asks something of a Queue and waits there, woken when it may be had; nobody looks again and again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from squall.model.ids import SharedId
from squall.wire.codec import Frame, Kind
from squall.wire.stream import Stream


class For(Enum):
    """What is waited for: to take items, to see new ones, or room to put some."""

    ITEMS = "items"
    SIGHT = "sight"
    ROOM = "room"


class Place(NamedTuple):
    """Where somebody stands."""

    what: For
    of: SharedId
    partition: str


class Asker:
    """Who asks on a stream. Made when the stream was opened, so that it never misses that its asker has gone.

    gone: no answer is wanted any more.
    """

    __slots__ = ("_rung", "gone", "stream")

    def __init__(self, stream: Stream) -> None:
        self._rung = asyncio.Event()
        self.stream = stream
        self.gone = False
        stream.on_frame = self.hear

    @property
    def rung(self) -> bool:
        """Whether it was woken and has not looked yet."""
        return self._rung.is_set()

    def ring(self) -> None:
        """Wakes it."""
        self._rung.set()

    def look(self) -> None:
        """It looks now, so that only what comes later wakes it."""
        self._rung.clear()

    async def heard(self, within_s: float | None) -> bool:
        """Whether it is worth another look: it was woken in time, and the answer is still wanted."""
        if within_s is not None and within_s <= 0:
            return False
        try:
            async with asyncio.timeout(within_s):
                await self._rung.wait()
        except TimeoutError:
            return False
        return not self.gone

    def hear(self, frame: Frame) -> None:
        """What it says while it waits."""
        if frame.kind is Kind.CANCEL:
            self.gone = True
            self.ring()


class Standing:
    """Those who wait, in the order in which they came to each place."""

    def __init__(self) -> None:
        self._standing: dict[Place, dict[Asker, None]] = {}

    @contextlib.contextmanager
    def at(self, place: Place, asker: Asker) -> Iterator[None]:
        """Stands at this place.

        It does so before its first look, so that what comes right after that look is not missed. One that leaves and was
        woken for nothing wakes the next one.
        """
        standing = self._standing.setdefault(place, {})
        standing[asker] = None
        try:
            yield
        finally:
            standing.pop(asker)
            if asker.rung:
                self.ring(place, 1)
            if not standing and self._standing.get(place) is standing:
                del self._standing[place]

    def count(self, of: SharedId, what: For) -> int:
        """How many wait at an object for this."""
        return sum(
            len(standing)
            for place, standing in self._standing.items()
            if place.of == of and place.what is what
        )

    def ring(self, place: Place, most: int) -> None:
        """Wakes the first of those who stand there and sleep, `most` of them."""
        for asker in self._standing.get(place, ()):
            if most <= 0:
                return
            if not asker.rung:
                asker.ring()
                most -= 1

    def ring_all(self, of: SharedId, *, what: For | None = None) -> None:
        """Wakes everybody at an object, or everybody who waits there for this."""
        for place, standing in self._standing.items():
            if place.of == of and what in {None, place.what}:
                for asker in standing:
                    asker.ring()
