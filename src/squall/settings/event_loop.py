"""Event loop: the faster one where it is installed, the standard library's where it is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_factory: Callable[[], asyncio.AbstractEventLoop]
try:
    import uvloop
except ImportError:
    _factory = asyncio.new_event_loop
else:
    _factory = uvloop.new_event_loop


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the loop of a server or an agent."""
    return _factory
