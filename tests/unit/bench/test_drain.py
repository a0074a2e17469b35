from __future__ import annotations

import os

import drain


def test_every_bar_speaks_of_a_metric_and_a_contender_that_exist() -> None:
    for bar in drain.BARS:
        assert bar.metric in drain.UNITS
        assert bar.who in drain.SIZES
        assert not bar.theirs or bar.theirs in drain.SIZES


def test_memory_is_that_of_the_process() -> None:
    before = drain.resident_mb(os.getpid())
    held = bytearray(os.urandom(50_000_000))
    assert 45 < drain.resident_mb(os.getpid()) - before < 120
    assert len(held) == 50_000_000
