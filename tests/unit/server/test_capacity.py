"""Capacity: containers come and go as the line says, on nodes that answer; silent ones are believed less and less."""

from __future__ import annotations

from dataclasses import replace

from squall.model.container import ContainerEnd, ContainerState
from squall.model.function import Scaling
from squall.model.ids import NodeId
from squall.model.resources import Resources
from squall.scheduling.liveness import Health, Patience, health, was_away
from squall.server.nodes import AgentNodes
from squall.wire.memory_channel import pair
from squall.wire.session import Session
from squall.wire.stream import Stream
from tests.unit.server.stage import NODE, Stage, error_in, play, settle

OTHER = replace(NODE, id=NodeId("no-2"))


def wanted(stage: Stage, node: NodeId = NODE.id) -> set[str]:
    told = stage.nodes.told(node)
    return set() if told is None else {one.id for one in told.wanted}


def test_an_input_starts_a_container_and_an_idle_one_goes_after_its_window() -> None:
    async def scene() -> None:
        stage = Stage(scaling=Scaling(scaledown_window_s=5.0))
        client = await stage.submit()
        due_s = stage.capacity.plan_once()
        (name,) = wanted(stage)
        assert due_s is not None
        box = await stage.serve(next(iter(stage.calls.workers)))
        box.say({"t": "ready", "seconds": 0.1})
        await settle()
        box.finish(box.leases[0])
        await settle()
        assert client.ended
        assert stage.capacity.plan_once() == 5.0
        stage.wait(4.9)
        stage.capacity.plan_once()
        assert wanted(stage) == {name}
        stage.wait(0.2)
        stage.capacity.plan_once()
        stage.capacity.plan_once()
        assert wanted(stage) == set()

    play(scene)


def test_the_planner_hears_of_a_container_that_becomes_idle_and_goes_before_the_next_look() -> None:
    async def scene() -> None:
        stage = Stage(scaling=Scaling(scaledown_window_s=5.0))
        await stage.submit()
        stage.capacity.plan_once()
        box = await stage.serve(next(iter(stage.calls.workers)))
        box.say({"t": "ready", "seconds": 0.1})
        await settle()
        assert stage.capacity.plan_once() == 300.0  # the timeout of what it runs
        stage.woken.clear()
        box.finish(box.leases[0])
        await settle()
        assert stage.woken == [stage.clock()]
        assert stage.capacity.plan_once() == 5.0
        await stage.submit()
        box.finish(box.leases[1])
        await settle()
        assert stage.woken == [stage.clock()]  # it has a look before that already

    play(scene)


def test_the_owners_bounds_hold() -> None:
    async def scene() -> None:
        stage = Stage(scaling=Scaling(min_containers=1, max_containers=2))
        stage.capacity.plan_once()
        assert len(wanted(stage)) == 1
        await stage.submit(50)
        for _ in range(5):
            stage.wait(1.0)
            stage.capacity.plan_once()
        assert len(wanted(stage)) == 2

    play(scene)


def test_what_no_node_can_ever_hold_is_refused_with_what_there_is() -> None:
    async def scene() -> None:
        stage = Stage(asks=Resources(cpu_milli=10**6))
        client = await stage.submit()
        stage.capacity.plan_once()
        await settle()
        assert "no node can ever hold" in error_in(client.outcomes()[0])["message"]

    play(scene)


def test_without_a_node_inputs_wait_and_say_so() -> None:
    async def scene() -> None:
        stage = Stage()
        stage.nodes.leave(NODE.id)
        await stage.submit()
        stage.capacity.plan_once()
        assert stage.capacity.functions_waiting() == {stage.record.function.id: "no_node"}
        stage.nodes.join(NODE)
        stage.capacity.plan_once()
        assert len(wanted(stage)) == 1

    play(scene)


def test_a_silent_node_gets_no_new_work_and_goes_on_when_it_answers() -> None:
    async def scene() -> None:
        stage = Stage()
        box = await stage.container()
        first = await stage.submit(name="fc-1")
        stage.nodes.report(NODE.id, {"event": "suspect"})
        second = await stage.submit(name="fc-2")
        box.finish(box.leases[0])
        await settle()
        assert first.outcomes() == {0: (0, b"0")}, "what it has done counts"
        assert len(box.leases) == 1
        stage.nodes.report(NODE.id, {"event": "dead"})
        assert box.id in stage.calls.workers, "there is no other node, so nothing is gained by giving up"
        stage.nodes.report(NODE.id, {"event": "alive"})
        await settle()
        box.finish(box.leases[1])
        await settle()
        assert second.outcomes() == {0: (0, b"0")}

    play(scene)


def test_a_dead_nodes_inputs_run_on_another_and_its_late_outcomes_are_fenced() -> None:
    async def scene() -> None:
        stage = Stage()
        box = await stage.container()
        client = await stage.submit()
        stage.nodes.join(OTHER)
        stage.nodes.report(NODE.id, {"event": "dead"})
        assert box.id not in stage.calls.workers
        box.finish(box.leases[0])
        await settle()
        assert not client.frames
        other = await stage.container()
        assert other.leases == [("fc-1", 0, 1, 2)]
        other.finish(other.leases[0])
        await settle()
        assert client.outcomes() == {0: (0, b"0")}

    play(scene)


def test_a_node_that_went_away_is_given_up_after_a_while_unless_it_is_back() -> None:
    async def scene() -> None:
        stage = Stage()
        stage.nodes.join(OTHER)
        box = await stage.container()
        await stage.submit()
        stage.nodes.leave(NODE.id)
        stage.wait(9.0)
        assert box.id in stage.calls.workers
        stage.nodes.join(NODE, ({"container": box.id, "pid": 7},))
        stage.wait(2.0)
        assert box.id in stage.calls.workers
        stage.nodes.leave(NODE.id)
        stage.wait(11.0)
        assert box.id not in stage.calls.workers
        assert stage.record.line.waiting == 1

    play(scene)


def test_containers_that_an_agent_does_not_have_any_more_have_ended() -> None:
    async def scene() -> None:
        stage = Stage()
        box = await stage.container()
        await stage.submit()
        stage.nodes.join(NODE)
        assert box.id not in stage.calls.workers
        assert stage.record.line.waiting == 1
        stage.containers.ended(box.id, ContainerEnd())

    play(scene)


def test_a_stopped_container_goes_and_its_input_runs_elsewhere() -> None:
    async def scene() -> None:
        stage = Stage()
        box, other = await stage.container(), await stage.container()
        await stage.submit()
        holder, free = (box, other) if box.leases else (other, box)
        stage.capacity.stop(stage.calls.workers[holder.id])
        assert holder.id not in wanted(stage)
        stage.nodes.report(NODE.id, {"event": "ended", "container": holder.id, "end": {"cause": "killed"}})
        await settle()
        assert free.leases == [("fc-1", 0, 1, 2)]
        assert stage.calls.workers[free.id].state is ContainerState.BUSY

    play(scene)


# -- liveness


def test_silence_is_judged_by_its_length() -> None:
    patience = Patience(heartbeat_s=1.0, suspect_after_s=3.0, dead_after_s=10.0)
    judged = [health(silence_s, patience) for silence_s in (0.0, 2.9, 3.0, 9.9, 10.0)]
    assert judged == [Health.ALIVE, Health.ALIVE, Health.SUSPECT, Health.SUSPECT, Health.DEAD]
    assert not was_away(1.2, patience)
    assert was_away(15.0, patience)


def test_an_agent_that_says_nothing_is_suspected_given_up_and_taken_back() -> None:
    async def scene() -> None:
        now = [0.0]
        nodes, heard = AgentNodes(clock=lambda: now[0]), []
        nodes.listen(lambda _node, event: heard.append(str(event["event"])))
        left, right = pair()

        def on_open(stream: Stream, head: dict[str, object], _frame: object) -> None:
            nodes.join(NODE, server, stream, head)

        server = Session(right, dialer=False, on_open=on_open)
        agent = Session(left, dialer=True).open("join")
        await settle()
        patience = Patience()
        for seconds in (2.0, 4.0, 11.0):
            now[0] = seconds
            nodes.look(patience)
        assert heard == ["joined", "suspect", "dead"]
        assert nodes.nodes() == ()
        agent.send({"t": "alive"})
        await settle()
        nodes.look(patience)
        assert heard[-1] == "alive"
        assert nodes.nodes() == (NODE,)
        now[0] = 40.0
        nodes.look(patience, away=True)
        assert heard[-1] == "alive", "who looks was itself away"

    play(scene)
