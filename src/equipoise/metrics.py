"""Scores of predictions. They belong to the data: no recipe changes how a prediction is judged.

A metric turns a prediction into one number per example, whose mean over the examples *is* the score. Metrics that are
no mean (rmse, r2, auc) enter by their first-order linearization at the run's own value, which keeps the mean exact and
gives the example part of an interval its variance. Everything is float64 numpy; any leading axes (runs, seeds,
configurations) broadcast.

Shapes: classification, prediction (..., n, C) of class probabilities and y (n,) of codes 0 ... C-1; regression,
prediction (..., n, T) and y (n, T), both in the target's own units. A prediction that is not finite scores NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from equipoise.errors import EquipoiseError, nearest

Array = np.ndarray[Any, np.dtype[Any]]

TINY = float(np.finfo(np.float32).tiny)
"""Smallest probability the cross-entropy sees, 1.18e-38, where a float32 softmax underflows: no loss is above 87.3."""

_SLACK = 0.01
"""How far a row of probabilities may be from summing to one: several times the rounding of bfloat16."""


@dataclass(frozen=True)
class Metric:
    """One score: its name, its task, which direction is better, and ``per_example(prediction, y) -> (..., n)``.

    The score is the mean of ``per_example`` over the examples. Build one to judge runs by a measure of your own.
    """

    name: str
    task: str
    better: str
    per_example: Callable[[Array, Array], Array]

    def __post_init__(self) -> None:
        if self.task not in ("classify", "regress") or self.better not in ("lower", "higher"):
            raise EquipoiseError(
                f"metric {self.name!r}: task={self.task!r}, better={self.better!r}; "
                "task is 'classify' or 'regress', better is 'lower' or 'higher'"
            )


def _loss(p: Array, y: Array) -> Array:
    """Cross-entropy on hard labels, -ln max(p_y, 1.18e-38), in nats."""
    return -np.log(np.maximum(_of_class(p, y), TINY))


def _accuracy(p: Array, y: Array) -> Array:
    """1 where the most probable class is the label, else 0; of equal probabilities the first class counts."""
    return (p.argmax(-1) == y).astype(np.float64)


def _brier(p: Array, y: Array) -> Array:
    """Σ_c (p_c - [y = c])², from 0 to 2 (Brier 1950): for two classes twice the one-sided form."""
    return np.square(p, dtype=np.float64).sum(-1) - 2.0 * _of_class(p, y) + 1.0


def _auc(p: Array, y: Array) -> Array:
    r"""Area under the ROC curve of p(class 1), as DeLong's components (DeLong, DeLong & Clarke-Pearson 1988).

    ψ(a, b) = [a > b] + ½[a = b]; V10_i = mean over negatives of ψ(s_i, ·) for a positive i, V01_j = mean over positives
    of ψ(·, s_j) for a negative j; both average to the area A. With m positives and k negatives the value of example i
    is A + c₁(V10_i - A), or A + c₀(V01_j - A), c₁² = n(n-1)/(m(m-1)), c₀² = n(n-1)/(k(k-1)): the mean is A exactly and
    (variance over the examples, ddof 1)/n is DeLong's S10/m + S01/k exactly. NaN where only one class is there.
    Midranks make it O(n log n) (Sun & Xu 2014).
    """
    from scipy.stats import rankdata

    score, positive = p[..., 1].astype(np.float64), y == 1
    m, k = int(positive.sum()), int((~positive).sum())
    out = np.full(score.shape, np.nan)
    if m == 0 or k == 0:
        return out
    rank = rankdata(score, axis=-1)
    v10 = (rank[..., positive] - rankdata(score[..., positive], axis=-1)) / k
    v01 = 1.0 - (rank[..., ~positive] - rankdata(score[..., ~positive], axis=-1)) / m
    for members, v in ((positive, v10), (~positive, v01)):
        area, size = v.mean(-1, keepdims=True), v.shape[-1]
        c = np.sqrt(len(y) * (len(y) - 1) / (size * max(size - 1, 1)))
        out[..., members] = area + c * (v - area)
    return out


def _rmse(f: Array, y: Array) -> Array:
    """Root mean squared error r, mean of its targets, linearized: e²/(2r) + r/2, whose mean is r; 0 where r = 0."""
    square = np.square(np.subtract(f, y, dtype=np.float64))
    r = np.sqrt(square.mean(-2, keepdims=True))
    return (square / (2.0 * np.where(r == 0.0, 1.0, r)) + r / 2.0).mean(-1)


def _mae(f: Array, y: Array) -> Array:
    """Absolute error, mean of its targets."""
    return np.abs(np.subtract(f, y, dtype=np.float64)).mean(-1)


def _r2(f: Array, y: Array) -> Array:
    """1 - e²/mean((y - ȳ)²), mean of its targets: the mean is R². NaN where a target is constant on these examples."""
    spread = np.square(y - y.mean(0, dtype=np.float64)).mean(0)
    spread = np.where(spread > 0.0, spread, np.nan)
    return (1.0 - np.square(np.subtract(f, y, dtype=np.float64)) / spread).mean(-1)


_ALL = {
    m.name: m
    for m in (
        Metric("loss", "classify", "lower", _loss),
        Metric("accuracy", "classify", "higher", _accuracy),
        Metric("brier", "classify", "lower", _brier),
        Metric("auc", "classify", "higher", _auc),
        Metric("rmse", "regress", "lower", _rmse),
        Metric("mae", "regress", "lower", _mae),
        Metric("r2", "regress", "higher", _r2),
    )
}


def metrics_for(task: str, classes: int) -> tuple[str, ...]:
    """Names of the metrics of a task, the primary one first; ``auc`` only for two classes."""
    return tuple(m.name for m in _ALL.values() if m.task == task and (m.name != "auc" or classes == 2))


def primary(task: str) -> str:
    """The metric that carries the verdict unless another is asked for: ``loss`` or ``rmse``."""
    return metrics_for(task, 0)[0]


def better(metric: str | Metric) -> str:
    """``"lower"`` or ``"higher"``: the direction in which the metric improves."""
    return _find(metric).better


def per_example(metric: str | Metric, prediction: Any, y: Any) -> Array:
    """The metric of every example, (..., n) float64; its mean over the last axis is ``score``.

    Raises EquipoiseError for an unknown metric, shapes that do not fit, or rows that are no probabilities.
    """
    metric = _find(metric)
    f, t = _numpy(prediction), _numpy(y)
    want = t.shape if metric.task == "regress" else (*t.shape, f.shape[-1] if f.ndim else 0)
    if t.ndim != (2 if metric.task == "regress" else 1) or f.shape[-2:] != want:
        form = "(..., n, T) against (n, T)" if metric.task == "regress" else "(..., n, C) against (n,)"
        raise EquipoiseError(f"{metric.name}: prediction {f.shape} against y {t.shape}; the shapes are {form}")
    if metric.task == "classify":
        _check_probabilities(metric.name, f, t)
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.asarray(metric.per_example(f, t), dtype=np.float64)
    if values.shape != f.shape[:-1]:
        raise EquipoiseError(
            f"metric {metric.name!r} gave shape {values.shape}; one value per example is {f.shape[:-1]}"
        )
    return np.where(np.isfinite(f).all(-1), values, np.nan)  # a comparison or a maximum would hide a NaN


def score(metric: str | Metric, prediction: Any, y: Any) -> Array:
    """The metric over all examples, shape (...), float64: the mean of ``per_example``."""
    return per_example(metric, prediction, y).mean(-1)


def baseline_prediction(y_fit: Any, task: str, classes: int) -> Array:
    """What a user has without a model, from the ``fit`` rows: class priors (C,), or the mean of each target (T,).

    Missing targets (the code -1, NaN) are left out.
    """
    y = _numpy(y_fit)
    if task == "regress":
        return np.asarray(np.nanmean(y, 0, dtype=np.float64))
    labels = y[y >= 0]
    return np.bincount(labels, minlength=classes) / len(labels)


def _find(metric: str | Metric) -> Metric:
    if isinstance(metric, Metric):
        return metric
    if metric not in _ALL:
        raise EquipoiseError(f"unknown metric {metric!r}: there are {', '.join(_ALL)}.{nearest(metric, _ALL)}")
    return _ALL[metric]


def _numpy(a: Any) -> Array:
    """A numpy view of an array or tensor, wherever it lives."""
    if hasattr(a, "detach"):
        a = a.detach().cpu()
        a = a.float() if a.is_floating_point() and a.element_size() < 4 else a  # numpy has no bfloat16
    return np.asarray(a)


def _of_class(p: Array, y: Array) -> Array:
    """p_y: the probability given to the label, (..., n) float64."""
    return p[..., np.arange(len(y)), y].astype(np.float64)


def _check_probabilities(name: str, p: Array, y: Array) -> None:
    classes = p.shape[-1]
    if not np.issubdtype(y.dtype, np.integer) or (len(y) and (y.min() < 0 or y.max() >= classes)):
        raise EquipoiseError(f"{name}: y must hold class codes 0 ... {classes - 1}, it holds {y.dtype} {y[:3]}")
    if name == "auc" and classes != 2:
        raise EquipoiseError(f"auc is for two classes, the prediction has {classes}; use loss, accuracy or brier")
    with np.errstate(over="ignore", invalid="ignore"):
        total = p.sum(-1, dtype=np.float64)
    wrong = (p < -_SLACK).any(-1) | (np.abs(total - 1.0) > _SLACK)
    if (wrong & np.isfinite(total)).any():  # a row that is not finite scores NaN instead
        raise EquipoiseError(
            f"{name}: rows of the prediction are no probabilities (negative, or not summing to 1); "
            "apply the objective's map to probabilities, a softmax for logits"
        )
