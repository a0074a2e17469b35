"""What a crash and what damage does to the log of commits, on copies of a record whose commits are known."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import sqlite3
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from squall.model.call import OutcomeKind, Verb
from squall.model.errors import StateCorrupt
from squall.model.ids import CallId, FunctionId
from squall.state.records import CallRecord, InputChunk, OutcomeRecord
from squall.state.sqlite_file import DatabaseOptions, open_writer
from squall.state.sqlite_state import SqliteState
from squall.state.sqlite_wal import checksum, wal_damage

FRAME = 24 + 4096
CALLS = 120


@dataclass(frozen=True)
class Written:
    """A record and its log, as they were while their writer lived, and what was acknowledged at which size of the log."""

    folder: Path
    acknowledged: tuple[tuple[int, str, int], ...]

    def copy(self, to: Path) -> Path:
        to.mkdir()
        for name in ("squall.db", "squall.db-wal"):
            shutil.copy(self.folder / name, to / name)
        return to / "squall.db"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    living, folder = tmp_path_factory.mktemp("living"), tmp_path_factory.mktemp("left")
    acknowledged: list[tuple[int, str, int]] = []

    async def run() -> None:
        state = await SqliteState.open(living / "squall.db")
        for number in range(CALLS):
            call = CallRecord(
                id=CallId(f"fc-{number}"),
                function=FunctionId("fu"),
                verb=Verb.SPAWN_MAP,
                created_s=1.0,
                inputs=4,
            )
            payload = os.urandom(400)
            await state.record_call(call, [InputChunk(start=0, lengths=(100,) * 4, payload=payload)])
            acknowledged.append(((living / "squall.db-wal").stat().st_size, call.id, 0))
            await state.record_outcomes(
                call.id, [OutcomeRecord(index=0, attempt=1, kind=OutcomeKind.RETURNED, ended_s=2.0)]
            )
            acknowledged.append(((living / "squall.db-wal").stat().st_size, call.id, 1))
        for name in ("squall.db", "squall.db-wal"):
            shutil.copy(living / name, folder / name)
        await state.close()

    asyncio.run(run())
    return Written(folder, tuple(acknowledged))


def with_state(database: Path, work: Callable[[SqliteState], Awaitable[None]]) -> None:
    async def run() -> None:
        state = await SqliteState.open(database)
        try:
            await work(state)
        finally:
            await state.close()

    asyncio.run(run())


def test_a_log_cut_at_any_byte_opens_with_all_that_was_acknowledged_before(
    written: Written, tmp_path: Path
) -> None:
    size = (written.folder / "squall.db-wal").stat().st_size
    drawn = random.Random(11)
    places = [0, 1, 31, 32, 33, size - 1, size, *(drawn.randrange(size) for _ in range(40))]
    for number, place in enumerate(places):
        database = written.copy(tmp_path / str(number))
        os.truncate(f"{database}-wal", place)
        kept = {(call, done) for at, call, done in written.acknowledged if at <= place}

        async def check(state: SqliteState, kept: set[tuple[str, int]] = kept) -> None:
            found = {one.call.id: one.call.done for one in await state.open_calls()}
            for call, done in kept:
                assert found[CallId(call)] >= done
                assert len(await state.inputs(CallId(call), start=0, stop=4)) == 1

        with_state(database, check)
        with contextlib.closing(sqlite3.connect(database)) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_byte_flipped_anywhere_in_the_log_is_refused_by_name(written: Written, tmp_path: Path) -> None:
    raw = (written.folder / "squall.db-wal").read_bytes()
    drawn = random.Random(27)
    # Of the head, of the first and the last frame each part; and anywhere.
    heads = [
        0,
        5,
        9,
        17,
        25,
        32,
        37,
        41,
        49,
        57,
        len(raw) - FRAME,
        len(raw) - FRAME + 5,
        len(raw) - FRAME + 9,
    ]
    places = [*heads, len(raw) - FRAME + 17, len(raw) - 1, *(drawn.randrange(len(raw)) for _ in range(60))]
    for number, place in enumerate(places):
        database = written.copy(tmp_path / str(number))
        flipped = bytearray(raw)
        flipped[place] ^= 1 << drawn.randrange(8)
        Path(f"{database}-wal").write_bytes(flipped)
        for _ in range(2):  # the second time too: what was refused is left as it was
            with pytest.raises(StateCorrupt, match="log") as caught:
                with_state(database, lambda state: state.flush())
        assert Path(f"{database}-wal").read_bytes() == flipped
        assert "squall restore" in caught.value.remedy


def test_a_log_that_was_begun_anew_over_an_older_one_is_whole(tmp_path: Path) -> None:
    database = tmp_path / "squall.db"
    writer = open_writer(database, DatabaseOptions())
    with contextlib.closing(writer):
        writer.execute("CREATE TABLE pages (content)")
        writer.executemany("INSERT INTO pages VALUES (?)", [(os.urandom(3000),) for _ in range(300)])
        writer.execute("PRAGMA wal_checkpoint(RESTART)")
        writer.execute("INSERT INTO pages VALUES (1)")
        size = Path(f"{database}-wal").stat().st_size
        assert size > 200 * FRAME  # frames of the older log are still behind those of this one
        left = tmp_path / "left"
        left.mkdir()
        for name in ("squall.db", "squall.db-wal"):
            shutil.copy(tmp_path / name, left / name)
    with_state(left / "squall.db", lambda state: state.flush())


def test_a_transaction_that_was_cut_by_a_crash_is_no_damage(tmp_path: Path) -> None:
    database = tmp_path / "squall.db"
    writer = open_writer(database, DatabaseOptions())
    with contextlib.closing(writer):
        writer.execute("CREATE TABLE pages (content)")
        writer.execute("INSERT INTO pages VALUES (1)")
        writer.execute("PRAGMA cache_size = 10")  # so that pages are in the log before they are committed
        writer.begin()
        writer.executemany("INSERT INTO pages VALUES (?)", [(os.urandom(3000),) for _ in range(300)])
        left = tmp_path / "left"
        left.mkdir()
        for name in ("squall.db", "squall.db-wal"):
            shutil.copy(tmp_path / name, left / name)
        writer.rollback()
    assert (left / "squall.db-wal").stat().st_size > 200 * FRAME
    with_state(left / "squall.db", lambda state: state.flush())


def test_a_record_without_a_log_has_none_that_is_damaged(tmp_path: Path) -> None:
    assert wal_damage(tmp_path / "squall.db") == ""


def test_sums_are_those_of_sqlite(written: Written) -> None:
    head = (written.folder / "squall.db-wal").read_bytes()[:32]
    order = {0x377F0682: "<", 0x377F0683: ">"}[struct.unpack(">I", head[:4])[0]]
    assert checksum(head[:24], (0, 0), order) == struct.unpack(">2I", head[24:])
