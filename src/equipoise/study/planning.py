"""What a study can see before it runs, and what would decide a question it left open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats as sps

from ..stats import half_width

Array = np.ndarray[Any, np.dtype[Any]]
_MOST = 1000  # seed blocks, and multiples of the examples, beyond which "more" is no answer


@dataclass(frozen=True)
class Precision:
    """Standard error of an effect, half the width of its 95 % interval, and the minimum detectable effect."""

    se: float
    half_width: float
    mde: float


@dataclass(frozen=True)
class Parts:
    """Variances of one effect as ``stats.interval`` measured them, on N arms, S seeds and n examples."""

    seed: float
    example: float
    residual: float
    arms: int
    seeds: int
    examples: int


def precision(
    weights: Array,
    seeds: int,
    sigma: float,
    *,
    sigma_example: float = 0.0,
    examples: int | None = None,
    power: float = 0.8,
    family: int = 1,
) -> Precision:
    """Precision of a contrast with ``weights`` (N,) over configurations, before anything is run.

    SE² = σ²·Σw²/S + σ_example²/n on (N−1)(S−1) and n−1 degrees of freedom (Satterthwaite), 4σ²/(N·S) for two levels.
    σ: run-to-run sd of a configuration's score, seed blocks removed; σ_example: sd over examples of the per-example
    effect. The minimum detectable effect (t_{1−.05/(2·family)} + t_power)·SE is found with probability ``power``.
    """
    w = np.asarray(weights, dtype=np.float64)
    a, nu = sigma**2 * float(w @ w) / seeds, (len(w) - 1.0) * (seeds - 1.0)
    b = sigma_example**2 / examples if examples else 0.0
    total = a + b
    df = total**2 / (a**2 / nu + (b**2 / (examples - 1.0) if examples else 0.0)) if total > 0.0 else nu
    se = total**0.5
    t_test, t_power = sps.t.isf(0.05 / (2 * family), df), sps.t.ppf(power, df)
    return Precision(se, float(half_width(se, df, 0.05)), float((t_test + t_power) * se))


def pairing(y: Array) -> float:
    """The pairing correlation ρ of arms run on the same seeds, y (N, S, n) or (N, S): measured, never assumed.

    Intraclass correlation (MS_seed − MS)/(MS_seed + (N−1)·MS), configuration means removed (Shrout & Fleiss 1979,
    ICC(3,1)). A difference of two arms has variance 2σ²(1−ρ)/S. NaN where no run differs from another by its seed.
    """
    m = np.asarray(y, dtype=np.float64)
    m = m.mean(-1) if m.ndim == 3 else m
    arms, seeds = m.shape
    block = arms * float(m.mean(0).var(ddof=1))
    r = m - m.mean(0) - m.mean(1, keepdims=True) + m.mean()
    ms = float(np.square(r).sum()) / ((arms - 1) * (seeds - 1))
    return (block - ms) / (block + (arms - 1) * ms) if block + ms > 0.0 else float("nan")


def needed(effect: float, parts: Parts, smallest: float, family: int) -> tuple[int | None, int | None]:
    """How many more seed blocks, or else more examples, would decide, were the estimate the truth; None: neither.

    Decided is an effect of at least ``smallest`` whose p value passes the first step of Holm over ``family``, or one
    whose 90 % interval lies inside ±``smallest``. Parts scale as 1/S (seeds), 1/n (examples) and 1/(S·n) (residual).
    """
    more_seeds = np.arange(1, _MOST)
    more_examples = np.unique(np.ceil(parts.examples * (np.geomspace(1.01, _MOST, 500) - 1.0)).astype(int))
    by_seeds = _decided(effect, parts, smallest, family, parts.seeds + more_seeds, np.array(parts.examples))
    by_examples = _decided(effect, parts, smallest, family, np.array(parts.seeds), parts.examples + more_examples)
    return (
        int(more_seeds[by_seeds.argmax()]) if by_seeds.any() else None,
        int(more_examples[by_examples.argmax()]) if by_examples.any() else None,
    )


def _decided(effect: float, parts: Parts, smallest: float, family: int, seeds: Array, examples: Array) -> Array:
    e = parts.residual * (parts.seeds * parts.examples) / (seeds * examples)
    a = max(parts.seed - parts.residual, 0.0) * parts.seeds / seeds
    b = max(parts.example - parts.residual, 0.0) * parts.examples / examples
    nu = (parts.arms - 1.0) * (seeds - 1.0) if parts.arms > 1 else seeds - 1.0
    variance = a + b + e
    with np.errstate(divide="ignore", invalid="ignore"):
        df = variance**2 / ((a + e) ** 2 / nu + (b + e) ** 2 / (examples - 1.0))
    se = np.sqrt(variance)
    matters = (abs(effect) >= smallest) & (half_width(se, df, 0.05 / family) < abs(effect))
    return matters | (abs(effect) + half_width(se, df, 0.10) < smallest)
