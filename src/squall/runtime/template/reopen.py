"""Reopen: the files that a template holds, given to a child as its own."""

import os
from collections.abc import Iterable


def reopen(keep: Iterable[int]) -> tuple[int, ...]:
    """Give the descriptors of a verdict's `keep` a position of their own, and say which the child must leave open.

    For the child, right after the fork: before it changes its root or loses /proc. One that cannot be opened again is
    left out, so that it is closed with all others: an error where it is used, rather than a neighbour's position.
    """
    kept = []
    for number in keep:
        try:
            position = _position(number)
            again = os.open(f"/proc/self/fd/{number}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if position is not None:
                os.lseek(again, position, os.SEEK_SET)
            os.dup2(again, number, inheritable=False)
            kept.append(number)
        finally:
            os.close(again)
    return tuple(kept)


def _position(number: int) -> int | None:
    try:
        return os.lseek(number, 0, os.SEEK_CUR)
    except OSError:
        return None  # A device without one.
