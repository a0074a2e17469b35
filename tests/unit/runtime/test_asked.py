"""Programs that are asked: what they say, and that none of them is waited for without end."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from squall.runtime.asked import Answer, Ask, TooMuchSaidError, ask

_SOON = Ask(within_s=20.0)


def asked(script: str, how: Ask = _SOON) -> Answer:
    return asyncio.run(ask(("/bin/sh", "-c", script), how))


@pytest.mark.parametrize(
    ("script", "how", "answer"),
    [
        ("echo said; echo not heard >&2", _SOON, Answer(0, b"said\n")),
        ("echo not heard; echo said >&2", Ask(within_s=20.0, listens="err"), Answer(0, b"said\n")),
        ("cat; exit 3", Ask(within_s=20.0, told=b"told"), Answer(3, b"told")),
        ("exec <&-; exit 4", Ask(within_s=20.0, told=b"told"), Answer(4, b"")),
        ("kill -9 $$", _SOON, Answer(-9, b"")),
        ("echo $MINE $HOME; pwd", Ask(within_s=20.0, env={"MINE": "yes"}), Answer(0, b"yes\n/\n")),
    ],
)
def test_what_it_says_and_how_it_ends_is_its_answer(script: str, how: Ask, answer: Answer) -> None:
    assert asked(script, how) == answer


@pytest.mark.parametrize("script", ["yes", "yes & wait", "setsid yes & wait"])
def test_one_that_says_too_much_is_given_up(script: str) -> None:
    with pytest.raises(TooMuchSaidError):
        asked(script, Ask(within_s=60.0, most_bytes=100_000))


def test_one_that_hangs_is_ended_in_time_with_what_it_started(tmp_path: Path) -> None:
    began_s = time.monotonic()
    with pytest.raises(TimeoutError):
        asked(f"sleep 60 & echo $! > {tmp_path}/pid; wait", Ask(within_s=1.0))
    assert time.monotonic() - began_s < 20.0
    _ends(int((tmp_path / "pid").read_text()))


def test_one_that_leaves_its_output_to_another_session_is_waited_for_no_longer(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError):
        asked(f"setsid sleep 60 & echo $! > {tmp_path}/pid", Ask(within_s=1.0))
    os.kill(int((tmp_path / "pid").read_text()), 9)


def test_nobody_is_left_of_one_that_nobody_waits_for_any_more(tmp_path: Path) -> None:
    async def give_up() -> None:
        asking = asyncio.ensure_future(ask(("/bin/sh", "-c", f"echo $$ > {tmp_path}/pid; sleep 60"), _SOON))
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    asyncio.run(give_up())
    _ends(int((tmp_path / "pid").read_text()))


def test_what_is_no_program_is_not_started() -> None:
    with pytest.raises(FileNotFoundError):
        asyncio.run(ask(("/no/such/program",), _SOON))


def _ends(pid: int) -> None:
    deadline_s = time.monotonic() + 20.0
    while time.monotonic() < deadline_s and _runs(pid):
        time.sleep(0.01)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
