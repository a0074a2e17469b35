"""Image shells: commands that people run in an image, as a step of its build would run; nothing of what they do is kept."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any, Final

from squall.agent.launcher_link import Message
from squall.agent.prepared import Images
from squall.agent.sandboxes import BuildSandboxes, OnEnds
from squall.images.dockerfile.nouns import DEFAULT_PATH
from squall.images.rooted.images import refuse_process
from squall.images.rooted.nouns import Built
from squall.images.rooted.view import mounts_of
from squall.images.rooted.way_in import SHORT_KEY
from squall.images.seen import look
from squall.model.image import ClientPython
from squall.runtime.spec import Limits, SandboxSpec
from squall.settings.paths import StatePaths

# It stops itself at once and takes no time: there only so that the sandbox is.
_WAITS: Final = ("/bin/sh", "-c", "kill -STOP $$")
_OUTER_LIMITS: Final = Limits(nofile=65_536)
_ASKED: Final = ("argv", "tty", "rows", "cols")


class ImageShells:
    """Runs commands over images of this machine."""

    def __init__(self, images: Images, sandboxes: BuildSandboxes, paths: StatePaths) -> None:
        self._images = images
        self._sandboxes = sandboxes
        self._paths = paths

    async def run(self, built: Built, asked: Mapping[str, Any], on_ends: OnEnds) -> Message:
        """How the command ended that is asked for: "argv", "tty", "rows", "cols", "env". on_ends: see `BuildSandboxes.enter`.

        Raises LevelRefused where nothing can be mounted, ContainerStartError for an image without /bin/sh.
        """
        refuse_process(self._sandboxes.level)
        spec = await self._spec(built)
        how = {name: asked[name] for name in _ASKED if name in asked}
        how |= {"env": dict(asked.get("env") or {}), "cwd": spec.workdir}
        return await self._sandboxes.enter(spec, how, on_ends)

    async def _spec(self, built: Built) -> SandboxSpec:
        layers = await self._images.rooted.directories(built)
        nobody = ClientPython(executable="/", prefix="/", base_prefix="/", version="3")
        facts = self._images.facts(nobody)
        mounts = await asyncio.to_thread(mounts_of, facts, look)
        name = f"shell-{built.key[:SHORT_KEY]}-{secrets.token_hex(4)}"
        env = built.config.env
        return SandboxSpec(
            id=name,
            level=self._sandboxes.level,
            scratch=str(self._paths.scratch / name),
            lowers=layers,
            owned=layers,
            mounts=mounts,
            hostname="build",
            env={"HOME": "/root", **env, "PATH": env.get("PATH") or DEFAULT_PATH},
            workdir=built.config.workdir,
            network="host",
            capabilities="build",
            limits=_OUTER_LIMITS,
            uid_base=self._sandboxes.uid_base,
            argv=_WAITS,
        )
