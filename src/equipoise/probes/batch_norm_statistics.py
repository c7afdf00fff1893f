"""Batch statistics from too few values."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .. import techniques as T
from ..probe import WARNING, Finding, Measure, Probe, Trace

VALUES, VARIANCE, MEAN = "values per unit and batch", "relative error of σ²_B", "error of μ_B in σ"


def standard_errors(m: float) -> tuple[float, float]:
    """(√(2/(m − 1)), 1/√m): relative standard error of the variance and, in σ, of the mean of m Gaussian values."""
    return (math.sqrt(2 / (m - 1)) if m > 1 else math.inf, 1 / math.sqrt(m))


class BatchNormStatistics(Probe):
    """How many values m = batch × positions each batch-norm statistic is made of, and the errors that follow.

    Rule: m < 8: the variance is off by more than 53 % in a typical batch.
    Known false alarms: batch norm whose noise is wanted as a regularizer.
    Source: Ioffe and Szegedy (2015); Wu and He (2018); deck D3; equipoise METHODS A.1 (14).
    """

    least: int = 8
    enough: int = 32

    def measure(self, trace: Trace) -> list[Measure]:
        out = []
        for name, z in trace.last.norms.items():
            m = trace.batch_size * len(z) // trace.last.rows
            variance, mean = standard_errors(m)
            out.append(self.number(name, m, VALUES, self.least))
            out.append(self.number(name, variance, VARIANCE))
            out.append(self.number(name, mean, MEAN))
        return out

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        few = [m for m in measures if m.unit == VALUES and m.value < self.least]
        if not few:
            return []
        m, symptom = few[0], "batch norm has too few values per batch"
        if any(t.slot == "normalization" for t in trace.recipe):
            why = "each statistic is mostly noise; a larger batch_size or statistics of the layer mend it."
            return [self.finding(m, symptom, why, [T.LayerNorm()], WARNING)]
        rows = (
            math.ceil(self.enough / m.value) * trace.batch_size
        )  # the norm is the user's own: only the batch can grow
        why = f"each statistic is mostly noise; train with batch_size={rows}, or normalize over the layer."
        return [self.finding(m, symptom, why, (), WARNING, {"batch_size": rows})]
