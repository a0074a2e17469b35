"""Gated: faults of the connections that lead through a gate."""

from __future__ import annotations

import time
from functools import partial
from typing import Final

from squall.testing.chaos.gate import CLIENTS, MACHINES
from squall.testing.chaos.scene import Fault, Scene
from squall.testing.chaos_proxy import FAIR, Weather

_WORK: Final = "every input has its one result"
_TORN: Final = Weather(reset_every_s=1.0)
_SLOW: Final = Weather(latency_s=0.1, jitter_s=0.1)
_SILENT: Final = Weather(stalled=True)
# A stream loses no frame and keeps their order, so none is lost here, or passed by others.
_TWICE: Final = Weather(duplicate=0.02)


def _weather(scene: Scene, *, side: str, weather: Weather, seconds: float) -> float | None:
    """This weather at a side of the gate for so long; from then on it is fair."""
    gate = scene.house.gate
    if gate is None:
        return None
    gate.set(side, weather)
    time.sleep(seconds)
    gate.set(side, FAIR)
    return time.monotonic()


def _tear(scene: Scene, *, side: str) -> float | None:
    """Every connection of a side at once."""
    gate = scene.house.gate
    if gate is None:
        return None
    gate.tear(side)
    return time.monotonic()


def _fault(number: str, what: str, side: str, weather: Weather, seconds: float) -> Fault:
    inject = partial(_weather, side=side, weather=weather, seconds=seconds)
    return Fault(number=number, what=what, holds=_WORK, inject=inject)


CLIENTS_FAULTS: Final = (
    Fault(number="F24", what="a client's connections torn", holds=_WORK, inject=partial(_tear, side=CLIENTS)),
    _fault("F24a", "a client's connections torn every second, for 4 s", CLIENTS, _TORN, 4.0),
    _fault("F24b", "a client 0.1 to 0.2 s away, for 3 s", CLIENTS, _SLOW, 3.0),
    _fault("F24c", "a client that hears nothing and is not heard, for 3 s", CLIENTS, _SILENT, 3.0),
    _fault("F25", "every fiftieth frame of a client sent twice, for 4 s", CLIENTS, _TWICE, 4.0),
)
MACHINES_FAULTS: Final = (
    _fault("F18b", "a machine 0.1 to 0.2 s away, for 5 s", MACHINES, _SLOW, 5.0),
    _fault("F19d", "a machine's connections silent, for 5 s", MACHINES, _SILENT, 5.0),
    _fault("F20a", "a machine's connections torn every second, for 4 s", MACHINES, _TORN, 4.0),
)  # fmt: skip
