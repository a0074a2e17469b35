"""Pager: inputs of durable calls that wait on record, brought into the line a little at a time, call by call in turn."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from squall.model.call import Verb
from squall.model.errors import Error, StoreClosed
from squall.model.ids import CallId, FunctionId
from squall.server.calls import LOW, Calls
from squall.server.records import FunctionRecord
from squall.state.spans import Span

HIGH: Final = 2 * LOW
"""How many inputs of a function stand in line before the others wait on record."""
MOST_BYTES: Final = 64 * 2**20
FEW: Final = 16
"""So many may stand in line however large they are."""
AT_ONCE: Final = 32
AGAIN_S: Final = 1.0
_log = logging.getLogger("squall.server")


@dataclass(slots=True)
class Page:
    """What of one call waits on record.

    spans: runs of its inputs, ascending. on_record: how many inputs are there in all so far; total: how many there will be,
    once that is known. tried: the last attempt of those that had one. again: they may have begun before.
    """

    call: CallId
    function: FunctionId
    verb: Verb
    created_s: float
    parent: str = ""
    # There may be a hundred thousand pages: a deque, or a dict for each, would be most of what they take.
    spans: list[Span] = field(default_factory=list)
    on_record: int = 0
    total: int | None = None
    tried: Mapping[int, int] | None = None
    again: bool = False

    @property
    def left(self) -> int:
        """How many inputs wait."""
        return sum(stop - start for start, stop in self.spans)

    def extend(self, start: int, stop: int, total: int | None) -> int:
        """Further inputs are on record; those known already are passed over. How many were new."""
        fresh = max(0, stop - max(start, self.on_record))
        if fresh and self.spans and self.spans[-1][1] == self.on_record:
            self.spans[-1] = (self.spans[-1][0], stop)
        elif fresh:
            self.spans.append((self.on_record, stop))
        self.on_record = max(self.on_record, stop)
        self.total = total if self.total is None else self.total
        return fresh


Load = Callable[[Page], Awaitable[None]]


class Pager:
    """The pages of every function. load(page): brings its next inputs into the line, and says so with `took`."""

    def __init__(self, calls: Calls, load: Load) -> None:
        self._calls = calls
        self._load = load
        self._pages: dict[CallId, Page] = {}
        self._queues: dict[FunctionId, deque[CallId]] = {}
        self._some = asyncio.Event()
        calls.on_low = self._some.set

    def __contains__(self, call: CallId) -> bool:
        return call in self._pages

    def function_of(self, call: CallId) -> FunctionId | None:
        """The function of a call that waits here."""
        page = self._pages.get(call)
        return None if page is None else page.function

    def __len__(self) -> int:
        return len(self._pages)

    def is_wanted(self, function: FunctionRecord, *, large: bool) -> bool:
        """Whether more of a function's inputs wait on record for now."""
        return not self._has_room(function, large=large)

    def put(self, page: Page) -> None:
        """A call waits on record from now on."""
        function = self._calls.functions.get(page.function)
        if function is not None:
            self._pages[page.call] = page
            self._queues.setdefault(page.function, deque()).append(page.call)
            function.paged += page.left
            self._some.set()

    def extend(self, call: CallId, start: int, stop: int, total: int | None) -> None:
        """More inputs of a call that waits here."""
        page = self._pages[call]
        function = self._calls.functions.get(page.function)
        fresh = page.extend(start, stop, total)
        if function is not None:
            function.paged += fresh
        self._some.set()

    def holds(self, page: Page) -> bool:
        """Whether this page still waits: its call may have been dropped while its inputs were read."""
        return self._pages.get(page.call) is page

    def took(self, page: Page, upto: int) -> None:
        """The inputs of a page before `upto` are in line now; a page of which none are left is gone."""
        before = page.left
        while page.spans and page.spans[0][0] < upto:
            stop = page.spans.pop(0)[1]
            if stop > upto:
                page.spans.insert(0, (upto, stop))
        function = self._calls.functions.get(page.function)
        if function is not None:
            function.paged -= before - page.left
        if not page.spans:
            del self._pages[page.call]

    async def load_all(self, page: Page) -> None:
        """Puts a page, and brings all of it into the line at once."""
        self.put(page)
        while self.holds(page) and page.spans:
            await self._load(page)

    def drop(self, call: CallId) -> None:
        """A call is over: what waits of it does not run."""
        page = self._pages.pop(call, None)
        function = self._calls.functions.get(page.function) if page is not None else None
        if page is not None and function is not None:
            function.paged -= page.left

    def drop_function(self, function: FunctionId) -> list[CallId]:
        """A function is gone; the calls of which nothing was brought into the line."""
        queue = self._queues.pop(function, deque())
        gone = [call for call in queue if self._pages.pop(call, None) is not None]
        return [call for call in gone if call not in self._calls.calls]

    async def run(self) -> None:
        """Fills lines that run low, for ever."""
        while True:
            await self._some.wait()
            self._some.clear()
            for function in list(self._queues):
                try:
                    await self._fill(function)
                except StoreClosed:
                    return
                except Error as problem:
                    _log.error("inputs on record cannot be read, and are asked for again: %s", problem)
                    asyncio.get_running_loop().call_later(AGAIN_S, self._some.set)

    async def _fill(self, name: FunctionId) -> None:
        while (function := self._calls.functions.get(name)) is not None and self._has_room(function):
            pages = self._next(name, HIGH - function.line.waiting - function.line.resting)
            if not pages:
                self._queues.pop(name, None)
                return
            results = await asyncio.gather(*map(self._load, pages), return_exceptions=True)
            for page in pages:
                if self.holds(page) and page.spans:
                    self._queues.setdefault(name, deque()).append(page.call)
            for wrong in results:
                if isinstance(wrong, BaseException):
                    raise wrong

    def _next(self, name: FunctionId, room: int) -> list[Page]:
        """The calls whose turn it is, as many as fill the room."""
        queue = self._queues.get(name, deque())
        found: list[Page] = []
        while queue and room > 0 and len(found) < AT_ONCE:
            page = self._pages.get(queue.popleft())
            if page is not None:
                found.append(page)
                room -= page.left
        return found

    def _has_room(self, function: FunctionRecord, *, large: bool = False) -> bool:
        waiting = function.line.waiting + function.line.resting
        full = large or self._calls.pending_bytes >= MOST_BYTES
        return waiting < (FEW if full else HIGH)
