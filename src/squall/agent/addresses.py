"""Addresses: which number in the containers' network each container and each sandbox has."""

from __future__ import annotations

from collections.abc import Collection

from squall.runtime.network.firewall_plan import free_number


class Addresses:
    """Numbers by who has them, which is a container or a sandbox of a launcher's."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._launchers: dict[str, str] = {}
        self._last = -1

    def number_of(self, holder: str) -> int | None:
        """The one that it has."""
        return self._numbers.get(holder)

    def all(self) -> Collection[int]:
        """Every one that somebody has."""
        return self._numbers.values()

    def give(self, holder: str, room: int, *, launcher: str = "") -> int | None:
        """A number below `room` that nobody else has; the one that it has already, if so; None where there is none.

        launcher: the one with which it ends.
        """
        number = self._numbers.get(holder)
        if number is None:
            number = free_number(set(self._numbers.values()), self._last, room)
            if number is None:
                return None
            self._hold(holder, number, launcher)
            self._last = number
        return number

    def adopt(self, holder: str, number: int, *, launcher: str) -> None:
        """It has this one already, from an earlier agent: who comes next gets one beyond, so that none is reused at once."""
        self._hold(holder, number, launcher)
        self._last = max(self._last, number)

    def release(self, holder: str) -> None:
        """It has ended."""
        self._numbers.pop(holder, None)
        self._launchers.pop(holder, None)

    def lost(self, launcher: str) -> None:
        """A launcher has ended, and all that it had with it."""
        for holder in [name for name, of in self._launchers.items() if of == launcher]:
            self.release(holder)

    def _hold(self, holder: str, number: int, launcher: str) -> None:
        self._numbers[holder] = number
        if launcher:
            self._launchers[holder] = launcher
