"""The last moment: a call that arrives while the only container of its function is being let go is never lost.

Everything of the server that is about this runs as it is, on virtual time: its planner wakes when it is woken, or when
it said that it would. The node and its container are made up, and as careless as they may be: whatever a container has
in hand when it is stopped dies with it.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import pytest

from squall.model.container import ContainerState, WantedContainer
from squall.model.function import Scaling
from squall.model.ids import ContainerId, NodeId
from squall.server.memory_nodes import MemoryNodes
from squall.server.nodes import NOTHING_SPECIAL, Event, Unwanted
from tests.unit.server.stage import NODE, Client, FakeContainer, Stage

TRIES = 2_500
SEEDS = (1, 2, 3, 4)
WINDOW_S = 2.0
STEP_S = 0.010
PATIENCE_S = 5.0


class VirtualSelector(selectors.SelectSelector):
    """A selector for a loop without sockets: to wait is to let the clock jump."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everybody waits for somebody else")
        self.now_s += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time passes as fast as there is nothing to do."""

    def __init__(self) -> None:
        self._virtual = VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now_s


class HeardNodes(MemoryNodes):
    """Nodes that say when they were told something."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: asyncio.Queue[set[ContainerId]] = asyncio.Queue()

    def tell(
        self, node: NodeId, wanted: tuple[WantedContainer, ...], unwanted: Unwanted = NOTHING_SPECIAL
    ) -> None:
        super().tell(node, wanted, unwanted)
        self.heard.put_nowait({one.id for one in wanted})


class LiveStage(Stage):
    """A stage on which time passes by itself, the planner plans by itself, and a node does what it is told."""

    def __init__(self, dice: random.Random, tasks: asyncio.TaskGroup, **fields: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.heard = HeardNodes()
        super().__init__(nodes=self.heard, **fields)
        self.dice = dice
        self.boxes: dict[ContainerId, FakeContainer] = {}
        self._tasks = tasks
        self._known: set[ContainerId] = set()
        self._there: set[ContainerId] = set()
        self._running: set[asyncio.Task[None]] = set()

    def clock(self) -> float:
        return self.loop.time()

    def later(self, delay_s: float, callback: Callable[..., object], *args: Any) -> None:
        self.loop.call_later(delay_s, callback, *args)

    def wake(self) -> None:
        self.capacity.wake()

    def go(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def end(self) -> None:
        for task in self._running:
            task.cancel()

    async def obey(self) -> None:
        """The node: does what it was told last, some time later."""
        while True:
            wanted = await self.heard.heard.get()
            await asyncio.sleep(self.dice.uniform(0, STEP_S / 2))
            for name in sorted(self._there - wanted):
                self._there.remove(name)
                self.go(self._die(name))
            for name in sorted(wanted - self._known):
                self._known.add(name)
                self._there.add(name)
                self.go(self._live(name))

    async def _live(self, name: ContainerId) -> None:
        """A container: starts, then works on what it is given, as long as it is there."""
        await asyncio.sleep(self.dice.uniform(0, STEP_S))
        if name not in self._there:
            return
        self.boxes[name] = box = await self.serve(name)
        leased = asyncio.Event()
        box.heard_something = leased.set
        self.nodes.report(NODE.id, {"event": "started", "container": name, "pid": 1})
        await asyncio.sleep(self.dice.uniform(0, STEP_S))
        if name in self._there:
            box.say({"t": "ready", "seconds": 0.01})
        done = 0
        while name in self._there:
            await leased.wait()
            leased.clear()
            await asyncio.sleep(self.dice.uniform(0, STEP_S / 4))
            for lease in box.leases[done:]:
                if name in self._there:
                    box.finish(lease)
                    done += 1

    async def _die(self, name: ContainerId) -> None:
        await asyncio.sleep(self.dice.uniform(0, STEP_S))
        box = self.boxes.pop(name, None)
        if box is not None:
            box.heard_something()
            box.stream.cancel()
        ended: Event = {"event": "ended", "container": name, "end": {"cause": "killed"}}
        self.nodes.report(NODE.id, ended)

    def stop_one(self) -> None:
        """A person stops a container."""
        for worker in self.record.workers.values():
            self.capacity.stop(worker)
            return

    def moment(self) -> str:
        """Where the containers of the function stand at this instant."""
        states = [worker.state for worker in self.record.workers.values()]
        if not states:
            return "none"
        if ContainerState.IDLE in states:
            return "going" if all(worker.retiring for worker in self.record.workers.values()) else "idle"
        return "stopping" if ContainerState.STOPPING in states else "starting"


async def call(stage: LiveStage, name: str) -> Client:
    """A call of one input, and its outcome, waited for."""
    client = stage.client(name)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    client.record.stream = stage.opened()
    stage.send(client, 1, start=0, total=1)
    async with asyncio.timeout(PATIENCE_S):
        while not client.ended:
            await asyncio.sleep(STEP_S / 10)
    return client


async def scene(seed: int, moments: Counter[str]) -> None:
    dice = random.Random(seed)
    async with asyncio.TaskGroup() as tasks:
        stage = LiveStage(dice, tasks, scaling=Scaling(scaledown_window_s=WINDOW_S))
        stage.go(stage.capacity.run())
        stage.go(stage.obey())
        for number in range(TRIES):
            how = dice.random()
            if how < 0.1:
                stage.stop_one()
            elif how < 0.2:
                # When it has the input in hand, or has just not.
                asyncio.get_running_loop().call_later(dice.uniform(0, STEP_S / 4), stage.stop_one)
            else:
                await asyncio.sleep(WINDOW_S + dice.uniform(-1, 4) * STEP_S)
            moments[stage.moment()] += 1
            client = await call(stage, f"fc-{number}")
            assert client.outcomes() == {0: (0, b"0")}, f"try {number} of seed {seed}"
        stage.end()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_call_that_arrives_while_its_last_container_is_stopping_is_never_lost(seed: int) -> None:
    moments: Counter[str] = Counter()
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(scene(seed, moments))
    _saw_every_moment(moments)


def _saw_every_moment(moments: Mapping[str, int]) -> None:
    for moment in ("idle", "stopping", "none"):
        assert moments[moment] > TRIES / 20, f"it was tried too seldom: {moments}"
