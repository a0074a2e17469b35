"""Scale: how many containers a function wants."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from squall.model.function import Scaling

DRAIN_S = 0.25
RAMP_S = 0.05
PLATFORM_MOST = 100
STARTING_A_CORE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a function's line looks like at one instant.

    waiting, leased: inputs. mean_s: seconds an input takes, None while unknown. oldest_wait_s: how long the first
    of the line has waited. containers: alive or starting; starting: those of them that take no inputs yet. slots:
    inputs a container takes at once.
    """

    waiting: int = 0
    leased: int = 0
    mean_s: float | None = None
    oldest_wait_s: float = 0.0
    containers: int = 0
    starting: int = 0
    slots: int = 1


def desired_containers(demand: Demand, scaling: Scaling, *, cores: int) -> int:
    """How many containers drain the line soon, within the owner's bounds.

    With a known mean, as many as finish what waits within DRAIN_S (work that short is not worth more
    starts); while nothing is known, as many as the node has cores, doubling every RAMP_S that the line waits.
    """
    in_hand = demand.waiting + demand.leased
    by_inputs = ceil(in_hand / max(1, demand.slots))
    if demand.mean_s is not None:
        by_work = ceil(demand.waiting * demand.mean_s / DRAIN_S) + ceil(demand.leased / max(1, demand.slots))
        wanted = min(by_inputs, max(1, by_work) if in_hand else 0)
        if demand.waiting > 1:
            wanted = max(wanted, min(by_inputs, cores))
    else:
        wanted = min(by_inputs, max(1, cores) * 2 ** min(10, int(demand.oldest_wait_s / RAMP_S)))
    if in_hand:
        wanted = max(wanted, min(demand.containers, by_inputs)) + scaling.buffer_containers
        # Starts share the cores with the work itself: more at once than that end later, not sooner.
        wanted = min(wanted, demand.containers - demand.starting + max(1, cores) * STARTING_A_CORE)
    ceiling = scaling.max_containers if scaling.max_containers is not None else PLATFORM_MOST
    return max(scaling.min_containers, min(ceiling, wanted))
