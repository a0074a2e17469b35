"""A template in order for being forked from: its memory is the same as before, in huge pages where the kernel has them."""

from __future__ import annotations

import pytest

from tests.linux.template.process import run

pytestmark = pytest.mark.needs("linux")


def test_memory_moves_into_huge_pages_and_stays_what_it_was() -> None:
    before, after, eligible, collapsed, same = run(
        """
        import mmap
        def huge():
            with open("/proc/self/smaps") as file:
                return sum(int(line.split()[1]) for line in file if line.startswith("AnonHugePages:"))
        memory = mmap.mmap(-1, 32 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for page in range(0, len(memory), 4096):
            memory[page] = page >> 12 & 0xFF
        before = huge()
        found = collapse.settle()
        same = all(memory[page] == page >> 12 & 0xFF for page in range(0, len(memory), 4096))
        say([before, huge(), found.eligible, found.collapsed, same])
        """
    )
    assert same
    assert eligible >= 28 << 20
    assert collapsed <= eligible
    # A kernel without it (below 6.1) leaves everything as it was.
    assert after - before >= collapsed // 1024 - 2048 if collapsed else after == before


def test_a_settled_template_is_forked_and_its_children_live() -> None:
    assert run(
        """
        collapse.settle()
        say(siblings(lambda: sum(range(1000))))
        """
    ) == [499500, 499500]


def test_closed_streams_are_no_hindrance() -> None:
    assert run(
        """
        sys.stdout, sys.stderr = None, open(os.devnull, "w")
        sys.stderr.close()
        collapse.settle()
        sys.stdout = sys.__stdout__
        say(True)
        """
    )
