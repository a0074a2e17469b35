"""Named crash points: places where a test, or a person, asks this process to die."""

from squall.faults.crash import EXIT_CODE, VARIABLE, declare, names, point

__all__ = ["EXIT_CODE", "VARIABLE", "declare", "names", "point"]
