"""Picture: what less waiting costs, as an SVG of one panel for each kind of traffic."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from squall.simulation.compare import Row

PANEL_WIDTH, PANEL_HEIGHT = 450, 300
LEFT, RIGHT, TOP, BOTTOM = 72, 34, 34, 46
HEAD, MARGIN = 74, 16
COLUMNS = 2
LEAST_WAIT_S = 0.001
LEAST_IDLE = 0.01
COLOURS = {"squall": "#1f6feb", "kpa": "#d9730d"}
SIGNS = {"squall": "circle", "kpa": "square"}
INK, FAINT, LINE = "#1f2328", "#656d76", "#d8dee4"
FONT = "font-family=\"system-ui, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif\""


@dataclass(frozen=True, slots=True)
class _Axis:
    """A logarithmic axis from low to high, drawn from `start` to `stop` in pixels."""

    low: float
    high: float
    start: float
    stop: float

    def place(self, value: float) -> float:
        share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.stop - self.start)

    def ticks(self) -> Iterator[float]:
        """1, 2 and 5 of each decade; only decades where they are many."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        steps = (1, 2, 5) if len(decades) <= 3 else (1,)
        for decade in decades:
            for step in steps:
                value = step * 10.0**decade
                if self.low * 0.999 <= value <= self.high * 1.001:
                    yield value


def picture(rows: Sequence[Row], *, usual_s: float, below: str = "") -> str:
    """The frontier of every policy, a panel for each kind of traffic, as SVG.

    rows: each policy with each window. usual_s: the window whose points are drawn full. below: a line under the title.
    """
    kinds = list(dict.fromkeys(row.kind for row in rows))
    columns = min(COLUMNS, len(kinds))
    width = max(640, columns * PANEL_WIDTH + 2 * MARGIN)
    height = HEAD + math.ceil(len(kinds) / columns) * PANEL_HEIGHT + MARGIN
    size = f"width='{width}' height='{height}'"
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' {size} viewBox='0 0 {width} {height}' {FONT}>",
        f"<rect {size} fill='#ffffff'/>",
        _text(MARGIN + 4, 28, "What less waiting costs", _Look(size=17, weight=600)),
        _text(MARGIN + 4, 49, below, _Look(size=12, colour=FAINT)),
        *_legend(rows, width, usual_s),
    ]
    for number, kind in enumerate(kinds):
        left = MARGIN + number % columns * PANEL_WIDTH
        top = HEAD + number // columns * PANEL_HEIGHT
        parts += _panel([row for row in rows if row.kind == kind], left, top, usual_s)
    return "\n".join([*parts, "</svg>", ""])


def _panel(rows: Sequence[Row], left: float, top: float, usual_s: float) -> Iterator[str]:
    right, bottom = left + PANEL_WIDTH - RIGHT, top + PANEL_HEIGHT - BOTTOM
    across = _Axis(*_range([_idle(row) for row in rows]), left + LEFT, right)
    up = _Axis(*_range([_wait(row) for row in rows]), bottom, top + TOP)
    yield _text(left + LEFT, top + 20, rows[0].kind, _Look(size=14, weight=600))
    for value in across.ticks():
        x = across.place(value)
        yield f"<line x1='{x:.1f}' y1='{top + TOP}' x2='{x:.1f}' y2='{bottom}' stroke='{LINE}'/>"
        yield _text(x, bottom + 15, f"{value:g}", _Look(size=10.5, colour=FAINT, anchor="middle"))
    for value in up.ticks():
        y = up.place(value)
        yield f"<line x1='{left + LEFT}' y1='{y:.1f}' x2='{right}' y2='{y:.1f}' stroke='{LINE}'/>"
        yield _text(left + LEFT - 6, y + 3.5, _seconds(value), _Look(size=10.5, colour=FAINT, anchor="end"))
    middle = left + LEFT + (right - left - LEFT) / 2
    yield _text(
        middle,
        bottom + 33,
        "idle seconds for each busy second",
        _Look(size=11, colour=FAINT, anchor="middle"),
    )
    x, y = left + 12, top + TOP + (bottom - top - TOP) / 2
    yield (
        f"<text x='{x}' y='{y}' font-size='11' fill='{FAINT}' text-anchor='middle' "
        f"transform='rotate(-90 {x} {y})'>p99 wait</text>"
    )
    for policy in dict.fromkeys(row.policy for row in rows):
        line = [(across.place(_idle(row)), up.place(_wait(row)), row) for row in rows if row.policy == policy]
        yield from _line(line, policy, usual_s)


def _line(points: Sequence[tuple[float, float, Row]], policy: str, usual_s: float) -> Iterator[str]:
    colour = COLOURS.get(policy, INK)
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
    yield f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2' stroke-linejoin='round'/>"
    for x, y, row in points:
        told = (
            f"{policy}, window {row.window_s:g} s: p99 {_seconds(row.report.p99_wait_s)}, "
            f"{row.report.idle_per_busy:.2f} idle, {row.report.cold:.1%} cold"
        )
        yield _sign(x, y, policy, full=row.window_s == usual_s, told=told)
    for x, y, row in (points[0], points[-1]):
        yield _text(x + 7, y - 6, f"{row.window_s:g} s", _Look(size=10, colour=colour, halo=True))


def _legend(rows: Sequence[Row], width: float, usual_s: float) -> Iterator[str]:
    x = width - MARGIN - 250.0
    for policy in dict.fromkeys(row.policy for row in rows):
        yield _sign(x, 24, policy, full=True, told=policy)
        yield _text(x + 10, 28, policy, _Look(size=12, weight=600))
        x += 80
    yield _text(width - MARGIN - 256, 49, f"full: a window of {usual_s:g} s", _Look(size=12, colour=FAINT))


def _sign(x: float, y: float, policy: str, *, full: bool, told: str) -> str:
    colour = COLOURS.get(policy, INK)
    fill = colour if full else "#ffffff"
    look = f"fill='{fill}' stroke='{colour}' stroke-width='2'><title>{escape(told)}</title>"
    if SIGNS.get(policy) == "square":
        return f"<rect x='{x - 4:.1f}' y='{y - 4:.1f}' width='8' height='8' {look}</rect>"
    return f"<circle cx='{x:.1f}' cy='{y:.1f}' r='4.5' {look}</circle>"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """How a text looks; halo: with a white rim, where lines lie below."""

    size: float
    colour: str = INK
    weight: int = 400
    anchor: str = "start"
    halo: bool = False


def _text(x: float, y: float, words: str, look: _Look) -> str:
    rim = " stroke='#ffffff' stroke-width='3' paint-order='stroke'" if look.halo else ""
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='{look.size}' font-weight='{look.weight}' fill='{look.colour}' "
        f"text-anchor='{look.anchor}'{rim}>{escape(words)}</text>"
    )


def _range(values: Iterable[float]) -> tuple[float, float]:
    """A range around these values, a decade at least."""
    known = list(values)
    low, high = min(known) / 1.3, max(known) * 1.3
    spare = math.sqrt(max(1.0, 10 / (high / low)))
    return low / spare, high * spare


def _idle(row: Row) -> float:
    return max(LEAST_IDLE, row.report.idle_per_busy)


def _wait(row: Row) -> float:
    return max(LEAST_WAIT_S, row.report.p99_wait_s)


def _seconds(value: float) -> str:
    return f"{value * 1000:g} ms" if value < 1 else f"{value:g} s"
