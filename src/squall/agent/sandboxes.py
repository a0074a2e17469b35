"""Sandboxes: commands of image builds, run through a launcher of their own."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from squall.agent.gpus import GpuRoom
from squall.agent.launcher_link import Message
from squall.agent.pools import BUILD_SLOT, Pools, uid_base
from squall.images.command import Exit
from squall.images.flight import Say
from squall.model.container import ContainerEnd
from squall.model.errors import ContainerStartError, NoNodeFits
from squall.model.resources import Resources
from squall.model.step_takes import StepTakes
from squall.runtime.spec import Level, SandboxSpec
from squall.wire.rights import close_all

_log = logging.getLogger("squall.agent")
_READ = 64 * 1024
_KILLED_S = 10.0
OnEnds = Callable[[Message, tuple[int, ...]], None]


class BuildSandboxes:
    """Runs the commands of image builds; see `squall.images.apply.Sandboxes`. capacity: what this machine has."""

    def __init__(self, pools: Pools, level: Level, gpus: GpuRoom, capacity: Resources) -> None:
        self._pools = pools
        self._level = level
        self._gpus = gpus
        self._capacity = capacity
        self._ends: dict[str, asyncio.Future[ContainerEnd]] = {}

    @property
    def level(self) -> Level:
        """What isolation they have."""
        return self._level

    @property
    def uid_base(self) -> int | None:
        """The ids of builds: the same for every build, none of a function's."""
        return uid_base(BUILD_SLOT)

    def demand(self, label: str, takes: StepTakes) -> None:
        """Raises NoNodeFits where this machine can never give a step of this label what it takes."""
        fits = takes.asks.fits_in(self._capacity)
        if fits and (not takes.gpu or self._gpus.possible(takes.gpu)):
            return
        has = f"{self._capacity.cpu_milli / 1000:g} cores, {self._capacity.memory_mib} MiB of memory"
        if takes.gpu:
            there = ", ".join(map(str, self._gpus.gpus)) or self._gpus.look.refused or "none"
            has = f"{has}; GPUs: {there}"
        raise NoNodeFits(f"{label} asks for {takes}, and this machine can never give it that; it has {has}")

    @asynccontextmanager
    async def equipped(
        self, spec: SandboxSpec, takes: StepTakes, say: Say
    ) -> AsyncGenerator[SandboxSpec, None]:
        """The same sandbox with its devices, which are nobody else's meanwhile; waits for them."""
        if not takes.gpu:
            yield spec
            return
        await self._gpus.lend(spec.id, takes.gpu, say)
        try:
            yield self._gpus.equip(spec.id, spec, "")
        finally:
            self._gpus.give_back(spec.id)

    def ended(self, container: str, end: ContainerEnd) -> bool:
        """Takes the end of a container that is a build; False when it is none."""
        waiting = self._ends.get(container)
        if waiting is None:
            return False
        if not waiting.done():
            waiting.set_result(end)
        return True

    async def run(self, spec: SandboxSpec, on_output: Callable[[bytes], None]) -> Exit:
        """How the command ended; what it printed went to on_output. Cancelled: it is killed."""
        loop = asyncio.get_running_loop()
        link = await self._pools.launcher("build")
        end: asyncio.Future[ContainerEnd] = loop.create_future()
        self._ends[spec.id] = end
        _message, fds = await link.start(spec.id, spec.to_json())
        channel, log, *pipes = fds
        os.close(channel)
        os.close(log)
        readers = [loop.create_task(_drain(pipe, on_output)) for pipe in pipes]
        try:
            # Shielded: who is cancelled still has to wait until it is over, and then only are its devices nobody's.
            how = await asyncio.shield(end)
            await asyncio.gather(*readers)
        except asyncio.CancelledError:
            link.tell("kill", container=spec.id)
            for reader in readers:
                reader.cancel()
            with suppress(TimeoutError):
                async with asyncio.timeout(_KILLED_S):
                    await asyncio.shield(end)
            raise
        finally:
            self._ends.pop(spec.id, None)
            link.tell("forget", container=spec.id)
        return Exit(code=how.code, signal=how.signal, cause=how.cause)

    async def enter(self, spec: SandboxSpec, how: Message, on_ends: OnEnds) -> Message:
        """How a command ended that ran in a sandbox beside that of `spec`, which only waits; then all in there is ended.

        how: as `LauncherLink.run` takes it. on_ends: gets the ends of its terminal or pipes, which stay ours. Cancelled: it is killed.
        """
        loop = asyncio.get_running_loop()
        link = await self._pools.launcher("build")
        over: asyncio.Future[ContainerEnd] = loop.create_future()
        ended: asyncio.Future[Message] = loop.create_future()
        self._ends[spec.id] = over
        started = False
        try:
            _message, fds = await link.start(spec.id, spec.to_json())
            started = True
            close_all(fds)
            message, fds = await link.run(spec.id, secrets.token_hex(8), how, _settle(ended))
            try:
                on_ends(message, fds)
            finally:
                close_all(fds)
            both: set[asyncio.Future[Any]] = {ended, over}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                return ended.result()
            raise ContainerStartError(
                f"the sandbox ended before the command in it did ({over.result().cause})"
            )
        finally:
            link.tell("kill", container=spec.id)
            if started:
                with suppress(TimeoutError):
                    await asyncio.shield(asyncio.wait_for(asyncio.shield(over), _KILLED_S))
            self._ends.pop(spec.id, None)
            link.tell("forget", container=spec.id)


def _settle(ended: asyncio.Future[Message]) -> Callable[[Message], None]:
    return lambda message: None if ended.done() else ended.set_result(message)


async def _drain(pipe: int, on_output: Callable[[bytes], None]) -> None:
    """Reads a pipe to its end, and closes it."""
    loop = asyncio.get_running_loop()
    os.set_blocking(pipe, False)
    readable = asyncio.Event()
    loop.add_reader(pipe, readable.set)
    try:
        while True:
            readable.clear()
            try:
                data = os.read(pipe, _READ)
            except BlockingIOError:
                await readable.wait()
                continue
            if not data:
                return
            on_output(data)
    finally:
        loop.remove_reader(pipe)
        os.close(pipe)
