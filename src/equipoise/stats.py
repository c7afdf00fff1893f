"""The project's statistics, thin over scipy: the crossed interval of a contrast, declared looks at
growing data, adjusted p values, and a few textbook estimators.

``interval`` is the one place that turns per-example scores into "effect ± error"; whatever prints an interval for a
difference between arms goes through it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from scipy import stats as sps
from scipy.optimize import brentq

from .errors import EquipoiseError

Array = np.ndarray[Any, np.dtype[Any]]


_quadrature = cache(np.polynomial.legendre.leggauss)


@dataclass(frozen=True)
class Interval:
    """Estimates of contrasts with their errors; every field is a float64 array with one entry per contrast.

    ``low``, ``high``: at the asked level; ``low_sim``, ``high_sim``: simultaneous over the family (Bonferroni-t).
    ``se``: standard error; ``se_seed``, ``se_example``, ``se_residual``: its parts √seed, √B, √E (see ``interval``).
    ``df``: degrees of freedom of ``se``; ``p``: two-sided p value of "the effect is zero".
    """

    effect: Array
    low: Array
    high: Array
    low_sim: Array
    high_sim: Array
    se: Array
    se_seed: Array
    se_example: Array
    se_residual: Array
    df: Array
    p: Array


@dataclass(frozen=True)
class Looks:
    """Looks at one growing study, declared before the first of them, at which it may be ended (group-sequential).

    ``seeds``: seed blocks in hand at each declared look, ascending, so (3, 6, 9) are three looks; ``now``: the look
    taken, counted from 1. With t_j = seeds_j / seeds_last the test at look j rejects where |Z_j| ≥ c·t_j^(shape − ½),
    and c makes the error rate over *all* looks α (Wang & Tsiatis 1987): shape 0 is O'Brien & Fleming (1979), ½ is
    Pocock (1977). Boundaries in z are met by t tests through their p values. Errors the looks share (one assessment
    set) correlate them more than seeds alone do, which keeps the rate below α.
    """

    seeds: tuple[int, ...]
    now: int = 1
    shape: float = 0.0

    def __post_init__(self) -> None:
        if not self.seeds or list(self.seeds) != sorted(set(self.seeds)) or self.seeds[0] < 1:
            raise EquipoiseError(f"looks={self.seeds}: seed blocks at each look must grow, for example (3, 6)")
        if not 1 <= self.now <= len(self.seeds):
            raise EquipoiseError(f"look {self.now} of {len(self.seeds)}: looks are declared before the first one")

    def level(self, alpha: float) -> float:
        """The two-sided level for this look's own p value and interval that spends ``alpha`` over all looks."""
        if len(self.seeds) == 1:
            return alpha
        return float(2.0 * sps.norm.sf(_boundary(replace(self, now=1), alpha) * self._steepness(self.now)))

    def p(self, p: Array) -> Array:
        """Repeated p value: the smallest error rate over all looks at which this look would reject (NaN stays)."""
        if len(self.seeds) == 1:
            return p
        c = sps.norm.isf(np.asarray(p, dtype=np.float64) / 2.0) / self._steepness(self.now)
        return np.array([v if np.isnan(v) else self._crossing(min(v, 40.0)) for v in c.ravel()]).reshape(c.shape)

    def _steepness(self, look: int) -> float:
        return (self.seeds[look - 1] / self.seeds[-1]) ** (self.shape - 0.5)

    def _crossing(self, c: float) -> float:
        """P(|Z_j| ≥ c·t_j^(shape − ½) at some look) under no effect, by recursive quadrature (Armitage et al. 1969)."""
        node, weight = _quadrature(300)
        total, before = 0.0, 0.0
        x, density = np.zeros(1), np.ones(1)  # the score process B(t), all of it at 0 when t = 0
        for look, blocks in enumerate(self.seeds, 1):
            t = blocks / self.seeds[-1]
            sd, bound = math.sqrt(t - before), c * self._steepness(look) * math.sqrt(t)
            total += float(density @ (sps.norm.sf((bound - x) / sd) + sps.norm.sf((bound + x) / sd)))
            reach = min(bound, 9.0 * math.sqrt(t))
            y = reach * node
            density = reach * weight * (sps.norm.pdf((y[:, None] - x) / sd) / sd @ density)
            x, before = y, t
        return total


@cache
def _boundary(looks: Looks, alpha: float) -> float:
    root: Any = brentq(lambda c: looks._crossing(c) - alpha, 1e-3, 40.0, xtol=1e-12)
    return root


@dataclass(frozen=True)
class Paired:
    """Paired differences a − b: mean, sd, t, two-sided p, 95 % interval, and the pairing correlation of a and b."""

    mean: float
    sd: float
    t: float
    p: float
    low: float
    high: float
    rho: float


@dataclass(frozen=True)
class Lenth:
    """Lenth's analysis of an unreplicated design: s0, pseudo standard error, margin and simultaneous margin."""

    s0: float
    pse: float
    me: float
    sme: float


def interval(
    y: Array,
    weights: Array | Sequence[float],
    *,
    family: int | None = None,
    level: float = 0.95,
    looks: Looks | None = None,
) -> Interval:
    r"""Contrasts of configurations that were all run on the same seeds and scored on the same examples.

    ``y``: scores (..., N, S, n), configuration × seed block × example; leading axes (whole studies) broadcast.
    ``weights``: (R, N) or (N,), one row w per contrast; the result has shape (..., R). ``family``: contrasts in the
    simultaneous interval (default R). ``looks`` widens intervals and p values for declared looks.

    With d[s,i] = Σ_c w_c y[c,s,i], effect = mean d, and

    - MS, the configuration × seed mean square of the means over examples (configuration and seed means removed):
      pooled seed variance MS·Σw²/S on (N−1)(S−1) df; A = var over s of the row means of d / S, the contrast's own, on
      2(S−1) df where it is the larger (it is the maximum of two estimates; the figure was set by simulation).
      ``seed`` = max(pooled, A);
    - B = var over i of the column means of d / n, on n−1 df; E = residual mean square of d / (nS), (S−1)(n−1) df;
    - SE² = max(seed + B − E, seed, B): seed + B counts the residual error twice. A maximum that is a single part has
      that part's df, else SE⁴/(seed²/ν + B²/(n−1) + E²/((S−1)(n−1))) (Satterthwaite 1946).

    Coverage of the 95 % interval, 20,000 simulated 2^(7−3) studies each (``benchmarks/evidence/simulate.py``), S = 2,
    3, 5: .953 to .969 where this model holds; .89 (S = 2) to .93 (S = 5) for an effect that itself moves with the seed,
    at four times the others' variance; without the example part .56 to .94 on a shared assessment set.

    One arm alone (N = 1, a mean, not a difference) has its own variance only, on S−1 df; with N = 2 both are the same.
    Raises EquipoiseError for S < 2 or n < 2, where an error cannot be measured.
    """
    y, w = np.asarray(y, dtype=np.float64), np.atleast_2d(np.asarray(weights, dtype=np.float64))
    *lead, arms, seeds, n = y.shape
    if seeds < 2 or n < 2:
        raise EquipoiseError(f"{seeds} seeds, {n} examples: an interval needs at least 2 seeds and 2 examples")
    d = (w @ y.reshape(*lead, arms, seeds * n)).reshape(*lead, len(w), seeds, n)
    rows, columns = d.mean(-1), d.mean(-2)
    effect = rows.mean(-1)
    seed, nu = _seed_variance(y.mean(-1), w, rows)
    b = columns.var(-1, ddof=1) / n
    d -= rows[..., None] + (columns - effect[..., None])[..., None, :]
    e = np.einsum("...si,...si->...", d, d) / ((seeds - 1) * (n - 1) * n * seeds)

    both = seed + b - e
    variance = np.maximum(both, np.maximum(seed, b))
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = seed**2 / nu + b**2 / (n - 1) + e**2 / ((seeds - 1) * (n - 1))
        df = np.where(both < variance, np.where(seed >= b, nu, n - 1.0), variance**2 / spread)
        df = np.where(variance > 0.0, df, nu)
        se = np.sqrt(variance)
        p = 2.0 * sps.t.sf(np.where(effect == 0.0, 0.0, np.abs(effect) / se), df)

    one, all_of = half_width(se, df, 1.0 - level, looks), half_width(se, df, (1.0 - level) / (family or len(w)), looks)
    return Interval(
        effect=effect,
        low=effect - one,
        high=effect + one,
        low_sim=effect - all_of,
        high_sim=effect + all_of,
        se=se,
        se_seed=np.sqrt(seed),
        se_example=np.sqrt(b),
        se_residual=np.sqrt(e),
        df=df,
        p=looks.p(p) if looks else p,
    )


def _seed_variance(mean: Array, w: Array, rows: Array) -> tuple[Array, Array]:
    """The larger of the pooled and the contrast's own seed variance of the effect, and its degrees of freedom."""
    arms, seeds = mean.shape[-2:]
    own = rows.var(-1, ddof=1) / seeds
    if arms == 1:
        return own, np.full(own.shape, seeds - 1.0)
    r = mean - mean.mean(-1, keepdims=True) - mean.mean(-2, keepdims=True) + mean.mean((-2, -1), keepdims=True)
    ms = np.square(r).sum((-2, -1)) / ((arms - 1) * (seeds - 1))
    pooled = ms[..., None] * np.square(w).sum(-1) / seeds
    larger = own > pooled * (1.0 + 1e-9)  # of two arms both are one number: rounding must not choose its df
    return np.where(larger, own, pooled), np.where(larger, 2.0 * (seeds - 1), (arms - 1.0) * (seeds - 1))


def half_width(se: Array | float, df: Array | float, alpha: float, looks: Looks | None = None) -> Any:
    """Half the width of a two-sided interval at error rate ``alpha``: t_{1−α/2, df}·SE, α taken at the look."""
    return sps.t.isf((looks.level(alpha) if looks else alpha) / 2.0, df) * se


def adjust(p: Array | Sequence[float], method: str = "holm") -> Array:
    """p values adjusted over the last axis: ``bonferroni``; ``holm`` (1979) and ``hochberg`` (1988) for the family-wise
    error; ``bh`` (Benjamini & Hochberg 1995) for the false discovery rate. Leading axes (whole studies) broadcast,
    which statsmodels' ``multipletests`` does not. A NaN stays NaN and counts in the family as one not rejected.
    """
    raw = np.asarray(p, dtype=np.float64)
    filled = np.where(np.isnan(raw), 1.0, raw)
    order = np.argsort(filled, axis=-1)
    rank, m = np.arange(1, raw.shape[-1] + 1), raw.shape[-1]
    factor = {"bonferroni": np.full(m, m), "holm": m - rank + 1, "hochberg": m - rank + 1, "bh": m / rank}[method]
    steps = np.take_along_axis(filled, order, -1) * factor
    if method == "holm":
        steps = np.maximum.accumulate(steps, axis=-1)  # step down: never less than a smaller p value
    elif method in ("hochberg", "bh"):
        steps = np.minimum.accumulate(steps[..., ::-1], axis=-1)[..., ::-1]  # step up: never more than a larger one
    out = np.empty_like(filled)
    np.put_along_axis(out, order, np.minimum(steps, 1.0), -1)
    return np.where(np.isnan(raw), np.nan, out)


def paired_t(a: Array | Sequence[float], b: Array | Sequence[float]) -> Paired:
    """Student's paired t test of a − b with its 95 % interval (scipy)."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    test = sps.ttest_rel(a, b)
    bounds = test.confidence_interval(0.95)
    d = a - b
    return Paired(
        mean=float(d.mean()),
        sd=float(d.std(ddof=1)),
        t=float(test.statistic),
        p=float(test.pvalue),
        low=float(bounds.low),
        high=float(bounds.high),
        rho=float(np.corrcoef(a, b)[0, 1]),
    )


def sign_flip_p(differences: Array | Sequence[float]) -> float:
    """Exact two-sided sign-flip p value of paired differences (Fisher 1935); with S pairs never below 2/2^S."""
    d = np.asarray(differences, dtype=np.float64)
    return float(sps.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=2 ** len(d)).pvalue)


def lenth(effects: Array | Sequence[float]) -> Lenth:
    """Lenth (1989) for an unreplicated design of m effects c: s0 = 1.5·med|c|, PSE = 1.5·med{|c| : |c| < 2.5·s0},
    ME = t(.975, m/3)·PSE, SME = t((1 + .95^(1/m))/2, m/3)·PSE.
    """
    c = np.abs(np.asarray(effects, dtype=np.float64))
    s0 = 1.5 * float(np.median(c))
    pse = 1.5 * float(np.median(c[c < 2.5 * s0])) if s0 > 0.0 else 0.0
    df = len(c) / 3.0
    t, t_all = sps.t.ppf([0.975, (1.0 + 0.95 ** (1.0 / len(c))) / 2.0], df)
    return Lenth(s0, pse, float(t) * pse, float(t_all) * pse)


def nadeau_bengio(differences: Array | Sequence[float], train: int, test: int) -> float:
    """Variance of a mean of J differences on overlapping resamples, (1/J + test/train)·s² (Nadeau & Bengio 2003)."""
    d = np.asarray(differences, dtype=np.float64)
    return float((1.0 / len(d) + test / train) * d.var(ddof=1))


def noether(gamma: float = 0.75, alpha: float = 0.05, beta: float = 0.05) -> int:
    """Pairs of runs for power 1 − β to show P(A better than B) = γ > ½ at one-sided level α:
    ((z_{1−α} − z_β)/(√6·(½ − γ)))², rounded up (Noether 1987; Bouthillier et al. 2021).
    """
    return math.ceil(((sps.norm.isf(alpha) - sps.norm.ppf(beta)) / (math.sqrt(6.0) * (0.5 - gamma))) ** 2)


def wilson(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's (1927) interval of a proportion of ``hits`` in ``n`` (scipy)."""
    bounds = sps.binomtest(hits, n).proportion_ci(level, method="wilson")
    return float(bounds.low), float(bounds.high)


def interquartile_mean(x: Array | Sequence[float]) -> float:
    """Mean of the middle half, the 25 % trimmed mean (Agarwal et al. 2021)."""
    return float(sps.trim_mean(np.ravel(x), 0.25))


def probability_of_improvement(x: Array | Sequence[float], y: Array | Sequence[float]) -> float:
    """P(x > y) + ½P(x = y) over all pairs, Mann–Whitney's U/(nm)."""
    return float(sps.mannwhitneyu(x, y).statistic / (np.size(x) * np.size(y)))
