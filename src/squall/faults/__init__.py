"""Named crash points: places where a test, or a person, asks this process to die."""

from squall.faults.crash import (
    COUNT,
    EXIT_CODE,
    NOTES_VARIABLE,
    VARIABLE,
    declare,
    environment,
    names,
    passed,
    point,
    struck,
)

__all__ = [
    "COUNT",
    "EXIT_CODE",
    "NOTES_VARIABLE",
    "VARIABLE",
    "declare",
    "environment",
    "names",
    "passed",
    "point",
    "struck",
]
