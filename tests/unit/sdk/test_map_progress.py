"""How far maps are, as a person reads it: bars on a terminal, lines some seconds apart elsewhere, HTML in a notebook."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given, strategies as st

from squall.sdk.map_progress import (
    LINE_EVERY_S,
    MapBar,
    MapSeen,
    bar,
    bar_line,
    begin_map,
    begin_showing,
    end_showing,
    ended_in_words,
    in_words,
    shown_name,
)
from squall.sdk.outcome import Failure
from squall.sdk.output import Lines, NotebookBars, Silence, ToldLines, bars_text, enable_output
from squall.sdk.status_line import StatusLine

_GOLDEN = """\
squares: 0 of 1,000 (0 %)
squares: 412 of 1,000 (41 %), 34/s, 17 s left
squares: 999 of 1,000 (99 %), 3 failed, 8.3/s, 0.1 s left
squares: 1,000 of 1,000 (100 %), 8.3/s
squares: 5 done of 20 so far, 2.5/min
squares: 3 of 7,205 (0 %), 0.2/s, 13 h 19 min left
"""


def seen(**changes: Any) -> MapSeen:
    known = {"name": "squares", "total": 1000, "sent": 1000, "done": 0, "failed": 0, "took_s": 0.0}
    return MapSeen(**{**known, **changes})


def test_lines_say_how_far_it_is() -> None:
    shown = [
        seen(),
        seen(done=412, took_s=12.0),
        seen(done=999, failed=3, took_s=120.0),
        seen(done=1000, took_s=120.0),
        seen(total=None, sent=20, done=5, took_s=120.0),
        seen(total=7205, done=3, took_s=19.99),
    ]
    assert "".join(in_words(one) + "\n" for one in shown) == _GOLDEN


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (seen(done=1000, took_s=24.06), "squares: 1,000 in 24 s"),
        (seen(done=1000, failed=2, took_s=200.0), "squares: 1,000 in 3 min 20 s, 2 failed"),
        (seen(done=10, took_s=2.0), "squares: 10 of 1,000 in 2.0 s, not ended"),
        (seen(total=0, sent=0, took_s=0.1), "squares: 0 in 0.1 s"),
    ],
)
def test_an_end_says_what_became_of_it(one: MapSeen, said: str) -> None:
    assert ended_in_words(one) == said


def test_a_bar_is_as_long_as_it_is_told() -> None:
    assert [bar(part, 4) for part in (0.0, 0.1, 0.5, 0.9, 1.0)] == ["────", "╸───", "━━──", "━━━╸", "━━━━"]
    assert bar_line(seen(done=412, took_s=12.0), width=60) == (
        "squares  ━━━━━━━━━╸─────────────  412/1,000  41 %  17 s left"
    )
    assert bar_line(seen(done=412, took_s=12.0), width=40) == "squares  412/1,000  41 %  17 s left"


@given(
    name=st.text(min_size=1, max_size=60),
    total=st.none() | st.integers(0, 10**7),
    done=st.integers(0, 10**7),
    failed=st.integers(0, 100),
    took_s=st.floats(0, 1e6),
    width=st.integers(10, 200),
)
def test_a_bar_never_takes_two_lines(
    name: str, total: int | None, done: int, failed: int, took_s: float, width: int
) -> None:
    one = seen(name=name, total=total, sent=done, done=done, failed=failed, took_s=took_s)
    assert len(bar_line(one, width=width)) <= width
    assert len(bars_text([one, one], width=width + 12)) <= width + 12


def test_lines_are_seconds_apart_and_short_maps_have_none() -> None:
    told = ToldLines()
    assert told.lines([seen(took_s=1.0)], None, now_s=1.0) == []
    assert told.lines([], seen(done=1000, took_s=2.0), now_s=2.0) == []
    lines = [
        line
        for second in range(600)
        for line in told.lines([seen(done=second, took_s=second / 10)], None, now_s=second / 10)
    ]
    assert len(lines) == (60 - LINE_EVERY_S) / LINE_EVERY_S
    assert told.lines([], seen(done=1000, took_s=60.0), now_s=60.0) == ["squares: 1,000 in 1 min 0 s"]


@pytest.mark.parametrize(
    ("function", "name"),
    [
        ("ap-1/f", "f"),
        ("@main/app/Model.run@3", "Model.run"),
        ("ap-1/Model.run@k1", "Model.run"),
        ('ap-1/f?{"gpu":"a/b"}', "f"),
        ("ap-1/f~12", "f"),
    ],
)
def test_a_function_has_the_name_that_its_author_gave(function: str, name: str) -> None:
    assert shown_name(function) == name


class Counted:
    """A map that somebody else drives."""

    total: int | None = 2
    progress = (2, 0)


def test_what_was_shown_last_is_told_and_a_map_is_gone_once_it_is_over() -> None:
    assert begin_map(Counted(), "ap-1/f") is None
    told: list[tuple[list[MapSeen], MapSeen | None]] = []

    class Shower:
        def maps(self, running: Any, ended: MapSeen | None) -> None:
            told.append((list(running), ended))

    outer, inner = Silence(), Shower()
    begin_showing(outer)
    begin_showing(inner)
    try:
        call = Counted()
        started = begin_map(call, "ap-1/f")
        assert isinstance(started, MapBar)
        call.progress = (2, 1)
        started.moved([(0, Failure(ValueError()))])
        started.moved([(1, 5)])
        started.over()
    finally:
        end_showing(inner)
        end_showing(outer)
    (running, none), (rest, ended) = told
    assert none is None
    assert [(one.name, one.done, one.failed) for one in running] == [("f", 1, 1)]
    assert rest == []
    assert ended is not None
    assert ended.failed == 1
    end_showing(inner)


def test_a_line_goes_to_the_stream_that_was_given() -> None:
    stream = io.StringIO()
    Lines(stream).maps([], seen(done=1000, took_s=9.0))
    assert stream.getvalue() == "squares: 1,000 in 9.0 s\n"


def test_output_can_be_enabled_in_blocks() -> None:
    with enable_output(show_progress=False), enable_output():
        assert begin_map(Counted(), "ap-1/f") is not None
    assert begin_map(Counted(), "ap-1/f") is None


def test_a_notebook_has_one_display_for_each_map_that_changes_in_place() -> None:
    shown: list[Any] = []

    class Handle:
        def update(self, bar: object) -> None:
            shown.append(bar)

    def display(bar: object, *, display_id: bool) -> Handle:
        assert display_id
        shown.append(bar)
        return Handle()

    bars = NotebookBars(display)
    bars.maps([seen(name="a<b", done=100, took_s=1.0)], None)
    bars.maps([seen(name="a<b", done=500, took_s=2.0)], None)
    bars.maps([], seen(name="a<b", done=1000, took_s=3.0))
    assert [repr(one).partition(",")[0] for one in shown] == ["a<b: 100 of 1", "a<b: 500 of 1", "a<b: 1"]
    html = shown[1]._repr_html_()
    assert 'value="0.5000"' in html
    assert "a&lt;b" in html
    assert "a<b" not in html


def test_the_status_line_makes_way_for_what_is_written() -> None:
    stream = io.StringIO()
    line = StatusLine(stream, live=True)
    line.show("half way")
    line.write_around(stream, "no end")
    line.show("further")
    line.write_around(stream, " yet\n")
    line.show("")
    text = stream.getvalue()
    assert text == ("\x1b[36m⠿ half way\x1b[0m\r\x1b[2Kno end yet\n\x1b[36m⠿ further\x1b[0m\r\x1b[2K")


def test_where_no_line_can_be_drawn_none_is() -> None:
    stream = io.StringIO()
    line = StatusLine(stream, live=False)
    line.show("half way")
    line.write_line("a line")
    assert stream.getvalue() == "a line\n"
