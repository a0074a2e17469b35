"""Calls whose arguments lie ready."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given, strategies as st

from squall.runtime.syscalls import Prepared, _between


def test_calls_are_made_in_their_order_and_none_after_one_that_fails() -> None:
    made: list[int] = []

    def call(number: int) -> int:
        made.append(number)
        return -1 if number == 2 else number

    with pytest.raises(OSError, match="the second"):
        Prepared((call, (1,), "the first"), (call, (2,), "the second"), (call, (3,), "the third")).make()
    assert made == [1, 2]


@given(st.sets(st.integers(0, 40)))
def test_between_the_descriptors_that_stay_lie_all_others(kept: set[int]) -> None:
    ranges = _between(tuple(kept))
    within = {number for first, last in ranges for number in range(first, min(last, 60) + 1)}
    assert within == set(range(61)) - kept
    assert ranges[-1][1] == 2**32 - 1
    assert all(first <= last for first, last in ranges)


def test_a_session_is_ones_own_under_its_name_with_no_other_descriptor() -> None:
    program = """
    import os, sys
    from squall.runtime import syscalls
    session, alone = syscalls.own_session("squall-runner"), syscalls.only((0, 1, 2))
    os.open("/dev/null", os.O_RDONLY)
    session.make()
    alone.make()
    with open("/proc/self/comm") as comm, open("/proc/self/cmdline", "rb") as line:
        print(os.getsid(0) == os.getpid(), comm.read().strip(), line.read().strip(b" \\0").decode())
    print(sorted(os.listdir("/proc/self/fd")))
    """
    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": "src"},
    ).stdout.splitlines()
    assert said == ["True squall-runner squall-runner", "['0', '1', '2', '3']"]
