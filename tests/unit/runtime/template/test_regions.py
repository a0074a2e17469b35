"""Which memory is worth huge pages: whole ones, of the process's own, that it has really touched."""

from __future__ import annotations

from hypothesis import given, strategies as st

from squall.runtime.template.regions import HUGE, Region, collapsible

SMAPS = """\
55d0c0000000-55d0c0800000 rw-p 00000000 00:00 0                          [heap]
Size:               8192 kB
Rss:                8192 kB
Anonymous:          8000 kB
VmFlags: rd wr mr mw me ac sd
7f0000100000-7f0000900000 rw-p 00000000 00:00 0
Anonymous:          8192 kB
7f1000000000-7f1004000000 rw-p 00000000 00:00 0
Anonymous:           128 kB
7f2000000000-7f2000800000 rw-s 00000000 00:01 77                         /dev/zero (deleted)
Anonymous:          8192 kB
7f3000000000-7f3000800000 rw-p 00000000 fe:00 99                         /usr/lib/libc.so.6
Anonymous:          8192 kB
7f4000000000-7f4000800000 ---p 00000000 00:00 0
Anonymous:             0 kB
7f5000000000-7f5000800000 rw-p 00000000 00:00 0                          [anon:libc_malloc]
Anonymous:          8192 kB
7ffc00000000-7ffc00800000 rw-p 00000000 00:00 0                          [stack]
Anonymous:          8192 kB
"""


def test_whole_huge_pages_of_touched_private_memory_are_found() -> None:
    assert collapsible(SMAPS) == (
        Region(start=0x55D0C0000000, length=4 * HUGE),
        Region(start=0x7F0000200000, length=3 * HUGE),
        Region(start=0x7F5000000000, length=4 * HUGE),
    )


def test_without_the_amounts_everything_counts_as_touched() -> None:
    maps = "".join(line + "\n" for line in SMAPS.splitlines() if "-" in line.split()[0])
    assert Region(start=0x7F1000000000, length=32 * HUGE) in collapsible(maps)
    assert len(collapsible(maps)) == 4


def test_nothing_is_found_where_nothing_can_be_read() -> None:
    assert collapsible("") == ()


@given(
    st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 4000), st.sampled_from(["rw-p", "r--p", "rw-s"])))
)
def test_what_is_found_is_whole_and_lies_within_what_is_there(areas: list[tuple[int, int, str]]) -> None:
    spans, at, lines = [], 0x10000, []
    for gap, pages, flags in areas:
        start = at + gap * 4096
        at = start + pages * 4096
        lines.append(f"{start:x}-{at:x} {flags} 00000000 00:00 0 \n")
        spans += [(start, at)] if flags == "rw-p" else []
    found = collapsible("".join(lines))
    for region in found:
        assert region.start % HUGE == region.length % HUGE == 0
        assert any(
            start <= region.start
            and region.start + region.length <= end
            and end - start - region.length < 2 * HUGE
            for start, end in spans
        )
    assert len(found) <= len(spans)
