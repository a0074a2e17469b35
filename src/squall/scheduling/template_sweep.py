"""Template sweep: which templates a node lets go, by their last use and the memory that they take."""

from __future__ import annotations

from dataclasses import dataclass

from squall.model.ids import FunctionId


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateView:
    """One template. idle_s: seconds since a container was last started from it. bytes: what it alone has in memory."""

    function: FunctionId
    idle_s: float
    bytes: int


def templates_to_drop(
    templates: tuple[TemplateView, ...], *, idle_s: float, most_bytes: int
) -> tuple[FunctionId, ...]:
    """Those idle for longer than `idle_s`, then the least recently used until the others take `most_bytes` at most.

    The one that was used last stays, however large: what was just built is there to be used.
    """
    order = sorted(templates, key=lambda one: (-one.idle_s, one.function))
    dropped = [one.function for one in order if one.idle_s > idle_s]
    kept = [one for one in order if one.idle_s <= idle_s]
    total = sum(one.bytes for one in kept)
    for one in kept[:-1]:
        if total <= most_bytes:
            break
        dropped.append(one.function)
        total -= one.bytes
    return tuple(dropped)
