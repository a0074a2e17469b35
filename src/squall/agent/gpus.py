"""GPUs of this node: each device is one container's, or free, or held back until its memory is."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from squall.model.gpu import Gpus
from squall.model.gpu_device import GpuDevice, GpuUse, counted
from squall.model.ids import NodeId
from squall.model.jsonable import from_json, to_json
from squall.model.node import GpuOut, Node
from squall.model.resources import Resources
from squall.runtime.gpu_look import GpuLook
from squall.runtime.gpu_plan import PROGRAMS_AT, plan_access, visible
from squall.runtime.nvml import NvmlError
from squall.runtime.spec import SandboxSpec
from squall.scheduling.gpu_assign import GRACE_S, assign, left_behind, next_look_s
from squall.scheduling.gpu_choice import of_types_there, why_none

_log = logging.getLogger("squall.agent")

LENT = "a step of an image is built with it"
"""Why a device is held back that a build has: no server knows of builds."""


class GpusHeldBack(Exception):  # noqa: N818 - no error of the user's: the container is placed again
    """The devices that a container was to have are held back: it is to be placed again."""


@dataclass(slots=True)
class _Place:
    """One device: who holds it, why it is held back, what was in use when it was last clean."""

    device: GpuDevice
    holder: str = ""
    clearing: bool = False
    why: str = ""
    clean: GpuUse | None = None
    asked: asyncio.Future[GpuUse] | None = None

    @property
    def free(self) -> bool:
        return not self.holder and not self.clearing


@dataclass(slots=True)
class GpuRoom:
    """The devices of this node, and who has them. note: the file that tells the agent after this one.

    changed: called when a device is held back, or is to be had again. grace_s: how long memory may take to be freed
    before that; answer_s: how long the driver may take to answer.
    """

    look: GpuLook = field(default_factory=GpuLook)
    note: Path | None = None
    changed: Callable[[], None] = lambda: None
    grace_s: float = GRACE_S
    answer_s: float = 5.0
    _places: dict[str, _Place] = field(default_factory=dict)
    _given: dict[str, Gpus] = field(default_factory=dict)
    _moved: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def gpus(self) -> tuple[Gpus, ...]:
        """What this node has, by type."""
        return counted(tuple(place.device for place in self._places.values()))

    @property
    def out(self) -> tuple[GpuOut, ...]:
        """The devices that are held back, and why."""
        return tuple(
            GpuOut(id=place.device.id, type=place.device.type, why=place.why)
            for place in self._places.values()
            if place.why
        )

    def open(self) -> None:
        """Takes the devices in: those that containers of an earlier agent have stay theirs, the others are looked at."""
        if self.look.refused:
            return
        self._places = {device.id: _Place(device) for device in self.look.devices if not device.parted}
        for container, (gpus, ids) in self._read_note().items():
            self._given[container] = gpus
            for name in ids:
                if name in self._places:
                    self._places[name].holder = container
        for place in self._places.values():
            if place.free:
                self._clear(place)

    def keep_only(self, alive: Iterable[str]) -> None:
        """Takes back what containers have that are not there any more."""
        for container in set(self._given) - set(alive):
            self.give_back(container)

    async def take(self, container: str, wish: Gpus) -> None:
        """Gives a container its devices, once there are enough. Raises GpusHeldBack where there will not be for now.

        What the server gives out it knows to be free, or soon free.
        """
        while True:
            of_type = [place for place in self._places.values() if place.device.type == wish.type]
            found = assign(wish, tuple(place.device for place in of_type if place.free))
            if found:
                break
            if sum(not place.why for place in of_type) < wish.count:
                reasons = "; ".join(place.why for place in of_type if place.why) or "they are not there"
                raise GpusHeldBack(f"{wish} cannot be had on this node: {reasons}")
            self._moved.clear()
            await self._moved.wait()
        self._give(container, wish, found)

    def possible(self, gpu: tuple[Gpus, ...]) -> tuple[Gpus, ...]:
        """What of `gpu=` this node can ever give, in the order in which it is tried."""
        has = {part.type: part.count for part in self.gpus}
        return tuple(wish for wish in of_types_there(gpu, (self._node(),)) if wish.count <= has[wish.type])

    async def lend(self, build: str, gpu: tuple[Gpus, ...], say: Callable[[str], None]) -> None:
        """Gives a step of a build the first of what it asks for that is free; as long as none is, `say` is told why.

        The server learns that nobody else gets them. Ask for what is `possible` only: nothing else will ever be free.
        """
        told = ""
        while True:
            for wish in self.possible(gpu):
                free = tuple(place.device for place in self._places.values() if place.free)
                if found := assign(wish, free):
                    for device in found:
                        self._places[device.id].why = LENT
                    self._give(build, wish, found)
                    self.changed()
                    return
            if (why := why_none(gpu, (self._node(),), self._free())) != told:
                say(told := why)
            self._moved.clear()
            await self._moved.wait()

    def give_back(self, container: str) -> None:
        """A container has ended, or never began: its devices are free once their memory is."""
        if self._given.pop(container, None) is None:
            return
        for place in self._places.values():
            if place.holder == container:
                place.holder = ""
                self._clear(place)
        self._write_note()

    def describe(self, container: str) -> dict[str, Any]:
        """What the server is told of a container's devices; nothing for one without."""
        given = self._given.get(container)
        if given is None:
            return {}
        return {"gpus": to_json(given), "gpu_ids": [d.id for d in self._held(container)]}

    def equip(self, container: str, spec: SandboxSpec, python: str) -> SandboxSpec:
        """The sandbox of a container, or of a step of a build, with its devices in it; as it was for one without.

        python: the interpreter that is started, in place of a fork of the warm one or of a template: a process reads
        LD_LIBRARY_PATH once, when its program starts, and a template must never have seen a device.
        """
        devices = self._held(container)
        if not devices:
            return spec
        if spec.level == "process":
            return replace(spec, env={**spec.env, **visible(devices)})
        access = plan_access(self.look.driver, devices, spec.env.get("LD_LIBRARY_PATH", ""))
        env = {**spec.env, **access.env}
        if "PATH" in env:
            env["PATH"] = f"{env['PATH']}:{PROGRAMS_AT}"
        return replace(
            spec,
            env=env,
            mounts=(*spec.mounts, *access.mounts),
            devices=access.nodes,
            driver_texts=access.proc,
            interpreter=spec.interpreter or (python if spec.argv is None else None),
        )

    def _give(self, container: str, wish: Gpus, devices: tuple[GpuDevice, ...]) -> None:
        for device in devices:
            self._places[device.id].holder = container
        self._given[container] = wish
        self._write_note()

    def _node(self) -> Node:
        """This node as far as devices go."""
        return Node(id=NodeId("this"), capacity=Resources(), gpus=self.gpus, gpus_out=self.out)

    def _free(self) -> Resources:
        return Resources().with_gpus(
            *counted(tuple(place.device for place in self._places.values() if place.free))
        )

    def _held(self, container: str) -> tuple[GpuDevice, ...]:
        return tuple(place.device for place in self._places.values() if place.holder == container)

    def _clear(self, place: _Place) -> None:
        """Nobody gets the device until its memory is free."""
        place.clearing = True
        task = asyncio.get_running_loop().create_task(self._until_clean(place))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _until_clean(self, place: _Place) -> None:
        """There is no event for freed memory: the device is looked at, ever more rarely, until it is clean."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while why := await self._ask(place):
            waited_s = loop.time() - began_s
            if waited_s >= self.grace_s and why != place.why:
                if not place.why:
                    _log.warning("GPU %s is held back: %s", place.device.id, why)
                place.why = why
                self.changed()
                self._moved.set()
            await asyncio.sleep(next_look_s(waited_s))
        place.clearing = False
        if place.why:
            _log.info("GPU %s is free again", place.device.id)
            place.why = ""
            self.changed()
        self._moved.set()

    async def _ask(self, place: _Place) -> str:
        """What still holds the device; a driver that does not answer counts as holding it."""
        nvml = self.look.nvml
        if nvml is None:
            return ""
        try:
            # One question at a time: a driver that hangs is not to be hung upon by ever more threads.
            place.asked = place.asked or _in_a_thread(lambda: nvml.use(place.device.id))
            async with asyncio.timeout(self.answer_s):
                now = await asyncio.shield(place.asked)
            place.asked = None
        except NvmlError as refused:
            place.asked = None
            return str(refused)
        except TimeoutError:
            return f"the driver has not answered for {self.answer_s:g} s"
        why = left_behind(place.device, place.clean, now)
        if not why:
            place.clean = now
        return why

    def _read_note(self) -> dict[str, tuple[Gpus, list[str]]]:
        if self.note is None:
            return {}
        try:
            found = json.loads(self.note.read_text(encoding="utf-8"))
            return {name: (from_json(Gpus, row["gpus"]), list(row["ids"])) for name, row in found.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
            _log.warning("who had which GPU cannot be read, each is looked at: %s", problem)
            return {}

    def _write_note(self) -> None:
        """Leaves a word for the agent after this one: which container has which devices."""
        if self.note is None:
            return
        rows = {
            container: {"gpus": to_json(gpus), "ids": [device.id for device in self._held(container)]}
            for container, gpus in self._given.items()
        }
        fresh = self.note.with_suffix(".new")
        fresh.write_text(json.dumps(rows), encoding="utf-8")
        os.replace(fresh, self.note)


def _in_a_thread(ask: Callable[[], GpuUse]) -> asyncio.Future[GpuUse]:
    """What `ask` gives, from a thread that nobody waits for at the end: a driver can hang for ever."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[GpuUse] = loop.create_future()

    def settle(value: GpuUse | None, problem: Exception | None) -> None:
        if answer.done():
            return
        if problem is not None:
            answer.set_exception(problem)
        elif value is not None:
            answer.set_result(value)

    def run() -> None:
        value: GpuUse | None = None
        problem: Exception | None = None
        try:
            value = ask()
        except Exception as wrong:  # noqa: BLE001 - whatever a driver's library raises, the asker is to get it
            problem = wrong
        try:
            loop.call_soon_threadsafe(settle, value, problem)
        except RuntimeError:
            pass  # The loop has ended meanwhile: nobody waits any more.

    threading.Thread(target=run, name="squall-nvml", daemon=True).start()
    return answer
