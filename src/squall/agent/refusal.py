"""Refusal: what the server is told when something kept this agent from doing what was asked."""

from __future__ import annotations

import errno
from typing import Final

from squall.model.errors import Error, TooManyFiles

OUT_OF_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE})


def refusal(problem: Exception, *, kind: type[Error] = Error) -> Error:
    """The error for `problem`: itself if it has a name, TooManyFiles for want of descriptors, which passes; else one of `kind`."""
    if isinstance(problem, Error):
        return problem
    if isinstance(problem, OSError) and problem.errno in OUT_OF_FILES:
        return TooManyFiles(
            f"the agent of this machine can open no further file: {problem}",
            remedy="start `squall up` or `squall join` there with a higher limit of open files (`ulimit -n`)",
        )
    return kind(f"{type(problem).__name__}: {problem}")
