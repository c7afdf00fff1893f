"""Forest plots: one line an estimate, its intervals around it, and the band in which it does not matter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .drawing import BAND, COSTS, INK, LETTER, MUTED, PAPER, PAYS, RULE, SIZE, WIDTH, axes, draw, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLE = {  # verdict → marker, size, colour, filled: never told apart by colour alone
    "pays": ("o", 8.5, PAYS, True),
    "costs": ("s", 7.5, COSTS, True),
    "too small to matter": ("o", 6.0, MUTED, False),
    "undecided": ("D", 6.0, INK, False),
}
_OTHER = ("|", 10.0, MUTED, True)
RATE_MARKERS = ("v", "o", "^", "D", "s")


@dataclass(frozen=True)
class Line:
    """One estimate: 95 % interval, and where there are any the simultaneous one and the two parts of the error."""

    label: str
    effect: float
    low: float
    high: float
    verdict: str = "undecided"
    simultaneous: tuple[float, float] | None = None
    parts: tuple[float, float] | None = None  # SE of seeds, SE of examples


def forest(name: str, label: str, lines: Sequence[Line], smallest: float, axis: str, better: str) -> str:
    """Estimates as ``lines``, the first on top; ``smallest``: half the width of the band around zero."""
    parts = any(line.parts for line in lines)
    height = (40.0 if parts else 30.0) * len(lines) + 70

    def paint(figure: Figure) -> None:
        at = axes(figure, _margin([line.label for line in lines]), height)
        frame(at, [line.label for line in lines], limits(lines, smallest), smallest, axis, better)
        for y, line in enumerate(lines):
            _estimate(at, y, line)

    return draw(name, label, height, paint)


def by_rate(
    name: str, label: str, rows: Sequence[tuple[str, Sequence[Line]]], smallest: float, axis: str, better: str
) -> str:
    """Several estimates a row, one per learning rate; each rate has a marker of its own."""
    each = max(len(lines) for _, lines in rows)
    height = (14.0 * each + 12) * len(rows) + 70

    def paint(figure: Figure) -> None:
        labels = [row for row, _ in rows]
        at = axes(figure, _margin(labels), height)
        frame(at, labels, limits([line for _, lines in rows for line in lines], smallest), smallest, axis, better)
        for y, (_, lines) in enumerate(rows):
            for i, line in enumerate(lines):
                place = y + (i - (len(lines) - 1) / 2) * 0.72 / each
                at.plot([line.low, line.high], [place, place], color=MUTED, lw=1.6, zorder=3)
                marker = RATE_MARKERS[i % len(RATE_MARKERS)]
                at.plot([line.effect], [place], marker, ms=5.5, color=INK, mfc=PAPER if i % 2 == 0 else INK, zorder=4)
        for y in range(1, len(rows)):
            at.axhline(y - 0.5, color=RULE, lw=0.5, zorder=0)

    return draw(name, label, height, paint)


def limits(lines: Sequence[Line], smallest: float) -> tuple[float, float]:
    """A range that holds every effect, every 95 % interval and the band; simultaneous ones may leave it a little."""
    ends = [v for line in lines for v in (line.effect, line.low, line.high) if math.isfinite(v)]
    low, high = min([-1.3 * smallest, *ends]), max([1.3 * smallest, *ends])
    room = 0.06 * (high - low)
    wide = [v for line in lines for v in (line.simultaneous or ()) if math.isfinite(v)]
    more = 0.35 * (high - low)
    return max(min([low, *wide]), low - more) - room, min(max([high, *wide]), high + more) + room


def frame(at: Axes, labels: Sequence[str], xlim: tuple[float, float], smallest: float, axis: str, better: str) -> None:
    """Axes, the zero line, the band that does not matter, and which side is better."""
    from matplotlib.ticker import MaxNLocator

    at.axvspan(-smallest, smallest, color=BAND, lw=0, zorder=0)
    at.axvline(0.0, color=MUTED, lw=0.9, zorder=1)
    at.set_xlim(*xlim)
    at.set_ylim(len(labels) - 0.45, -0.55)
    at.set_yticks(range(len(labels)), [short(text) for text in labels])
    at.tick_params(axis="y", length=0, pad=6, labelcolor=INK)
    at.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    at.spines["left"].set_visible(False)
    at.set_xlabel(short(axis, 52))
    left, right = ("← better", "worse →") if better == "lower" else ("← worse", "better →")
    for x, text, side in ((0.0, left, "left"), (1.0, right, "right")):
        at.text(x, 1.0, text, transform=at.transAxes, ha=side, va="bottom", color=MUTED, size=SIZE - 1)


def _estimate(at: Axes, y: float, line: Line) -> None:
    marker, size, colour, filled = _STYLE.get(line.verdict, _OTHER)
    if not math.isfinite(line.effect):
        at.text(0.5, y, "no estimate", transform=at.get_yaxis_transform(), ha="center", va="center", color=MUTED)
        return
    if line.simultaneous and all(map(math.isfinite, line.simultaneous)):
        at.plot(line.simultaneous, [y, y], color=colour, lw=1.0, zorder=2)
    if math.isfinite(line.low) and math.isfinite(line.high):
        at.plot([line.low, line.high], [y, y], color=colour, lw=3.0, zorder=3)
    at.plot([line.effect], [y], marker, ms=size, color=colour, mfc=colour if filled else PAPER, mew=1.5, zorder=4)
    for part, below, style in zip(line.parts or (), (0.25, 0.36), ("-", (0, (2, 1.4))), strict=False):
        if math.isfinite(part):
            ends = [line.effect - part, line.effect + part]
            at.plot(ends, [y + below] * 2, color=MUTED, lw=1.8, ls=style, zorder=2)


def _margin(labels: Sequence[str]) -> float:
    return min(max(len(short(text)) for text in labels) * LETTER + 14, 0.42 * WIDTH)
