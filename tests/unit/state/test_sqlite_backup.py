from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import squall
from squall import faults
from squall.model.call import OutcomeKind, Verb
from squall.model.errors import BackupUnusable, FeatureUnavailable, StateCorrupt
from squall.model.ids import CallId, FunctionId
from squall.state.memory_state import MemoryState
from squall.state.migrate import migrate_back, schema_version
from squall.state.records import CallRecord, InputChunk, OutcomeRecord
from squall.state.sqlite_backup import (
    back_up,
    backup_directory,
    backups_in,
    check_backup,
    cut_log,
    name_for,
    put_back,
    restore_note,
)
from squall.state.sqlite_file import DatabaseOptions, open_writer
from squall.state.sqlite_state import SqliteState

SOURCE = Path(squall.__file__).parent.parent
CHUNK = InputChunk(start=0, lengths=(2, 3), payload=b"abcde")


def call(name: str) -> CallRecord:
    return CallRecord(
        id=CallId(name), function=FunctionId("fu"), verb=Verb.SPAWN_MAP, created_s=1.0, inputs=2
    )


def with_state(database: Path, work: Callable[[SqliteState], Awaitable[object]]) -> None:
    async def run() -> None:
        state = await SqliteState.open(database)
        try:
            await work(state)
        finally:
            await state.close()

    asyncio.run(run())


def names(database: Path) -> set[str]:
    found: set[str] = set()

    async def look(state: SqliteState) -> None:
        found.update(one.call.id for one in await state.open_calls())

    with_state(database, look)
    return found


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "state" / "squall.db"
    with_state(path, lambda state: state.record_call(call("fc-old"), [CHUNK]))
    return path


def test_a_backup_is_whole_while_others_write(database: Path, tmp_path: Path) -> None:
    async def work(state: SqliteState) -> None:
        written = 0

        async def write() -> None:
            nonlocal written
            for number in itertools.count():
                await state.record_call(call(f"fc-{number}"), [CHUNK])
                written = number + 1

        writing = asyncio.create_task(write())
        for number in range(5):
            while written < 20 * (number + 1):
                await asyncio.sleep(0)
            before = written
            await asyncio.to_thread(back_up, database, tmp_path / f"{number}.db")
            after = written
            assert before < after  # nobody waited for the backup
            with contextlib.closing(sqlite3.connect(tmp_path / f"{number}.db")) as db:
                (calls,) = db.execute("SELECT count(*) FROM calls WHERE id != 'fc-old'").fetchone()
                (chunks,) = db.execute("SELECT count(*) FROM chunks").fetchone()
            assert before <= calls <= after + 1
            assert chunks == calls + 1
        writing.cancel()

    with_state(database, work)


def test_a_backup_is_one_file_of_its_owner(database: Path, tmp_path: Path) -> None:
    async def work(state: SqliteState) -> None:
        await state.record_call(call("fc-new"), [CHUNK])
        back_up(database, tmp_path / "kept" / "copy.db")  # its last commits are in the log only

    with_state(database, work)
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["copy.db"]
    assert stat.S_IMODE((tmp_path / "kept" / "copy.db").stat().st_mode) == 0o600
    assert check_backup(tmp_path / "kept" / "copy.db") > 0
    assert put_back(tmp_path / "kept" / "copy.db", tmp_path / "other.db") is None
    assert names(tmp_path / "other.db") == {"fc-old", "fc-new"}


def test_a_backup_never_replaces_a_file(database: Path, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    with pytest.raises(BackupUnusable, match="there already"):
        back_up(database, tmp_path / "there")
    assert (tmp_path / "there").read_text() == "mine"


def test_a_damaged_record_becomes_no_backup(database: Path, tmp_path: Path) -> None:
    damage(database)
    with pytest.raises(StateCorrupt):
        back_up(database, tmp_path / "copy.db")
    assert not list(tmp_path.glob("*copy*"))


def test_the_last_backups_are_kept(database: Path) -> None:
    directory = backup_directory(database)

    async def work(state: SqliteState) -> None:
        clock = itertools.count(1_700_000_000)
        back_up(database, directory / name_for(next(clock), before=2))
        for _ in range(5):
            back_up(database, directory / name_for(next(clock)))
        await state.back_up(directory, keep=3)

    with_state(database, work)
    kept = backups_in(directory)
    assert [one.before for one in kept] == ["", "", "", "-before-schema-2"]
    assert [one.at_s for one in kept[1:]] == [1_700_000_005.0, 1_700_000_004.0, 1_700_000_000.0]


def test_a_record_in_memory_says_that_it_has_no_backup(tmp_path: Path) -> None:
    with pytest.raises(FeatureUnavailable):
        asyncio.run(MemoryState().back_up(tmp_path, keep=1))


def test_what_a_backup_replaces_stays_beside_it(database: Path, tmp_path: Path) -> None:
    back_up(database, tmp_path / "copy.db")
    with_state(database, lambda state: state.record_call(call("fc-new"), [CHUNK]))
    damage(database)
    broken = database.read_bytes()
    with pytest.raises(StateCorrupt) as caught:
        names(database)
    assert "squall restore --latest" in caught.value.remedy
    aside = put_back(tmp_path / "copy.db", database)
    assert aside is not None
    assert (aside / "squall.db").read_bytes() == broken
    assert names(database) == {"fc-old"}
    assert stat.S_IMODE(database.stat().st_mode) == 0o600


@pytest.mark.parametrize("how", ["absent", "no database", "damaged", "of another program", "newer"])
def test_what_is_no_backup_is_refused_before_anything_changes(
    database: Path, tmp_path: Path, how: str
) -> None:
    path = tmp_path / "copy.db"
    if how != "absent":
        back_up(database, path)
    if how == "no database":
        path.write_bytes(b"x" * 8192)
    elif how == "damaged":
        damage(path)
    elif how == "of another program":
        path.unlink()
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE theirs (x)")
    elif how == "newer":
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("INSERT INTO schema_version VALUES (9999)")
    with pytest.raises(BackupUnusable, match="cannot be put back"):
        check_backup(path)


def test_a_restore_that_dies_half_way_is_done_again_and_no_server_starts_between(
    database: Path, tmp_path: Path
) -> None:
    back_up(database, tmp_path / "copy.db")
    program = "import sys, pathlib; from squall.state.sqlite_backup import put_back; put_back(*map(pathlib.Path, sys.argv[1:]))"
    env = {**os.environ, faults.VARIABLE: "state.restoring", "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", program, str(tmp_path / "copy.db"), str(database)]
    died = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert died.returncode == faults.EXIT_CODE, died.stderr
    assert restore_note(database).exists()
    with pytest.raises(StateCorrupt, match="broken off"):
        names(database)
    assert not database.exists()
    put_back(tmp_path / "copy.db", database)
    assert names(database) == {"fc-old"}


def test_a_record_is_cut_where_its_log_is_damaged(database: Path, tmp_path: Path) -> None:
    living = tmp_path / "living"

    async def work(state: SqliteState) -> None:
        sizes = []
        for number in range(30):
            await state.record_call(call(f"fc-{number}"), [CHUNK])
            sizes.append(Path(f"{database}-wal").stat().st_size)
        living.mkdir()
        for beside in ("", "-wal"):
            (living / f"squall.db{beside}").write_bytes(Path(f"{database}{beside}").read_bytes())
        raw = bytearray((living / "squall.db-wal").read_bytes())
        raw[sizes[19] + 100] ^= 1  # in the first frame of what came after the twentieth
        (living / "squall.db-wal").write_bytes(raw)

    with_state(database, work)
    with pytest.raises(StateCorrupt, match="whole ones follow") as caught:
        names(living / "squall.db")
    assert "squall restore --cut" in caught.value.remedy
    aside = cut_log(living / "squall.db")
    assert {path.name for path in aside.iterdir()} == {"squall.db", "squall.db-wal"}
    assert names(living / "squall.db") == {"fc-old", *(f"fc-{number}" for number in range(20))}


def test_a_record_that_is_damaged_itself_cannot_be_cut(database: Path) -> None:
    damage(database)
    with pytest.raises(StateCorrupt):
        cut_log(database)


def test_a_record_is_backed_up_before_its_schema_changes(database: Path) -> None:
    with contextlib.closing(open_writer(database, DatabaseOptions())) as writer:
        newest = schema_version(writer)
        migrate_back(writer, 1)
    assert names(database) == {"fc-old"}
    (kept,) = backups_in(backup_directory(database))
    assert kept.before == f"-before-schema-{newest}"
    assert check_backup(kept.path) == 1


def damage(database: Path) -> None:
    """Random bytes over every page but the first."""
    raw = bytearray(database.read_bytes())
    raw[4096:] = os.urandom(len(raw) - 4096)
    database.write_bytes(raw)


def test_outcomes_are_in_a_backup_too(database: Path, tmp_path: Path) -> None:
    async def work(state: SqliteState) -> None:
        item = OutcomeRecord(index=1, attempt=1, kind=OutcomeKind.RETURNED, ended_s=2.0, payload=b"value")
        await state.record_outcomes(CallId("fc-old"), [item])
        await state.back_up(tmp_path / "kept", keep=1)

    async def check(state: SqliteState) -> None:
        (found,) = await state.outcomes(CallId("fc-old"), start=0, stop=2)
        assert bytes(found.payload) == b"value"

    with_state(database, work)
    (kept,) = backups_in(tmp_path / "kept")
    put_back(kept.path, tmp_path / "new.db")
    with_state(tmp_path / "new.db", check)
