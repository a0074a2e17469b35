"""Levels: which isolation this machine gives to those that ask for it, looked at once and refused by name."""

from __future__ import annotations

import asyncio
import json

from squall.model.errors import IsolationUnavailable
from squall.runtime.asked import Ask, TooMuchSaidError, ask
from squall.runtime.host import Host
from squall.runtime.runtimes.look import Runtime, recall
from squall.runtime.spec import LEVELS, OCI_LEVELS, Level
from squall.settings.paths import StatePaths
from squall.settings.start import command

_LOOK_S = 60.0


class Levels:
    """What this node gives. A level that it cannot give is refused, and no weaker one is taken in its place."""

    def __init__(self, paths: StatePaths, host: Host) -> None:
        self._paths = paths
        self._refused = host.sandbox_refused
        self._runtimes: dict[Level, Runtime] = {}
        self._looking = asyncio.Lock()

    async def give(self, asked: str) -> Level:
        """The level at which what asks for `asked` runs here. Raises IsolationUnavailable when it is refused.

        Only the default has another way where a machine allows no namespaces: it runs at `process`, and says so.
        """
        level = self.given(asked)
        if level in OCI_LEVELS and level not in self._runtimes:
            async with self._looking:
                if level not in self._runtimes:
                    found = await self._look(level)
                    if found.refused:
                        raise self._refusal(level, found.refused)
                    self._runtimes[level] = found
        return level

    def given(self, asked: str) -> Level:
        """The same, without a look at runtimes."""
        level = next((one for one in LEVELS if one == asked), None)
        if level is None:
            raise self._refusal(asked, "this node knows no such level")
        if not self._refused or level == "process":
            return level
        if level == "sandbox":
            return "process"
        raise self._refusal(asked, self._refused)

    def runtime_of(self, level: Level) -> tuple[str, ...]:
        """The command line of a level's OCI runtime, once it was given; empty for a level without one."""
        return self._runtimes[level].command if level in OCI_LEVELS else ()

    async def _look(self, level: Level) -> Runtime:
        known = recall(level, str(self._paths.state))
        if known is not None:
            return known
        # In a process of its own, as it forks: this one has threads.
        argv = command("squall.runtime.runtimes", level, str(self._paths.state))
        try:
            return Runtime.from_json(json.loads((await ask(argv, Ask(within_s=_LOOK_S))).said))
        except (OSError, TimeoutError, TooMuchSaidError, ValueError, KeyError, TypeError) as problem:
            why = f"looking at its runtime failed: {type(problem).__name__}"
            return Runtime(level=level, refused=why)

    def _refusal(self, level: str, why: str) -> IsolationUnavailable:
        # The default is not among those that are named where it would run at `process`.
        gives = (
            ["process"]
            if self._refused
            else ["process", "sandbox", "sandbox-strict", *sorted(self._runtimes)]
        )
        return IsolationUnavailable(
            f"this node cannot give level `{level}`: {why}. It gives {', '.join(gives)}", level=level
        )
