"""Every end has one cause."""

from __future__ import annotations

import signal

import pytest

from squall.runtime.cause import Cause, Ending, cause_of

_KILLED = int(signal.SIGKILL)


def _exit(code: int) -> int:
    return code << 8


@pytest.mark.parametrize(
    ("ending", "cause"),
    [
        (Ending(status=_exit(0)), "exit"),
        (Ending(status=_exit(3)), "exit"),
        (Ending(status=int(signal.SIGSEGV)), "signal"),
        (Ending(status=_KILLED), "signal"),
        (Ending(status=None), "signal"),
        (Ending(status=_exit(0), asked=True), "killed"),
        (Ending(status=int(signal.SIGTERM), asked=True), "killed"),
        (Ending(status=None, asked=True), "killed"),
        (Ending(status=None, over_memory=True), "oom"),
        (Ending(status=None, over_memory=True, asked=True), "oom"),
        (Ending(status=_KILLED, oom_kills=1), "oom"),
        (Ending(status=None, oom_kills=2), "oom"),
        (Ending(status=_exit(137), oom_kills=1), "oom"),
        (Ending(status=_exit(1), oom_kills=1), "exit"),
        (Ending(status=None, over_disk=True), "disk"),
        (Ending(status=_exit(1), refused_forks=3), "pids"),
        (Ending(status=_exit(0), refused_forks=3), "exit"),
        (Ending(status=None, refused_forks=1, asked=True), "killed"),
    ],
)
def test_a_limit_outranks_our_kill_and_our_kill_outranks_what_it_sent(ending: Ending, cause: Cause) -> None:
    assert cause_of(ending) == cause


def test_code_and_signal_exclude_each_other() -> None:
    assert (Ending(status=_exit(4)).code, Ending(status=_exit(4)).signal) == (4, None)
    assert (Ending(status=11).code, Ending(status=11).signal) == (None, 11)
    assert (Ending(status=None).code, Ending(status=None).signal) == (None, _KILLED)
