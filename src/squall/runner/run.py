"""Run: one input, one outcome, in the container's main thread."""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

from squall.context.current import CurrentInput, current_input
from squall.model.errors import Error, FunctionTimeout, InputCancelled, ResultTooLarge, SerializationError
from squall.model.function import Function
from squall.runner import limits, raised, stdio
from squall.runner.callee import Callee, Callees
from squall.runner.leased import LeasedInput, arguments, given_back, runs_of
from squall.runner.link import RunnerLink
from squall.runner.outcomes import Outcomes, Where
from squall.wire.lent import Borrowed

INTERRUPT = signal.SIGRTMIN + 7
FLUSH_S = 0.002
GIVE_BACK_S = 0.020
KEPT_S = 5.0
MOST_CREDITED = 1024


class InputRunner:
    """Runs leases one after another; the reader thread puts them in, and interrupts the one that runs."""

    def __init__(self, function: Function, callees: Callees, link: RunnerLink, source: str) -> None:
        self._function = function
        self._callees = callees
        self._only = callees.only
        self._link = link
        self._source = source
        self._inbox: SimpleQueue[deque[LeasedInput] | None] = SimpleQueue()
        self._waiting: deque[deque[LeasedInput]] = deque()
        self._lock = threading.Lock()
        self._outcomes = Outcomes(link)
        self._borrowed = Borrowed()
        self._running: Where | None = None
        self._settling: Where | None = None
        self._started = 0.0
        self._interrupt: Error | None = None
        self._interrupted: Error | None = None
        self._sending = False
        # How many items of each generator's call its consumer takes in all.
        self._credit: dict[str, int] = {}
        self._credited = threading.Condition()
        self._task: asyncio.Task[Any] | None = None
        self._main = threading.main_thread().ident or 0

    # What the reader thread calls.

    def lease(self, inputs: deque[LeasedInput]) -> None:
        """Takes inputs in hand; they run after those before them."""
        with self._lock:
            self._waiting.append(inputs)
        self._inbox.put(inputs)

    def bound_results(self, largest: int) -> None:
        """No result of more bytes than this travels."""
        self._outcomes.largest = largest

    def make_way(self) -> None:
        """The input that runs takes its time: what is done leaves now, and what has not begun is given back."""
        with self._lock:
            left = [item for lease in self._waiting for item in lease]
            for lease in self._waiting:
                lease.clear()
        self._outcomes.post(back=given_back(left), made_way=True)

    def stop(self) -> None:
        """Ends `run` once what is in hand is done."""
        self._inbox.put(None)

    def credit(self, call: str, items: int, upto: int | None = None) -> None:
        """The consumer of a generator takes this many more items. upto: in all, which makes good what was lost on its way."""
        with self._credited:
            known = self._credit.get(call, 0)
            self._credit[call] = known + items if upto is None else max(known, upto)
            while len(self._credit) > MOST_CREDITED:
                # Of a call that has ended: what is said late of one is never asked for.
                del self._credit[next(iter(self._credit))]
            self._credited.notify()

    def interrupt(self, call: str, start: int, stop: int, why: str) -> None:
        """Cancels inputs of a call that wait here, and the one that runs; why: "cancel" or "timeout"."""
        dropped: list[LeasedInput] = []
        with self._lock:
            for lease in self._waiting:
                hit = [item for item in lease if item.where[0] == call and start <= item.where[1] < stop]
                for item in hit if why == "cancel" else ():
                    lease.remove(item)
                    dropped.append(item)
            running = self._running
            if running is not None and running[0] == call and start <= running[1] < stop:
                self._interrupt = self._reason(why)
        if dropped:
            self._outcomes.post(back=given_back(dropped), made_way=True)
        if self._interrupt is not None:
            loop = self._callees.running
            if loop is not None and self._task is not None:
                loop.call_soon_threadsafe(self._cancel_task)
            else:
                signal.pthread_kill(self._main, INTERRUPT)
        with self._credited:
            self._credited.notify()

    def holding(self) -> list[list[Any]]:
        """The runs [call, start, stop, attempt] in hand, the one that runs first."""
        with self._lock:
            found = [where for where in (self._running, self._settling) if where is not None]
            found += [item.where for lease in self._waiting for item in lease]
        return runs_of(found + self._outcomes.gathered())

    # What the main thread does.

    def run(self) -> None:
        """Runs leases until `stop`."""
        signal.signal(INTERRUPT, self._on_interrupt)
        while (lease := self._next_lease()) is not None:
            self._run_lease(lease)

    def _next_lease(self) -> deque[LeasedInput] | None:
        """What to run next, None at the end; memory of a large argument is kept a while for the next one."""
        inbox, link = self._inbox, self._link
        if self._borrowed.is_kept:
            if inbox.empty():
                link.read_here(self._has_lease, KEPT_S)
            if inbox.empty():
                self._borrowed.drop()
        if inbox.empty():
            link.read_here(self._has_lease)
        return inbox.get()

    def _has_lease(self) -> bool:
        return not self._inbox.empty()

    def _run_lease(self, lease: deque[LeasedInput]) -> None:
        begun = flushed = time.perf_counter()
        outcomes = self._outcomes
        back: list[list[Any]] = []
        while True:
            with self._lock:
                item = lease.popleft() if lease else None
                if item is None:
                    self._waiting.remove(lease)
                    break
                self._running = item.where
                self._started = begun
            self._run_input(item)
            now = time.perf_counter()
            if lease and now - begun > GIVE_BACK_S:
                back = self._give_back(lease)
            elif lease and (now - flushed > FLUSH_S or outcomes.full):
                stdio.flush()
                outcomes.post()
                flushed = now
            begun = now if not back else begun
        stdio.flush()
        outcomes.post(back=back)

    def _give_back(self, lease: deque[LeasedInput]) -> list[list[Any]]:
        """Lets go of what has not been started, so that another container can run it."""
        with self._lock:
            left = list(lease)
            lease.clear()
        return given_back(left)

    def _run_input(self, item: LeasedInput) -> None:
        """One input, one outcome: whatever user code does, it ends here as returned, raised or failed."""
        started = time.perf_counter()
        call, index, attempt = where = item.where
        token = current_input.set(CurrentInput(call, index, attempt, self._function.id))
        outcomes = self._outcomes
        try:
            try:
                args, kwargs = arguments(item, self._borrowed)
                callee = self._only
                if callee is None:
                    callee, args = self._callees.of(args)
                if callee.is_generator:
                    value: Any = self._generate(where, callee, args, kwargs)
                elif callee.is_coroutine:
                    value = self._await(callee.call(*args, **kwargs))
                else:
                    value = callee.call(*args, **kwargs)
            finally:
                with self._lock:
                    self._settling, self._running = where, None
                    self._interrupt = None
            outcomes.returned(where, value, time.perf_counter() - started)
            if type(item.size) is dict:
                args = kwargs = value = None
                if self._borrowed.is_free:
                    outcomes.let_go(where)
                # Before the memory is let go: unmapping much of it takes milliseconds.
                stdio.flush()
                outcomes.post()
        except BaseException as error:  # noqa: BLE001 - user code ends here, and must always end in an outcome
            self._fail(where, error, time.perf_counter() - started)
        finally:
            args = kwargs = value = None
            self._borrowed.settle()
            self._settling = self._interrupted = None
            current_input.reset(token)

    def _fail(self, where: Where, error: BaseException, seconds: float) -> None:
        if self._interrupted is not None and isinstance(
            error, InputCancelled | FunctionTimeout | asyncio.CancelledError
        ):
            self._outcomes.failed(where, self._interrupted, seconds)
        elif isinstance(error, SystemExit) and _stopping:
            raise error
        elif isinstance(error, SerializationError | ResultTooLarge):
            self._outcomes.failed(where, error, seconds)
        else:
            head, pickled = raised.describe(limits.named(error, self._function), source_root=self._source)
            self._outcomes.raised(where, head, pickled, seconds)

    def _generate(self, where: Where, callee: Callee, args: Any, kwargs: Any) -> int:
        """Sends what the generator yields, as the consumer gives credit; the outcome is how many there were."""
        stream = callee.call(*args, **kwargs)
        items = self._pull(stream) if hasattr(stream, "__anext__") else stream
        count = 0
        try:
            for value in items:
                with self._credited:
                    while self._credit.get(where[0], 0) <= count and self._interrupt is None:
                        self._credited.wait(60.0)
                self._give_way()
                self._sending = True
                try:
                    stdio.flush()
                    self._outcomes.item(where, count, value)
                finally:
                    self._sending = False
                self._give_way()
                count += 1
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
            with self._credited:
                self._credit.pop(where[0], None)
        return count

    def _pull(self, stream: Any) -> Iterator[Any]:
        """An asynchronous generator's values, one at a time."""
        try:
            while True:
                try:
                    yield self._await(anext(stream))
                except StopAsyncIteration:
                    return
        finally:
            self._await(stream.aclose())

    def _await(self, awaitable: Any) -> Any:
        return self._callees.loop.run(self._as_task(awaitable))

    async def _as_task(self, awaitable: Any) -> Any:
        self._task = asyncio.current_task()
        try:
            return await awaitable
        finally:
            self._task = None

    def _give_way(self) -> None:
        """Raises the interrupt that came while nothing could be raised."""
        if self._interrupt is not None:
            self._interrupted, self._interrupt = self._interrupt, None
            raise self._interrupted

    def _cancel_task(self) -> None:
        if self._interrupt is not None and self._task is not None:
            self._interrupted, self._interrupt = self._interrupt, None
            self._task.cancel()

    def _on_interrupt(self, _number: int, _frame: Any) -> None:
        """In the main thread, between two of its steps: the input that runs ends here, if it is still the one."""
        # Not in the middle of a frame: half of one would be the end of the channel.
        if self._running is not None and not self._sending:
            self._give_way()

    def _reason(self, why: str) -> Error:
        if why == "timeout":
            limit = self._function.timeout_s
            return FunctionTimeout(f"the function ran longer than its timeout of {limit:g} s", limit_s=limit)
        return InputCancelled("the input was cancelled while it ran")


_stopping: list[bool] = []


def stop_on_sigterm() -> None:
    """SIGTERM ends the process through SystemExit, so that `finally` blocks of user code run."""
    signal.signal(signal.SIGTERM, _on_sigterm)


def is_stopping() -> bool:
    """Whether SIGTERM has come: what is raised now is its SystemExit, or follows from it."""
    return bool(_stopping)


def end_quietly() -> None:
    """The process ends: a signal to stop that comes now is for hooks that run already."""
    _stopping.append(True)


def _on_sigterm(_number: int, _frame: Any) -> None:
    if not _stopping:
        _stopping.append(True)
        raise SystemExit(0)


def exit_now(code: int) -> None:
    """Runs the hooks that user code has given to `atexit`, and ends the process without waiting for its threads.

    Whoever ends the container bounds how long the hooks may take. A signal to stop that comes now is theirs already.
    """
    end_quietly()
    try:
        atexit._run_exitfuncs()
    except BaseException:  # noqa: BLE001 - user code ends here: what its hooks raise is shown, and nothing waits for it
        sys.excepthook(*sys.exc_info())
    stdio.flush()
    os._exit(code)
