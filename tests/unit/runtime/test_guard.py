"""A slip of ours with one container does not bring down the others."""

from __future__ import annotations

import sys

import pytest

from squall.runtime.launcher.guard import guarded


def test_what_raises_is_said_and_not_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    done: list[str] = []
    guarded(lambda: 1 // 0, then=lambda: done.append("unregistered"))
    assert done == ["unregistered"]
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_what_does_not_raise_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    guarded(lambda: None, then=lambda: pytest.fail("nothing was wrong"))
    assert not capsys.readouterr().err


def test_an_end_is_passed_on() -> None:
    with pytest.raises(SystemExit):
        guarded(lambda: sys.exit(3))
