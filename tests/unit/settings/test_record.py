"""The record, the lock and the mark of a process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from squall.settings.lock import Lock, last_holder, open_holder
from squall.settings.process import ProcessMark, is_alive, mark_of, open_process, own_mark
from squall.settings.record import Record, read_record, write_record


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = Record(
        supervisor=own_mark(),
        version="1",
        executable="/p",
        members={"server": own_mark()},
        ending=True,
        failed="no",
    )
    write_record(tmp_path / "record", record)
    assert read_record(tmp_path / "record") == record


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"form": 2}', '{"form": 1, "supervisor": {"pid": "x"}}', "\xff"]
)
def test_what_is_no_record_is_read_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "record").write_text(text, encoding="latin-1")
    assert read_record(tmp_path / "record") is None
    assert read_record(tmp_path / "missing") is None


def test_a_process_is_known_by_its_start_too() -> None:
    own = own_mark()
    assert is_alive(own)
    other = ProcessMark(pid=own.pid, started=own.started - 1, boot=own.boot)
    assert not is_alive(other)
    assert open_process(other) is None
    pidfd = open_process(own)
    assert pidfd is not None
    os.close(pidfd)


def test_a_process_that_only_waits_to_be_reaped_is_none() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert mark_of(child.pid) is None
    child.wait()


def test_a_lock_is_held_by_one_and_says_by_whom_and_how_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    assert last_holder(path) is None
    lock = Lock.take(path)
    assert lock is not None
    assert Lock.take(path) is None
    held = open_holder(path)
    assert held is not None
    assert held[0] == own_mark()
    os.close(held[1])
    lock.finish("idle")
    holder = last_holder(path)
    assert holder is not None
    assert holder.ended == "idle"
    lock.close()
    again = Lock.take(path)
    assert again is not None
    again.close()
