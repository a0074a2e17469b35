"""GPUs of a node: whole devices for one container at a time, held back while something holds their memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from squall.agent.gpus import LENT, GpuRoom, GpusHeldBack
from squall.model.gpu import Gpus
from squall.model.gpu_device import DeviceNode, Driver, DriverFile, GpuDevice, GpuUse
from squall.runtime.gpu_look import GpuLook
from squall.runtime.gpu_recording import RecordedNvml, Recording, UseRecord
from squall.runtime.nvml import NvmlError
from squall.runtime.spec import SandboxSpec

MIB = 2**20
IDLE = GpuUse(used_bytes=4 * MIB)
BUSY = GpuUse(used_bytes=9_000 * MIB, pids=(77,))
LEFT = GpuUse(used_bytes=9_000 * MIB)
H100 = Gpus(type="H100")
DEVICES = tuple(
    GpuDevice(id=f"GPU-{n}", name="NVIDIA H100 80GB HBM3", memory_bytes=81_559 * MIB, minor=n)
    for n in range(3)
)
DRIVER = Driver(
    version="580.1",
    nodes=tuple(
        DeviceNode(path=path, major=195, minor=minor)
        for path, minor in (
            *((f"/dev/nvidia{n}", n) for n in range(3)),
            ("/dev/nvidiactl", 255),
            ("/dev/nvidia-uvm", 1),
        )
    ),
    libraries=(DriverFile(name="libcuda.so.1", path="/usr/lib64/libcuda.so.580.1"),),
    programs=(DriverFile(name="nvidia-smi", path="/usr/bin/nvidia-smi"),),
)
SPEC = SandboxSpec(id="co-1", scratch="/s", lowers=("/l",), env={"PATH": "/bin"})


def look(count: int = 1, *answers: GpuUse, **driver: Any) -> GpuLook:
    """A machine whose devices each give these answers about their memory."""
    devices = DEVICES[:count]
    recording = Recording(
        made="by hand",
        driver=DRIVER,
        devices=devices,
        uses=tuple(UseRecord(device=device.id, answers=answers or (IDLE,)) for device in devices),
    )
    return GpuLook(
        devices=devices, driver=replace(DRIVER, **driver), fitted=True, nvml=RecordedNvml(recording)
    )


def play(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scene()

    asyncio.run(bounded())


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.005)


def ids(room: GpuRoom, container: str) -> list[str]:
    found: list[str] = room.describe(container).get("gpu_ids", [])
    return found


def test_each_device_is_one_containers_and_the_next_waits_until_it_is_given_back() -> None:
    async def scene() -> None:
        room = GpuRoom(look(2))
        room.open()
        assert room.gpus == (Gpus(type="H100", count=2),)
        await room.take("co-1", H100)
        await room.take("co-2", H100)
        assert [ids(room, "co-1"), ids(room, "co-2")] == [["GPU-0"], ["GPU-1"]]
        waiting = asyncio.create_task(room.take("co-3", Gpus(type="H100", count=2)))
        room.give_back("co-1")
        await until(lambda: room.describe("co-1") == {})
        await asyncio.sleep(0.05)
        assert not waiting.done()
        room.give_back("co-2")
        await waiting
        assert ids(room, "co-3") == ["GPU-0", "GPU-1"]

    play(scene)


def test_a_device_whose_memory_is_still_held_is_held_back_with_the_reason_and_freed_when_it_is_gone() -> None:
    async def scene() -> None:
        told: list[str] = []
        room = GpuRoom(look(1, IDLE, BUSY, LEFT, LEFT, IDLE), grace_s=0)
        room.changed = lambda: told.append("; ".join(out.why for out in room.out))
        room.open()
        await room.take("co-1", H100)
        room.give_back("co-1")
        # The one that waits for it meanwhile is told to be placed again.
        with pytest.raises(GpusHeldBack, match="process 77"):
            await room.take("co-2", H100)
        await until(lambda: not room.out)
        await room.take("co-2", H100)
        assert told[0] == "process 77 of no container here holds it, 9000 MiB in use"
        assert told[1:] == ["9000 MiB of its memory are in use, by no process that the driver names", ""]
        assert room.out == ()

    play(scene)


def test_a_container_is_told_to_be_placed_again_where_its_devices_are_held_back() -> None:

    async def scene() -> None:
        room = GpuRoom(look(1, BUSY), grace_s=0)
        room.open()
        with pytest.raises(GpusHeldBack, match="process 77 of no container here holds it"):
            await room.take("co-1", H100)
        assert [out.id for out in room.out] == ["GPU-0"]

    play(scene)


def test_what_was_in_use_before_a_container_came_is_not_held_against_it() -> None:
    async def scene() -> None:
        display = GpuUse(used_bytes=900 * MIB)
        room = GpuRoom(look(1, display, replace(display, used_bytes=1000 * MIB)))
        room.open()
        await room.take("co-1", H100)
        room.give_back("co-1")
        await room.take("co-2", H100)
        assert room.out == ()

    play(scene)


def test_the_agent_after_this_one_knows_who_has_what(tmp_path: Path) -> None:
    async def scene() -> None:
        note = tmp_path / "gpus.json"
        first = GpuRoom(look(3), note)
        first.open()
        await first.take("co-1", H100)
        await first.take("co-2", H100)
        second = GpuRoom(look(3), note)
        second.open()
        second.keep_only({"co-1"})
        assert ids(second, "co-1") == ["GPU-0"]
        assert second.describe("co-1")["gpus"] == {"type": "H100"}
        await second.take("co-3", Gpus(type="H100", count=2))
        assert ids(second, "co-3") == ["GPU-1", "GPU-2"]

    play(scene)


def test_a_note_that_cannot_be_read_costs_no_device(tmp_path: Path) -> None:
    async def scene() -> None:
        note = tmp_path / "gpus.json"
        for content in ("", "[]", '{"co-1": 3}', '{"co-1": {"gpus": {"type": 3}, "ids": []}}', "\x00"):
            note.write_text(content)
            room = GpuRoom(look(1), note)
            room.open()
            await room.take("co-2", H100)

    play(scene)


def test_a_driver_that_hangs_costs_one_thread_and_its_device_is_held_back() -> None:

    free = threading.Event()

    class Hangs(RecordedNvml):
        def use(self, device: str) -> GpuUse:
            free.wait()
            return super().use(device)

    async def scene() -> None:
        seen = look(1)
        hung = replace(seen, nvml=Hangs(Recording(made="by hand", devices=DEVICES)))
        room = GpuRoom(hung, grace_s=0, answer_s=0.05)
        before = threading.active_count()
        room.open()
        await until(lambda: bool(room.out))
        assert "has not answered" in room.out[0].why
        await asyncio.sleep(0.3)
        assert threading.active_count() == before + 1
        free.set()
        await until(lambda: not room.out)
        await room.take("co-1", H100)

    play(scene)


def test_a_driver_that_refuses_has_its_device_held_back_in_its_words() -> None:

    class Refuses(RecordedNvml):
        def use(self, device: str) -> GpuUse:
            raise NvmlError(f"NVML: {device} has fallen off the bus")

    async def scene() -> None:
        room = GpuRoom(replace(look(1), nvml=Refuses(Recording(made="by hand"))), grace_s=0)
        room.open()
        await until(lambda: bool(room.out))
        assert room.out[0].why == "NVML: GPU-0 has fallen off the bus"

    play(scene)


def test_a_sandbox_gets_its_own_nodes_the_libraries_and_their_names_and_a_new_interpreter() -> None:
    async def scene() -> None:
        room = GpuRoom(look(2))
        room.open()
        await room.take("co-0", H100)
        await room.take("co-1", H100)
        spec = room.equip("co-1", SPEC, "/usr/bin/python3")
        assert [node.path for node in spec.devices] == ["/dev/nvidia1", "/dev/nvidiactl", "/dev/nvidia-uvm"]
        assert spec.env["NVIDIA_VISIBLE_DEVICES"] == "GPU-1"
        assert spec.env["CUDA_VISIBLE_DEVICES"] == "0"
        assert spec.env["LD_LIBRARY_PATH"] == "/squall/gpu/lib"
        assert spec.env["PATH"] == "/bin:/squall/gpu/bin"
        assert {mount.target for mount in spec.mounts} == {
            "/squall/gpu/lib/libcuda.so.1",
            "/squall/gpu/lib/libcuda.so",
            "/squall/gpu/bin/nvidia-smi",
        }
        assert not any(mount.writable for mount in spec.mounts)
        assert spec.interpreter == "/usr/bin/python3", "one that was started with the libraries in its reach"
        assert room.equip("co-9", SPEC, "/usr/bin/python3") == SPEC

    play(scene)


def test_without_namespaces_a_container_is_told_its_devices_by_id() -> None:
    async def scene() -> None:
        room = GpuRoom(look(2))
        room.open()
        await room.take("co-1", Gpus(type="H100", count=2))
        bare = SandboxSpec(id="co-1", level="process", scratch="/s", interpreter="/usr/bin/python3")
        spec = room.equip("co-1", bare, "/usr/bin/python3")
        assert spec.env == {
            "CUDA_VISIBLE_DEVICES": "GPU-0,GPU-1",
            "NVIDIA_VISIBLE_DEVICES": "GPU-0,GPU-1",
        }

    play(scene)


def test_a_device_that_is_cut_into_parts_is_left_alone() -> None:
    async def scene() -> None:
        parted = tuple(replace(device, parted=device.minor == 0) for device in DEVICES)
        room = GpuRoom(replace(look(3), devices=parted))
        room.open()
        assert room.gpus == (Gpus(type="H100", count=2),)
        await room.take("co-1", Gpus(type="H100", count=2))
        assert ids(room, "co-1") == ["GPU-1", "GPU-2"]

    play(scene)


def test_a_step_of_a_build_has_devices_that_no_container_is_placed_on_and_waits_with_a_reason() -> None:
    async def scene() -> None:
        told: list[str] = []
        room = GpuRoom(look(1))
        room.changed = lambda: told.append("; ".join(out.why for out in room.out))
        room.open()
        await room.take("co-1", H100)
        said: list[str] = []
        lending = asyncio.create_task(room.lend("build-1", (H100,), said.append))
        await until(lambda: bool(said))
        assert said == ["waits for a GPU (H100): 0 of 1 H100 free"]
        room.give_back("co-1")
        await lending
        assert (ids(room, "build-1"), told) == (["GPU-0"], [LENT])
        # The server may have placed one there before it was told.
        with pytest.raises(GpusHeldBack, match=LENT):
            await room.take("co-2", H100)
        other = asyncio.create_task(room.lend("build-2", (Gpus(),), said.append))
        await until(lambda: len(said) == 2)
        assert said[1] == f"waits for a GPU (any): 0 of 1 H100 free; H100 GPU-0 is held back: {LENT}"
        room.give_back("build-1")
        await other
        room.give_back("build-2")
        await until(lambda: not room.out)
        await room.take("co-3", H100)
        assert told[-1] == ""

    play(scene)


def test_a_step_that_is_given_up_while_it_waits_takes_nothing() -> None:
    async def scene() -> None:
        room = GpuRoom(look(1))
        room.open()
        await room.take("co-1", H100)
        said: list[str] = []
        lending = asyncio.create_task(room.lend("build-1", (H100,), said.append))
        await until(lambda: bool(said))
        lending.cancel()
        await asyncio.wait({lending})
        room.give_back("co-1")
        await room.take("co-2", H100)
        assert ids(room, "build-1") == []

    play(scene)


def test_a_device_that_a_step_leaves_full_is_held_back_for_that() -> None:
    async def scene() -> None:
        room = GpuRoom(look(1, IDLE, BUSY, BUSY, IDLE), grace_s=0)
        told: list[str] = []
        room.changed = lambda: told.append("; ".join(out.why for out in room.out))
        room.open()
        await room.lend("build-1", (H100,), told.append)
        room.give_back("build-1")
        await until(lambda: not room.out)
        assert told[:2] == ["waits for a GPU (H100): 0 of 1 H100 free", LENT]
        assert told[2:] == ["process 77 of no container here holds it, 9000 MiB in use", ""]

    play(scene)


def test_the_first_choice_that_is_free_is_given_and_what_can_never_be_is_none() -> None:
    async def scene() -> None:
        room = GpuRoom(look(3))
        room.open()
        asked = (Gpus(type="A100"), Gpus(type="H100", count=4), Gpus(type="H100", count=2), Gpus())
        assert room.possible(asked) == (Gpus(type="H100", count=2), H100)
        assert room.possible(asked[:2]) == ()
        await room.take("co-1", H100)
        await room.take("co-2", H100)
        await room.lend("build-1", asked, lambda _line: None)
        assert ids(room, "build-1") == ["GPU-2"]
        assert GpuRoom(GpuLook(refused="no driver")).possible((H100,)) == ()

    play(scene)


def test_a_command_of_a_build_is_started_as_it_was() -> None:
    async def scene() -> None:
        room = GpuRoom(look(1))
        room.open()
        await room.lend("co-1", (H100,), lambda _line: None)
        spec = room.equip("co-1", replace(SPEC, argv=("/bin/sh",)), "")
        assert (spec.argv, spec.interpreter) == (("/bin/sh",), None)
        assert [node.path for node in spec.devices] == ["/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm"]

    play(scene)
