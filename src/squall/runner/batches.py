"""Batches: inputs that came in one lease, run as one call with lists."""

from __future__ import annotations

import inspect
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from squall.context import marks
from squall.context.current import CurrentInput, current_input
from squall.model.errors import InvalidError
from squall.runner import stdio
from squall.runner.leased import LeasedInput, arguments, runs_of
from squall.runner.outcomes import Where
from squall.runner.run import InputRunner
from squall.wire.lent import Borrowed


@dataclass(slots=True)
class _Member:
    """One input of a batch, with its arguments by name, and its hold on the memory that they lie in."""

    where: Where
    given: dict[str, Any]
    borrowed: Borrowed


class BatchRunner(InputRunner):
    """Runs each lease as one call. What the calls of a batch share is interrupted when the time is up, or when all are cancelled."""

    _batch: tuple[Where, ...] = ()
    _cancelled: frozenset[Where] = frozenset()

    def interrupt(self, call: str, start: int, stop: int, why: str) -> None:
        """Ends the batch that runs, if its time is up or nobody wants any of it."""
        with self._lock:
            batch = self._batch
            hit = frozenset(where for where in batch if where[0] == call and start <= where[1] < stop)
            if why == "cancel":
                self._cancelled |= hit
            ends = bool(hit) and (why != "cancel" or self._cancelled.issuperset(batch))
        if ends:
            super().interrupt(batch[0][0], batch[0][1], batch[0][1] + 1, why)
        elif not batch:
            super().interrupt(call, start, stop, why)

    def holding(self) -> list[list[Any]]:
        """The runs [call, start, stop, attempt] in hand."""
        with self._lock:
            found = [*self._batch, *(item.where for lease in self._waiting for item in lease)]
        return runs_of(found + self._outcomes.gathered())

    def _run_lease(self, lease: deque[LeasedInput]) -> None:
        with self._lock:
            items = tuple(lease)
            lease.clear()
            self._waiting.remove(lease)
            self._batch, self._cancelled = tuple(item.where for item in items), frozenset()
        began = time.perf_counter()
        for members in self._alike(items):
            self._run_members(members, began, len(items))
        stdio.flush()
        with self._lock:
            self._batch = ()
        self._outcomes.post()

    def _alike(self, items: tuple[LeasedInput, ...]) -> list[list[_Member]]:
        """Those that give the same parameters together; what cannot be opened ends here."""
        found: dict[tuple[str, ...], list[_Member]] = {}
        for item in items:
            borrowed = Borrowed()
            try:
                args, kwargs = arguments(item, borrowed)
                callee, args = self._callees.of(args)
                given = inspect.signature(_of_lists(callee.call)).bind(*args, **kwargs).arguments
            except BaseException as error:  # noqa: BLE001 - arguments are the user's code too
                self._fail(item.where, error, 0.0)
                continue
            found.setdefault(tuple(given), []).append(_Member(item.where, given, borrowed))
        return list(found.values())

    def _run_members(self, members: list[_Member], began: float, inputs: int) -> None:
        """One call, and an outcome for each of them: whatever user code does, it ends here."""
        call, index, attempt = members[0].where
        token = current_input.set(CurrentInput(call, index, attempt, self._function.id))
        try:
            try:
                with self._lock:
                    self._running = self._batch[0]
                values = self._values(members)
            finally:
                with self._lock:
                    self._running = self._interrupt = None
            each_s = (time.perf_counter() - began) / inputs
            for member, value in zip(members, values, strict=True):
                self._return(member.where, value, each_s)
        except BaseException as error:  # noqa: BLE001 - user code ends here, and must always end in outcomes
            each_s = (time.perf_counter() - began) / inputs
            for member in members:
                self._fail(member.where, error, each_s)
        finally:
            self._interrupted = None
            current_input.reset(token)
            for member in members:
                member.given.clear()
                member.borrowed.drop()

    def _values(self, members: list[_Member]) -> list[Any]:
        callee = self._only if self._only is not None else self._callees.any_one
        joined = _of_lists(callee.call)
        bound = inspect.signature(joined).bind_partial()
        for name in members[0].given:
            bound.arguments[name] = [member.given[name] for member in members]
        given = joined(*bound.args, **bound.kwargs)
        values = self._await(given) if callee.is_coroutine else given
        if isinstance(values, str | bytes | dict) or not hasattr(values, "__len__"):
            raise InvalidError(
                f"{self._function.name} is batched, so it gives a list, and it gave a {type(values).__name__}"
            )
        if len(values) != len(members):
            raise InvalidError(
                f"{self._function.name} gave {len(values)} values for a batch of {len(members)}",
                remedy="give a list with a value for each, in their order",
            )
        return list(values)

    def _return(self, where: Where, value: Any, seconds: float) -> None:
        try:
            self._outcomes.returned(where, value, seconds)
        except BaseException as error:  # noqa: BLE001 - a value's own code says whether it can travel
            self._fail(where, error, seconds)


def _of_lists(single: Callable[..., Any]) -> Callable[..., Any]:
    """What takes lists, of what takes one of each; a method stays its object's."""
    batch = marks.batch_of(single)
    if batch is None:
        return single
    owner = getattr(single, "__self__", None)
    found: Callable[..., Any] = batch.raw if owner is None else batch.raw.__get__(owner)
    return found
