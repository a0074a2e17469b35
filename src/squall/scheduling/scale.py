"""Scale: how many containers a function wants."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from squall.model.function import Scaling

DRAIN_S = 0.25
"""In how many seconds a line is to be drained."""
SPREAD_S = 0.025
"""The same as far as there are idle cores: short work is spread over them."""
RAMP_S = 0.05
PLATFORM_MOST = 100
STARTING_A_CORE = 2
STARTING_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a function's line looks like at one instant.

    waiting, leased: inputs. mean_s: seconds an input takes, None while unknown. oldest_wait_s: how long the first
    of the line has waited. containers: alive or starting; starting: those of them that take no inputs yet. slots:
    inputs a container takes at once; target_inputs: how many of them it is meant to have, None for all.
    arrivals_per_s: see `Arrivals`. quiet_s: seconds since the last outcome, or since work began, 0 while none is done. expected: calls that are to come soon. start_s, start_core_s: see `Starts`; None while unknown.
    """

    waiting: int = 0
    leased: int = 0
    mean_s: float | None = None
    oldest_wait_s: float = 0.0
    containers: int = 0
    starting: int = 0
    slots: int = 1
    target_inputs: int | None = None
    arrivals_per_s: float = 0.0
    quiet_s: float = 0.0
    start_s: float | None = None
    start_core_s: float | None = None
    expected: int = 0

    @property
    def in_hand(self) -> int:
        """Inputs that have not ended: each once, however often it has been tried."""
        return self.waiting + self.leased

    @property
    def ready(self) -> int:
        """Containers that take inputs."""
        return max(0, self.containers - self.starting)

    @property
    def aim(self) -> int:
        """How many inputs a container is meant to have in hand, at least 1."""
        slots = max(1, self.slots)
        return slots if self.target_inputs is None else max(1, min(self.target_inputs, slots))


def desired_containers(demand: Demand, scaling: Scaling, *, cores: int) -> int:
    """How many containers drain the line soon, within the owner's bounds.

    With a known mean: what keeps up with the arrivals, and on top of it what drains the line. While nothing is known: as
    many as there are cores, doubling every RAMP_S that the line waits. Never more than there are inputs, or than can
    start at once; what is there already stays as long as there is work for it.
    """
    wanted = 0
    if demand.in_hand:
        most = ceil(demand.in_hand / demand.aim)
        mean_s = believed_mean_s(demand)
        wanted = _ramp(demand, cores) if mean_s is None else _to_drain(demand, mean_s, cores)
        wanted = max(1, min(most, wanted), min(most, demand.containers)) + scaling.buffer_containers
        wanted = min(wanted, demand.ready + most_starting(demand.start_core_s, cores=cores))
    wanted = max(wanted, ceil(demand.expected / demand.aim))
    ceiling = scaling.max_containers if scaling.max_containers is not None else PLATFORM_MOST
    return max(scaling.min_containers, min(ceiling, wanted))


def believed_mean_s(demand: Demand) -> float | None:
    """Seconds an input takes; None while unknown.

    What was seen earlier is not believed any more once every container at work has been silent for much longer:
    then an input takes at least as long as they have been silent.
    """
    if demand.mean_s is None or demand.quiet_s <= 2 * demand.mean_s + RAMP_S:
        return demand.mean_s
    return demand.quiet_s


def most_starting(core_s: float | None, *, cores: int) -> int:
    """How many containers may be starting at once: STARTING_S of work for each core, at least STARTING_A_CORE of them.

    core_s: see `Starts`. Starts share the cores with the work itself: more at once than that end later, not sooner.
    """
    a_core = STARTING_A_CORE
    if core_s is not None:
        a_core = max(a_core, int(STARTING_S / max(core_s, 1e-4)))
    return max(1, cores) * a_core


def _ramp(demand: Demand, cores: int) -> int:
    return max(1, cores) << min(10, int(demand.oldest_wait_s / RAMP_S))


def _to_drain(demand: Demand, mean_s: float, cores: int) -> int:
    """Containers for what arrives, and for what waits beyond what those that are there do while another one starts.

    The first is Little's law: as many inputs are in work as arrive a second, times the seconds each takes. The line is
    to be drained within DRAIN_S, or within the time of a start where that is longer: work that others do in that time
    is not worth a start, and a container that comes when the line is empty is none.
    """
    steady = ceil(demand.arrivals_per_s * mean_s / demand.aim)
    busy = min(ceil(demand.leased / demand.aim), demand.ready)
    start_s = demand.start_s or 0.0
    # On average, what is being worked on is half done.
    meanwhile_s = demand.ready * demand.aim * start_s - demand.leased * mean_s / 2
    left_s = demand.waiting * mean_s - max(0.0, meanwhile_s)
    left_slot_s = max(0.0, left_s) / demand.aim
    there = max(steady, busy)
    spread = there + ceil(left_slot_s / max(SPREAD_S, start_s))
    return max(there + ceil(left_slot_s / max(DRAIN_S, start_s)), min(cores, spread))
