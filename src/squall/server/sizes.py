"""Sizes: how the wire says how long packed values are, checked before anybody relies on them.

A value's size is a number (bytes in the payload), a list of numbers (buffers, one after another in the payload), or a
dict that names a descriptor beside the frame.
"""

from __future__ import annotations

from typing import Any


def measure(sizes: Any, *, fds: int) -> int:
    """How many bytes of payload these sizes stand for; fds: how many descriptors came along.

    Raises ValueError for what is no list of sizes, or names a descriptor that is not there.
    """
    if type(sizes) is not list:
        raise ValueError("sizes are a list")
    try:
        total = sum(sizes)
        if type(total) is int and (not sizes or min(sizes) >= 0):
            return total
    except TypeError:
        return sum(_measure_one(size, fds) for size in sizes)
    raise ValueError("a size is a number of bytes")


def inline(size: Any) -> int:
    """How many bytes of payload one size stands for, once it was measured."""
    if type(size) is int:
        return size
    return sum(size) if type(size) is list else 0


def _measure_one(size: Any, fds: int) -> int:
    if type(size) is list:
        parts = size
    elif type(size) is dict:
        if type(size.get("f")) is not int or not 0 <= size["f"] < fds or type(size.get("l")) is not list:
            raise ValueError("a size names a descriptor that did not come along")
        measure(size["l"], fds=0)
        return 0
    else:
        parts = [size]
    if not all(type(part) is int and part >= 0 for part in parts):
        raise ValueError("a size is a number of bytes")
    return sum(parts)
