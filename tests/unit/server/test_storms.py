"""Many at once and just in time: retry storms, timeouts at the very moment of the outcome, and messages that come twice."""

from __future__ import annotations

import random
from collections import Counter

from squall.model.container import ContainerEnd
from squall.model.function import Retries
from squall.wire.codec import Frame, Kind
from tests.unit.server.stage import Stage, error_in, play, settle


def test_ten_thousand_that_fail_keep_no_other_call_from_its_turn() -> None:
    async def scene() -> None:
        stage = Stage(retries=Retries(max_retries=10, initial_delay=0.01, backoff_coefficient=1.0))
        box = await stage.container()
        storm = await stage.submit(10_000, name="fc-storm")
        other = stage.client("fc-other")
        await settle()
        other.record.stream = stage.opened()
        turns: list[str] = []
        at = 0
        for step in range(4000):
            if step == 1500:
                stage.send(other, 20, start=0, total=20)
            stage.wait(0.001)
            await settle()
            for lease in box.leases[at:]:
                turns.append(lease[0])
                box.finish(lease, kind=1 if lease[0] == "fc-storm" else 0, seconds=0.02)
            at = len(turns)
            await settle()
            if other.ended:
                break
        assert len(other.outcomes()) == 20
        since = turns[turns.index("fc-other") :]
        assert since.count("fc-storm") <= 40, "the calls take no turns"
        assert not storm.ended
        assert all(kind == 1 for kind, _ in storm.outcomes().values())

    play(scene)


def test_one_that_fails_again_and_again_does_not_jump_the_turns_of_others() -> None:
    async def scene() -> None:
        stage = Stage(retries=Retries(max_retries=10, initial_delay=0.0, backoff_coefficient=1.0))
        box = await stage.container()
        await stage.submit(2, name="fc-storm")
        other = None
        for number in range(8):
            if number == 2:
                other = await stage.submit(1, name="fc-other")
            if other is not None and other.ended:
                break
            lease = box.leases[number]
            # What failed before is back in line before the container is free again.
            stage.wait(0.1)
            box.finish(lease, kind=1 if lease[0] == "fc-storm" else 0)
            await settle()
        assert other is not None
        assert other.ended
        assert number <= 4

    play(scene)


def test_a_timeout_at_the_very_moment_of_the_outcome_gives_one_of_both() -> None:
    async def scene() -> None:
        stage = Stage(timeout_s=1.0, startup_timeout_s=86_400.0)
        dice = random.Random(43)
        ends: Counter[str] = Counter()
        box = await stage.container()
        for number in range(2000):
            client = await stage.submit(name=f"fc-{number}")
            lease = box.leases[-1]
            assert lease[0] == f"fc-{number}"
            # The outcome is said around the instant of the timeout; the interrupt around the outcome; both may be late.
            stage.now_s += 1.0 + dice.uniform(-0.002, 0.002)
            events = ["plan", "outcome", "plan"]
            if dice.random() < 0.3:
                events += ["grace", "plan", "end"]
            dice.shuffle(events)
            for event in events:
                match event:
                    case "plan":
                        stage.capacity.plan_once()
                    case "grace":
                        stage.now_s += 3.0
                    case "end":
                        stage.containers.ended(box.id, ContainerEnd(cause="killed"))
                    case _:
                        interrupted = any(head["call"] == lease[0] for head in box.heard("interrupt"))
                        box.finish(lease, kind=2 if interrupted and dice.random() < 0.5 else 0)
                if dice.random() < 0.5:
                    await settle()
            await settle()
            if box.id not in stage.calls.workers or stage.calls.workers[box.id].retiring:
                stage.containers.ended(box.id, ContainerEnd(cause="killed"))
                box = await stage.container()
                await settle()
                if not client.ended:
                    assert box.leases, "its input is nowhere"
                    box.finish(box.leases[-1])
                    await settle()
            assert client.ended
            ((kind, text),) = client.outcomes().values()
            is_ours = kind == 2 and text.startswith(b"{")
            if is_ours:
                assert error_in((kind, text))["code"] == "SQ-1301"
            ends["timed out" if kind == 2 else "returned"] += 1
            assert not stage.calls.calls
        assert min(ends["timed out"], ends["returned"]) > 100, ends

    play(scene)


def test_messages_that_come_twice_or_late_give_each_input_one_outcome() -> None:
    async def scene() -> None:
        stage = Stage()
        dice = random.Random(25)
        boxes = [await stage.container() for _ in range(3)]
        client = stage.client()
        await settle()
        client.record.stream = stage.opened()
        for start in range(0, 300, 10):
            for _ in range(2):
                stage.send(client, 10, start=start, total=300 if start == 290 else None)
            stage.calls.submit(
                client.record, {"start": 0, "d": [1] * 10}, Frame(Kind.DATA, payload=b"0" * 10)
            )
            await settle()
        said = dict.fromkeys((box.id for box in boxes), 0)
        while not client.ended:
            for box in boxes:
                due, said[box.id] = box.leases[said[box.id] :], len(box.leases)
                for lease in due:
                    box.finish(lease, seconds=dice.choice([1e-5, 0.02]))
                    box.sent -= 1
                    box.finish(lease)  # the same message again
                    if dice.random() < 0.3:
                        box.finish(lease)  # and its outcomes in another message
                        other = dice.choice(boxes)
                        other.finish(lease)  # and from somebody else
            await settle()
        assert sorted(client.outcomes()) == list(range(300))
        assert not stage.calls.calls
        assert stage.record.line.leased == stage.record.line.waiting == 0
        assert stage.calls.pending_bytes == 0

    play(scene)
