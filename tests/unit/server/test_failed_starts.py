"""Containers that do not come up: who waits is told why, at once or once it has been tried again."""

from __future__ import annotations

from squall.model.container import ContainerEnd, ContainerState
from squall.model.errors import TooManyFiles
from squall.server.containers import START_TRIES
from tests.unit.server.stage import NODE, Stage, error_in, play, settle

LOST = ContainerEnd(cause="signal", signal=9)


def test_containers_that_never_start_end_what_waits_with_the_reason() -> None:
    async def scene() -> None:
        stage = Stage()
        client = await stage.submit(3)
        for _ in range(START_TRIES):
            assert not client.frames
            box = await stage.container(ready=False)
            stage.containers.ended(box.id, ContainerEnd(cause="exit", code=3, said="no such library"))
            assert stage.record.not_before_s > stage.now_s, "it is not tried again at once"
        await settle()
        errors = [error_in(client.outcomes()[index])["message"] for index in range(3)]
        assert all("never starts" in error and "no such library" in error for error in errors)
        assert all("of the last one: " in error and "your code's imports" in error for error in errors)

    play(scene)


def test_what_the_agent_refuses_is_told_at_once() -> None:
    async def scene() -> None:
        stage = Stage()
        client = await stage.submit()
        box = await stage.container(ready=False)
        error = {"code": "SQ-1000", "message": "there is no image", "remedy": "build it"}
        stage.nodes.report(NODE.id, {"event": "refused", "container": box.id, "error": error})
        await settle()
        assert error_in(client.outcomes()[0])["message"] == "there is no image"

    play(scene)


def test_a_machine_with_too_many_files_open_is_asked_again_and_its_words_are_told_in_the_end() -> None:
    async def scene() -> None:
        stage = Stage()
        stage.containers.most_losses = 4
        full = TooManyFiles("the agent can open no further file").to_wire()
        client = await stage.submit()
        for _ in range(4):
            box = await stage.container(ready=False)
            stage.nodes.report(NODE.id, {"event": "refused", "container": box.id, "error": full})
            await settle()
            assert not client.outcomes()
            assert stage.record.not_before_s > stage.now_s, "it is not tried again at once"
        box = await stage.container()
        assert box.leases == [("fc-1", 0, 1, 1)]
        box.finish(box.leases[0])
        await settle()
        client = await stage.submit()
        stage.containers.ended(box.id, LOST)
        for _ in range(5):
            assert not client.outcomes()
            box = await stage.container(ready=False)
            stage.nodes.report(NODE.id, {"event": "refused", "container": box.id, "error": full})
            await settle()
        assert error_in(client.outcomes()[0])["code"] == "SQ-1404"

    play(scene)


def test_code_that_cannot_be_loaded_raises_for_who_waits_and_the_container_goes() -> None:
    async def scene() -> None:
        stage = Stage()
        client = await stage.submit()
        box = await stage.container(ready=False)
        box.say({"t": "unready", "error": {"type": "ImportError"}, "missing": "numpy"})
        await settle()
        kind, text = client.outcomes()[0]
        assert kind == 1
        assert b'"missing_module":"numpy"' in text.replace(b" ", b"")
        assert stage.calls.workers[box.id].retiring

    play(scene)


def test_code_that_loads_too_long_is_ended_and_told() -> None:
    async def scene() -> None:
        stage = Stage(startup_timeout_s=5.0)
        client = await stage.submit()
        box = await stage.container(ready=False)
        stage.wait(5.5)
        stage.capacity.plan_once()
        await settle()
        assert "not ready within 5 s" in error_in(client.outcomes()[0])["message"]
        assert stage.calls.workers[box.id].state is ContainerState.STOPPING

    play(scene)
