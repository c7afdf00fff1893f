"""Batches that differ from each other by more than chance: rows that come in an order."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..probe import Finding, Measure, Probe, Trace, ratio

F = "between-batch over within-batch variance, F"


def one_way(batches: Sequence[Tensor]) -> float:
    """F = m·Var_b(mean_b)/mean_b(Var_b) over equal batches (m, features), ddof 1, pooled over the features; 1 for
    batches of independent rows."""
    v = torch.stack([b.double().flatten(1) if b.dim() > 1 else b.double()[:, None] for b in batches])
    between, within = v.shape[1] * v.mean(1).var(0), v.var(1).mean(0)
    return ratio(between.sum(), within.sum())


def critical(batches: int, rows: int, level: float) -> float:
    """The F above which one feature lies by chance with probability ``level``."""
    from scipy import stats

    return float(stats.f.isf(level, batches - 1, batches * (rows - 1)))


class MinibatchShift(Probe):
    """One-way F of inputs, targets and hidden layers over the batches that training saw.

    F = m·Var_b(mean_b)/mean_b(Var_b), features pooled; 1 for shuffled independent rows.

    Rule: F over 3, and over what chance gives once in 10⁴ for so few batches, in the inputs or the targets. Hidden
        layers are reported only.
    Known false alarms: sequences drawn in order on purpose (online learning).
    Source: one-way analysis of variance (Fisher 1925); deck D2; equipoise METHODS A.1 (6).
    """

    threshold: float = 3.0
    level: float = 1e-4

    def measure(self, trace: Trace) -> list[Measure]:
        if len(trace.batches) < 2 or len(trace.batches[0][1]) < 2:
            return []
        m = len(trace.batches[0][1])
        limit = max(self.threshold, critical(len(trace.batches), m, self.level))
        out = []
        for i in range(len(trace.inputs)):
            where = "inputs" if len(trace.inputs) == 1 else f"inputs[{i}]"
            out.append(self.number(where, one_way([x[i] for x, _ in trace.batches]), F, limit))
        out.append(self.number("targets", one_way([y for _, y in trace.batches]), F, limit))
        for name, z in trace.hidden.items():
            rows = z[0].shape[0] // m  # positions of one example are no independent rows: take their mean
            out.append(self.number(name, one_way([v.unflatten(0, (m, rows)).mean(1) for v in z]), F))
        return out

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        for m in measures:
            if m.threshold is not None and not math.isnan(m.value) and m.value > m.threshold:
                why = 'shuffled batches have F about 1: the rows come in an order; train with shuffle="each".'
                return [self.finding(m, "batches differ by more than chance", why, course={"shuffle": "each"})]
        return []
