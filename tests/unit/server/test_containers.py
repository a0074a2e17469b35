"""Containers: how they start, fail, are lost and come back, and what one may send without harm to anybody else."""

from __future__ import annotations

from typing import Any

import pytest

from squall.model.container import ContainerEnd
from squall.model.ids import ContainerId
from squall.scheduling.retry import MOST_LOSSES
from squall.server.slow_starts import Wait, why_waits
from tests.unit.server.stage import NODE, FakeContainer, Stage, error_in, play, settle

LOST = ContainerEnd(cause="signal", signal=9)
PARKED = {"pid": 7, "rung": "parked", "why": "a warm interpreter", "waited_ms": {"image": 100.0}}


def test_a_container_gets_its_function_first_and_inputs_once_it_is_ready() -> None:
    async def scene() -> None:
        stage = Stage()
        await stage.submit()
        box = await stage.container(ready=False)
        assert [head["t"] for head, _ in box.given] == ["function"]
        assert box.heard("function")[0]["function"]["name"] == "f"
        box.say({"t": "ready", "seconds": 0.1})
        await settle()
        assert box.leases == [("fc-1", 0, 1, 1)]

    play(scene)


@pytest.mark.parametrize("most", [0, 3, MOST_LOSSES])
def test_an_input_whose_container_is_lost_runs_again_up_to_its_bound(most: int) -> None:
    async def scene() -> None:
        stage = Stage()
        stage.containers.most_losses = most
        client = await stage.submit()
        for attempt in range(1, most + 2):
            box = await stage.container()
            assert box.leases == [("fc-1", 0, 1, attempt)]
            stage.containers.ended(box.id, LOST)
        await settle()
        assert "lost its container" in error_in(client.outcomes()[0])["message"]
        assert not stage.calls.calls

    play(scene)


def test_an_input_that_breaks_its_container_runs_once_more_alone_and_then_ends_by_name() -> None:
    async def scene() -> None:
        stage = Stage()
        client = await stage.submit(6)
        stage.record.pace = stage.record.pace.seen(seconds=1e-6, inputs=1)
        box = await stage.container()
        assert box.leases == [("fc-1", 0, 6, 1)]
        stage.containers.ended(box.id, ContainerEnd(cause="oom", memory_limit_bytes=2**30))
        box = await stage.container()
        assert box.leases == [("fc-1", 0, 1, 2)], "the one that ran is alone"
        stage.containers.ended(box.id, ContainerEnd(cause="oom", memory_limit_bytes=2**30))
        await settle()
        assert "ran out of memory" in error_in(client.outcomes()[0])["message"]
        box = await stage.container()
        done = 0
        while not client.ended:
            box.finish(box.leases[done])
            done += 1
            await settle()
        assert [kind for kind, _ in (client.outcomes()[index] for index in range(1, 6))] == [0] * 5

    play(scene)


def test_a_start_that_is_given_up_says_where_its_time_went() -> None:
    async def scene() -> None:
        stage = Stage(startup_timeout_s=30.0)
        said: list[str] = []
        stage.containers.say = lambda _worker, line: said.append(line)
        client = await stage.submit()
        box = await stage.container(ready=False)
        phases = {"built": 12.0, "running": 32.0}
        started = {"event": "started", "container": box.id, "phases_ms": phases}
        stage.nodes.report(NODE.id, started | PARKED)
        stage.wait(30.5)
        stage.capacity.plan_once()
        await settle()
        how = (
            "it was started as 'parked' (a warm interpreter): image 0.1 s, sandbox 12 ms, runner 20 ms, "
            "then 30.5 s in your code's imports and it has not said that it is ready"
        )
        assert error_in(client.outcomes()[0])["message"] == f"f was not ready within 30 s: {how}"
        assert said == [f"squall: the start of {box.id} was given up after 30.5 s: {how}\n"]

    play(scene)


def test_a_start_that_never_came_to_its_runner_says_what_it_waited_for() -> None:
    async def scene() -> None:
        stage = Stage(startup_timeout_s=30.0)
        client = await stage.submit()
        worker = stage.containers.expect(ContainerId("co-1"), stage.record)
        stage.capacity.placed[worker.id] = NODE.id
        late = {
            "event": "starting",
            "container": "co-1",
            "waits_for": "template",
            "waited_ms": {"image": 5.0},
        }
        stage.nodes.report(NODE.id, late)
        stage.wait(30.5)
        stage.capacity.plan_once()
        await settle()
        message = error_in(client.outcomes()[0])["message"]
        assert message == "f was not ready within 30 s: image 5 ms, then 30.5 s waiting for its template"

    play(scene)


@pytest.mark.parametrize(
    ("slow_s", "took_s", "lines"), [(10.0, 12.0, 1), (10.0, 9.0, 0), (0.0, 500.0, 0), (1.0, 1.0, 1)]
)
def test_a_start_that_was_slow_leaves_one_line_in_the_log(slow_s: float, took_s: float, lines: int) -> None:
    async def scene() -> None:
        stage = Stage(startup_timeout_s=600.0)
        said: list[str] = []
        stage.containers.slow_start_s = slow_s
        stage.containers.say = lambda _worker, line: said.append(line)
        box = await stage.container(ready=False)
        stage.nodes.report(NODE.id, {"event": "started", "container": box.id} | PARKED)
        stage.wait(took_s)
        box.say({"t": "ready", "seconds": took_s})
        await settle()
        assert len(said) == lines
        assert all(" took " in line and "in your code's imports\n" in line for line in said)

    play(scene)


def test_what_waits_for_a_container_that_is_starting_is_told_how_far_it_is() -> None:
    async def scene() -> None:
        stage = Stage()
        await stage.submit()
        assert why_waits(stage.record, stage.now_s) == Wait(reason="containers_busy")
        box = await stage.container(ready=False)
        stage.nodes.report(NODE.id, {"event": "started", "container": box.id} | PARKED)
        stage.wait(4.0)
        why = why_waits(stage.record, stage.now_s)
        assert (why.reason, why.starting_s) == ("container_starting", 4.0)
        assert "starting for 4.0 s: it was started as 'parked'" in why.words
        assert "4.0 s in your code's imports" in why.words
        stage.record.wait_reason, stage.record.wait_words = "no_capacity", "no room"
        assert why_waits(stage.record, stage.now_s) == Wait(reason="no_capacity", words="no room")
        stage.record.wait_reason = stage.record.wait_words = ""
        await stage.container()
        assert why_waits(stage.record, stage.now_s).reason == "containers_busy"

    play(scene)


def test_an_input_that_runs_too_long_is_interrupted_and_then_ended_with_its_container() -> None:
    async def scene() -> None:
        stage = Stage(timeout_s=10.0)
        box = await stage.container()
        client = await stage.submit()
        stage.wait(10.5)
        stage.capacity.plan_once()
        await settle()
        assert [head["why"] for head in box.heard("interrupt")] == ["timeout"]
        stage.wait(2.5)
        stage.capacity.plan_once()
        told = stage.nodes.told(NODE.id)
        assert told is not None
        assert box.id not in {one.id for one in told.wanted}
        stage.containers.ended(box.id, ContainerEnd(cause="killed"))
        await settle()
        assert "timeout of 10 s" in error_in(client.outcomes()[0])["message"]

    play(scene)


# -- a connection lost, an agent or a server started again


def test_inputs_that_never_reached_a_container_are_given_to_another() -> None:
    async def scene() -> None:
        stage = Stage()
        box = await stage.container()
        client = await stage.submit()
        assert box.leases
        back = await stage.serve(box.id, sent=box.sent, ready={"seconds": 0.1}, holding=[])
        assert back.leases == [("fc-1", 0, 1, 1)], "it was on its way when the connection was lost"
        back.finish(back.leases[0])
        await settle()
        assert client.outcomes() == {0: (0, b"0")}

    play(scene)


def test_what_a_container_still_holds_or_has_just_sent_is_not_given_to_another() -> None:
    async def scene() -> None:
        stage = Stage()
        first, second = await stage.container(), await stage.container()
        one, two = await stage.submit(name="fc-1"), await stage.submit(name="fc-2")
        by_call = {box.leases[0][0]: box for box in (first, second)}
        holds, sends = by_call["fc-1"], by_call["fc-2"]
        back = await stage.serve(
            holds.id, sent=holds.sent, ready={"seconds": 0.1}, holding=[list(holds.leases[0])]
        )
        # Its outcome was sent on the connection that is gone, and comes again behind the opening frame.
        again = await stage.serve(sends.id, sent=sends.sent + 1, ready={"seconds": 0.1}, holding=[])
        again.sent = sends.sent
        assert not back.leases
        assert not again.leases
        again.finish(sends.leases[0])
        back.finish(holds.leases[0])
        await settle()
        assert one.outcomes() == {0: (0, b"0")}
        assert two.outcomes() == {0: (0, b"0")}

    play(scene)


def test_after_a_restart_of_the_server_nothing_that_ran_or_ended_meanwhile_runs_again() -> None:
    async def scene() -> None:
        stage = Stage()
        # No client is back yet, so the function is not known.
        stage.calls.functions.clear()
        row = {"container": "co-old", "function": stage.record.function.id, "pid": 7}
        stage.nodes.join(NODE, (row,))
        told = stage.nodes.told(NODE.id)
        assert told is not None
        assert told.unwanted.keep == ("co-old",)
        # The container opens its stream and sends an outcome again before its client is back.
        old = await stage.serve(
            ContainerId("co-old"), sent=5, ready={"seconds": 0.1}, holding=[["fc-1", 2, 3, 1]]
        )
        old.sent = 4
        old.finish(("fc-1", 0, 2, 1))
        await settle()
        stage.calls.functions[stage.record.function.id] = stage.record
        stage.events.claim(stage.record)
        await settle()
        worker = stage.calls.workers[ContainerId("co-old")]
        assert worker.settled < 5, "nobody has the outcome yet"
        client = await stage.submit(4)
        assert client.outcomes() == {0: (0, b"0"), 1: (0, b"1")}
        assert worker.settled == 5
        old.finish(("fc-1", 2, 3, 1))
        await settle()
        assert old.leases == [("fc-1", 3, 4, 1)], "only what nobody had in hand is given out"
        old.finish(old.leases[0])
        await settle()
        assert sorted(client.outcomes()) == [0, 1, 2, 3]
        assert client.ended

    play(scene)


def test_an_orphan_that_nobody_claims_is_let_go() -> None:
    async def scene() -> None:
        stage = Stage()
        stage.nodes.join(NODE, ({"container": "co-old", "function": "ap-9/g", "pid": 7},))
        stage.wait(11.0)
        told = stage.nodes.told(NODE.id)
        assert told is not None
        assert told.unwanted.keep == ()
        assert not stage.events.orphans

    play(scene)


# -- hostile containers

NONSENSE: list[tuple[dict[str, Any], bytes]] = [
    ({"t": "nonsense"}, b""),
    ({}, b""),
    ({"t": "out"}, b""),
    ({"t": "out", "L": 7}, b""),
    ({"t": "out", "L": [["fc-1", 0]]}, b""),
    ({"t": "out", "L": [["fc-1", 0, 1, [5], 0, 0.1]]}, b"x"),
    ({"t": "out", "L": [["fc-1", 0, 1, [-1, 2], 0, 0.1]]}, b"x"),
    ({"t": "out", "L": [["fc-1", 0, 1, [1], [9], 0.1]]}, b"x"),
    ({"t": "out", "L": [["fc-1", 0, 1, [1], [0, 0], 0.1]]}, b"x"),
    ({"t": "out", "L": [["fc-1", 0, 1, [1], 0, -1.0]]}, b"x"),
    ({"t": "out", "L": [["fc-1", 0, 1, [1], 0, "long"]]}, b"x"),
    ({"t": "out", "L": [["fc-1", 0.5, 1, [1], 0, 0.1]]}, b"x"),
    ({"t": "out", "L": [["fc-1", -1, 1, [1], 0, 0.1]]}, b"x"),
    ({"t": "out", "L": [[["fc-1"], 0, 1, [1], 0, 0.1]]}, b"x"),
    ({"t": "out", "L": [["fc-1", 0, 1, [{"f": 3, "l": [1]}], 0, 0.1]]}, b""),
    ({"t": "out", "L": [], "B": [["fc-1", 2, 1, 1]]}, b""),
    ({"t": "out", "L": [], "B": "all of it"}, b""),
    ({"t": "out", "L": [], "n": "one"}, b""),
    ({"t": "item", "call": "fc-1", "index": "x", "attempt": 1, "item": 0, "d": 1}, b"x"),
    ({"t": "item", "call": "fc-1", "index": 0, "attempt": 1, "item": 0, "d": 9}, b"x"),
    ({"t": "ready", "n": None}, b""),
    ({"t": "unready", "error": 5}, b""),
]


@pytest.mark.parametrize(("head", "payload"), NONSENSE)
def test_a_container_that_sends_nonsense_ends_and_nobody_else(head: dict[str, Any], payload: bytes) -> None:
    async def scene() -> None:
        stage = Stage()
        bad, good = await stage.container(), await stage.container()
        one, two = await stage.submit(name="fc-1"), await stage.submit(name="fc-2")
        if bad.leases[0][0] != "fc-1":
            bad, good = good, bad
        bad.say(head, payload)
        await settle()
        assert not one.frames, "nothing of it counted"
        told = stage.nodes.told(NODE.id)
        assert told is not None
        assert told.unwanted.kill == (bad.id,)
        stage.containers.ended(bad.id, ContainerEnd(cause="killed"))
        good.finish(good.leases[0])
        await settle()
        assert two.outcomes() == {0: (0, b"0")}
        assert good.leases[-1] == ("fc-1", 0, 1, 2)
        good.finish(good.leases[-1])
        await settle()
        assert one.outcomes() == {0: (0, b"0")}
        assert stage.record.line.leased == stage.record.line.waiting == 0

    play(scene)


@pytest.mark.parametrize(
    "lease",
    [("fc-1", 0, 1, 2), ("fc-2", 0, 1, 1), ("fc-9", 0, 1, 1), ("fc-1", 5, 900, 1), ("fc-1", 0, 1, 10**9)],
)
def test_outcomes_that_a_container_has_no_right_to_are_fenced(lease: tuple[str, int, int, int]) -> None:
    async def scene() -> None:
        stage = Stage()
        bad, good = await stage.container(), await stage.container()
        one, two = await stage.submit(name="fc-1"), await stage.submit(name="fc-2")
        if bad.leases[0][0] != "fc-1":
            bad, good = good, bad
        bad.finish(lease)
        await settle()
        assert not one.frames
        assert not two.frames
        assert stage.record.line.fenced == lease[2] - lease[1]
        finish_all(bad, good)
        await settle()
        assert one.outcomes() == {0: (0, b"0")}
        assert two.outcomes() == {0: (0, b"0")}

    play(scene)


def test_what_a_container_claims_to_hold_is_believed_only_after_a_restart() -> None:
    async def scene() -> None:
        stage = Stage()
        client = await stage.submit(3)
        thief = await stage.container(ready=False)
        back = await stage.serve(thief.id, ready={"seconds": 0.1}, holding=[["fc-1", 0, 3, 1]])
        assert back.leases == [("fc-1", 0, 1, 1)], "it gets what everybody gets"
        assert stage.record.line.waiting == 2
        assert not client.frames

    play(scene)


@pytest.mark.parametrize("holding", [7, [["fc-1"]], [["fc-1", 0, 1, "x"]], [[None, 0, 1, 1]]])
def test_a_container_that_says_nonsense_of_itself_ends(holding: Any) -> None:
    async def scene() -> None:
        stage = Stage()
        box = await stage.container()
        await stage.serve(box.id, sent=box.sent, ready={"seconds": 0.1}, holding=holding)
        assert stage.calls.workers[box.id].broken

    play(scene)


def test_an_input_whose_containers_always_send_nonsense_ends_by_name() -> None:
    async def scene() -> None:
        stage = Stage()
        client = await stage.submit()
        for _ in range(2):
            box = await stage.container()
            box.say({"t": "nonsense"})
            await settle()
            stage.containers.ended(box.id, ContainerEnd(cause="killed"))
        await settle()
        assert "what no container sends" in error_in(client.outcomes()[0])["message"]

    play(scene)


def finish_all(*boxes: FakeContainer) -> None:
    for box in boxes:
        box.finish(box.leases[0])


def test_when_the_client_is_back_before_the_agent_nothing_runs_twice_either() -> None:
    async def scene() -> None:
        stage = Stage()
        client = await stage.submit(4)
        rows = [
            {"container": name, "function": stage.record.function.id, "pid": 7} for name in ("co-a", "co-b")
        ]
        stage.nodes.join(NODE, tuple(rows))
        idle = await stage.serve(ContainerId("co-a"), sent=1, ready={"seconds": 0.1}, holding=[])
        idle.sent = 0
        idle.say({"t": "ready"})
        await settle()
        assert not idle.leases, "the other may have done what waits"
        busy = await stage.serve(
            ContainerId("co-b"), sent=3, ready={"seconds": 0.1}, holding=[["fc-1", 2, 3, 1]]
        )
        busy.sent = 2
        busy.finish(("fc-1", 0, 2, 1))
        await settle()
        assert sorted(client.outcomes()) == [0, 1]
        assert idle.leases == [("fc-1", 3, 4, 1)]
        assert not busy.leases
        busy.finish(("fc-1", 2, 3, 1))
        idle.finish(idle.leases[0])
        await settle()
        assert client.ended

    play(scene)


def test_a_container_that_never_says_what_it_did_is_not_waited_for_for_ever() -> None:
    async def scene() -> None:
        stage = Stage()
        await stage.submit()
        stage.nodes.join(NODE, ({"container": "co-a", "function": stage.record.function.id, "pid": 7},))
        fresh = await stage.container()
        assert not fresh.leases
        stage.wait(2.5)
        await settle()
        assert fresh.leases == [("fc-1", 0, 1, 1)]

    play(scene)
