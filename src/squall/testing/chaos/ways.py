"""Ways: faults of what lies between a server and the machines that joined it."""

from __future__ import annotations

import time
from functools import partial
from typing import Final

from squall.testing.chaos.catalogue import FAULTS
from squall.testing.chaos.gated import MACHINES_FAULTS
from squall.testing.chaos.scene import Fault, Scene
from squall.testing.chaos.town import Holder, Town

_WORK: Final = "every input has its one result"
_SLOW: Final = "tbf rate 80kbit burst 4kb latency 2s"
_NOTHING: Final = "tbf rate 8bit burst 40b latency 1ms"
# Of the faults of one machine: those for which another state directory is a machine of its own are left out.
_ELSEWHERE: Final = frozenset({"F45a"})


def _way(scene: Scene) -> tuple[Town, Holder]:
    assert isinstance(scene.house, Town), "these faults are a town's"
    return scene.house, scene.dice.choice(scene.house.links())


def _cut(scene: Scene, *, seconds: float) -> float:
    """Nothing passes either way for so long, and nobody is told."""
    town, holder = _way(scene)
    began_s = time.monotonic()
    town.link(holder, "down")
    time.sleep(seconds)
    town.link(holder, "up")
    return began_s


def _flap(scene: Scene) -> float:
    """The way is there and is not, every second."""
    town, holder = _way(scene)
    began_s = time.monotonic()
    for _ in range(4):
        town.link(holder, "down")
        time.sleep(1.0)
        town.link(holder, "up")
        time.sleep(1.0)
    return began_s


def _hold_back(scene: Scene, *, there: bool, kind: str, seconds: float) -> float:
    town, holder = _way(scene)
    began_s = time.monotonic()
    town.hold_back(holder, there=there, kind=kind)
    time.sleep(seconds)
    town.hold_back(holder, there=there)
    return began_s


WAYS: Final = (
    Fault(number="F18", what="a slow way to a machine, 10 kB/s for 5 s", holds=_WORK,
          inject=partial(_hold_back, there=True, kind=_SLOW, seconds=5.0)),
    Fault(number="F19", what="a machine cut off for 5 s", holds=f"nothing runs twice for it; {_WORK}",
          inject=partial(_cut, seconds=5.0)),
    Fault(number="F19a", what="a machine cut off for 14 s", holds=f"what it had in hand runs elsewhere; {_WORK}",
          inject=partial(_cut, seconds=14.0)),
    Fault(number="F19b", what="nothing passes to a machine for 5 s", holds=_WORK,
          inject=partial(_hold_back, there=True, kind=_NOTHING, seconds=5.0)),
    Fault(number="F19c", what="nothing passes from a machine for 5 s", holds=_WORK,
          inject=partial(_hold_back, there=False, kind=_NOTHING, seconds=5.0)),
    Fault(number="F20", what="a way that is there and is not, for 8 s", holds=_WORK, inject=_flap),
)  # fmt: skip
TOWN_FAULTS: Final = (
    *(fault for fault in FAULTS if fault.number not in _ELSEWHERE),
    *WAYS,
    *MACHINES_FAULTS,
)
