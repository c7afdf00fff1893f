"""The learning rate as a nuisance: every configuration is run at every rate of a ladder, on every seed.

A rate chosen on the scores it is judged by flatters the technique that got the lucky draw; one chosen on a single seed
leaves an error no interval sees. So an arm's rate for seed s is chosen on the *other* seeds (cross-fitting), and from
losses on ``stop``, which no effect is measured on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import EquipoiseError
from ..stats import Interval, interval
from .design import Design

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class RateRow:
    """One technique's effect at every rate of the ladder, and how much the effect changes from the lowest rate to the
    highest (the technique × rate interaction), each with its 95 % interval.

    ``effect``, ``low``, ``high``: one number per rate. ``change``: effect at the highest rate − at the lowest.
    ``note``: the rates at which it pays or costs, where they differ.
    """

    technique: str
    rates: tuple[float, ...]
    effect: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    change: float
    change_low: float
    change_high: float
    change_p: float
    note: str


def cross_fitted(design: Design, stop: Array, rates: Sequence[float]) -> Array:
    """The rate of every configuration in every seed, (..., N, S) indices into ``rates``, from ``stop`` losses
    (..., N, L, S); leading axes (whole studies) broadcast.

    For seed s: mean loss over the other seeds, smoothed (``_smoothed``), and of that the smallest. Diverged runs enter
    with the loss of their fallback. Raises EquipoiseError for fewer than two seeds.
    """
    loss = _checked(design, stop, rates)
    seeds = loss.shape[-1]
    if seeds < 2:
        raise EquipoiseError("one seed: a learning rate is chosen on the other seeds, so a ladder needs at least 2")
    others = (loss.sum(-1, keepdims=True) - loss) / (seeds - 1)
    return _smoothed(design, others, rates, design.matrix).argmin(-2)


def best(design: Design, stop: Array, rates: Sequence[float], levels: Array) -> Array:
    """The rate of any combinations of levels (M, K), (M,) indices into ``rates``, from ``stop`` losses of all seeds."""
    loss = _checked(design, stop, rates).mean(-1, keepdims=True)
    return _smoothed(design, loss, rates, np.atleast_2d(levels))[..., 0].argmin(-1)


def at_rate(values: Array, chosen: Array) -> Array:
    """Of values (..., N, L, S, …) those at the rate chosen (..., N, S) for a configuration and seed: (..., N, S, …)."""
    values = np.asarray(values)
    ladder = chosen.ndim - 1
    index = np.expand_dims(chosen, (ladder, *range(chosen.ndim + 1, values.ndim)))
    return np.take_along_axis(values, index, axis=ladder).squeeze(ladder)


def by_rate(design: Design, y: Array, rates: Sequence[float], better: str) -> tuple[RateRow, ...]:
    """Effects of every technique at each fixed rate, from per-example scores (N, L, S, n)."""
    y = np.asarray(y, dtype=np.float64)
    w = design.weights[: len(design.rows)]
    low, high = int(np.argmin(rates)), int(np.argmax(rates))
    each = [interval(y[:, rate], w) for rate in range(len(rates))]
    ends = interval(np.concatenate([y[:, high], y[:, low]]), np.concatenate([w, -w], axis=1))
    return tuple(_rate_row(technique, k, each, ends, rates, better) for k, technique in enumerate(design.rows))


def _rate_row(
    technique: str, k: int, each: list[Interval], ends: Interval, rates: Sequence[float], better: str
) -> RateRow:
    effect, low, high = (tuple(float(getattr(e, name)[k]) for e in each) for name in ("effect", "low", "high"))
    change, change_low, change_high, p = (float(v[k]) for v in (ends.effect, ends.low, ends.high, ends.p))
    return RateRow(
        technique, tuple(rates), effect, low, high, change, change_low, change_high, p, _note(low, high, rates, better)
    )


def _note(low: Sequence[float], high: Sequence[float], rates: Sequence[float], better: str) -> str:
    """``pays only at ×4``: where the intervals of single rates lie on one side of zero, if that is not all of them."""
    sides = {
        "pays": [hi < 0 if better == "lower" else lo > 0 for lo, hi in zip(low, high, strict=True)],
        "costs": [lo > 0 if better == "lower" else hi < 0 for lo, hi in zip(low, high, strict=True)],
    }
    said = []
    for verb, there in sides.items():
        if any(there) and not all(there):
            at = ", ".join(f"×{rate:g}" for rate, yes in zip(rates, there, strict=True) if yes)
            said.append(f"{verb} only at {at}")
    return "; ".join(said)


def _checked(design: Design, stop: Array, rates: Sequence[float]) -> Array:
    loss = np.asarray(stop, dtype=np.float64)
    if loss.ndim < 3 or loss.shape[-3:-1] != (design.configurations, len(rates)):
        raise EquipoiseError(f"stop losses {loss.shape}; they are ({design.configurations}, {len(rates)} rates, seeds)")
    if min(rates) <= 0.0 or not np.isfinite(loss).all():
        raise EquipoiseError("rates are positive, and stop losses finite: score failed runs as their fallback first")
    return loss


def _smoothed(design: Design, loss: Array, rates: Sequence[float], levels: Array) -> Array:
    """Losses (..., N, L, S) smoothed over all arms, at any levels (M, K): (..., M, L, S), up to a term per arm.

    Least squares of loss[c,l] = a_c + (b + Σ_k d_k x_k)·r_l + (c + Σ_k e_k x_k)·r_l², with r = log rate and x the
    techniques of arm c; a_c, which no choice of a rate depends on, is left out. The design is crossed with the ladder,
    so the fit is a projection on the rates after one on the techniques.
    """
    r = np.log(np.asarray(rates, dtype=np.float64))
    powers = np.vander(r - r.mean(), min(len(r), 3), increasing=True)[:, 1:]
    curve, _ = np.linalg.qr(powers - powers.mean(0))
    main = 1 + len(design.rows)
    arms = design.terms(levels)[:, :main] @ np.linalg.pinv(design.terms(design.matrix)[:, :main])
    return np.einsum("mc,kl,...cls->...mks", arms, curve @ curve.T, loss, optimize=True)
