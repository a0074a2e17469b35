"""Calls: leases, outcomes, retries, cancelling and fences, with containers that say what they like."""

from __future__ import annotations

import pytest

from squall.model.call import Verb
from squall.model.container import ContainerEnd, ContainerState
from squall.model.errors import FunctionNotFound, TooManyInputs
from squall.model.function import Retries
from squall.model.ids import CallId, FunctionId
from squall.server.acknowledging import ACK_S
from squall.server.pending import PendingLimits
from squall.server.records import CallRecord
from squall.wire.codec import Frame, Kind
from tests.unit.server.stage import Stage, play, settle


def test_inputs_go_to_a_free_container_and_outcomes_to_their_caller() -> None:
    async def scene() -> None:
        stage = Stage()
        box = await stage.container()
        one, other = await stage.submit(name="fc-1"), await stage.submit(name="fc-2")
        assert box.leases == [("fc-1", 0, 1, 1)]
        box.finish(box.leases[0])
        await settle()
        assert one.outcomes() == {0: (0, b"0")}
        assert one.ended
        assert not other.frames
        box.finish(box.leases[1])
        await settle()
        assert other.outcomes() == {0: (0, b"0")}
        assert not stage.calls.calls
        assert not stage.record.line.calls
        assert stage.calls.pending_bytes == 0

    play(scene)


def test_inputs_wait_for_a_container_and_are_told_why() -> None:
    async def scene() -> None:
        stage = Stage()
        client = await stage.submit(3)
        assert stage.record.line.waiting == 3
        stage.capacity.plan_once()
        assert stage.capacity.functions_waiting() == {stage.record.function.id: "container_starting"}
        box = await stage.container()
        for lease in range(3):
            box.finish(box.leases[lease])
            await settle()
        assert sorted(client.outcomes()) == [0, 1, 2]

    play(scene)


def test_short_inputs_come_in_chunks_and_one_chunk_ahead() -> None:
    async def scene() -> None:
        stage = Stage()
        client = await stage.submit(600)
        box = await stage.container()
        done = 0
        while not client.ended:
            box.finish(box.leases[done], seconds=1e-6)
            done += 1
            await settle()
            assert len(stage.record.line.leases.get(box.id, ())) <= 2
        assert sorted(client.outcomes()) == list(range(600))
        assert done < 60, "one frame an input"

    play(scene)


def test_a_raise_is_tried_again_after_its_delay_and_then_told() -> None:
    async def scene() -> None:
        stage = Stage(retries=Retries(max_retries=2, initial_delay=1.0, backoff_coefficient=2.0))
        box = await stage.container()
        client = await stage.submit()
        box.finish(box.leases[0], kind=1)
        await settle()
        assert not client.frames
        stage.wait(0.9)
        await settle()
        assert len(box.leases) == 1
        stage.wait(0.4)
        await settle()
        box.finish(box.leases[1], kind=1)
        await settle()
        stage.wait(2.6)
        await settle()
        assert [attempt for *_, attempt in box.leases] == [1, 2, 3]
        box.finish(box.leases[2], kind=1)
        await settle()
        assert client.outcomes() == {0: (1, b"0")}

    play(scene)


def test_without_a_policy_a_raise_is_told_at_once() -> None:
    async def scene() -> None:
        stage = Stage()
        box = await stage.container()
        client = await stage.submit()
        box.finish(box.leases[0], kind=1)
        await settle()
        assert client.outcomes() == {0: (1, b"0")}

    play(scene)


def test_an_empty_line_takes_more_than_its_limit_for_it_would_never_have_more_room() -> None:
    async def scene() -> None:
        stage = Stage(limits=PendingLimits(inputs=4, size_bytes=100))
        stage.calls.admit(stage.record.function.id, inputs=5, size_bytes=200)
        client = await stage.submit(5, size=40)
        box = await stage.container()
        while not client.ended:
            box.finish(box.leases[-1])
            await settle()
        assert len(client.outcomes()) == 5

    play(scene)


def test_a_call_that_is_sent_again_is_not_ended_by_what_was_interrupted_for_it() -> None:
    async def scene() -> None:
        stage = Stage()
        box = await stage.container()
        await stage.submit()
        stage.calls.cancel(CallId("fc-1"))
        again = await stage.submit()
        box.finish(box.leases[0], kind=2)
        await settle()
        assert not again.frames, (
            "the interrupted attempt was told as the outcome of the call that was sent again"
        )
        box.finish(box.leases[1])
        await settle()
        assert again.outcomes() == {0: (0, b"0")}
        assert stage.record.line.fenced == 1
        assert not any(stage.record.line.leases.values())
        assert stage.record.line.leased == 0

    play(scene)


def test_a_cancelled_call_interrupts_who_works_on_it_and_its_late_outcome_is_dropped() -> None:
    async def scene() -> None:
        stage = Stage()
        box = await stage.container()
        client = await stage.submit(2)
        stage.calls.cancel(CallId("fc-1"))
        await settle()
        assert client.error["code"]
        assert [head["why"] for head in box.heard("interrupt")] == ["cancel"]
        other = await stage.submit(name="fc-2")
        box.finish(box.leases[0])
        await settle()
        assert stage.record.line.fenced == 1
        box.finish(box.leases[-1])
        await settle()
        assert other.outcomes() == {0: (0, b"0")}

    play(scene)


def test_a_late_outcome_of_a_lost_container_is_fenced() -> None:
    async def scene() -> None:
        stage = Stage()
        slow = await stage.container()
        client = await stage.submit()
        stage.containers.ended(slow.id, ContainerEnd(cause="signal", signal=9))
        fast = await stage.container()
        slow.finish(slow.leases[0])
        await settle()
        assert not client.frames
        assert fast.leases == [("fc-1", 0, 1, 2)]
        fast.finish(fast.leases[0])
        await settle()
        assert client.outcomes() == {0: (0, b"0")}

    play(scene)


def test_a_message_that_comes_twice_counts_once() -> None:
    async def scene() -> None:
        stage = Stage()
        box = await stage.container()
        client = await stage.submit(2)
        box.finish(box.leases[0])
        box.sent -= 1
        box.finish(box.leases[0])
        await settle()
        assert list(client.outcomes()) == [0]
        assert stage.record.line.fenced == 0

    play(scene)


def test_more_than_may_wait_is_refused_and_nothing_of_it_taken() -> None:
    async def scene() -> None:
        stage = Stage(limits=PendingLimits(inputs=4, size_bytes=100))
        await stage.submit(3, size=10)
        with pytest.raises(TooManyInputs, match="the limit is 4") as refused:
            stage.calls.admit(stage.record.function.id, inputs=2)
        assert refused.value.retry_after_s is not None
        with pytest.raises(TooManyInputs, match="the limit is 100"):
            stage.calls.admit(stage.record.function.id, inputs=1, size_bytes=71)
        with pytest.raises(FunctionNotFound):
            stage.calls.admit(FunctionId("ap-1/none"))
        assert stage.calls.admit(stage.record.function.id, inputs=1, size_bytes=70) is stage.record

    play(scene)


@pytest.mark.parametrize(
    ("head", "payload"),
    [
        ({"start": 0, "d": [2]}, b"x"),
        ({"start": 0, "d": [-1, 2]}, b"x"),
        ({"start": 0, "d": ["1"]}, b"x"),
        ({"start": 0, "d": [{"f": 0, "l": [1]}]}, b""),
        ({"start": 1, "d": [1]}, b"x"),
        ({"start": 0, "d": [1, 1], "total": 1}, b"xx"),
        ({"start": 0, "d": 1}, b"x"),
    ],
)
def test_what_does_not_add_up_is_refused_and_leaves_nothing_behind(
    head: dict[str, object], payload: bytes
) -> None:
    async def scene() -> None:
        stage = Stage()
        call = CallRecord(CallId("fc-1"), stage.record.function.id, Verb.MAP)
        with pytest.raises(ValueError):
            stage.calls.submit(call, head, Frame(Kind.DATA, payload=payload))
        assert not stage.calls.calls
        assert stage.record.line.waiting == 0
        assert stage.calls.pending_bytes == 0

    play(scene)


def test_inputs_sent_again_are_passed_over_and_skipped_ones_have_ended() -> None:
    async def scene() -> None:
        stage = Stage()
        client = stage.client()
        await settle()
        client.record.stream = stage._pending[0][0]
        stage.calls.submit(client.record, {"start": 0, "d": [], "skip": [[0, 2]]}, Frame(Kind.DATA))
        stage.send(client, 2, start=2, total=None)
        stage.send(client, 3, start=2, total=5)
        box = await stage.container()
        for number in range(3):
            box.finish(box.leases[number])
            await settle()
        assert sorted(client.outcomes()) == [2, 3, 4]
        assert client.ended

    play(scene)


def test_an_idle_container_hears_what_it_need_not_send_again_and_a_busy_one_with_its_lease() -> None:
    async def scene() -> None:
        stage = Stage()
        box = await stage.container()
        await stage.submit()
        assert box.heard("in")[0]["a"] == 1
        box.finish(box.leases[0])
        await settle()
        assert not box.heard("ack")
        stage.wait(ACK_S)
        await settle()
        assert [head["a"] for head in box.heard("ack")] == [2]
        timers = len(stage.timers)
        stage.wait(ACK_S)
        assert len(stage.timers) == timers == 1, "an idle container costs no timer: only the orphans' is left"

    play(scene)


def test_what_is_not_on_disk_is_not_acknowledged() -> None:
    async def scene() -> None:
        stage = Stage()
        box = await stage.container()
        worker = stage.calls.workers[box.id]
        worker.unrecorded[2] = 1
        await stage.submit()
        box.finish(box.leases[0])
        await settle()
        assert worker.seen == 2
        assert worker.settled == 1
        await stage.submit(name="fc-2")
        assert box.heard("in")[-1]["a"] == 1

    play(scene)


def test_items_of_a_generator_reach_the_caller_only_from_who_holds_the_input() -> None:
    async def scene() -> None:
        stage = Stage(is_generator=True)
        box, other = await stage.container(), await stage.container()
        client = await stage.submit()
        holder, stranger = (box, other) if box.leases else (other, box)
        stage.calls.credit(client.record, 4)
        await settle()
        assert [head["items"] for head in holder.heard("credit")] == [4]
        item = {"t": "item", "call": "fc-1", "index": 0, "attempt": 1, "d": 1}
        stranger.say({**item, "item": 0}, b"n")
        holder.say({**item, "item": 0, "attempt": 2}, b"n")
        holder.say({**item, "item": 0}, b"y")
        await settle()
        assert [payload for _, head, payload in client.frames if "item" in head] == [b"y"]
        assert stage.calls.fenced == 2

    play(scene)


def test_a_stopped_function_ends_its_calls() -> None:
    async def scene() -> None:
        stage = Stage()
        client = await stage.submit(2)
        stage.calls.stop_function(stage.record.function.id)
        await settle()
        assert "stopped" in client.error["message"]
        assert not stage.calls.calls

    play(scene)


def test_a_caller_that_has_just_gone_is_not_the_containers_fault() -> None:
    async def scene() -> None:
        stage = Stage()
        box = await stage.container()
        client = await stage.submit()
        assert client.record.stream is not None
        client.record.stream._owner.channel.close()
        box.finish(box.leases[0])
        await settle()
        worker = stage.calls.workers[box.id]
        assert not worker.broken
        assert worker.state is ContainerState.IDLE

    play(scene)


def test_an_answer_says_whether_the_app_has_printed_since_the_call_came() -> None:
    async def scene() -> None:
        stage = Stage()
        box = await stage.container()
        quiet = await stage.submit(name="fc-1")
        quiet.record.created_s = stage.now_s
        box.finish(box.leases[0])
        await settle()
        loud = await stage.submit(name="fc-2")
        loud.record.created_s = stage.now_s
        stage.calls.has_printed(stage.record.function.app)
        box.finish(box.leases[1])
        await settle()
        stage.now_s += 1
        later = await stage.submit(name="fc-3")
        later.record.created_s = stage.now_s
        box.finish(box.leases[2])
        await settle()
        assert ["p" in client.frames[-1][1] for client in (quiet, loud, later)] == [False, True, False]

    play(scene)


def test_who_was_asked_to_make_way_and_never_got_what_it_was_given_is_given_inputs_again() -> None:
    async def scene() -> None:
        stage = Stage()
        box = await stage.container()
        client = await stage.submit()
        stage.calls.make_way(stage.calls.workers[box.id])
        await settle()
        # It has nothing in hand, so it will not say of its own accord that it has made way.
        back = await stage.serve(box.id, sent=box.sent, ready={"seconds": 0.1}, holding=[])
        assert back.leases == [("fc-1", 0, 1, 1)], "or it would be idle beside an input that waits"
        back.finish(back.leases[0])
        await settle()
        assert client.outcomes() == {0: (0, b"0")}

    play(scene)


def test_who_made_way_with_its_last_outcome_is_given_inputs_again() -> None:
    async def scene() -> None:
        stage = Stage()
        box = await stage.container()
        await stage.submit(name="fc-1")
        stage.calls.make_way(stage.calls.workers[box.id])
        await settle()
        # Asked to make way just when its outcome was about to leave: nothing runs there any more.
        box.say({"t": "out", "L": [["fc-1", 0, 1, [1], 0, 0.01]], "y": 1}, b"0")
        await settle()
        await stage.submit(name="fc-2")
        assert box.leases[-1][0] == "fc-2"

    play(scene)
