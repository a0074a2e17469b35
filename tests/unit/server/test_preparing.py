"""An agent whose connection has just ended has refused nothing, and can be told nothing."""

from __future__ import annotations

import pytest

from squall.model.errors import Error, TooManyFiles
from squall.model.ids import FunctionId, NodeId
from squall.server import preparing
from squall.server.nodes import AgentNodes
from squall.server.preparing import Preparing
from squall.server.records import AppRecord, FunctionRecord
from squall.wire.memory_channel import pair
from squall.wire.session import Session
from squall.wire.stream import Stream
from tests.unit.server.stage import NODE, function, play, settle


async def lose_agent(nodes: AgentNodes) -> None:
    """The connection of a node's agent has ended, and nobody was told of that yet."""
    ours, theirs = pair()
    found: list[Stream] = []
    session = Session(ours, dialer=False, on_open=lambda stream, _head, _frame: found.append(stream))
    Session(theirs, dialer=True).open("agent")
    await settle()
    nodes.join(NODE, session, found[0], {})
    ours.close()


def test_it_is_no_reason_for_its_containers_to_be_refused() -> None:
    async def scene() -> None:
        nodes = AgentNodes(clock=lambda: 1.0)
        await lose_agent(nodes)
        readying = Preparing(nodes)
        refused: list[tuple[NodeId, list[FunctionId], Error]] = []
        readying.failed = lambda node, names, error: refused.append((node, list(names), error))
        noun = function("f")
        app = AppRecord(noun.app, "a", 1.0)
        app.functions["f"] = FunctionRecord(noun)
        readying.on(NODE.id, app, noun)
        await settle()
        assert refused == []

    play(scene)


def test_what_is_wanted_is_said_to_the_one_that_comes_next() -> None:
    async def scene() -> None:
        nodes = AgentNodes(clock=lambda: 1.0)
        await lose_agent(nodes)
        nodes.tell(NODE.id, ())
        await settle()
        assert nodes.nodes() == (NODE,)

    play(scene)


@pytest.mark.parametrize("refusals", [1, 2, 3])
def test_one_with_too_many_files_open_is_asked_again_before_it_counts(
    refusals: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "_FULL_S", 0.001)

    async def scene() -> None:
        nodes = AgentNodes(clock=lambda: 1.0)
        await lose_agent(nodes)
        said: list[str] = []
        asked: list[Session] = []

        async def work(session: Session) -> str:
            asked.append(session)
            if len(asked) <= refusals:
                raise TooManyFiles("no further file can be opened")
            return "ready"

        under_way = Preparing(nodes).by_agents(work, "nothing was made", said.append)
        if refusals < 3:
            assert await under_way == "ready"
            assert said == ["no further file can be opened; it is asked again"] * refusals
        else:
            with pytest.raises(TooManyFiles):
                await under_way

    play(scene)
