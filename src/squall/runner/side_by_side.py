"""Side by side: several inputs at once in one container, each in a thread or a task of its own."""

from __future__ import annotations

import asyncio
import importlib
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from squall.context.current import CurrentInput, current_input
from squall.model.errors import Error, FunctionTimeout, InputCancelled, ResultTooLarge, SerializationError
from squall.model.function import Function
from squall.runner import limits, raised, stdio
from squall.runner.callee import Callee, Callees
from squall.runner.credits import Credits
from squall.runner.leased import LeasedInput, arguments, runs_of
from squall.runner.link import RunnerLink
from squall.runner.outcomes import Outcomes
from squall.runner.run import is_stopping
from squall.wire.lent import Borrowed

STOP_S = 2.0
"""How long inputs that run may take to their end when the container is to end."""


@dataclass(slots=True, eq=False)
class _Running:
    """One input that runs. reason: why it is to end; told: whether its code has been interrupted for that.

    in_user: whether its thread runs the user's code, and not ours: only there it may be interrupted. task: None in a thread.
    """

    item: LeasedInput
    started: float
    borrowed: Borrowed = field(default_factory=Borrowed)
    lock: Any = field(default_factory=threading.Lock)
    thread: int = 0
    task: asyncio.Task[None] | None = None
    in_user: bool = False
    reason: BaseException | None = None
    told: bool = False


class SideBySide:
    """Runs inputs as they come, for as long as the server gives some; the main thread has the loop, and waits for the end."""

    def __init__(self, function: Function, callees: Callees, link: RunnerLink, source: str) -> None:
        self._function = function
        self._callees = callees
        self._source = source
        self._outcomes = Outcomes(link)
        self._credits = Credits()
        self._lock = threading.Lock()
        self._running: set[_Running] = set()
        self._early: list[LeasedInput] | None = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = asyncio.Event()
        stdio.keep_apart()

    # What the reader thread calls.

    def lease(self, inputs: deque[LeasedInput]) -> None:
        """Takes inputs in hand: each begins at once."""
        with self._lock:
            if self._early is not None:
                self._early += inputs
                return
        for item in inputs:
            self._begin(item)

    def bound_results(self, largest: int) -> None:
        """No result of more bytes than this travels."""
        self._outcomes.largest = largest

    def make_way(self) -> None:
        """Nothing waits here that could be given back."""

    def stop(self) -> None:
        """Ends `run` once what is in hand is done."""
        with self._lock:
            loop = self._loop
            if loop is None:
                self._ended.set()
        if loop is not None:
            loop.call_soon_threadsafe(self._ended.set)

    def credit(self, call: str, items: int, upto: int | None = None) -> None:
        """See `Credits.add`."""
        self._credits.add(call, items, upto)

    def interrupt(self, call: str, start: int, stop: int, why: str) -> None:
        """Ends inputs of a call that run; why: "cancel" or "timeout"."""
        with self._lock:
            hit = [one for one in self._running if _is_of(one.item, call, start, stop)]
        for one in hit:
            self._end(one, self._reason(why))
        self._credits.wake()

    def holding(self) -> list[list[Any]]:
        """The runs [call, start, stop, attempt] in hand."""
        with self._lock:
            found = [item.where for item in self._early or ()]
            found += sorted(one.item.where for one in self._running)
        return runs_of(found + self._outcomes.gathered())

    # What the main thread does.

    def run(self) -> None:
        """Runs inputs until `stop`, and the last of them to its end."""
        loop = self._callees.loop
        try:
            loop.run(self._serve())
        finally:
            if is_stopping():
                self._end_all()

    async def _serve(self) -> None:
        with self._lock:
            self._loop = asyncio.get_running_loop()
            early, self._early = self._early or [], None
        for item in early:
            self._begin(item)
        await self._ended.wait()
        while self._running:
            await asyncio.sleep(0.01)

    def _end_all(self) -> None:
        """The container is to end now: what runs is interrupted, and has a little time."""
        with self._lock:
            left = tuple(self._running)
        for one in left:
            self._end(one, SystemExit(0))
        self._credits.wake()

        async def wait() -> None:
            over = time.monotonic() + STOP_S
            while self._running and time.monotonic() < over:
                await asyncio.sleep(0.01)

        self._callees.loop.run(wait())

    # Beginning, interrupting and ending one input.

    def _begin(self, item: LeasedInput) -> None:
        one = _Running(item, time.perf_counter())
        with self._lock:
            self._running.add(one)
        if self._callees.has_async and self._loop is not None:
            self._loop.call_soon_threadsafe(self._begin_in_loop, one)
        else:
            self._begin_in_thread(one, None)

    def _begin_in_loop(self, one: _Running) -> None:
        """What is async runs in the loop; what is not must not keep it."""
        token = current_input.set(self._current(one))
        try:
            called = self._called(one)
            if called[0].is_async:
                assert self._loop is not None
                one.task = self._loop.create_task(self._in_task(one, called))
                one.task.add_done_callback(lambda _task: self._see_ended(one))
                if one.reason is not None:
                    one.task.cancel()
            else:
                self._begin_in_thread(one, called)
        except BaseException as error:  # noqa: BLE001 - arguments are the user's code too
            self._settle(one, error=error)
        finally:
            current_input.reset(token)

    def _see_ended(self, one: _Running) -> None:
        """A task that was cancelled before its first step has not said so itself."""
        if one in self._running:
            self._settle(one, error=asyncio.CancelledError())

    def _begin_in_thread(self, one: _Running, called: Any) -> None:
        try:
            threading.Thread(target=self._in_thread, args=(one, called), daemon=True).start()
        except RuntimeError as error:
            self._settle(one, error=error)

    async def _in_task(self, one: _Running, called: tuple[Callee, Any, Any]) -> None:
        callee, args, kwargs = called
        try:
            given = callee.call(*args, **kwargs)
            value = await (self._items_of_task(one, given) if callee.is_generator else given)
        except BaseException as error:
            self._settle(one, error=error)
            if isinstance(error, SystemExit) and is_stopping():
                raise
        else:
            self._settle(one, value=value)

    def _in_thread(self, one: _Running, called: tuple[Callee, Any, Any] | None) -> None:
        one.thread = threading.get_ident()
        current_input.set(self._current(one))
        try:
            try:
                self._into_user(one)
                callee, args, kwargs = called or self._called(one)
                given = callee.call(*args, **kwargs)
                value = self._items(one, given) if callee.is_generator else given
            finally:
                self._out_of_user(one)
        except BaseException as error:  # noqa: BLE001 - user code ends here, and must always end in an outcome
            self._out_of_user(one)
            self._settle(one, error=error)
        else:
            self._settle(one, value=value)

    def _into_user(self, one: _Running) -> None:
        with one.lock:
            if one.reason is not None and not one.told:
                one.told = True
                raise one.reason
            one.in_user = True

    def _out_of_user(self, one: _Running) -> None:
        with one.lock:
            if one.in_user and one.told:
                # It may not have been raised yet, and must not be in our own code; then the next step of the user's raises it.
                _raise_in_thread(one.thread, None)
                one.told = False
            one.in_user = False

    def _end(self, one: _Running, reason: BaseException) -> None:
        """Interrupts one input: its task is cancelled, or its thread raises between two of its steps."""
        with one.lock:
            if one.reason is not None:
                return
            one.reason = reason
            if one.in_user:
                one.told = True
                _raise_in_thread(one.thread, reason)
        if one.task is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(one.task.cancel)

    def _settle(self, one: _Running, *, value: Any = None, error: BaseException | None = None) -> None:
        """Its outcome leaves, and what it printed before that."""
        where, seconds = one.item.where, time.perf_counter() - one.started
        if error is None:
            try:
                self._outcomes.returned(where, value, seconds)
            except BaseException as refused:  # noqa: BLE001 - a value's own code says whether it can travel
                error = refused
        if error is not None and not (is_stopping() and _is_end(error)):
            self._fail(one, error, seconds)
        if error is None and type(one.item.size) is dict:
            value = None
            if one.borrowed.is_free:
                self._outcomes.let_go(where)
        stdio.flush()
        with self._lock:
            self._running.discard(one)
        self._outcomes.post()
        one.borrowed.drop()

    def _fail(self, one: _Running, error: BaseException, seconds: float) -> None:
        where = one.item.where
        if isinstance(one.reason, Error) and isinstance(
            error, InputCancelled | FunctionTimeout | asyncio.CancelledError
        ):
            self._outcomes.failed(where, one.reason, seconds)
        elif isinstance(error, SerializationError | ResultTooLarge):
            self._outcomes.failed(where, error, seconds)
        else:
            head, pickled = raised.describe(limits.named(error, self._function), source_root=self._source)
            self._outcomes.raised(where, head, pickled, seconds)

    def _called(self, one: _Running) -> tuple[Callee, Any, Any]:
        args, kwargs = arguments(one.item, one.borrowed)
        callee, args = self._callees.of(args)
        return callee, args, kwargs

    def _current(self, one: _Running) -> CurrentInput:
        call, index, attempt = one.item.where
        return CurrentInput(call, index, attempt, self._function.id)

    def _reason(self, why: str) -> Error:
        if why == "timeout":
            limit = self._function.timeout_s
            return FunctionTimeout(f"the function ran longer than its timeout of {limit:g} s", limit_s=limit)
        return InputCancelled("the input was cancelled while it ran")

    # Items of generators.

    def _items(self, one: _Running, stream: Any) -> int:
        """Sends what a generator yields, as its consumer gives credit; how many there were."""
        count, call = 0, one.item.where[0]
        try:
            for value in stream:
                self._out_of_user(one)
                self._credits.wait(call, count, lambda: one.reason is not None)
                if one.reason is None:
                    stdio.flush()
                    self._outcomes.item(one.item.where, count, value)
                self._into_user(one)
                count += 1
        finally:
            stream.close()
            self._credits.drop(call)
        return count

    async def _items_of_task(self, one: _Running, stream: Any) -> int:
        count, call = 0, one.item.where[0]
        try:
            async for value in stream:
                await self._credits.awaited(call, count)
                stdio.flush()
                self._outcomes.item(one.item.where, count, value)
                count += 1
        finally:
            await stream.aclose()
            self._credits.drop(call)
        return count


def _is_of(item: LeasedInput, call: str, start: int, stop: int) -> bool:
    return item.where[0] == call and start <= item.where[1] < stop


def _is_end(error: BaseException) -> bool:
    return isinstance(error, SystemExit | asyncio.CancelledError)


def _raise_in_thread(thread: int, reason: BaseException | None) -> None:
    """Has a thread of Python raise `reason` before its next step; None: what has not been raised yet is not raised."""
    # Only who is interrupted pays for ctypes.
    ctypes: Any = importlib.import_module("ctypes")
    told: Any = None
    if reason is not None:
        # Python makes the exception from a class, so this class gives the very one.
        told = type(type(reason).__name__, (type(reason),), {"__new__": lambda _cls: reason})
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), ctypes.py_object(told) if told else None
    )
