"""GPUs in the server: what a container was given counts, what nobody can give is refused at once, what waits is told why."""

from __future__ import annotations

import asyncio

from squall.model.container import ContainerEnd
from squall.model.gpu import Gpus, parse_gpus
from squall.model.jsonable import to_json
from squall.model.node import GpuOut, Node
from squall.model.resources import Resources
from tests.unit.server.stage import NODE, Stage, function, settle

H100 = Gpus(type="H100")


def machine(**fields: object) -> Node:
    room = Resources(cpu_milli=64_000, memory_mib=64_000).with_gpus(H100)
    return Node(id=NODE.id, capacity=room, cores=4, gpus=(H100,), **fields)  # type: ignore[arg-type]  # one field


def test_one_device_is_given_once_and_the_second_function_is_told_what_it_waits_for() -> None:
    async def scene() -> None:
        stage = Stage(gpu=parse_gpus("H100"))
        stage.nodes.join(machine())
        second = stage.add(function("g", gpu=parse_gpus(["A100", "any"])))
        await stage.submit(1)
        stage.capacity.plan_once()
        (worker,) = stage.record.workers.values()
        assert worker.gpus == H100
        told = stage.nodes.told(NODE.id)
        assert told is not None
        assert [one.gpus for one in told.wanted] == [H100]
        client = stage.client("fc-2", record=second)
        await settle()
        stage.send(client, 1, start=0, total=1)
        stage.capacity.plan_once()
        assert second.wait_reason == "no_capacity"
        assert second.wait_words == "waits for a GPU (A100, else any): 0 of 1 H100 free"
        assert not second.workers
        stage.containers.ended(worker.id, stage_end())
        stage.capacity.plan_once()
        assert [one.gpus for one in (*stage.record.workers.values(), *second.workers.values())] == [H100]

    asyncio.run(scene())


def test_what_no_machine_can_ever_give_is_refused_at_once_with_what_there_is() -> None:
    async def scene() -> None:
        stage = Stage(gpu=parse_gpus(["A100:2", "H100:2"]))
        stage.nodes.join(machine())
        client = await stage.submit(1)
        stage.capacity.plan_once()
        await settle()
        text = repr(client.frames)
        assert "A100:2, else H100:2" in text
        assert "GPUs on all machines: H100" in text

    asyncio.run(scene())


def test_a_device_that_is_held_back_is_waited_for_until_its_node_says_otherwise() -> None:
    async def scene() -> None:
        stage = Stage(gpu=parse_gpus("H100"))
        held = machine(gpus_out=(GpuOut(id="GPU-1", type="H100", why="process 7 holds 40 MiB"),))
        stage.nodes.join(held)
        await stage.submit(1)
        stage.capacity.plan_once()
        assert not stage.record.workers
        assert "process 7 holds 40 MiB" in stage.record.wait_words
        stage.nodes.report(NODE.id, {"event": "changed", "node": to_json(machine())})
        stage.capacity.plan_once()
        assert [worker.gpus for worker in stage.record.workers.values()] == [H100]

    asyncio.run(scene())


def test_a_container_that_outlived_the_server_keeps_its_device() -> None:
    async def scene() -> None:
        stage = Stage(gpu=parse_gpus("H100"))
        row = {"container": "co-9", "function": stage.record.function.id, "pid": 7, "gpus": to_json(H100)}
        stage.nodes.join(machine(), ({**row, "gpu_ids": ["GPU-1"]},))
        second = stage.add(function("g", gpu=parse_gpus("H100")))
        client = stage.client("fc-2", record=second)
        await settle()
        stage.send(client, 1, start=0, total=1)
        stage.capacity.plan_once()
        assert not second.workers
        (worker,) = stage.record.workers.values()
        assert worker.gpu_ids == ("GPU-1",)

    asyncio.run(scene())


def test_a_container_that_its_node_could_not_give_devices_is_placed_again_and_is_no_failed_start() -> None:
    async def scene() -> None:
        stage = Stage(gpu=parse_gpus("H100"))
        stage.nodes.join(machine())
        await stage.submit(1)
        for _time in range(5):
            stage.capacity.plan_once()
            (worker,) = stage.record.workers.values()
            end = {"cause": "unplaced", "said": "it is held back"}
            stage.nodes.report(NODE.id, {"event": "ended", "container": worker.id, "end": end})
        assert stage.record.start_failures == 0
        assert stage.record.line.waiting == 1

    asyncio.run(scene())


def stage_end() -> ContainerEnd:
    return ContainerEnd(cause="killed")
