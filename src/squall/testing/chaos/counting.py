"""Counting: from what was accepted, answered and run to what was lost, doubled or left hanging."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

# A generator whose container ends after items were taken is not begun again: the items would come twice.
ALLOWED: Mapping[str, frozenset[str]] = {"gen": frozenset({"InputLost", "ConnectionLost"})}
# Of inputs that are missing; how many there are is counted.
_MOST_NAMED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One result as a client has got it. run: which execution gave it. via: by which request it was got."""

    key: str
    run: str
    via: str
    at_s: float
    right: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An input that ended with an error. code: the name of the error's class."""

    key: str
    code: str
    said: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """All that was noted of a run, each thing where and when it happened.

    accepted: inputs whose acceptance a client was told of, or that it holds. runs: executions, as (key, run). ended: whether
    every client came to its end in time. troubles: what a client met that no input stands for.
    """

    accepted: frozenset[str] = frozenset()
    answers: tuple[Answer, ...] = ()
    failed: tuple[Failed, ...] = ()
    runs: frozenset[tuple[str, str]] = frozenset()
    ended: bool = True
    troubles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What became of the accepted inputs. again: executions beyond the first of an input. broken: what must not be, in words."""

    accepted: int = 0
    lost: int = 0
    doubled: int = 0
    again: int = 0
    stuck: int = 0
    named: int = 0
    broken: tuple[str, ...] = ()


def count(account: Account) -> Counts:
    """What the evidence says, and nothing that it does not."""
    answered = {answer.key for answer in account.answers}
    failed = {one.key for one in account.failed}
    missing = account.accepted - answered - failed
    runs = account.runs | {(answer.key, answer.run) for answer in account.answers if answer.run}
    return Counts(
        accepted=len(account.accepted),
        lost=len(missing) if account.ended else 0,
        stuck=0 if account.ended else len(missing),
        doubled=_doubled(account),
        again=len(runs) - len({key for key, _ in runs}),
        named=len(failed),
        broken=tuple(_broken(account)),
    )


def _doubled(account: Account) -> int:
    """Inputs with two results: two that differ, or one that was handed out twice to one request."""
    runs: dict[str, set[str]] = {}
    times: Counter[tuple[str, str]] = Counter()
    for answer in account.answers:
        runs.setdefault(answer.key, set()).add(answer.run)
        times[answer.key, answer.via] += 1
    twice = {key for (key, _), often in times.items() if often > 1}
    both = {answer.key for answer in account.answers} & {one.key for one in account.failed}
    return len(twice | both | {key for key, found in runs.items() if len(found) > 1})


def _broken(account: Account) -> list[str]:
    wrong = sorted({answer.key for answer in account.answers if not answer.right})
    unknown = sorted({answer.key for answer in account.answers} - account.accepted)
    other = sorted(
        f"{one.key} ended with {one.code}: {one.said}"
        for one in account.failed
        if one.code not in ALLOWED.get(one.key.split("/")[1] if "/" in one.key else "", frozenset())
    )
    ended = {one.key for one in account.answers} | {one.key for one in account.failed}
    missing = sorted(account.accepted - ended)
    return [
        *(f"{key} has neither a result nor an error" for key in missing[:_MOST_NAMED]),
        *(f"{key} has a wrong result" for key in wrong),
        *(f"{key} has a result and was never accepted" for key in unknown),
        *other,
        *account.troubles,
    ]
