"""The learning rate as a nuisance: every configuration is run at every rate of a ladder, on every seed.

A rate chosen on the scores it is judged by flatters the technique that got the lucky draw; one chosen on a single seed
leaves an error no interval sees. So an arm's rate for seed s is chosen on the *other* seeds (cross-fitting), and from
losses on ``stop``, which no effect is measured on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import EquipoiseError
from ..stats import Interval, interval
from .design import Design
from .effects import identical, without_error

Array = np.ndarray[Any, np.dtype[Any]]
ROUNDING = 1e-6  # of the mean score: float32 runs that differ by no more differ in how they were rounded


@dataclass(frozen=True)
class RateRow:
    """One technique's effect at every rate of the ladder, and how much the effect changes from the lowest rate to the
    highest (the technique × rate interaction), each with its 95 % interval.

    ``effect``, ``low``, ``high``: one number per rate. ``change``: effect at the highest rate − at the lowest.
    ``note``: the rates at which it pays or costs, where they differ, and those at which runs are identical or differ by
    rounding alone.
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

    def as_json(self) -> dict[str, Any]:
        """The row of ``study.json``; numbers by rate are lists."""
        return {k: _number(v) for k, v in asdict(self).items()}


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


def by_rate(
    design: Design,
    y: Array,
    rates: Sequence[float],
    better: str,
    smallest: float = 0.0,
    fallback: Array | None = None,
) -> tuple[RateRow, ...]:
    """Effects of every technique at each fixed rate, from per-example scores (N, L, S, n).

    Intervals are plain 95 % ones; none of them is part of the family that carries verdicts. ``smallest``: a note says
    "pays" or "costs" only of an effect of at least that size. Runs that are bit-identical have an effect of exactly 0.
    ``fallback``: (N, L, S) the runs whose scores are a fallback's; where all of a rate are, the note says so instead.
    """
    y = np.asarray(y, dtype=np.float64)
    w = design.weights[: len(design.rows)]
    low, high = int(np.argmin(rates)), int(np.argmax(rates))
    same = np.array([[identical(y[:, rate], row) for row in w] for rate in range(len(rates))])
    each = [without_error(interval(y[:, rate], w), same[rate]) for rate in range(len(rates))]
    ends = interval(np.concatenate([y[:, high], y[:, low]]), np.concatenate([w, -w], axis=1))
    ends = without_error(ends, same[low] & same[high])
    hidden = [fallback is not None and bool(np.all(fallback[:, rate])) for rate in range(len(rates))]
    lost = ROUNDING * float(np.abs(y).mean())
    rows = []
    for k, technique in enumerate(design.rows):
        at = {name: tuple(float(getattr(e, name)[k]) for e in each) for name in ("effect", "low", "high")}
        change, change_low, change_high, p = (float(v[k]) for v in (ends.effect, ends.low, ends.high, ends.p))
        said = [_note(k, each, rates, better, max(smallest, lost), [0.0 if h else lost for h in hidden])]
        said += [f"no run learned anything at {_at(hidden, rates)}"] if any(hidden) else []
        note = "; ".join(filter(None, said))
        rows.append(
            RateRow(
                technique, tuple(rates), at["effect"], at["low"], at["high"], change, change_low, change_high, p, note
            )
        )
    return tuple(rows)


def _note(k: int, each: list[Interval], rates: Sequence[float], better: str, smallest: float, lost: list[float]) -> str:
    """``pays only at ×4``: where the intervals of single rates lie on one side of zero and their effects are at least
    ``smallest``, if that is not all of them; and the rates whose whole interval is lost in rounding (``lost``, by rate;
    0 where that says nothing)."""
    below = [bool(e.high[k] < 0 and e.effect[k] <= -smallest) for e in each]
    above = [bool(e.low[k] > 0 and e.effect[k] >= smallest) for e in each]
    none = [0.0 < most >= max(abs(e.low[k]), abs(e.high[k])) for e, most in zip(each, lost, strict=True)]
    said = [
        f"{verb} only at {_at(there, rates)}"
        for verb, there in zip(("pays", "costs"), (below, above) if better == "lower" else (above, below), strict=True)
        if any(there) and not all(there)
    ]
    if any(none):
        said.append(f"no effect beyond rounding at {_at(none, rates)}")
    return "; ".join(said)


def _at(there: Sequence[bool], rates: Sequence[float]) -> str:
    return ", ".join(f"×{rate:g}" for rate, yes in zip(rates, there, strict=True) if yes)


def _number(v: Any) -> Any:
    if isinstance(v, tuple):
        return [_number(x) for x in v]
    return None if isinstance(v, float) and not math.isfinite(v) else v


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
