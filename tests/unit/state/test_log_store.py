from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import squall
from squall.model.errors import StateDirectoryError, StoreClosed
from squall.model.ids import AppId, ContainerId, FunctionId
from squall.state import log_store
from squall.state.log_files import BLOCK_BYTES
from squall.state.log_lines import LogEntry, LogFilter, LogLimits, LogStream
from squall.state.log_store import LogStore

APP = AppId("ap-1")


def said(text: str, at_s: float = 0.0, *, container: str = "co-1", function: str = "fu-1") -> LogEntry:
    return LogEntry(
        at_s=at_s,
        container=ContainerId(container),
        function=FunctionId(function),
        stream=LogStream.STDOUT,
        text=text,
    )


def with_logs(
    root: Path,
    work: Callable[[LogStore], Awaitable[None]],
    limits: LogLimits | None = None,
    clock: Callable[[], float] = lambda: 1000.0,
) -> None:
    async def run() -> None:
        logs = await LogStore.open(root, limits, clock)
        try:
            await work(logs)
        finally:
            await logs.close()

    asyncio.run(run())


async def texts(logs: LogStore, wanted: LogFilter | None = None, *, tail: int | None = None) -> list[str]:
    return [entry.text async for entry in logs.read(APP, wanted, tail=tail)]


def test_what_was_said_is_read_as_it_was(tmp_path: Path) -> None:
    entries = [
        said("hello\n", 1.5),
        said("\x1b[31mred\x1b[0m\r", 2.5, container="co-2"),
        said("", 2.5),
        said('é\u2028\udcff\0 {}[]"\\\n\n', 3.25, function="fu-2"),
    ]

    async def work(logs: LogStore) -> None:
        logs.append(APP, entries[:2])
        logs.append(APP, entries[2:])
        assert [entry async for entry in logs.read(APP)] == entries
        assert [entry async for entry in logs.read(AppId("ap-2"))] == []

    with_logs(tmp_path, work)
    (file,) = (tmp_path / APP).iterdir()
    assert file.read_bytes().isascii()
    assert b"\x1b" not in file.read_bytes()
    assert file.read_bytes().count(b"\n") == len(entries)

    async def again(logs: LogStore) -> None:
        assert [entry async for entry in logs.read(APP)] == entries

    with_logs(tmp_path, again)


def test_one_asks_for_a_function_a_container_an_instant_or_the_end(tmp_path: Path) -> None:
    async def work(logs: LogStore) -> None:
        logs.append(
            APP, [said(str(n), float(n), container=f"co-{n % 3}", function=f"fu-{n % 2}") for n in range(12)]
        )
        assert await texts(logs, LogFilter(container=ContainerId("co-1"))) == ["1", "4", "7", "10"]
        assert await texts(logs, LogFilter(function=FunctionId("fu-1"))) == ["1", "3", "5", "7", "9", "11"]
        both = LogFilter(container=ContainerId("co-1"), function=FunctionId("fu-1"))
        assert await texts(logs, both) == ["1", "7"]
        assert await texts(logs, LogFilter(since_s=10.0)) == ["10", "11"]
        assert await texts(logs, tail=2) == ["10", "11"]
        assert await texts(logs, LogFilter(container=ContainerId("co-1")), tail=2) == ["7", "10"]
        assert await texts(logs, tail=0) == []
        assert len(await texts(logs, tail=99)) == 12

    with_logs(tmp_path, work)


def test_files_are_turned_and_the_oldest_go(tmp_path: Path) -> None:
    async def work(logs: LogStore) -> None:
        for n in range(300):
            logs.append(APP, [said(f"{n:04}" * 10)])
            if n % 7 == 0:
                await logs.flush()
        kept = await texts(logs)
        assert kept == [f"{n:04}" * 10 for n in range(300)][-len(kept) :]
        assert 20 < len(kept) < 80
        assert await texts(logs, tail=25) == kept[-25:]
        sizes = [path.stat().st_size for path in (tmp_path / APP).iterdir()]
        assert max(sizes) <= 1000
        assert sum(sizes) <= 5000

    with_logs(tmp_path, work, LogLimits(segment_bytes=1000, app_bytes=4000))


def test_one_batch_may_fill_many_files(tmp_path: Path) -> None:
    async def work(logs: LogStore) -> None:
        logs.append(APP, [said(f"{n:04}" * 10) for n in range(100)])
        assert await texts(logs) == [f"{n:04}" * 10 for n in range(100)]
        assert len(list((tmp_path / APP).iterdir())) > 5

    with_logs(tmp_path, work, LogLimits(segment_bytes=1000))


def test_what_is_past_its_time_goes_with_its_directory(tmp_path: Path) -> None:
    now = [1000.0]

    async def work(logs: LogStore) -> None:
        logs.append(APP, [said("old")])
        await logs.flush()
        now[0] = 1050.0
        logs.append(AppId("ap-2"), [said("young")])
        await logs.flush()
        now[0] = 1101.0
        assert await logs.sweep() == 1
        assert os.listdir(tmp_path) == ["ap-2"]
        logs.append(APP, [said("again")])
        assert await texts(logs) == ["again"]

    with_logs(tmp_path, work, LogLimits(keep_s=100.0), lambda: now[0])


def test_a_torn_last_line_is_passed_over_and_the_next_is_whole(tmp_path: Path) -> None:
    async def first(logs: LogStore) -> None:
        logs.append(APP, [said("one"), said("two")])

    with_logs(tmp_path, first)
    (file,) = (tmp_path / APP).iterdir()
    os.truncate(file, file.stat().st_size - 3)

    async def second(logs: LogStore) -> None:
        assert await texts(logs) == ["one"]
        assert await texts(logs, tail=5) == ["one"]
        logs.append(APP, [said("three")])
        assert await texts(logs) == ["one", "three"]
        assert await texts(logs, tail=1) == ["three"]

    with_logs(tmp_path, second)


@pytest.mark.parametrize(
    "garbage", [b"{}\n", b"[1,2]\n", b"\xff\xfe\n", b"null\n", b'[1,"c","f","?","t"]\n', b"\n"]
)
def test_lines_that_are_none_are_passed_over(garbage: bytes, tmp_path: Path) -> None:
    async def first(logs: LogStore) -> None:
        logs.append(APP, [said("one")])

    with_logs(tmp_path, first)
    (file,) = (tmp_path / APP).iterdir()
    file.write_bytes(garbage + file.read_bytes() + garbage)

    async def second(logs: LogStore) -> None:
        assert await texts(logs) == ["one"]
        assert await texts(logs, tail=3) == ["one"]

    with_logs(tmp_path, second)


def test_lines_longer_than_a_block_are_read_from_both_ends(tmp_path: Path) -> None:
    long = ["a" * 10, "b" * (2 * BLOCK_BYTES), "\0" * 60_000, "c"]

    async def work(logs: LogStore) -> None:
        logs.append(APP, [said(text) for text in long])
        assert await texts(logs) == long
        assert await texts(logs, tail=3) == long[1:]
        assert await texts(logs, tail=1) == long[3:]

    with_logs(tmp_path, work)


def test_blocks_join_without_a_gap(tmp_path: Path) -> None:
    written = [f"{n}:" + "x" * (n % 517) for n in range(4000)]

    async def work(logs: LogStore) -> None:
        logs.append(APP, [said(text) for text in written])
        assert await texts(logs) == written
        assert await texts(logs, tail=3500) == written[-3500:]

    with_logs(tmp_path, work)


def test_too_much_at_once_is_dropped_counted_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_store, "MAX_CHARS", 1000)

    async def work(logs: LogStore) -> None:
        logs.append(APP, [said("kept")])
        logs.append(APP, [said("x" * 2000), said("y")])
        assert logs.lost == 2
        kept = [entry async for entry in logs.read(APP)]
        assert [entry.stream for entry in kept] == [LogStream.STDOUT, LogStream.NOTE]
        assert "2 log entries before" in kept[1].text
        logs.append(APP, [said("after")])
        assert (await texts(logs))[-1] == "after"

    with_logs(tmp_path, work)


def test_a_disk_in_trouble_loses_and_counts_and_says_so_later(tmp_path: Path) -> None:
    async def work(logs: LogStore) -> None:
        (tmp_path / APP).write_text("in the way")
        logs.append(APP, [said("one"), said("two")])
        await logs.flush()
        assert logs.lost == 2
        (tmp_path / APP).unlink()
        logs.append(APP, [said("three")])
        kept = await texts(logs)
        assert kept[0] == "three"
        assert "2 log entries" in kept[1]

    with_logs(tmp_path, work)


@pytest.mark.parametrize("app", ["", "..", "a/b", ".hidden", "-x", "a" * 101, "a\0"])
def test_what_is_no_id_names_no_directory(app: str, tmp_path: Path) -> None:
    async def work(logs: LogStore) -> None:
        with pytest.raises(ValueError, match="id of an app"):
            logs.append(AppId(app), [said("x")])
        with pytest.raises(ValueError, match="id of an app"):
            await anext(logs.read(AppId(app)))

    with_logs(tmp_path, work)


def test_a_closed_store_has_written_everything_and_says_so(tmp_path: Path) -> None:
    async def run() -> None:
        logs = await LogStore.open(tmp_path)
        logs.append(APP, [said("last")])
        await logs.close()
        await logs.close()
        with pytest.raises(StoreClosed):
            logs.append(APP, [said("late")])
        again = await LogStore.open(tmp_path)
        assert await texts(again) == ["last"]
        await again.close()

    asyncio.run(run())


def test_entries_reach_the_disk_without_a_reader(tmp_path: Path) -> None:
    async def work(logs: LogStore) -> None:
        logs.append(APP, [said("one")])
        async with asyncio.timeout(30):
            while not await asyncio.to_thread(os.path.isdir, tmp_path / APP):
                pass

    with_logs(tmp_path, work)


def test_a_directory_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def run() -> None:
        with pytest.raises(StateDirectoryError):
            await LogStore.open(tmp_path / "file" / "logs")

    asyncio.run(run())


KILLED = """
import asyncio, os, pathlib, signal, sys
from squall.state.log_lines import LogEntry, LogStream
from squall.state.log_store import LogStore
async def run():
    logs = await LogStore.open(pathlib.Path(sys.argv[1]))
    for n in range(1000):
        logs.append("ap-1", [LogEntry(at_s=1.0, container="co", function="fu", stream=LogStream.STDOUT, text=str(n))])
        if n == 700:
            await logs.flush()
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(run())
"""


def test_what_was_on_disk_survives_a_kill(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(squall.__file__).parent.parent)}
    died = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=env, check=False, timeout=60)
    assert died.returncode == -9

    async def work(logs: LogStore) -> None:
        kept = await texts(logs)
        assert kept == [str(n) for n in range(len(kept))]
        assert len(kept) > 700

    with_logs(tmp_path, work)
