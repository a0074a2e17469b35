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
    InputNotRunAgain,
    OutOfMemory,
    TooManyProcesses,
)
from squall.scheduling.inputs import Segment
from squall.scheduling.retry import MOST_LOSSES, runs_again_after_kill, runs_again_after_loss


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
    lost by no fault of theirs, and how often that may be, how many items of its generator are out, and whether its time was up.
    """

    kills: int = 0
    losses: int = 0
    most_losses: int = MOST_LOSSES
    items_sent: int = 0
    timed_out_s: float | None = None


def plan_loss(
    lost: list[Segment], end: ContainerEnd, suspect: Suspect, *, function: str, at_most_once: bool = False
) -> tuple[Requeue | End, ...]:
    """What becomes of `lost`, in its order; the first input of it was being run, the others had not begun.

    Three kinds, never mixed: what we stopped runs again; what broke a limit, or died by its own hand, runs once more
    alone and then ends with the named error; what was killed from outside runs again up to 8 times. Where one of several
    inputs must have ended the container, all of them run alone from then on. at_most_once: whatever
    was handed to the container may have begun there, so none of it runs again.
    """
    if not lost:
        return ()
    if at_most_once:
        return _begun_at_most_once(lost, end, suspect, function)
    first = lost[0]
    one = Segment(first.call, first.start, first.start + 1, first.attempt, first.alone)
    rest = [Segment(first.call, first.start + 1, first.stop, first.attempt, first.alone), *lost[1:]]
    apart = _is_to_be_found(lost, end)
    steps: list[Requeue | End] = [_of_suspect(one, end, suspect, function, apart=apart)]
    steps += [Requeue(part, part.alone or apart) for part in rest if len(part)]
    return tuple(steps)


def plan_loss_of_all(
    lost: list[tuple[Segment, Suspect]], end: ContainerEnd, *, function: str, at_most_once: bool = False
) -> tuple[Requeue | End, ...]:
    """The same where every input was being run, side by side: each is a suspect, and has its own count.

    lost: single inputs. What broke a limit runs once more alone, so that of those that were there together only the one that did
    it breaks the limit again, and ends.
    """
    if at_most_once:
        return tuple(
            step for one, suspect in lost for step in _begun_at_most_once([one], end, suspect, function)
        )
    apart = _is_to_be_found([one for one, _ in lost], end)
    return tuple(_of_suspect(one, end, suspect, function, apart=apart) for one, suspect in lost)


def _is_to_be_found(lost: list[Segment], end: ContainerEnd) -> bool:
    """Whether one of several inputs ends its containers, so that each has to run alone to show which one it is.

    The first one is only the likeliest: short inputs before the one that was run may have ended without having said so. A
    container that was killed from outside is taken for an accident the first time.
    """
    several = sum(map(len, lost)) > 1
    return several and (is_own_doing(end) or any(part.attempt > 1 for part in lost))


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


def _begun_at_most_once(
    lost: list[Segment], end: ContainerEnd, suspect: Suspect, function: str
) -> tuple[End, ...]:
    why = describe_end(end, function=function)
    error: Error = why
    if suspect.timed_out_s is not None:
        error = _timed_out(function, suspect.timed_out_s)
    elif not is_own_doing(end):
        error = not_run_again(function, str(why))
    return tuple(End(part, error) for part in lost)


def plan_left(one: Segment, items_sent: int, *, function: str, at_most_once: bool) -> Requeue | End:
    """What becomes of an input that its container has left, interrupted for nobody: it runs again where it may."""
    why = "it was interrupted as its caller was lost"
    if at_most_once:
        return End(one, not_run_again(function, why))
    if items_sent:
        return End(one, InputLost(f"{function} was lost after it had yielded {items_sent} items: {why}"))
    return Requeue(one, one.alone)


def not_run_again(function: str, why: str) -> Error:
    """The error of an input that may have begun, of a function that begins none twice."""
    return InputNotRunAgain(
        f"an input of {function} may have begun when it was lost, and is not run again: {why}"
    )


def _timed_out(function: str, limit_s: float) -> Error:
    return FunctionTimeout(f"{function} ran longer than its timeout of {limit_s:g} s", limit_s=limit_s)


def _of_suspect(
    one: Segment, end: ContainerEnd, suspect: Suspect, function: str, *, apart: bool
) -> Requeue | End:
    if suspect.timed_out_s is not None:
        return End(one, _timed_out(function, suspect.timed_out_s))
    if suspect.items_sent:
        why = describe_end(end, function=function)
        return End(
            one, InputLost(f"{function} was lost after it had yielded {suspect.items_sent} items: {why}")
        )
    if is_own_doing(end):
        if runs_again_after_kill(kills=suspect.kills):
            return Requeue(one, alone=True)
        return End(one, describe_end(end, function=function))
    if runs_again_after_loss(losses=suspect.losses, most=suspect.most_losses):
        return Requeue(one, one.alone or apart)
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
