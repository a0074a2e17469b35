"""Capacity: containers come and go as the line says, on nodes that answer; silent ones are believed less and less."""

from __future__ import annotations

from dataclasses import replace

import pytest

from squall.model.container import ContainerEnd, ContainerState
from squall.model.function import Retries, Scaling
from squall.model.ids import ContainerId, NodeId
from squall.model.resources import Resources
from squall.scheduling.liveness import Health, Patience, health, was_away
from squall.server.nodes import AgentNodes
from squall.wire.memory_channel import pair
from squall.wire.session import Session
from squall.wire.stream import Stream
from tests.unit.server.stage import NODE, Stage, error_in, function, play, settle

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


def test_a_container_that_worked_when_it_was_last_looked_at_goes_after_its_window_too() -> None:
    async def scene() -> None:
        stage = Stage(scaling=Scaling(scaledown_window_s=5.0), timeout_s=300.0)
        await stage.submit()
        stage.capacity.plan_once()
        box = await stage.serve(next(iter(stage.calls.workers)))
        box.say({"t": "ready", "seconds": 0.1})
        await settle()
        assert stage.capacity.plan_once() == 300.0, "it works, and may do so for long"
        woken = stage.woken
        box.finish(box.leases[0])
        await settle()
        assert stage.woken > woken, "nobody looks before its timeout"
        assert stage.capacity.plan_once() == 5.0

    play(scene)


def test_a_start_is_remembered_with_what_it_took_and_where_its_image_lies() -> None:
    async def scene() -> None:
        stage = Stage()
        await stage.submit(3)
        stage.capacity.plan_once()
        first, second, _ = stage.calls.workers
        for name, waited_s in ((first, 0.2), (second, 0.6)):
            box = await stage.serve(name)
            stage.wait(waited_s)
            stage.nodes.report(NODE.id, {"event": "started", "container": name, "pid": 7})
            box.say({"t": "ready", "seconds": 0.1})
            await settle()
        assert stage.record.starts.wall_s == pytest.approx((0.2 + 0.8) / 2)
        assert stage.record.image_on == {NODE.id}
        assert [worker.beside for worker in stage.calls.workers.values()] == [1, 2, 3]

    play(scene)


def test_where_a_template_is_ready_is_known_until_the_node_says_otherwise_or_goes() -> None:
    async def scene() -> None:
        stage = Stage()
        ready = {"event": "template", "function": stage.record.function.id, "state": "ready"}
        stage.nodes.report(NODE.id, ready)
        assert stage.record.template_on == {NODE.id}
        stage.nodes.report(NODE.id, {**ready, "state": "gone"})
        assert stage.record.template_on == set()
        stage.nodes.report(NODE.id, {**ready, "function": "ap-1/other"})
        stage.nodes.report(NODE.id, ready)
        stage.nodes.join(NODE)
        assert stage.record.template_on == set(), "an agent that is new has none"

    play(scene)


def test_what_is_tried_again_is_no_arrival() -> None:
    async def scene() -> None:
        stage = Stage(retries=Retries(max_retries=3, initial_delay=1.0))
        await stage.submit()
        box = await stage.container()
        arrived = stage.record.arrivals
        box.finish(box.leases[0], kind=1)
        await settle()
        stage.wait(1.3)
        await settle()
        assert len(box.leases) == 2
        assert stage.record.arrivals == arrived

    play(scene)


def test_an_idle_container_of_one_function_goes_for_another_that_has_no_room() -> None:
    async def scene() -> None:
        stage = Stage(asks=NODE.capacity)
        idle = await stage.container()
        other = stage.add(function("g", asks=NODE.capacity))
        client = stage.client(record=other)
        await settle()
        stage.send(client, 1, start=0, total=1)
        stage.wait(1.0)
        stage.capacity.plan_once()
        assert stage.capacity.functions_waiting() == {other.function.id: "no_capacity"}
        assert wanted(stage) == set()
        stage.nodes.report(NODE.id, {"event": "ended", "container": idle.id, "end": {"cause": "killed"}})
        stage.capacity.plan_once()
        (name,) = wanted(stage)
        assert stage.calls.workers[ContainerId(name)].function == other.function.id

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


def test_what_a_dead_node_has_in_hand_runs_on_one_that_joins_later() -> None:
    async def scene() -> None:
        stage = Stage()
        box = await stage.container()
        await stage.submit()
        stage.nodes.report(NODE.id, {"event": "dead"})
        assert box.id in stage.calls.workers, "there is no other"
        stage.nodes.join(OTHER)
        assert box.id not in stage.calls.workers
        assert stage.record.line.waiting == 1

    play(scene)


def test_a_node_that_leaves_a_second_time_has_as_long_to_come_back_as_the_first_time() -> None:
    async def scene() -> None:
        stage = Stage()
        stage.nodes.join(OTHER)
        box = await stage.container()
        mine = {"container": box.id, "function": stage.record.function.id, "pid": 7}
        stage.nodes.leave(NODE.id)
        stage.wait(1.0)
        stage.nodes.join(NODE, (mine,))
        stage.wait(8.0)
        stage.nodes.leave(NODE.id)
        stage.wait(9.0)
        assert box.id in stage.calls.workers, "it has been away for 9 s, and not for 18"
        stage.wait(1.0)
        assert box.id not in stage.calls.workers

    play(scene)


def test_a_node_that_answers_again_keeps_what_it_has_when_another_joins() -> None:
    async def scene() -> None:
        stage = Stage()
        box = await stage.container()
        await stage.submit()
        stage.nodes.report(NODE.id, {"event": "dead"})
        stage.nodes.report(NODE.id, {"event": "alive"})
        stage.nodes.join(OTHER)
        assert box.id in stage.calls.workers

    play(scene)


def test_a_kept_container_that_could_not_start_is_tried_again_though_nothing_waits() -> None:
    async def scene() -> None:
        stage = Stage(scaling=Scaling(min_containers=1))
        stage.capacity.plan_once()
        (name,) = wanted(stage)
        stage.containers.ended(ContainerId(name), ContainerEnd(cause="exit", code=1))
        due_s = stage.capacity.plan_once()
        assert due_s is not None, "it would be missing until the next call"
        stage.wait(due_s)
        stage.capacity.plan_once()
        assert len(wanted(stage)) == 1
        assert wanted(stage) != {name}

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
