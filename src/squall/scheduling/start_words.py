"""Start words: where the time of one start went, in the words that people are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

TEMPLATE_RUNGS = frozenset({"spare", "pooled", "on_demand"})
_WAITS = {
    "image": "image",
    "launcher": "launcher",
    "gpus": "GPUs",
    "network": "address",
    "template": "template",
    "sandbox": "sandbox",
}
# What a launcher marks, as parts that a reader knows. A mark that is not here stands under its own name.
_PARTS = {
    "forked": "sandbox",
    "cgroup": "sandbox",
    "sandbox": "sandbox",
    "built": "sandbox",
    "network": "network",
    "running": "runner",
}
_TOLD_FROM_MS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StartSeen:
    """What is known of one start, now or when it was over.

    rung, why: how its container came to be; "" while it has none. waited_ms: what was waited for before the launcher was
    asked, and how long each; waits_for: what it waits for still, of the same words. phases_ms: since the launcher was
    asked, when each of its steps was done. took_s: all of it until now, as the server saw it. running_s, loading_s: for how long the
    container has run, and the user's code has been loading; None: not yet.
    """

    rung: str = ""
    why: str = ""
    waited_ms: Mapping[str, float] = field(default_factory=dict)
    waits_for: str = ""
    phases_ms: Mapping[str, float] = field(default_factory=dict)
    took_s: float = 0.0
    running_s: float | None = None
    loading_s: float | None = None


def start_in_words(seen: StartSeen, *, ready: bool = False) -> str:
    """One sentence without its full stop: the rung and why, how long each phase took, and the one that it is in.

    ready: it is over, and the function can be called.
    """
    parts = [
        f"{word} {duration(took_ms / 1000)}" for word, took_ms in _phases(seen) if took_ms >= _TOLD_FROM_MS
    ]
    last = _last(seen, ready=ready)
    told = ", ".join([*parts, f"then {last}" if parts else last])
    if not seen.rung:
        return told
    return f"it was started as {seen.rung!r} ({seen.why}): {told}" if seen.why else f"{seen.rung!r}: {told}"


def duration(seconds: float) -> str:
    """A time for people: milliseconds below a tenth of a second, else seconds with one digit, from a hundred on with none."""
    if seconds < 0.1:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:.0f} s"


def _phases(seen: StartSeen) -> list[tuple[str, float]]:
    """What is over: each part with its milliseconds, in the order in which they began."""
    took: dict[str, float] = {}
    for name, waited_ms in seen.waited_ms.items():
        if name != seen.waits_for:
            took[_WAITS.get(name, name)] = waited_ms
    before_ms = 0.0
    for name, at_ms in sorted(seen.phases_ms.items(), key=lambda mark: mark[1]):
        word = _PARTS.get(name, name)
        took[word] = took.get(word, 0.0) + at_ms - before_ms
        before_ms = at_ms
    if seen.running_s is not None and seen.loading_s is not None:
        # Its own interpreter, and its first word to the server.
        took["runner"] = took.get("runner", 0.0) + max(0.0, seen.running_s - seen.loading_s) * 1000
    return list(took.items())


def _last(seen: StartSeen, *, ready: bool) -> str:
    """What it is in now, or was in until it was ready."""
    if seen.loading_s is not None:
        where = (
            "in your code's hooks after the fork" if seen.rung in TEMPLATE_RUNGS else "in your code's imports"
        )
        now = "" if ready else " and it has not said that it is ready"
        return f"{duration(seen.loading_s)} {where}{now}"
    if seen.running_s is not None:
        return f"{duration(seen.running_s)} without a word from its runner"
    waited_s = max(
        0.0, seen.took_s - sum(ms for name, ms in seen.waited_ms.items() if name != seen.waits_for) / 1000
    )
    if seen.waits_for:
        return f"{duration(waited_s)} waiting for its {_WAITS.get(seen.waits_for, seen.waits_for)}"
    return f"{duration(waited_s)} in which its machine has said nothing of it"
