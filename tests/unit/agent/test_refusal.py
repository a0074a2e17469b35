"""What the server is told of what an agent could not do."""

from __future__ import annotations

import errno

import pytest

from squall.agent.refusal import refusal
from squall.model.errors import ContainerStartError, Error, StartupTimeout, TooManyFiles


def test_what_has_a_name_keeps_it() -> None:
    named = StartupTimeout("late", limit_s=1.0)
    assert refusal(named) is named


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_a_want_of_descriptors_is_told_with_what_to_do(number: int) -> None:
    told = refusal(OSError(number, "Too many open files"), kind=ContainerStartError)
    assert type(told) is TooManyFiles
    assert "ulimit -n" in (told.remedy or "")


def test_anything_else_is_of_the_kind_that_is_asked_for() -> None:
    assert str(refusal(FileNotFoundError("no such thing"), kind=ContainerStartError)).startswith(
        "FileNotFoundError: no such thing"
    )
    assert type(refusal(ValueError("x"))) is Error
