"""Bare steps: sandboxes of tests that have no device to give, and no bounds."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from squall.images.flight import Say
from squall.model.errors import NoNodeFits
from squall.model.step_takes import StepTakes
from squall.runtime.spec import SandboxSpec


class BareSteps:
    """What of `squall.images.apply.Sandboxes` is about devices."""

    def demand(self, label: str, takes: StepTakes) -> None:
        if takes.gpu:
            raise NoNodeFits(f"{label} asks for {takes}, and there is no device here")

    @asynccontextmanager
    async def equipped(
        self, spec: SandboxSpec, takes: StepTakes, say: Say
    ) -> AsyncGenerator[SandboxSpec, None]:
        if takes.gpu:
            say("no device will come")
        yield spec
