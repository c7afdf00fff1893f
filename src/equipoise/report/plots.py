"""The plane of bias² and variance, and learning curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .drawing import BAND, COSTS, INK, LETTER, MUTED, PAPER, PAYS, RULE, SIZE, axes, draw, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PLANE, _CURVES = 400.0, 320.0
_STEPS = [1, 2, 2.5, 5, 10]


@dataclass(frozen=True)
class Arrow:
    """What a technique changes: bias² and variance with their intervals; ``side``: pays, costs or neither."""

    label: str
    bias2: tuple[float, float, float]
    variance: tuple[float, float, float]
    side: str


@dataclass(frozen=True)
class Curve:
    """An arm's loss by epoch: mean over seeds, and the lowest and highest seed."""

    epochs: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def plane(name: str, label: str, arrows: Sequence[Arrow]) -> str:
    """An arrow per technique from "off" at the origin; on the diagonal the risk, bias² + variance, stays as it is."""

    def paint(figure: Figure) -> None:
        from matplotlib.ticker import MaxNLocator

        at = axes(figure, 62, _PLANE, top=14)
        known = [a for a in arrows if math.isfinite(a.bias2[0]) and math.isfinite(a.variance[0])]
        x = _limits([v for a in known for v in a.bias2])
        y = _limits([v for a in known for v in a.variance])
        at.set_xlim(*x)
        at.set_ylim(*y)
        at.axhline(0, color=RULE, lw=0.8, zorder=0)
        at.axvline(0, color=RULE, lw=0.8, zorder=0)
        at.plot(x, [-x[0], -x[1]], color=MUTED, lw=0.9, ls=(0, (4, 3)), zorder=1, scaley=False)
        at.fill_between(x, [-x[0], -x[1]], y[0], color=BAND, lw=0, zorder=0)
        at.xaxis.set_major_locator(MaxNLocator(5, steps=_STEPS))
        at.yaxis.set_major_locator(MaxNLocator(6, steps=_STEPS))
        at.set_xlabel("change of bias² (on − off)")
        at.set_ylabel("change of variance")
        at.yaxis.label.set_color(INK)
        for a in known:
            _arrow(at, a)
        _labels(at, known)

    return draw(name, label, _PLANE, paint)


def curves(name: str, label: str, every: Sequence[Curve], named: Sequence[tuple[str, Curve]], axis: str) -> str:
    """All arms as thin lines, and up to two of them by name with the range of their seeds."""

    def paint(figure: Figure) -> None:
        from matplotlib.ticker import MaxNLocator

        at = axes(figure, 58, _CURVES, top=16)
        for c in every:
            at.plot(c.epochs, c.mean, color=MUTED, lw=0.7, alpha=0.55, zorder=1)
        for (text, c), colour, style, marker in zip(named, (INK, PAYS), ((0, (5, 2)), "-"), ("s", "o"), strict=False):
            at.fill_between(c.epochs, c.low, c.high, color=colour, alpha=0.18, lw=0, zorder=2)
            step = max(len(c.epochs) // 6, 1)
            at.plot(
                c.epochs,
                c.mean,
                color=colour,
                lw=2.2,
                ls=style,
                marker=marker,
                ms=5,
                mfc=PAPER,
                markevery=step,
                zorder=3,
                label=short(text, 40),
            )
        low, high = bounds(every)
        if low > 0 and high / low > 8:
            at.set_yscale("log")
            _plain_log(at, low, high)
        at.set_ylim(low, high)
        at.set_xlabel("epoch")
        at.set_ylabel(short(axis, 40))
        at.margins(x=0.02)
        at.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        if named:
            at.legend(frameon=False, loc="upper right", fontsize=SIZE - 1, labelcolor=INK, handlelength=2.6)

    return draw(name, label, _CURVES, paint)


def bounds(every: Sequence[Curve]) -> tuple[float, float]:
    """A frame for losses: all of them, but nothing above ten times the median, where a run that ran away would be."""
    values = np.concatenate([np.concatenate([c.mean, c.low, c.high]) for c in every] or [np.array([0.0, 1.0])])
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), min(float(values.max()), 10.0 * abs(float(np.median(values))) or 1.0)
    room = 0.05 * (high - low) or 0.1
    return (low / 1.08 if low > 0 else low - room), high + room


def _plain_log(at: Axes, low: float, high: float) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    decades = math.log10(high / low)
    subs = (1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)
    at.yaxis.set_major_locator(LogLocator(subs=subs))
    at.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    at.yaxis.set_minor_locator(NullLocator())


def _arrow(at: Axes, a: Arrow) -> None:
    colour, style = {"pays": (PAYS, "-"), "costs": (COSTS, "-")}.get(a.side, (MUTED, "--"))
    x, y = a.bias2[0], a.variance[0]
    if all(map(math.isfinite, (*a.bias2, *a.variance))):
        at.plot(a.bias2[1:], [y, y], color=colour, lw=0.9, alpha=0.6, zorder=2)
        at.plot([x, x], a.variance[1:], color=colour, lw=0.9, alpha=0.6, zorder=2)
    at.annotate(
        "",
        (x, y),
        (0, 0),
        zorder=3,
        arrowprops={
            "arrowstyle": "-|>",
            "color": colour,
            "lw": 1.8,
            "ls": style,
            "shrinkA": 0,
            "shrinkB": 0,
            "mutation_scale": 11,
        },
    )


def _labels(at: Axes, arrows: Sequence[Arrow]) -> None:
    """Names beside the tips, moved apart from top to bottom where they would lie on one another."""
    high, taken = SIZE + 3.0, []
    points = {a.label: at.transData.transform((a.bias2[0], a.variance[0])) for a in arrows}
    left, right = at.transAxes.transform((0, 0))[0], at.transAxes.transform((1, 0))[0]
    for a in sorted(arrows, key=lambda a: -points[a.label][1]):
        x, y = points[a.label]
        text = short(a.label, 20)
        wide = len(text) * LETTER
        start = x + 7 if a.bias2[0] >= 0 else x - 7 - wide
        start = min(max(start, left + 2), right - wide - 2)
        centre = y + (9 if a.variance[0] >= 0 else -9)
        while any(abs(centre - v) < high and start < u + w and u < start + wide for u, v, w in taken):
            centre -= 2.0
        taken.append((start, centre, wide))
        colour = {"pays": PAYS, "costs": COSTS}.get(a.side, INK)
        place = at.transData.inverted().transform((start, centre))
        at.text(place[0], place[1], text, va="center", color=colour, zorder=5)


def _limits(values: Sequence[float]) -> tuple[float, float]:
    known = [v for v in (*values, 0.0) if math.isfinite(v)]
    low, high = min(known), max(known)
    room = 0.12 * (high - low) or 1.0
    return low - room, high + room
