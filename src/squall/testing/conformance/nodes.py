"""Nodes conformance: what every implementation of Nodes must do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, Protocol

from squall.model.container import WantedContainer
from squall.model.function import Code, Function
from squall.model.gpu import Gpus
from squall.model.ids import AppId, ContainerId, FunctionId, NodeId
from squall.model.jsonable import to_json
from squall.model.node import GpuOut, Node
from squall.model.resources import Resources
from squall.server.nodes import Event, Nodes, Unwanted

Told = tuple[frozenset[ContainerId], frozenset[ContainerId], frozenset[ContainerId]]


class Machines(Protocol):
    """The other side: what makes machines come, speak and go, for one implementation."""

    @property
    def nodes(self) -> Nodes:
        """What is checked."""
        ...

    async def join(self, node: Node) -> None:
        """A machine comes; returns when the nodes know of it."""
        ...

    async def leave(self, node: NodeId) -> None:
        """A machine goes; returns when the nodes know of it."""
        ...

    async def report(self, node: NodeId, event: Event) -> None:
        """A machine reports; returns when the nodes know of it."""
        ...

    async def told(self, node: NodeId) -> Told | None:
        """What a machine has heard last: the wanted containers, those to keep, those to kill."""
        ...


Check = Callable[[Machines], Awaitable[None]]

_ONE: Final = Node(id=NodeId("no-1"), capacity=Resources(cpu_milli=1000, memory_mib=64), cores=2)
_TWO: Final = Node(id=NodeId("no-2"), capacity=Resources(cpu_milli=2000), level="process")
_FUNCTION: Final = Function(
    id=FunctionId("ap-1/f"), app=AppId("ap-1"), name="f", code=Code(module="m", qualname="f")
)


def wanted(*names: str) -> tuple[WantedContainer, ...]:
    """Containers of one function, by these names."""
    return tuple(WantedContainer(id=ContainerId(name), function=_FUNCTION) for name in names)


def _told(want: str = "", keep: str = "", kill: str = "") -> Told:
    one, other, third = (frozenset(map(ContainerId, names.split())) for names in (want, keep, kill))
    return one, other, third


async def a_node_is_there_from_when_it_joins_until_it_leaves(machines: Machines) -> None:
    assert machines.nodes.nodes() == ()
    await machines.join(_ONE)
    await machines.join(_TWO)
    assert set(machines.nodes.nodes()) == {_ONE, _TWO}
    await machines.leave(_ONE.id)
    assert machines.nodes.nodes() == (_TWO,)


async def a_node_that_joins_again_is_there_once_and_as_it_is_now(machines: Machines) -> None:
    await machines.join(_ONE)
    larger = replace(_ONE, cores=64)
    await machines.join(larger)
    assert machines.nodes.nodes() == (larger,)


async def a_node_that_says_that_it_changed_is_as_it_says(machines: Machines) -> None:
    await machines.join(_ONE)
    heard: list[str] = []
    machines.nodes.listen(lambda _node, event: heard.append(event["event"]))
    changed = replace(
        _ONE, gpus=(Gpus(type="L4", count=2),), gpus_out=(GpuOut(id="g", type="L4", why="held"),)
    )
    await machines.report(_ONE.id, {"event": "changed", "node": to_json(changed)})
    assert machines.nodes.nodes() == (changed,)
    assert heard == ["changed"]


async def coming_and_going_are_events_of_that_node(machines: Machines) -> None:
    heard: list[tuple[NodeId, str]] = []
    machines.nodes.listen(lambda node, event: heard.append((node, event["event"])))
    await machines.join(_ONE)
    await machines.join(_TWO)
    await machines.leave(_ONE.id)
    assert heard == [(_ONE.id, "joined"), (_TWO.id, "joined"), (_ONE.id, "gone")]


async def what_a_node_reports_arrives_whole_and_in_order(machines: Machines) -> None:
    heard: list[tuple[NodeId, Event]] = []
    await machines.join(_ONE)
    machines.nodes.listen(lambda node, event: heard.append((node, event)))
    events: list[Event] = [
        {"event": "started", "container": "co-1", "pid": 7, "rung": "fork"},
        {"event": "ended", "container": "co-1", "end": {"cause": "oom", "signal": 9}},
        {"event": "refused", "container": "co-2", "error": {"code": "SQ-1000", "message": "no"}},
    ]
    for event in events:
        await machines.report(_ONE.id, event)
    assert [node for node, _ in heard] == [_ONE.id] * 3
    assert [
        {key: event[key] for key in sent} for sent, (_, event) in zip(events, heard, strict=True)
    ] == events


async def a_node_is_told_its_whole_set_each_time(machines: Machines) -> None:
    await machines.join(_ONE)
    await machines.join(_TWO)
    assert await machines.told(_ONE.id) is None
    machines.nodes.tell(_ONE.id, wanted("co-1", "co-2"))
    assert await machines.told(_ONE.id) == _told("co-1 co-2")
    assert await machines.told(_TWO.id) is None
    machines.nodes.tell(_ONE.id, wanted("co-2", "co-3"))
    assert await machines.told(_ONE.id) == _told("co-2 co-3")
    machines.nodes.tell(_ONE.id, ())
    assert await machines.told(_ONE.id) == _told()


async def a_node_is_told_which_of_the_rest_stay_and_which_go_at_once(machines: Machines) -> None:
    await machines.join(_ONE)
    rest = Unwanted(keep=(ContainerId("co-2"),), kill=(ContainerId("co-3"),))
    machines.nodes.tell(_ONE.id, wanted("co-1"), rest)
    assert await machines.told(_ONE.id) == _told("co-1", "co-2", "co-3")


async def telling_a_node_that_is_not_there_changes_nothing(machines: Machines) -> None:
    machines.nodes.tell(_ONE.id, wanted("co-1"))
    await machines.join(_ONE)
    assert await machines.told(_ONE.id) is None
    await machines.leave(_ONE.id)
    machines.nodes.tell(_ONE.id, wanted("co-1"))
    assert machines.nodes.nodes() == ()


CHECKS: Final[tuple[Check, ...]] = (
    a_node_is_there_from_when_it_joins_until_it_leaves,
    a_node_that_joins_again_is_there_once_and_as_it_is_now,
    a_node_that_says_that_it_changed_is_as_it_says,
    coming_and_going_are_events_of_that_node,
    what_a_node_reports_arrives_whole_and_in_order,
    a_node_is_told_its_whole_set_each_time,
    a_node_is_told_which_of_the_rest_stay_and_which_go_at_once,
    telling_a_node_that_is_not_there_changes_nothing,
)
