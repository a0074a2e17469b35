"""Collapse: a template's memory made cheap to fork, once, after its imports."""

import gc
import sys
from dataclasses import dataclass

from squall.runtime import syscalls
from squall.runtime.template import regions


@dataclass(frozen=True, slots=True, kw_only=True)
class Collapsed:
    """What it came to: bytes that huge pages were asked for, and bytes that got them."""

    eligible: int
    collapsed: int


def settle() -> Collapsed:
    """Put the process in order for being forked from: rubbish collected, output sent, memory in huge pages.

    What waits in a buffer would be printed again by every child.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # It is closed, or there is none: nothing waits in it.
    syscalls.flush_c_streams()
    gc.collect()
    gc.freeze()
    return collapse()


def collapse() -> Collapsed:
    """Move the process's own writable memory into huge pages, where the kernel can (from 6.1); else leave it."""
    text = _read("/proc/self/smaps") or _read("/proc/self/maps")
    wanted = regions.collapsible(text)
    done = sum(region.length for region in wanted if syscalls.collapse(region.start, region.length))
    return Collapsed(eligible=sum(region.length for region in wanted), collapsed=done)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
