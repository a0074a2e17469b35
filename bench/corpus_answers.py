"""Answers: modules loaded by name, and what they give compared with what they have to give."""

from __future__ import annotations

import importlib
from typing import Any


def load(name: str) -> Any:
    """A module of the package, imported here where the template did not."""
    return importlib.import_module(name)


def expect(got: object, wanted: object) -> None:
    """Raises WrongError unless both are the same."""
    if got != wanted:
        raise WrongError(f"got {got!r}, not {wanted!r}")


def expect_close(got: float, wanted: float, *, within: float = 1e-3) -> None:
    """Raises WrongError unless both are the same but for rounding."""
    if not abs(got - wanted) <= within * max(1.0, abs(wanted)):
        raise WrongError(f"got {got!r}, not {wanted!r}")


class WrongError(Exception):
    """The package gave another result in a fork than it has to."""
