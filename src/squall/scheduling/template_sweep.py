"""Template sweep: which templates a node lets go, by their last use and the memory that they take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateView:
    """One template, or packages that stay for one, by a name. idle_s: seconds since it was last used. bytes: what it alone has in
    memory.
    """

    name: str
    idle_s: float
    bytes: int


def templates_to_drop(
    templates: tuple[TemplateView, ...], *, idle_s: float, most_bytes: int
) -> tuple[str, ...]:
    """Those idle for longer than `idle_s`, then the least recently used until the others take `most_bytes` at most.

    The one that was used last stays, however large: what was just built is there to be used.
    """
    order = sorted(templates, key=lambda one: (-one.idle_s, one.name))
    dropped = [one.name for one in order if one.idle_s > idle_s]
    kept = [one for one in order if one.idle_s <= idle_s]
    total = sum(one.bytes for one in kept)
    for one in kept[:-1]:
        if total <= most_bytes:
            break
        dropped.append(one.name)
        total -= one.bytes
    return tuple(dropped)
