"""Noise in front of batch norm: running variances that prediction does not have."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import techniques as T
from ..probe import Finding, Measure, Probe, Trace

SHIFT = "median of max(r, 1/r), r = Var_eval/running variance"


def variance_shift(z: Tensor, running: Tensor) -> float:
    """Median over channels of max(r, 1/r), r = Var(z in prediction mode)/running variance; z (rows, channels)."""
    r = z.double().var(0, correction=1) / running.double()
    return float(torch.maximum(r, 1 / r).median())


def ratio_after_dropout(mean: float, variance: float, keep: float) -> float:
    """Var_eval/Var_train = v/((c² + v)/p − c²) behind inverted dropout that keeps with probability p, for inputs of
    mean c and variance v."""
    return variance / ((mean**2 + variance) / keep - mean**2)


class DropoutBeforeBatchNorm(Probe):
    """Variance of what each batch norm sees in prediction mode, over the running variance it divides by.

    Dropout that keeps with probability p in front of it makes r = v/((c² + v)/p − c²) for inputs of mean c, variance v.

    Rule: the median over channels of max(r, 1/r) at the end above 2, or above 1.5 where prediction mode is over 1 %
        worse than training mode on the same rows (a small shift that costs nothing is no fault), where noise acts in
        training, after at least 20 steps, while less than 95 % of the constant's loss is explained in prediction mode.
    Known false alarms: running averages that lag behind weights that move fast.
    Source: Li et al. (2019), Understanding the disharmony between dropout and batch normalization; equipoise METHODS
        A.1 (15).
    """

    threshold: float = 1.5
    alone: float = 2.0
    steps: int = 20
    learned: float = 0.95
    worse: float = 1.01  # loss in prediction mode over that in training mode, noise off

    def measure(self, trace: Trace) -> list[Measure]:
        out = []
        for name, z in trace.last.norms.items():
            running = trace.last.buffers.get(f"{name}.running_var")
            if running is not None:
                out.append(self.number(name, variance_shift(z, running), SHIFT, self.threshold))
        return out

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        explained = 1 - trace.last.evaluated / trace.constant if trace.constant > 0 else 0.0
        if not trace.drops or trace.failed or trace.last.step < self.steps or explained >= self.learned:
            return []
        worst = max(measures, key=lambda m: m.value, default=None)
        costs = trace.last.evaluated > self.worse * trace.last.loss  # a shift that costs nothing is no fault
        if worst is None or not worst.value > (self.threshold if costs else self.alone):
            return []
        why = "prediction divides by the variance that noise made in training."
        ours = any(t.slot == "normalization" for t in trace.recipe)
        entries = [T.BatchNorm(statistics="population")] if ours else []
        return [self.finding(worst, "noise in front of batch norm shifts its variance", why, entries)]
