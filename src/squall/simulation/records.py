"""Records: what the simulated server keeps in memory of functions and containers."""

from __future__ import annotations

from dataclasses import dataclass, field

from squall.model.container import ContainerState
from squall.model.function import Function
from squall.model.ids import ContainerId, FunctionId, NodeId
from squall.scheduling.arrivals import Arrivals
from squall.scheduling.chunk import Pace
from squall.scheduling.inputs import FunctionLine
from squall.scheduling.starts import Starts


@dataclass(slots=True, eq=False)
class Worker:
    """One container as the server sees it.

    silent: its node does not answer. outlived: it was there before this server. yielding: it gives back what it has
    not begun. seen: the number of its last message; unrecorded: those with outcomes that are not on record yet. told: its node has said that it is there. ready_s: since when it takes inputs. beside: how many
    containers were starting when it was begun, itself included.
    """

    id: ContainerId
    function: FunctionId
    node: NodeId
    created_s: float
    state: ContainerState = ContainerState.STARTING
    idle_since_s: float = 0.0
    progress_s: float = 0.0
    ready: bool = False
    retiring: bool = False
    silent: bool = False
    outlived: bool = False
    yielding: bool = False
    told: bool = False
    ready_s: float = 0.0
    beside: int = 1
    seen: int = 0
    unrecorded: list[int] = field(default_factory=list)

    @property
    def settled(self) -> int:
        """The number up to which its messages are done with: it need not keep them."""
        return min(self.unrecorded) - 1 if self.unrecorded else self.seen

    @property
    def alive(self) -> bool:
        """Whether the planner may count on it."""
        return not self.retiring and not self.silent


@dataclass(slots=True, eq=False)
class Record:
    """One function: its line, its pace, arrivals and start times as seen, its containers; free: those that take inputs now. heard_s: when
    the last outcome came, or the first input was given out. hold: why the last plan
    gave it no container that it would have; empty if it held nothing back. touched: its line may have changed since it
    was looked at last.
    """

    function: Function
    line: FunctionLine
    pace: Pace = field(default_factory=Pace)
    arrivals: Arrivals = Arrivals()
    starts: Starts = Starts()
    workers: dict[ContainerId, Worker] = field(default_factory=dict)
    free: list[Worker] = field(default_factory=list)
    waiting_since_s: float = 0.0
    heard_s: float = 0.0
    start_failures: int = 0
    not_before_s: float = 0.0
    hold: str = ""
    touched: bool = True
