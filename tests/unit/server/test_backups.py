from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from squall.model.errors import DiskFull
from squall.server.backups import AGAIN_S, Backups
from squall.settings.options import Options
from squall.state.memory_state import MemoryState
from squall.state.sqlite_backup import backups_in, check_backup
from squall.state.sqlite_state import SqliteState

DAY_S = 86_400.0


def test_a_backup_is_made_when_the_last_one_is_a_day_old(tmp_path: Path) -> None:
    async def run() -> None:
        state = await SqliteState.open(tmp_path / "squall.db")
        backups = Backups(state, tmp_path / "backups", Options())
        assert await backups.once(now_s=2 * DAY_S) == DAY_S
        (made,) = backups_in(tmp_path / "backups")
        assert check_backup(made.path) > 0
        assert await backups.once(now_s=made.at_s + 100.0) == DAY_S - 100.0
        assert len(backups_in(tmp_path / "backups")) == 1
        assert backups.trouble is None
        await state.close()

    asyncio.run(run())


@pytest.mark.parametrize("moved_s", [DAY_S, -5.0, -400 * DAY_S])
def test_one_is_due_after_a_day_and_when_the_clock_was_set_back(tmp_path: Path, moved_s: float) -> None:
    class Counted(MemoryState):
        asked = 0

        async def back_up(self, directory: Path, *, keep: int) -> Path:
            Counted.asked += 1
            return directory / str(keep)

    (tmp_path / "squall-20300101T000000Z.db").touch()
    (last,) = backups_in(tmp_path)
    Counted.asked = 0
    backups = Backups(Counted(), tmp_path, Options())
    assert asyncio.run(backups.once(now_s=last.at_s + moved_s)) == DAY_S
    assert Counted.asked == 1


def test_one_that_fails_is_told_and_tried_again_soon(tmp_path: Path) -> None:
    class Full(MemoryState):
        full = True

        async def back_up(self, directory: Path, *, keep: int) -> Path:
            if Full.full:
                raise DiskFull("there is no room")
            return directory / str(keep)

    async def run() -> None:
        backups = Backups(Full(), tmp_path, Options())
        assert await backups.once(now_s=DAY_S) == AGAIN_S
        assert backups.trouble == "there is no room"
        Full.full = False
        assert await backups.once(now_s=DAY_S) == DAY_S
        assert backups.trouble is None

    asyncio.run(run())


def test_a_store_that_another_backs_up_is_not_asked_again(tmp_path: Path) -> None:
    async def run() -> None:
        backups = Backups(MemoryState(), tmp_path, Options())
        assert await backups.once(now_s=DAY_S) == 0.0
        await asyncio.wait_for(backups.run(), 5)

    asyncio.run(run())


def test_an_owner_who_wants_none_has_none(tmp_path: Path) -> None:
    asyncio.run(asyncio.wait_for(Backups(MemoryState(), tmp_path, Options(backup_every_s=0.0)).run(), 5))
