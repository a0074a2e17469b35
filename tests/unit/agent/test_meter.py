"""The meter: what containers take, summed from looks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from squall.agent.meter import Meter, Taken, look
from squall.runtime.process_tree import descendants

MIB = 2**20


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_memory_is_summed_over_time_and_core_seconds_are_the_last_that_were_seen() -> None:
    clock = Clock()
    meter = Meter(clock)
    meter.begin("co-1")
    clock.now_s += 5
    meter.note({"co-1": Taken(0.5, 10 * MIB), "co-gone": Taken(9.0, MIB)})
    clock.now_s += 5
    meter.note({"co-1": Taken(0.75, 20 * MIB)})
    assert meter.rows() == [("co-1", 0.75, 150.0 * MIB)]
    clock.now_s += 2
    assert meter.end("co-1", peak_bytes=99 * MIB) == 190.0 * MIB
    assert meter.rows() == []
    assert meter.end("co-1", peak_bytes=None) is None


def test_one_that_ended_before_the_first_look_took_its_peak() -> None:
    clock = Clock()
    meter = Meter(clock)
    meter.begin("co-1")
    assert meter.rows() == []
    clock.now_s += 2
    assert meter.end("co-1", peak_bytes=3 * MIB) == 6.0 * MIB


@pytest.mark.needs("linux")
def test_a_look_finds_what_processes_and_their_children_take() -> None:
    program = (
        "import subprocess, sys, time\n"
        "if sys.argv[1:]:\n"
        "    subprocess.Popen([sys.executable, __file__])\n"
        "held = bytearray(64 << 20)\n"
        "began = time.process_time()\n"
        "while time.process_time() - began < 0.3: pass\n"
        "print('there', flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program.replace("__file__", "'-c', 'import time; time.sleep(60)'"), "more"],
        stdout=subprocess.PIPE,
    )
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"there\n"
        (taken,) = look({"co-1": (0, parent.pid)}).values()
        assert 64 * MIB <= taken.used_bytes < 200 * MIB
        assert 0.3 <= taken.cpu_s < 10
    finally:
        for pid in descendants(parent.pid):
            subprocess.run(["kill", "-9", str(pid)], check=False)
        parent.wait()
        if parent.stdout is not None:
            parent.stdout.close()
    assert look({"co-1": (parent.pid,)})["co-1"] == Taken(0.0, 0)
