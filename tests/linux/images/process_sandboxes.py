"""Process sandboxes: runs build commands as plain processes, which is all that the level `process` is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from squall.images.command import Exit
from squall.runtime.spec import Level, SandboxSpec
from tests.bare_steps import BareSteps


class ProcessSandboxes(BareSteps):
    """Remembers the specs it was given, so that a test can look for what must not be in them."""

    level: Level = "process"
    uid_base: int | None = None

    def __init__(self) -> None:
        self.specs: list[SandboxSpec] = []

    async def run(self, spec: SandboxSpec, on_output: Callable[[bytes], None]) -> Exit:
        self.specs.append(spec)
        assert spec.argv is not None
        process = await asyncio.create_subprocess_exec(
            *spec.argv,
            cwd=spec.workdir,
            env=dict(spec.env),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdout is not None
        try:
            while data := await process.stdout.read(65536):
                on_output(data)
            code = await process.wait()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        return Exit(code=code) if code >= 0 else Exit(signal=-code, cause="signal")
