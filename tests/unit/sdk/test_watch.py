"""How the output of several containers shares one terminal."""

from __future__ import annotations

import pytest

from squall.sdk.watch import Output


def shown(capsys: pytest.CaptureFixture[str], *records: tuple[str, str]) -> str:
    output = Output()
    for container, text in records:
        data = text.encode()
        output.write({"log": "f", "container": container, "L": [["o", len(data), 0.0]]}, memoryview(data))
    return capsys.readouterr().out


def test_one_container_is_shown_as_it_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, ("a", "no end"), ("a", " yet\n"), ("a", "next\n")) == "no end yet\nnext\n"


def test_lines_are_prefixed_once_there_are_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, ("a", "1\n"), ("b", "2\n3\n"), ("a", "4\n")) == "1\n[f 2] 2\n[f 2] 3\n[f 1] 4\n"


def test_a_line_that_goes_on_is_prefixed_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, ("a", "\n"), ("b", "be"), ("b", "gun\nx\n")) == "\n[f 2] begun\n[f 2] x\n"


def test_a_line_without_end_is_ended_for_another_container(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, ("a", "no end"), ("b", "new\n"), ("a", "on\n")) == "no end\n[f 2] new\n[f 1] on\n"


def test_only_a_newline_ends_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, ("a", "\n"), ("b", "one\x0cstill\x85one\n")) == "\n[f 2] one\x0cstill\x85one\n"
