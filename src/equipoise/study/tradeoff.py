"""What a technique trades: bias against variance, from runs on independent halves of the training set.

A split cuts ``fit`` into two disjoint halves; every configuration is trained on both, with different seeds. For
squared loss, two predictions f₁, f₂ of independent trainings give V = ½‖f₁ − f₂‖² and B² = ⟨f₁ − y, f₂ − y⟩, exactly
unbiased at training size n/2, and B² + V is the mean squared loss (Yang et al. 2020). Label noise stays in B² and
cancels in the difference of two techniques. B² may come out negative; it is reported as it is.

A form turns predictions (..., M, n, k) of M independent trainings and targets (n, k) into (bias, variance), each
(..., n), which add up to the mean loss: ``squared``, ``cross_entropy``, ``kohavi_wolpert``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import EquipoiseError
from ..metrics import TINY
from ..stats import interval
from .design import Design
from .effects import Effects, grouped

Array = np.ndarray[Any, np.dtype[Any]]
Form = Callable[[Array, Array], tuple[Array, Array]]


@dataclass(frozen=True)
class Decomposition:
    """Bias², variance and risk of one recipe, each with its 95 % interval over splits and examples."""

    bias2: float
    bias2_low: float
    bias2_high: float
    variance: float
    variance_low: float
    variance_high: float
    risk: float
    risk_low: float
    risk_high: float


@dataclass(frozen=True)
class TradeRow:
    """What one technique changes (on − off), each with its 95 % interval; negative is less.

    ``n``: training size, half of ``fit``. ``kind``: ``variance reducer`` (its variance interval lies below zero),
    ``bias reducer``, ``both`` or ``neither``. ``profitable``: the risk interval lies below zero, and the technique's
    effect at the full training size points the same way.
    """

    technique: str
    bias2: float
    bias2_low: float
    bias2_high: float
    variance: float
    variance_low: float
    variance_high: float
    risk: float
    risk_low: float
    risk_high: float
    profitable: bool
    n: int
    kind: str

    def as_json(self) -> dict[str, Any]:
        """The row of ``study.json``."""
        values = {"class" if k == "kind" else k: v for k, v in asdict(self).items()}
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def half_size(rows: int, groups: Array | None = None) -> int:
    """Rows of a half: n // 2; where groups stay whole, what both have in any case, (n − largest group + 1) // 2."""
    largest = 1 if groups is None else int(np.unique(groups, return_counts=True)[1].max())
    return (rows - largest + 1) // 2


def halves(order: Array, groups: Array | None = None) -> tuple[Array, Array]:
    """Two disjoint halves of ``half_size`` rows each, sorted row numbers, by ``order``, a permutation of the rows.

    The two trainings are independent only where no group (n,) has rows in both halves: groups are dealt out in the
    order in which they occur, each to the half with fewer rows, and what is more than ``half_size`` is left out.
    """
    size = half_size(len(order), groups)
    if groups is None:
        return np.sort(order[:size]), np.sort(order[size : 2 * size])
    codes = groups[order]
    first, counts = np.unique(codes, return_index=True, return_counts=True)[1:]
    dealt: tuple[list[Array], list[Array]] = ([], [])
    held = [0, 0]
    for k in np.argsort(first):
        side = int(held[1] < held[0])
        dealt[side].append(order[codes == codes[first[k]]])
        held[side] += int(counts[k])
    one, other = (np.sort(np.concatenate(rows)[:size]) for rows in dealt)
    return one, other


def squared(f: Array, y: Array) -> tuple[Array, Array]:
    """V = Σ_m ‖f_m − f̄‖²/(M − 1) and B² = ‖f̄ − y‖² − V/M: the means over pairs m < m' of ½‖f_m − f_m'‖² and
    ⟨f_m − y, f_m' − y⟩. Regression, or class probabilities against one-hot targets (Brier).
    """
    f, m = _trainings(f)
    centre = f.mean(-3)
    variance = np.square(f - centre[..., None, :, :]).sum((-3, -1)) / (m - 1)
    return np.square(centre - y).sum(-1) - variance / m, variance


def cross_entropy(p: Array, y: Array) -> tuple[Array, Array]:
    """Bregman information of class probabilities, jackknifed, and the rest of the mean cross-entropy.

    With the central prediction p̄ ∝ exp(mean log p_m): E CE(y, p) = CE(y, p̄) + E KL(p̄ ‖ p) (Heskes 1998). The plug-in
    variance (``bregman_information``) is low by about (M−1)/M; V_J = M·V_M − (M−1)·mean V_{−m} removes that to second
    order (Gruber & Buettner 2023); no exactly unbiased estimate exists.
    """
    p, m = _trainings(p)
    z = np.log(np.maximum(p, TINY))
    lse = _lse(z)
    without = (lse.sum(-2, keepdims=True) - lse) / (m - 1) - _lse((z.sum(-3, keepdims=True) - z) / (m - 1))
    variance = m * bregman_information(z) - (m - 1) * without.mean(-2)
    return -(z.mean(-3) * y).sum(-1) - variance, variance


def bregman_information(z: Array) -> Array:
    """mean_m LSE(z_m) − LSE(mean_m z_m) of logits or log-probabilities (..., M, n, k): plug-in variance, (..., n)."""
    return _lse(z).mean(-2) - _lse(z.mean(-3))


def kohavi_wolpert(p: Array, y: Array) -> tuple[Array, Array]:
    """0-1 loss of the most probable class (Kohavi & Wolpert 1996), unbiased: with vote shares q and one-hot y,
    bias = ½Σ[(y − q)² − q(1 − q)/(M − 1)], variance = ½·M/(M − 1)·(1 − Σq²); they add up to the mean error.
    """
    p, m = _trainings(p)
    q = np.eye(p.shape[-1])[p.argmax(-1)].mean(-3)
    return (
        0.5 * (np.square(y - q) - q * (1.0 - q) / (m - 1)).sum(-1),
        0.5 * m / (m - 1) * (1.0 - np.square(q).sum(-1)),
    )


def domingos(votes: Array, labels: Array) -> tuple[Array, Array]:
    """Domingos (2000) for 0-1 loss, classes (M, n) against labels (n,): bias [label ≠ main prediction] and variance
    mean [vote ≠ main prediction], the main prediction being the mode (of equal counts the smallest class).

    Descriptive only: biased for few trainings, and the two do not add up to the error (with two classes
    error = B + (1 − 2B)·V: variance helps where the main prediction is wrong).
    """
    from scipy.stats import mode

    main = mode(votes, axis=0).mode
    return (main != labels).astype(float), (votes != main).mean(0)


FORMS: dict[str, Form] = {"squared": squared, "cross-entropy": cross_entropy, "zero-one": kohavi_wolpert}
"""By the loss they split; the last two are of class probabilities."""


def decompose(predictions: Array, targets: Array, form: Form = squared, groups: Array | None = None) -> Decomposition:
    """Bias², variance and risk of one recipe from predictions (R, M, n, k): R random splits into M disjoint parts.

    Per split and example by ``form``; the mean with the interval of one arm, splits in the seed's place (df R − 1).
    ``groups`` (n,): examples of one group are dependent, so that groups take the place of examples (``grouped``).
    Numbers are those at the training size of a part, for this data set. Raises EquipoiseError for R < 2 or M < 2.
    """
    f = np.asarray(predictions, dtype=np.float64)
    bias2, variance = form(f, np.asarray(targets, dtype=np.float64))
    if groups is not None:
        bias2, variance = grouped(bias2, groups), grouped(variance, groups)
    parts = [interval(v[None], [1.0]) for v in (bias2, variance, bias2 + variance)]
    return Decomposition(*(float(v[0]) for part in parts for v in (part.effect, part.low, part.high)))


def trade(
    design: Design,
    predictions: Array,
    targets: Array,
    *,
    effects: Effects,
    n: int,
    form: Form = squared,
    groups: Array | None = None,
) -> tuple[TradeRow, ...]:
    """What every technique of ``design`` trades, from predictions (N, R, 2, n_assess, k) on R random splits.

    Bias and variance per configuration, split and example, then the factorial contrast over all N configurations, with
    the interval of an effect (``stats.interval``), the split in the seed's place (df (N − 1)(R − 1)) and examples
    crossed, or groups of them (``groups`` (n_assess,)). ``effects``: the study's effects at the full training size;
    ``n``: the training size of a half.
    """
    f = np.asarray(predictions, dtype=np.float64)
    if f.ndim != 5 or f.shape[0] != design.configurations or f.shape[2] != 2:
        raise EquipoiseError(f"predictions {f.shape}; they are ({design.configurations}, splits, 2, examples, outputs)")
    bias2, variance = form(f, np.asarray(targets, dtype=np.float64))
    if groups is not None:
        bias2, variance = grouped(bias2, groups), grouped(variance, groups)
    w = design.weights[: len(design.rows)]
    parts = [interval(v, w) for v in (bias2, variance, bias2 + variance)]
    rows = []
    for k, technique in enumerate(design.rows):
        b, v, risk = ((float(p.effect[k]), float(p.low[k]), float(p.high[k])) for p in parts)
        full = effects.row(technique)
        harm = full.effect if full.better == "lower" else -full.effect
        profitable = risk[2] < 0.0 and harm < 0.0
        rows.append(TradeRow(technique, *b, *v, *risk, profitable, n, _kind(b[2] < 0.0, v[2] < 0.0)))
    return tuple(rows)


def _lse(z: Array) -> Array:
    return np.logaddexp.reduce(z, axis=-1)


def _kind(less_bias: bool, less_variance: bool) -> str:
    if less_bias and less_variance:
        return "both"
    return "bias reducer" if less_bias else "variance reducer" if less_variance else "neither"


def _trainings(f: Array) -> tuple[Array, int]:
    f = np.asarray(f, dtype=np.float64)
    if f.ndim < 3 or f.shape[-3] < 2:
        raise EquipoiseError(f"predictions {f.shape}: bias and variance need (..., trainings ≥ 2, examples, outputs)")
    return f, f.shape[-3]
