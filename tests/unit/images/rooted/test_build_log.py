from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from squall.images.rooted.build_log import BuildLogs
from squall.model.errors import ConnectionLost, ImageBuildError

KEY = "1" * 64
OTHER = "2" * 64


def write(logs: BuildLogs, *lines: str, key: str = KEY) -> None:
    with logs.recording(key, lambda _line: None) as say:
        for line in lines:
            say(line)


def test_what_is_said_is_passed_on_and_kept(tmp_path: Path) -> None:
    logs, heard = BuildLogs(tmp_path / "logs"), list[str]()
    with logs.recording(KEY, heard.append) as say:
        assert logs.building == {KEY}
        say("building it")
        assert BuildLogs(tmp_path / "logs").read(KEY) == ("building it",)
        say("  caf\u00e9 \udcff")
    assert logs.building == frozenset()
    assert heard == ["building it", "  caf\u00e9 \udcff"]
    assert logs.read(KEY) == ("building it", "  caf\u00e9 ?")
    assert logs.keys() == {KEY}
    assert (tmp_path / "logs" / KEY).stat().st_mode & 0o077 == 0


def test_the_next_build_begins_anew_and_one_that_says_nothing_takes_nothing_away(tmp_path: Path) -> None:
    logs = BuildLogs(tmp_path)
    write(logs, "first")
    write(logs)
    assert logs.read(KEY) == ("first",)
    write(logs, "second")
    assert logs.read(KEY) == ("second",)


def test_how_a_build_failed_stands_at_the_end(tmp_path: Path) -> None:
    logs = BuildLogs(tmp_path)
    with pytest.raises(ImageBuildError), logs.recording(KEY, lambda _line: None) as say:
        say("building it")
        raise ImageBuildError("it failed\nwith more")
    with pytest.raises(KeyboardInterrupt), logs.recording(OTHER, lambda _line: None):
        raise KeyboardInterrupt
    assert logs.read(KEY) == ("building it", "failed: it failed")
    assert logs.read(OTHER) == ("ended before it was done",)


def test_of_a_long_log_the_beginning_and_the_end_stay(tmp_path: Path) -> None:
    logs = BuildLogs(tmp_path, most_bytes=4_000)
    with logs.recording(KEY, lambda _line: None) as say:
        for number in range(5_000):
            say(f"line {number}")
            assert (tmp_path / KEY).stat().st_size <= 4_000
    lines = logs.read(KEY)
    assert (lines[0], lines[-1]) == ("line 0", "line 4999")
    assert sum(line.startswith("... ") for line in lines) >= 1
    assert [path.name for path in tmp_path.iterdir()] == [KEY]


def test_followers_hear_what_was_said_and_what_comes_each_line_once(tmp_path: Path) -> None:
    async def main() -> None:
        logs, heard = BuildLogs(tmp_path), [list[str](), list[str]()]
        with logs.recording(KEY, lambda _line: None) as say:
            say("one")
            first = asyncio.create_task(logs.follow(KEY, heard[0].append))
            await asyncio.sleep(0)
            say("two")
            second = asyncio.create_task(logs.follow(KEY, heard[1].append))
            await asyncio.sleep(0)
            say("three")
            assert not first.done()
        await asyncio.gather(first, second)
        assert heard == [["one", "two", "three"]] * 2
        await logs.follow(KEY, heard[0].append)
        assert len(heard[0]) == 6

    asyncio.run(main())


def test_a_follower_that_is_gone_harms_nobody(tmp_path: Path) -> None:
    def gone(_line: str) -> None:
        raise ConnectionLost("gone")

    async def main() -> None:
        logs, heard = BuildLogs(tmp_path), list[str]()
        with logs.recording(KEY, heard.append) as say:
            task = asyncio.create_task(logs.follow(KEY, gone))
            await asyncio.sleep(0)
            say("one")
        await task
        assert heard == ["one"]

    asyncio.run(main())


def test_a_disk_that_takes_nothing_ends_no_build(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("no directory")
    logs, heard = BuildLogs(tmp_path / "logs"), list[str]()
    with logs.recording(KEY, heard.append) as say:
        say("one")
        say("two")
    assert heard == ["one", "two"]


def test_a_log_is_dropped_unless_it_is_being_written(tmp_path: Path) -> None:
    logs = BuildLogs(tmp_path)
    with logs.recording(KEY, lambda _line: None) as say:
        say("12345")
        assert logs.drop(KEY) == 0
    assert logs.written_s(KEY) > 0
    assert logs.drop(KEY) == 6
    assert logs.drop(KEY) == 0
    assert (logs.written_s(KEY), logs.read(KEY)) == (0.0, ())
    with pytest.raises(ValueError, match="no image has the key"):
        logs.drop("../x")
