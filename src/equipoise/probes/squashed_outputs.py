"""Outputs that pass through a softmax or a sigmoid before an objective that applies its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from ..probe import Finding, Measure, Probe, Trace

FLOOR = "decile of the losses over the floor of squashed outputs"
OBJECTIVES = ("CrossEntropy", "LabelSmoothing")


def floor(classes: int) -> float:
    """ln(e + K − 1) − 1: the least cross-entropy of outputs in [0, 1], 1 for the true class and 0 for the others."""
    return math.log(math.e + classes - 1) - 1


def above(losses: Tensor, classes: int) -> float:
    """First decile of per-example losses over that floor, where none lies below it; NaN where one does."""
    least = floor(classes)
    return float(losses.quantile(0.1)) / least if float(losses.min()) > 0.999 * least else math.nan


class SquashedOutputs(Probe):
    """Is the cross-entropy held up by outputs in [0, 1]? Probabilities given where logits are meant lose at least
    ln(e + K − 1) − 1 on each example, and a net that learns gathers its examples just above that.

    Rule: no example of `fit` below this floor, a tenth of them within 5 % of it, and over a tenth of the constant's
        loss explained. Outputs that are free pass it on the first examples they know well.
    Known false alarms: a net that is just there by chance; more steps tell.
    Source: the objective's own formula; equipoise METHODS A.4 (softmax twice); docs/decisions/0017.
    """

    near: float = 1.05
    learned: float = 0.1

    def measure(self, trace: Trace) -> list[Measure]:
        heads = [s for s in trace.last.layers if s.is_output]
        if not heads or len(trace.fit) < 10 or not any(type(t).__name__ in OBJECTIVES for t in trace.recipe):
            return []
        return [self.number("outputs", above(trace.fit, heads[-1].z.shape[-1]), FLOOR, self.near)]

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        why = "no example can lose less: give the objective what comes before the softmax or the sigmoid."
        return [
            self.finding(m, "outputs are squashed before the objective squashes them", why)
            for m in measures
            if m.value < self.near and trace.learned > self.learned
        ]
