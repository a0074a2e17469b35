"""The blocking face: one event loop in one thread, started when first needed, made anew in a forked child."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from squall.context.current import NotInTemplateError, in_container

T = TypeVar("T")


class LoopThread:
    """The loop on which everything of the client runs."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name="squall", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def post(self, callback: Callable[..., object], *args: Any) -> None:
        """Calls back on the loop, soon."""
        self.loop.call_soon_threadsafe(callback, *args)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` gives, waited for here. An interrupt cancels it."""
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("a blocking call from within the client's own loop would wait for itself")
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


_current: LoopThread | None = None
_lock = threading.Lock()


def loop_thread() -> LoopThread:
    """The loop thread of this process. A fork leaves threads behind, so a child gets its own.

    Raises NotInTemplateError in a template, which is to be forked and must have no thread.
    """
    global _current  # noqa: PLW0603 - one loop a process is the point of this module
    found = _current
    if found is not None and found.pid == os.getpid():
        return found
    here = in_container()
    if here is not None and here.link is None:
        raise NotInTemplateError
    with _lock:
        if _current is None or _current.pid != os.getpid():
            _current = LoopThread()
        return _current


def _after_fork() -> None:
    global _current, _lock
    _current, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def run_blocking(work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives, run on the client's loop."""
    return loop_thread().run(work)


async def run_here(work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives, run on the client's loop and awaited on the caller's."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop_thread().loop))
