"""Template order: which templates a node makes before anybody calls, from what it remembers of those that it had."""

from __future__ import annotations

from dataclasses import dataclass, replace

from squall.model.ids import FunctionId

HALF_LIFE_S = 86_400.0
"""After a day without starts half of a function's heat is left."""
WORTH = 0.5
"""The least heat that a template is made ahead for: one start from it within a day, two within two, four within three."""
UNKNOWN_BYTES = 32 * 2**20
"""What a template is taken to need of memory where nobody has seen one of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What is known of the template of one version of a function.

    app, function: names, as their owner gave them; version: of code, image, environment and limits. starts: from the
    template, each halved with every HALF_LIFE_S of its age at used_s (seconds since 1970). load_s: what loading the code
    took; bytes: what the template alone had in memory; modules: top-level ones of packages, that the code loaded; refused:
    the last attempt at a template gave none.
    """

    app: str
    function: str
    version: str
    starts: float = 0.0
    used_s: float = 0.0
    load_s: float = 0.0
    bytes: int = 0
    modules: tuple[str, ...] = ()
    refused: bool = False

    def heat(self, now_s: float) -> float:
        """Its starts, as they count now. A clock that was set back makes nothing hotter."""
        return float(self.starts * 0.5 ** (max(0.0, now_s - self.used_s) / HALF_LIFE_S))

    def started(self, now_s: float) -> Remembered:
        """The same after one more start from the template."""
        return replace(self, starts=self.heat(now_s) + 1.0, used_s=now_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A function of an app that is open here, and has no template yet: its id, and what it is remembered by."""

    id: FunctionId
    app: str
    function: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How many templates more may be made ahead, and what memory they may take together."""

    count: int
    bytes: int


def templates_to_make(
    opened: tuple[Opened, ...], remembered: tuple[Remembered, ...], *, room: Room, now_s: float
) -> tuple[FunctionId, ...]:
    """Those of `opened` whose template is made before anybody calls, the hottest first, as far as there is room.

    Heat is a function's, whatever its version: one that was edited is as hot as it was before. Whether there can be a
    template is a version's: one that was refused is not tried again. One that finds no room keeps nobody else out.
    """
    order = sorted(
        (-_heat(one, remembered, now_s), one.id, expected_bytes(one, remembered))
        for one in opened
        if not _refused(one, remembered)
    )
    made: list[FunctionId] = []
    left = room.bytes
    for cold, name, size in order:
        if -cold >= WORTH and len(made) < room.count and size <= left:
            made.append(name)
            left -= size
    return tuple(made)


def expected_bytes(one: Opened, remembered: tuple[Remembered, ...]) -> int:
    """What the template of `one` is taken to need of memory: what this version had, else the largest of the others."""
    rows = [was for was in remembered if _names(was) == _names(one) and was.bytes]
    own = [was.bytes for was in rows if was.version == one.version]
    return max(own or [was.bytes for was in rows] or [UNKNOWN_BYTES])


def coldest_out(remembered: tuple[Remembered, ...], *, most: int, now_s: float) -> tuple[Remembered, ...]:
    """At most so many of `remembered`, the hottest, and among equals those that were used last."""
    order = sorted(
        remembered, key=lambda one: (-one.heat(now_s), -one.used_s, one.app, one.function, one.version)
    )
    return tuple(order[:most])


def _heat(one: Opened, remembered: tuple[Remembered, ...], now_s: float) -> float:
    return sum(was.heat(now_s) for was in remembered if _names(was) == _names(one))


def _refused(one: Opened, remembered: tuple[Remembered, ...]) -> bool:
    return any(was.refused for was in remembered if _names(was) == _names(one) and was.version == one.version)


def _names(one: Opened | Remembered) -> tuple[str, str]:
    return one.app, one.function
