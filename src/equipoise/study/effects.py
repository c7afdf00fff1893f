"""Effects of techniques with their intervals and verdicts, from the scores of every run on every example.

An effect is mean(on) − mean(off) in the metric's unit: the average over the other techniques, for this training set and
this learning-rate rule, over new seeds and new examples of the same source. Its error has two parts, seeds and
examples (``stats.interval``). The family of Holm (1979) holds every effect and declared interaction of the primary
metric. Verdicts follow the two one-sided tests of Schuirmann (1987) where an effect is too small to matter.

Simulated on 2^(7−3) designs, ``benchmarks/evidence/simulate.py`` says what the interval covers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from .. import metrics
from ..errors import EquipoiseError
from ..stats import Interval, Looks, adjust, half_width, interval
from .design import Design
from .planning import Parts, needed, pairing

Array = np.ndarray[Any, np.dtype[Any]]

PAYS, COSTS, SMALL, UNDECIDED = "pays", "costs", "too small to matter", "undecided"
IDENTICAL = "no effect: identical runs"
RELATIVE, ABSOLUTE = {"loss", "rmse", "mae", "brier"}, {"accuracy", "auc", "r2"}


@dataclass(frozen=True)
class EffectRow:
    """One technique and metric. Missing numbers are NaN: p values and the simultaneous interval of metrics that are
    not primary, and p values of identical runs. ``verdict`` is that of the primary metric.

    ``more_seeds``, ``more_examples``: how many more of the one, or else of the other, would decide an undecided effect
    that is as large as estimated; None where they would not. ``unit``: what counts as an example,
    "groups" where rows are grouped. ``hidden``: every run is scored as its fallback, so that no effect can be seen.
    """

    technique: str
    metric: str
    better: str
    effect: float
    low: float
    high: float
    low_sim: float
    high_sim: float
    se: float
    se_seed: float
    se_example: float
    df: float
    p: float
    p_holm: float
    verdict: str
    alias: str
    more_seeds: int | None = None
    more_examples: int | None = None
    unit: str = "examples"
    hidden: bool = False

    def as_json(self) -> dict[str, Any]:
        """The row of ``study.json``."""
        return _json(self, leave_out=("se", "more_seeds", "more_examples", "unit", "hidden"))

    @property
    def advice(self) -> str:
        """What would decide an undecided effect; empty for a decided one."""
        if self.verdict != UNDECIDED:
            return ""
        if self.hidden:
            return "with it and without, no run did better than the fallback it is scored as: train longer, or anew"
        seeds = f"{self.more_seeds} more seed{'s' * (self.more_seeds != 1)}" if self.more_seeds else ""
        examples = f"{self.more_examples} more {self.unit}" if self.more_examples else ""
        if seeds or examples:
            help_none = "more seeds will not help; " if not seeds else ""
            return f"{help_none}about {' or '.join(filter(None, (seeds, examples)))} would decide"
        return f"too near to the smallest effect of interest: neither more seeds nor more {self.unit} would decide"


@dataclass(frozen=True)
class InteractionRow:
    """A declared interaction in the primary metric: half the difference between one technique's effect with the other
    on and with the other off.
    """

    techniques: tuple[str, str]
    effect: float
    low: float
    high: float
    p: float
    p_holm: float
    alias: str

    def as_json(self) -> dict[str, Any]:
        """The row of ``study.json``."""
        return {**_json(self, leave_out=("p_holm",)), "techniques": list(self.techniques)}


@dataclass(frozen=True)
class Effects:
    """All effects of a study. ``smallest``: the smallest effect of interest δ; ``baseline``: the mean with every factor
    off (``baseline_mean``); ``rho``: the measured pairing correlation; ``interval``: of all rows, interactions last.
    """

    rows: tuple[EffectRow, ...]
    interactions: tuple[InteractionRow, ...]
    primary: str
    better: str
    smallest: float
    baseline: float
    rho: float
    interval: Interval

    def row(self, technique: str, metric: str | None = None) -> EffectRow:
        """The row of a technique, in the primary metric unless another is named."""
        return next(r for r in self.rows if (r.technique, r.metric) == (technique, metric or self.primary))


def effects(
    design: Design,
    scores: Mapping[str, Array],
    *,
    primary: str,
    smallest: float | None = None,
    better: Mapping[str, str] | None = None,
    looks: Looks | None = None,
    unit: str = "examples",
    fallback: Array | None = None,
) -> Effects:
    """Effects of every factor of ``design`` in every metric of ``scores``.

    ``scores``: metric → (N, S, n) per-example scores as ``metrics.per_example`` gives them, failed runs scored as their
    fallback. ``primary`` carries the family, p values and verdicts; other metrics get plain intervals. ``smallest``: δ
    in the primary metric's unit, default ``smallest_effect``. ``better``: metric → "lower" or "higher", for metrics of
    your own. ``looks``: declared looks at a growing study, which widen intervals and p values. ``unit``: what n counts,
    "groups" where the scores of dependent examples were put together (``grouped``). ``fallback``: (N, S) the runs whose
    scores are a fallback's; runs are not called identical on the strength of these.

    Raises EquipoiseError where scores do not fit the design, are not finite, or δ is no positive number.
    """
    y = {name: _checked(design, name, values) for name, values in scores.items()}
    if primary not in y:
        raise EquipoiseError(f"primary metric {primary!r} has no scores; there are {', '.join(y)}")
    direction = {name: (better or {}).get(name) or metrics.better(name) for name in y}
    baseline = baseline_mean(design, y[primary])
    delta = smallest_effect(primary, baseline) if smallest is None else smallest
    if not delta > 0.0 or not math.isfinite(delta):
        raise EquipoiseError(f"smallest={delta}: the smallest effect of interest is a positive number; give --smallest")

    found = interval(y[primary], design.weights, looks=looks)
    same = np.array([all(identical(values, w) for values in y.values()) for w in design.weights])
    hidden = same & (fallback is not None and bool(np.all(fallback)))
    found = without_error(found, same)
    holm = adjust(found.p)
    judged = [
        (UNDECIDED if hidden[k] else IDENTICAL)
        if same[k]
        else _verdict(found, k, float(holm[k]), delta, direction[primary], looks)
        for k in range(len(design.rows))
    ]
    rows = []
    for metric in [primary, *(name for name in y if name != primary)]:
        is_primary = metric == primary
        values = found if is_primary else without_error(interval(y[metric], design.weights, looks=looks), same)
        for k, technique in enumerate(design.rows):
            row = _row(values, k, technique, metric, direction[metric])
            extra = {"verdict": judged[k], "alias": design.aliases[technique], "unit": unit, "hidden": bool(hidden[k])}
            if not is_primary:
                extra |= dict.fromkeys(("p", "low_sim", "high_sim"), math.nan)
            elif judged[k] == UNDECIDED and not same[k]:
                more = needed(row["effect"], _parts(found, k, y[primary].shape), delta, len(design.weights))
                extra |= dict(zip(("more_seeds", "more_examples"), more, strict=True))
            p_holm = float(holm[k]) if is_primary else math.nan
            rows.append(EffectRow(**{**row, "p_holm": p_holm, **extra}))
    return Effects(
        rows=tuple(rows),
        interactions=_interactions(design, found, holm),
        primary=primary,
        better=direction[primary],
        smallest=delta,
        baseline=baseline,
        rho=pairing(y[primary]),
        interval=found,
    )


def smallest_effect(metric: str, baseline: float) -> float:
    """δ where none is given: 2 % of the baseline's mean for loss, rmse, mae, brier; .005 for accuracy, auc, r2."""
    if metric in RELATIVE:
        return 0.02 * abs(baseline)
    if metric in ABSOLUTE:
        return 0.005
    raise EquipoiseError(f"metric {metric!r} has no usual smallest effect of interest; give one with --smallest")


def baseline_mean(design: Design, y: Array) -> float:
    """Mean score with every factor off, y (N, S, n): every design holds that configuration."""
    return float(np.asarray(y, dtype=np.float64)[(design.matrix == 0).all(1)].mean())


def failures(design: Design, failed: Array) -> dict[str, int]:
    """Failed runs per technique: how many of the runs that had it on failed, from a mask (N, S)."""
    counts = np.asarray(failed, dtype=bool).sum(1)
    levels = [(k, level) for k, f in enumerate(design.factors) for level in range(1, len(f.levels))]
    return {
        name: int(counts[design.matrix[:, k] == level].sum())
        for name, (k, level) in zip(design.rows, levels, strict=True)
    }


def grouped(y: Array, groups: Array) -> Array:
    """Scores (..., n) of dependent examples as one score per group, (..., G), with the same mean.

    Examples of one group (a patient, a day) are no independent draws; groups are. The mean is a ratio of sums over
    groups, linearized: z_g = ȳ + (G/n)·Σ_{i in g} (y_i − ȳ).
    """
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    y = np.asarray(y, dtype=np.float64)
    centre, count = y.mean(-1, keepdims=True), int(member.max()) + 1
    return centre + (y - centre) @ np.eye(count)[member] * (count / y.shape[-1])


def _checked(design: Design, name: str, values: Array) -> Array:
    y = np.asarray(values, dtype=np.float64)
    if y.ndim != 3 or len(y) != design.configurations:
        raise EquipoiseError(
            f"scores of {name!r} have shape {y.shape}; it is ({design.configurations}, seeds, examples)"
        )
    if not np.isfinite(y).all():
        raise EquipoiseError(f"scores of {name!r} are not all finite; score failed runs as their fallback first")
    return y


def identical(y: Array, w: Array) -> bool:
    """Whether runs y (N, S, n) on one side of a contrast w (N,) are, in every seed, bit for bit those on its other."""
    on, off = w > 0, w < 0
    if not on.any() or not off.any() or max(np.ptp(w[on]), np.ptp(w[off])) > 1e-12:
        return False
    for s in range(y.shape[1]):
        plus, minus = (Counter(run.tobytes() for run in y[side, s]) for side in (on, off))
        if {r: c * off.sum() for r, c in plus.items()} != {r: c * on.sum() for r, c in minus.items()}:
            return False
    return True


def without_error(found: Interval, same: Array) -> Interval:
    """Identical runs: an effect of exactly zero, without error and without a p value."""
    gone = {f.name: 0.0 for f in fields(Interval)} | {"df": math.nan, "p": math.nan}
    return Interval(**{name: np.where(same, value, getattr(found, name)) for name, value in gone.items()})


def _verdict(found: Interval, k: int, p_holm: float, delta: float, better: str, looks: Looks | None) -> str:
    effect = float(found.effect[k])
    if p_holm < 0.05 and abs(effect) >= delta:
        return PAYS if (effect < 0.0) == (better == "lower") else COSTS
    if abs(effect) + half_width(found.se[k], found.df[k], 0.10, looks) < delta:
        return SMALL
    return UNDECIDED


def _row(found: Interval, k: int, technique: str, metric: str, better: str) -> dict[str, Any]:
    own = {f.name for f in fields(EffectRow)}
    values = {f.name: float(getattr(found, f.name)[k]) for f in fields(Interval) if f.name in own}
    return {"technique": technique, "metric": metric, "better": better, **values}


def _parts(found: Interval, k: int, shape: tuple[int, ...]) -> Parts:
    seed, example, residual = (float(v[k]) ** 2 for v in (found.se_seed, found.se_example, found.se_residual))
    return Parts(seed, example, residual, *shape)


def _interactions(design: Design, found: Interval, holm: Array) -> tuple[InteractionRow, ...]:
    out = []
    for k, pair in enumerate(design.interaction_rows, len(design.rows)):
        effect, low, high, p, p_holm = (float(v[k]) for v in (found.effect, found.low, found.high, found.p, holm))
        out.append(InteractionRow(pair, effect, low, high, p, p_holm, design.aliases["×".join(pair)]))
    return tuple(out)


def _json(row: Any, leave_out: tuple[str, ...]) -> dict[str, Any]:
    values = {k: v for k, v in asdict(row).items() if k not in leave_out}
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
