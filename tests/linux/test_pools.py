"""Launchers as an agent keeps them: none is left when it ends, however far its start was."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from squall.agent.pools import Pools
from squall.settings.paths import StatePaths, open_state
from tests.linux import leaks

pytestmark = pytest.mark.needs("linux")

_PATIENCE_S = 20.0


@pytest.fixture
def paths() -> Iterator[StatePaths]:
    folder = leaks.fresh_folder(prefix="squall-pools-")
    before = children()
    try:
        yield open_state(str(folder / "state"))
    finally:
        # Where an agent would have reaped them a moment later: each has been told to end.
        left = children() - before
        deadline_s = time.monotonic() + _PATIENCE_S
        while left and time.monotonic() < deadline_s:
            left = {pid for pid in left if not reaped(pid)}
            time.sleep(0.01)
        assert not left
        shutil.rmtree(folder, ignore_errors=True)


def reaped(pid: int) -> bool:
    """Whether this child has ended."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def children() -> set[int]:
    return {
        int(pid) for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()
    }


def launchers(paths: StatePaths) -> list[str]:
    """The processes that were started to launch for this state directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_text().split("\0")
            if "squall.runtime.launcher" in words and str(paths.state) in words:
                found.append(path.parent.name)
    return found


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8, 13])
def test_a_launcher_that_is_being_started_as_all_end_is_not_left(paths: StatePaths, steps: int) -> None:
    async def main() -> None:
        pools = Pools(paths, spares=1)
        pools.park()
        for _ in range(steps):
            await asyncio.sleep(0)
        pools.quit_all()
        await until(lambda: pools.empty)
        # Its connection ends a moment before it does.
        await until(lambda: launchers(paths) == [])

    asyncio.run(main())
    assert list(paths.launchers.iterdir()) == []


def test_after_that_none_is_started(paths: StatePaths) -> None:
    async def main() -> None:
        pools = Pools(paths, spares=2)
        pools.park()
        await until(lambda: len(pools.all) == 2)
        assert len(launchers(paths)) == 2
        pools.quit_all()
        pools.park()
        await until(lambda: pools.empty)
        await until(lambda: launchers(paths) == [])
        assert list(paths.launchers.iterdir()) == []

    asyncio.run(main())
