from __future__ import annotations

from hypothesis import given, strategies as st

from squall.model.ids import ContainerId, FunctionId
from squall.state.log_lines import (
    LogEntry,
    LogFilter,
    LogLimits,
    LogStream,
    Segment,
    decode_entries,
    encode_entry,
    surplus,
)

ids = st.sampled_from(["co-a", "co-b", "fu-a", 'c"\\'])
anything = st.text(st.characters(codec=None, exclude_categories=[]))
entries = st.builds(
    lambda at_s, container, function, stream, text: LogEntry(
        at_s=at_s,
        container=ContainerId(container),
        function=FunctionId(function),
        stream=stream,
        text=text,
    ),
    st.integers(0, 2_000_000_000).map(float),
    ids.filter(lambda one: "\\" not in one),
    ids.filter(lambda one: "\\" not in one),
    st.sampled_from(LogStream),
    anything,
)


@given(st.lists(entries))
def test_whatever_is_said_comes_back_one_line_each(said: list[LogEntry]) -> None:
    written = b"".join(map(encode_entry, said))
    assert written.isascii()
    assert decode_entries(written.splitlines(), LogFilter()) == said


@given(st.lists(entries), st.none() | ids, st.none() | ids, st.none() | st.floats(0, 2e9))
def test_the_filter_takes_what_it_names(
    said: list[LogEntry], container: str | None, function: str | None, since_s: float | None
) -> None:
    wanted = LogFilter(
        container=None if container is None else ContainerId(container),
        function=None if function is None else FunctionId(function),
        since_s=since_s,
    )
    found = decode_entries(map(encode_entry, said), wanted)
    assert found == [entry for entry in said if wanted.takes(entry)]


@given(st.binary())
def test_no_bytes_break_the_reader(garbage: bytes) -> None:
    decode_entries(garbage.splitlines(), LogFilter())


segments = st.lists(
    st.builds(
        lambda number, size, written_s: Segment(number=number, size=size, written_s=written_s),
        st.integers(0, 50),
        st.integers(0, 100),
        st.floats(0, 1000),
    ),
    max_size=10,
    unique_by=lambda segment: segment.number,
)


@given(segments, st.integers(1, 500), st.floats(0, 500))
def test_files_go_for_their_age_or_while_there_are_too_many_bytes(
    kept: list[Segment], app_bytes: int, keep_s: float
) -> None:
    limits = LogLimits(app_bytes=app_bytes, keep_s=keep_s)
    going = surplus(kept, limits, 1000.0)
    left = [segment for segment in kept if segment.number not in going]
    assert all(1000.0 - segment.written_s <= keep_s for segment in left)
    newest = max((segment.number for segment in kept), default=None)
    assert sum(segment.size for segment in left) <= app_bytes or [s.number for s in left] == [newest]
    young = [segment for segment in kept if 1000.0 - segment.written_s <= keep_s]
    gone_young = [segment.number for segment in young if segment.number in going]
    assert all(number < segment.number for number in gone_young for segment in left)
