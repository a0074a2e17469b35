"""Explanation: why an error happens, and an example of it and of the way out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the error's own sentence and remedy leave open. example: Python, or commands after a `$`."""

    why: str
    example: str
