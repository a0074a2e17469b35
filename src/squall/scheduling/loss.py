"""Loss: what becomes of the inputs that a container had in hand when it ended."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from squall.model.container import ContainerEnd
from squall.model.errors import (
    ContainerExited,
    DiskFull,
    Error,
    FunctionTimeout,
    InputLost,
    OutOfMemory,
    TooManyProcesses,
)
from squall.scheduling.inputs import Segment
from squall.scheduling.retry import runs_again_after_kill, runs_again_after_loss


@dataclass(frozen=True, slots=True)
class Requeue:
    """These inputs run again; alone: with no other input in the same container."""

    part: Segment
    alone: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """This input ends with this error."""

    part: Segment
    error: Error


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """The input that was being run: how often its containers broke a limit or died by themselves, how often they were
    lost by no fault of theirs, how many items of its generator are out, and whether its time was up.
    """

    kills: int = 0
    losses: int = 0
    items_sent: int = 0
    timed_out_s: float | None = None


def plan_loss(
    lost: list[Segment], end: ContainerEnd, suspect: Suspect, *, function: str
) -> tuple[Requeue | End, ...]:
    """What becomes of `lost`, in its order; the first input of it was being run, the others had not begun.

    Three kinds, never mixed: what we stopped runs again; what broke a limit, or died by its own hand, runs once more
    alone and then ends with the named error; what was killed from outside runs again up to 8 times.
    """
    if not lost:
        return ()
    first = lost[0]
    one = Segment(first.call, first.start, first.start + 1, first.attempt, first.alone)
    rest = [Segment(first.call, first.start + 1, first.stop, first.attempt, first.alone), *lost[1:]]
    steps: list[Requeue | End] = [_of_suspect(one, end, suspect, function)]
    steps += [Requeue(part, part.alone) for part in rest if len(part)]
    return tuple(steps)


def is_own_doing(end: ContainerEnd) -> bool:
    """Whether the container ended by what its code did: a limit broken, an exit, a crash; not by somebody's SIGKILL."""
    return end.cause in {"oom", "pids", "disk", "exit"} or (
        end.cause == "signal" and end.signal not in (signal.SIGKILL, signal.SIGTERM)
    )


def describe_end(end: ContainerEnd, *, function: str) -> Error:
    """The named error that says how a container ended."""
    tail = f"; its last words: {end.said}" if end.said else ""
    if end.cause == "oom":
        limit, peak = end.memory_limit_bytes, end.memory_peak_bytes
        return OutOfMemory(
            f"{function} ran out of memory: the limit is {_mib(limit)}, the peak was {_mib(peak)}{tail}",
            limit_bytes=limit,
            peak_bytes=peak,
        )
    if end.cause == "pids":
        return TooManyProcesses(f"{function} started more processes than its container may have{tail}")
    if end.cause == "disk":
        return DiskFull(f"{function} filled the disk that its container may use{tail}")
    if end.signal is not None:
        name = _signal_name(end.signal)
        return ContainerExited(f"the container of {function} was ended by {name}{tail}", signal=end.signal)
    if end.code is None:
        return ContainerExited(f"the container of {function} was ended{tail}")
    return ContainerExited(
        f"the container of {function} exited with code {end.code}{tail}", exit_code=end.code
    )


def _of_suspect(one: Segment, end: ContainerEnd, suspect: Suspect, function: str) -> Requeue | End:
    if suspect.timed_out_s is not None:
        limit = suspect.timed_out_s
        return End(
            one, FunctionTimeout(f"{function} ran longer than its timeout of {limit:g} s", limit_s=limit)
        )
    if suspect.items_sent:
        why = describe_end(end, function=function)
        return End(
            one, InputLost(f"{function} was lost after it had yielded {suspect.items_sent} items: {why}")
        )
    if is_own_doing(end):
        if runs_again_after_kill(kills=suspect.kills):
            return Requeue(one, alone=True)
        return End(one, describe_end(end, function=function))
    if runs_again_after_loss(losses=suspect.losses):
        return Requeue(one, one.alone)
    return End(
        one, InputLost(f"{function} lost its container {suspect.losses} times", attempts=suspect.losses)
    )


def _mib(amount: int | None) -> str:
    return "unknown" if amount is None else f"{amount / 2**20:.0f} MiB"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
