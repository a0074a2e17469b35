"""Sandboxes: commands of image builds, run through a launcher of their own."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from squall.agent.launcher_link import Message
from squall.agent.pools import BUILD_SLOT, Pools, uid_base
from squall.images.command import Exit
from squall.model.container import ContainerEnd
from squall.model.errors import ContainerStartError
from squall.runtime.spec import Level, SandboxSpec
from squall.wire.rights import close_all

_log = logging.getLogger("squall.agent")
_READ = 64 * 1024
OnEnds = Callable[[Message, tuple[int, ...]], None]


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
                    await asyncio.shield(asyncio.wait_for(asyncio.shield(over), 10))
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
