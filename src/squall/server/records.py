"""Records: what the server keeps in memory of functions, containers and calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from squall.model.call import OutcomeKind, Verb
from squall.model.container import ContainerState
from squall.model.function import Function, Scaling
from squall.model.gpu import Gpus
from squall.model.ids import AppId, CallId, ContainerId, FunctionId, NodeId
from squall.model.resources import Resources
from squall.scheduling.arrivals import Arrivals
from squall.scheduling.chunk import Pace, chunk_size, may_prefetch
from squall.scheduling.inputs import FunctionLine, Segment
from squall.scheduling.starts import Starts
from squall.server.input_blocks import InputBlocks
from squall.wire.stream import Stream


@dataclass(slots=True, eq=False)
class CallRecord:
    """One call in memory: its inputs, and whom its outcomes go to.

    busy_s: for how long inputs of it were being run, by container. full_at: the first input for which there was no room; it is awaited again, and those after it are not taken before.
    """

    id: CallId
    function: FunctionId
    verb: Verb
    blocks: InputBlocks = field(default_factory=InputBlocks)
    stream: Stream | None = None
    client: object | None = None
    parent: str = ""
    created_s: float = 0.0
    credit: int = 0
    durable: bool = False
    generating: ContainerId | None = None
    items_sent: int = 0
    done: int = 0
    failed: int = 0
    full_at: int | None = None
    busy_s: dict[ContainerId, float] = field(default_factory=dict)


@dataclass(slots=True)
class Hand:
    """One of several inputs that a container works on at once: since when, and when it was interrupted for its time."""

    since_s: float
    interrupted_s: float | None = None


@dataclass(slots=True, eq=False)
class Worker:
    """One container as the data path sees it: whether it takes inputs, and what it has reported.

    seen: the last of its messages that was taken; unrecorded: those before it whose outcomes are not on disk yet, with
    how many runs each; acknowledged: what it was told that it need not send again. outlived: it was there before this
    server. silent: its node does not answer. missing: what it was leased and says it never got, to be given back once
    its messages up to missing_at are in. beside: how many containers were starting when it began to, itself included;
    cores: on how many cores. phases_ms, waited_ms, waits_for: see
    `scheduling.start_words.StartSeen`; started_s, loading_s: when it ran, and when it was given its function. gpus: the devices that it was given; gpu_ids: which, once its
    node has told. hands: see `server.hands`. asks: what is kept for it beside them. heard_s: when its node last spoke of it; lived_before_s: how long it had lived before this server knew it;
    used_cpu_s, used_byte_s, earlier_byte_s: core-seconds, and byte-seconds of memory, as its agent sums them, and as agents
    before it did.
    """

    id: ContainerId
    function: FunctionId
    state: ContainerState = ContainerState.STARTING
    stream: Stream | None = None
    ready: bool = False
    seen: int = 0
    unrecorded: dict[int, int] = field(default_factory=dict)
    acknowledged: int = 0
    outlived: bool = False
    silent: bool = False
    broken: bool = False
    missing: list[Segment] = field(default_factory=list)
    missing_at: int = 0
    created_s: float = 0.0
    beside: int = 1
    cores: int = 1
    idle_since_s: float = 0.0
    progress_s: float = 0.0
    interrupted_s: float | None = None
    retiring: bool = False
    killed: bool = False
    yielding: bool = False
    pid: int | None = None
    rung: str = ""
    rung_why: str = ""
    level: str = ""
    launcher_pid: int | None = None
    phases_ms: dict[str, float] = field(default_factory=dict)
    waited_ms: dict[str, float] = field(default_factory=dict)
    waits_for: str = ""
    started_s: float | None = None
    loading_s: float | None = None
    gpus: Gpus | None = None
    gpu_ids: tuple[str, ...] = ()
    ended: bool = False
    asks: Resources = Resources()
    hands: dict[tuple[CallId, int], Hand] = field(default_factory=dict)
    heard_s: float = 0.0
    lived_before_s: float = 0.0
    used_cpu_s: float | None = None
    used_byte_s: float = 0.0
    earlier_byte_s: float = 0.0

    def used(self, cpu_s: float, byte_s: float, *, now_s: float) -> None:
        """Its agent says what it has taken so far; one that comes after another begins to sum anew."""
        self.heard_s = now_s
        self.used_cpu_s = max(cpu_s, self.used_cpu_s or 0.0)
        if byte_s < self.used_byte_s:
            self.earlier_byte_s += self.used_byte_s
        self.used_byte_s = byte_s

    def memory_byte_s(self, at_end: float | None) -> float:
        """All that it took, with what was said as it ended."""
        if at_end is None:
            return self.earlier_byte_s + self.used_byte_s
        earlier = self.earlier_byte_s + (self.used_byte_s if at_end < self.used_byte_s else 0.0)
        return earlier + at_end

    @property
    def settled(self) -> int:
        """The last message that it need not send again: everything up to it is done with."""
        return next(iter(self.unrecorded)) - 1 if self.unrecorded else self.seen


@dataclass(slots=True, eq=False)
class FunctionRecord:
    """One function: its line, its pace, its containers.

    catching_up: containers that outlived a server and have not said all that they did meanwhile; until they have,
    nothing is given out, or inputs that they have in hand or done would run twice. doubted: inputs that may have begun, and
    must not twice, until it is clear who has them: until then nothing is given out either. template_on, image_on: the nodes
    that have a template of it ready, and those that hold its image. heard_s: when the last outcome came, or when work
    began after none. unready: how many containers in a row could not load the code; until unready_until_s none is kept alive. paged: how many inputs of it wait on record, and are not in line yet.
    batch_is_awaited: whether it is looked again when the first of a batch has waited long enough.
    entering: how many calls are being recorded, or brought back from the record. bounds: what holds in place of the function's own
    while its version comes or goes. unstartable: what it was last that kept its containers from starting, as whoever waited was told.
    """

    function: Function
    line: FunctionLine = field(default_factory=FunctionLine)
    pace: Pace = field(default_factory=Pace)
    arrivals: Arrivals = field(default_factory=Arrivals)
    starts: Starts = field(default_factory=Starts)
    template_on: set[NodeId] = field(default_factory=set)
    image_on: set[NodeId] = field(default_factory=set)
    workers: dict[ContainerId, Worker] = field(default_factory=dict)
    free: list[Worker] = field(default_factory=list)
    catching_up: set[ContainerId] = field(default_factory=set)
    doubted: list[Segment] = field(default_factory=list)
    waiting_since_s: float = 0.0
    heard_s: float = 0.0
    start_failures: int = 0
    start_losses: int = 0
    not_before_s: float = 0.0
    unready: int = 0
    unready_until_s: float = 0.0
    last_failure: dict[str, Any] | None = None
    pickled: bytes | None = None
    wait_reason: str = ""
    wait_words: str = ""
    told_reason: str = ""
    paged: int = 0
    batch_is_awaited: bool = False
    entering: int = 0
    bounds: Scaling | None = None
    unstartable: tuple[bytes, OutcomeKind] | None = None

    @property
    def held_back(self) -> bool:
        """Whether it is still to be found out what containers have in hand, so that nothing is given out."""
        return bool(self.catching_up or self.doubted)

    @property
    def most_leases(self) -> int:
        """How many leases a container may have in hand."""
        if self.function.side_by_side:
            return self.function.max_inputs
        if self.function.max_batch:
            return 1
        return 2 if may_prefetch(self.pace) and not self.function.one_at_a_time else 1

    @property
    def most_inputs(self) -> int:
        """How many inputs the next lease may have."""
        if self.function.max_batch:
            return self.function.max_batch
        if self.function.side_by_side or self.function.one_at_a_time:
            return 1
        return chunk_size(self.pace, waiting=self.line.waiting, containers=len(self.workers))

    @property
    def freest(self) -> Worker:
        """Of the containers that have room the one to be given the next inputs."""
        if not self.function.side_by_side:
            return self.free[-1]
        leases = self.line.leases
        return min(reversed(self.free), key=lambda worker: len(leases.get(worker.id, ())))

    @property
    def crashing_until_s(self) -> float:
        """Until when no container is started, because those before have failed; who calls hears at once why."""
        return self.not_before_s if self.pending else max(self.not_before_s, self.unready_until_s)

    @property
    def pending(self) -> int:
        """How many inputs wait for it, in line and on record."""
        return self.line.waiting + self.paged


@dataclass(slots=True, eq=False)
class AppRecord:
    """One app: ephemeral ones live as long as the client's stream, a version of a deployed one until another has its place.

    version, environment, tag, tags: of a deployed one. secrets_in: the environment of secrets that name none. variants: the names of those that were asked for, by what was asked.
    """

    id: AppId
    name: str
    created_s: float
    kind: str = "ephemeral"
    state: str = "running"
    stream: Stream | None = None
    functions: dict[str, FunctionRecord] = field(default_factory=dict)
    root: str = ""
    pid: int | None = None
    gone_s: float | None = None
    installer: dict[str, Any] = field(default_factory=dict, repr=False)
    version: int = 0
    environment: str = ""
    secrets_in: str = ""
    tag: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    variants: dict[str, str] = field(default_factory=dict, repr=False)
