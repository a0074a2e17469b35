"""Step takes: what of the machine one step of a build takes for as long as it runs."""

from __future__ import annotations

from dataclasses import dataclass

from squall.model.gpu import Gpus, in_words
from squall.model.resources import Limits, Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTakes:
    """What one step takes, as a container of a function does.

    gpu: the devices that it is given, the first choice first. asks: what the machine must have besides. limits: what it may use at
    most; None for no limit but the machine.
    """

    gpu: tuple[Gpus, ...] = ()
    asks: Resources = Resources()
    limits: Limits | None = None

    def __str__(self) -> str:
        asked = [in_words(self.gpu)] if self.gpu else []
        asked += [f"{self.asks.cpu_milli / 1000:g} cores"] if self.asks.cpu_milli else []
        asked += [f"{self.asks.memory_mib} MiB of memory"] if self.asks.memory_mib else []
        return ", ".join(asked) or "nothing"


NOTHING = StepTakes()
