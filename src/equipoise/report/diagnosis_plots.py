"""The drawings of a diagnosis: by depth and by step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .drawing import BAND, COSTS, INK, MUTED, PAPER, PAYS, RULE, SIZE, WIDTH, axes, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..doctor.chart import Chart, Histogram

_HEIGHT = 270.0
_ROW = 52.0  # of a layer's histograms
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def histograms(label: str, edges: tuple[float, float], layers: Sequence[Histogram]) -> str:
    """A row per layer on one scale of activations: the start as a line, the end filled."""
    height = _ROW * len(layers) + 62

    def paint(figure: Figure) -> None:
        from matplotlib.ticker import MaxNLocator

        left, top = 104.0, 24.0
        for i, h in enumerate(layers):
            bottom = height - top - (i + 1) * _ROW + 12
            at = figure.add_axes((left / WIDTH, bottom / height, (WIDTH - left - 14) / WIDTH, (_ROW - 14) / height))
            bins = np.linspace(*edges, len(h.start) + 1)
            at.stairs(np.nan_to_num(h.end), bins, fill=True, color=PAYS, alpha=0.55, label="end")
            at.stairs(np.nan_to_num(h.start), bins, color=INK, lw=1.2, label="start")
            at.set_xlim(*edges)
            at.set_ylim(0, 1.08 * max(*np.nan_to_num(h.start), *np.nan_to_num(h.end), 1e-9))
            at.set_yticks([])
            at.spines["left"].set_visible(False)
            at.xaxis.set_major_locator(MaxNLocator(5))
            at.tick_params(labelbottom=i == len(layers) - 1)
            figure.text(6 / WIDTH, (bottom + 12) / height, _end(h.layer), color=INK, va="center")
            if i == 0:
                at.legend(
                    frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1.0, 0.92), labelcolor=INK,
                    fontsize=SIZE - 1, borderpad=0, borderaxespad=0,
                )  # fmt: skip
        figure.text((left + WIDTH - 14) / 2 / WIDTH, 8 / height, "activation", color=INK, ha="center")

    return draw("histograms", label, height, paint)


def by_depth(name: str, label: str, axis: str, layers: Sequence[str], lines: Mapping[str, Sequence[float]]) -> str:
    """Values of each layer on a logarithmic scale, first layer left."""

    def paint(figure: Figure) -> None:
        at = axes(figure, 62, _HEIGHT, top=30, bottom=58)
        x = np.arange(1, len(layers) + 1)
        styles = ((MUTED, "--", "s"), (PAYS, "-", "o"))
        for (text, values), (colour, style, marker) in zip(lines.items(), styles, strict=False):
            at.plot(x, _positive(values), color=colour, ls=style, marker=marker, ms=5, mfc=PAPER, lw=1.8, label=text)
        _log(at, [v for values in lines.values() for v in values])
        at.set_xlim(0.6, len(layers) + 0.4)
        if len(layers) <= 6:
            at.set_xticks(x, [_end(n, 10) for n in layers], fontsize=SIZE - 2)
        at.set_xlabel("layer, from the input on")
        at.set_ylabel(axis)
        _legend(at)

    return draw(name, label, _HEIGHT, paint)


def along_update(label: str, c: Chart) -> str:
    """The loss at θ + cΔ, the parabola of the step, and where the step lands."""

    def paint(figure: Figure) -> None:
        at = axes(figure, 62, _HEIGHT, top=30)
        x, y = np.array(c.lengths), np.array(c.along)
        seen = np.isfinite(y)
        fine = np.linspace(0, max(c.lengths), 80)
        w0, w1, w2 = c.parabola
        at.plot(x[seen], y[seen], color=PAYS, marker="o", ms=5, mfc=PAPER, lw=1.8, label="loss", zorder=3)
        low, high = (float(y[seen].min()), float(y[seen].max())) if seen.any() else (0.0, 1.0)
        room = 0.12 * (high - low) or 0.1 * abs(high) or 0.1
        if math.isfinite(w2):
            at.plot(fine, w0 + w1 * fine + w2 * fine**2, color=MUTED, ls="--", lw=1.2, label="parabola")
        at.axvline(1, color=COSTS, lw=1.2, ls=(0, (4, 3)), label="the step taken")
        at.set_ylim(low - room, high + room)
        at.set_xlabel("c, in steps of the length taken")
        at.set_ylabel("loss")
        _legend(at)

    return draw("along", label, _HEIGHT, paint)


def ratios(label: str, steps: Sequence[int], layers: Mapping[str, Sequence[float]], low: float, high: float) -> str:
    """‖ΔW‖/‖W‖ of each layer, and their median, by step; the usual range shaded."""

    def paint(figure: Figure) -> None:
        at = axes(figure, 62, _HEIGHT, top=30)
        every = np.array([_positive(v) for v in layers.values()])
        for row in every:
            at.plot(steps, row, color=MUTED, lw=0.8, alpha=0.7)
        if len(every):
            middle = [float(np.median(v[np.isfinite(v)])) if np.isfinite(v).any() else math.nan for v in every.T]
            at.plot(steps, middle, color=PAYS, lw=2, marker="o", ms=4, mfc=PAPER, label="median of the layers")
        at.axhspan(low, high, color=BAND, lw=0, zorder=0)
        _log(at, [low, high, *every.flatten().tolist()])
        at.set_xlabel("step")
        at.set_ylabel("update over weight")
        _legend(at)

    return draw("ratios", label, _HEIGHT, paint)


def losses(label: str, c: Chart) -> str:
    """The loss of the training batches by step, smoothed too, against the best constant's."""

    def paint(figure: Figure) -> None:
        at = axes(figure, 62, _HEIGHT, top=30)
        y = np.array(c.losses, dtype=float)
        y[~np.isfinite(y)] = np.nan
        at.plot(y, color=MUTED, lw=0.7, alpha=0.8, label="batches")
        window = max(1, len(y) // 20)
        if window > 1 and np.isfinite(y).all():
            smooth = np.convolve(y, np.ones(window) / window, "valid")
            at.plot(np.arange(len(smooth)) + window - 1, smooth, color=PAYS, lw=2, label=f"mean of {window}")
        at.axhline(c.constant, color=COSTS, lw=1.2, ls=(0, (4, 3)), label="best constant")
        known = y[np.isfinite(y)]
        top = min(float(known.max()), 10 * c.constant) if len(known) else c.constant
        low = min(0.0, float(known.min())) if len(known) else 0.0
        at.set_ylim(low, 1.08 * max(top, c.constant))
        at.set_xlabel("step")
        at.set_ylabel("loss")
        _legend(at)

    return draw("losses", label, _HEIGHT, paint)


def by_step(label: str, axis: str, steps: Sequence[int], layers: Mapping[str, Sequence[float]]) -> str:
    """A line per layer on a logarithmic scale; the first and the last layer by name."""

    def paint(figure: Figure) -> None:
        at = axes(figure, 62, _HEIGHT, top=30)
        names = list(layers)
        for i, (name, values) in enumerate(layers.items()):
            colour, style = {0: (COSTS, "--"), len(names) - 1: (PAYS, "-")}.get(i, (MUTED, "-"))
            named = i in (0, len(names) - 1)
            at.plot(
                steps, _positive(values), color=colour, ls=style, lw=1.8 if named else 0.8, marker="o", ms=3, mfc=PAPER,
                label=_end(name, 18) if named else None,
            )  # fmt: skip
        _log(at, [v for values in layers.values() for v in values])
        at.set_xlabel("step")
        at.set_ylabel(axis)
        _legend(at)

    return draw("gradients", label, _HEIGHT, paint)


def _end(name: str, letters: int = 14) -> str:
    """The end of a layer's name, which tells it from the others."""
    return name if len(name) <= letters else f"…{name[1 - letters :]}"


def _legend(at: Axes) -> None:
    at.legend(
        frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1.0, 1.0), labelcolor=INK, fontsize=SIZE - 1,
        handlelength=1.8, columnspacing=1.0, borderaxespad=0.2,
    )  # fmt: skip


def _positive(values: Sequence[float]) -> np.ndarray:
    """What a logarithmic scale can show; NaN elsewhere."""
    v = np.array(values, dtype=float)
    return np.where(np.isfinite(v) & (v > 0), v, np.nan)


def _log(at: Axes, values: Sequence[float]) -> None:
    """A logarithmic scale over at least a decade, with powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    known = _positive(values)
    known = known[np.isfinite(known)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.1, 1.0)
    low, high = math.floor(math.log10(low / 1.5)), math.ceil(math.log10(high * 1.5))
    at.set_yscale("log")
    at.set_ylim(10.0**low, 10.0**high)
    at.yaxis.set_major_locator(LogLocator(numticks=7))
    at.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"10{str(round(math.log10(v))).translate(_RAISED)}"))
    at.yaxis.set_minor_locator(NullLocator())
    at.grid(axis="y", color=RULE, lw=0.5, alpha=0.6)
