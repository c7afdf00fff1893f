"""Which techniques to take, and whether fresh runs bear that out.

The recommendation is the best combination of the fitted model, gains shrunken towards zero by their own error: effects
that were picked for being large are too large (the winner's curse). The confirmation runs it against the baseline on
fresh seeds and data that nothing else has read.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..stats import interval
from .design import Design
from .effects import Effects
from .planning import pairing

Array = np.ndarray[Any, np.dtype[Any]]

_AT_ONCE = 256  # contrasts whose per-example differences are held in memory together


@dataclass(frozen=True)
class Recommendation:
    """The chosen level of every factor (0 = off), its shrunken gain over all off in the metric's unit, the score that
    predicts, and one sentence per factor.
    """

    levels: tuple[int, ...]
    gain: float
    predicted: float
    why: tuple[str, ...]


@dataclass(frozen=True)
class Confirmation:
    """Recommended − baseline on fresh seeds: means, 95 % interval, and whether it lies wholly on the better side.

    ``rho``: the correlation of the two over seeds, which pairing lives on.
    """

    metric: str
    recommended: float
    baseline: float
    difference: float
    low: float
    high: float
    seeds: int
    confirmed: bool
    rho: float

    def as_json(self) -> dict[str, Any]:
        """The entry of ``study.json``."""
        return {k: v for k, v in asdict(self).items() if k != "rho"}


def shrunken(gain: Array, se: Array) -> Array:
    """gain·max(0, 1 − SE²/gain²): the positive-part shrinkage of James & Stein (1961) of one estimate."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(gain == 0.0, 0.0, gain * np.maximum(0.0, 1.0 - np.square(se / gain)))


def recommend(design: Design, y: Array, effects: Effects) -> Recommendation:
    """The best combination of levels by the model of ``design`` fitted to y (N, S, n), scores of the primary metric.

    A combination is admissible where every technique in it gains, given the others in it, more than δ
    (``effects.smallest``) after shrinking by the error of that very contrast. Of the admissible the one with the
    largest shrunken gain over the baseline is best; those within δ of it tie with it, and of ties fewest techniques
    win. Factors without a declared interaction between them are independent in the model, so each connected group is
    searched whole, by itself. All combinations are allowed: the design has run every three factors in all of theirs.
    """
    y = np.asarray(y, dtype=np.float64)
    sign = -1.0 if effects.better == "lower" else 1.0
    levels, total = [0] * len(design.factors), 0.0
    for group in _groups(len(design.factors), design.interactions):
        chosen, gain = _best(design, y, sign, group, effects.smallest)
        total += gain
        for k, level in zip(group, chosen, strict=True):
            levels[k] = level
    return Recommendation(
        levels=tuple(levels),
        gain=total,
        predicted=effects.baseline + sign * total,
        why=tuple(_why(design, y, effects, levels, k) for k in range(len(levels))),
    )


def confirm(recommended: Array, baseline: Array, *, metric: str, better: str) -> Confirmation:
    """The verdict of fresh runs: scores (S, n) of both recipes on the same S seeds and n examples of ``test``.

    The interval is that of a contrast of two arms (``stats.interval``, df of S − 1 paired seeds and n − 1 examples).
    """
    both = np.stack([recommended, baseline]).astype(np.float64)
    found = interval(both, [1.0, -1.0])
    low, high = float(found.low[0]), float(found.high[0])
    return Confirmation(
        metric=metric,
        recommended=float(both[0].mean()),
        baseline=float(both[1].mean()),
        difference=float(found.effect[0]),
        low=low,
        high=high,
        seeds=both.shape[1],
        confirmed=high < 0.0 if better == "lower" else low > 0.0,
        rho=pairing(both),
    )


def _groups(k: int, pairs: tuple[tuple[int, int], ...]) -> list[list[int]]:
    """Factors connected by declared interactions."""
    label = list(range(k))
    for i, j in pairs:
        label = [label[i] if v == label[j] else v for v in label]
    return [[f for f in range(k) if label[f] == v] for v in sorted(set(label))]


def _gains(y: Array, weights: Array, sign: float) -> tuple[Array, Array]:
    """Gains (positive is better) of contrasts and their shrunken values; equal contrasts are measured once."""
    unique, back = np.unique(np.round(weights, 12), axis=0, return_inverse=True)
    found = [interval(y, unique[i : i + _AT_ONCE]) for i in range(0, len(unique), _AT_ONCE)]
    gain = sign * np.concatenate([f.effect for f in found])[back.ravel()]
    se = np.concatenate([f.se for f in found])[back.ravel()]
    return gain, shrunken(gain, se)


def _best(design: Design, y: Array, sign: float, group: list[int], smallest: float) -> tuple[tuple[int, ...], float]:
    """The chosen levels of a group of interacting factors, and their shrunken gain together."""
    combinations = list(itertools.product(*(range(len(design.factors[k].levels)) for k in group)))
    levels = np.zeros((len(combinations), len(design.factors)), dtype=int)
    levels[:, group] = combinations
    fitted = design.at(levels)
    _, total = _gains(y, fitted - fitted[0], sign)
    admissible = np.ones(len(levels), dtype=bool)
    for k in group:
        on = np.flatnonzero(levels[:, k])
        without = levels[on].copy()
        without[:, k] = 0
        _, gain = _gains(y, fitted[on] - design.at(without), sign)
        admissible[on] &= gain > smallest
    tied = np.flatnonzero(admissible & (total >= total[admissible].max() - smallest))
    size = (levels[tied] > 0).sum(1)
    fewest = tied[size == size.min()]
    winner = fewest[total[fewest].argmax()]
    return combinations[winner], float(total[winner])


def _why(design: Design, y: Array, effects: Effects, levels: list[int], k: int) -> str:
    """One sentence on factor k: its gain given the other techniques recommended."""
    factor, chosen = design.factors[k], levels[k]
    options = range(1, len(factor.levels)) if not chosen else [chosen]
    rows = np.array([[level if f == k else v for f, v in enumerate(levels)] for level in [0, *options]])
    fitted = design.at(rows)
    raw, gain = _gains(y, fitted[1:] - fitted[0], -1.0 if effects.better == "lower" else 1.0)
    best = int(gain.argmax())
    moves = "falls" if (raw[best] > 0.0) == (effects.better == "lower") else "rises"
    size = f"given the others, {effects.primary} {moves} by {abs(raw[best]):.3g}, {abs(gain[best]):.3g} when shrunken"
    smallest, name = f"{effects.smallest:.3g}", factor.rows[options[best] - 1]
    if chosen:
        return f"{name} is in: {size}, more than the {smallest} that matters."
    if gain[best] > effects.smallest:
        return f"{name} is out: {size}, but no combination in which everything pays is better by more than {smallest}."
    return f"{name} is out: {size}{f', not more than the {smallest} that matters' if raw[best] > 0.0 else ''}."
