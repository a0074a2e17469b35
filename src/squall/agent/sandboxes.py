"""Sandboxes: commands of image builds, run through a launcher of their own."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable

from squall.agent.pools import BUILD_SLOT, Pools, uid_base
from squall.images.command import Exit
from squall.model.container import ContainerEnd
from squall.runtime.spec import Level, SandboxSpec

_log = logging.getLogger("squall.agent")
_READ = 64 * 1024


class BuildSandboxes:
    """Runs the commands of image builds; see `squall.images.apply.Sandboxes`."""

    def __init__(self, pools: Pools, level: Level) -> None:
        self._pools = pools
        self._level = level
        self._ends: dict[str, asyncio.Future[ContainerEnd]] = {}

    @property
    def level(self) -> Level:
        """What isolation they have."""
        return self._level

    @property
    def uid_base(self) -> int | None:
        """The ids of builds: the same for every build, none of a function's."""
        return uid_base(BUILD_SLOT)

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
            how = await end
            await asyncio.gather(*readers)
        except asyncio.CancelledError:
            link.tell("kill", container=spec.id)
            for reader in readers:
                reader.cancel()
            await asyncio.shield(asyncio.wait_for(end, 10))
            raise
        finally:
            self._ends.pop(spec.id, None)
            link.tell("forget", container=spec.id)
        return Exit(code=how.code, signal=how.signal, cause=how.cause)


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
