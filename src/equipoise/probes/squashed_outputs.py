"""Outputs that pass through a softmax or a sigmoid before an objective that applies its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from ..probe import Finding, Measure, Probe, Trace

FLOOR = "decile of the losses over the floor of squashed outputs"
FILLED, SUM = "share of [0, 1] that the outputs fill and never leave", "largest |sum of an example's outputs − 1|"
OBJECTIVES = ("CrossEntropy", "LabelSmoothing")


def floor(classes: int) -> float:
    """ln(e + K − 1) − 1: the least cross-entropy of outputs in [0, 1], 1 for the true class and 0 for the others."""
    return math.log(math.e + classes - 1) - 1


def above(losses: Tensor, classes: int) -> float:
    """First decile of per-example losses over that floor, where none lies below it; NaN where one does."""
    least = floor(classes)
    return float(losses.quantile(0.1)) / least if float(losses.min()) > 0.999 * least else math.nan


def filled(outputs: Tensor) -> float:
    """Largest less smallest output where all lie in [0, 1]; NaN where one does not."""
    low, high = float(outputs.min()), float(outputs.max())
    return high - low if low >= 0 and high <= 1 else math.nan


def off_one(outputs: Tensor) -> float:
    """Largest |Σ_k f_k − 1| over examples (rows, classes) where all outputs lie in [0, 1]; NaN where one does not."""
    sums = outputs.double().sum(-1)
    return math.nan if math.isnan(filled(outputs)) else float((sums - 1).abs().max())


class SquashedOutputs(Probe):
    """Are probabilities given where logits are meant? Outputs that pass through a softmax or a sigmoid lie in [0, 1],
    and with softmax each example's sum is 1; each example loses at least ln(e + K − 1) − 1, and a net that learns
    gathers its examples just above that.

    Rule: at the end, in prediction mode, all outputs in [0, 1], and each example's sum within 10⁻⁴ of 1, or over 90 %
        of [0, 1] filled: logits pass 0 and have no such bounds. Or no example of `fit` below that floor, a tenth of
        them within 5 % of it, and over a tenth of the constant's loss explained.
    Known false alarms: a net that is just there by chance; more steps tell.
    Source: the objective's own formula; equipoise METHODS A.4 (softmax twice); docs/decisions/0017 and 0020.
    """

    near: float = 1.05
    learned: float = 0.1
    fills: float = 0.9
    exact: float = 1e-4

    def measure(self, trace: Trace) -> list[Measure]:
        out = trace.function.output
        if len(trace.fit) < 10 or not any(type(t).__name__ in OBJECTIVES for t in trace.recipe) or out.shape[-1] < 2:
            return []
        return [
            self.number("outputs", above(trace.fit, out.shape[-1]), FLOOR, self.near),
            self.number("outputs", filled(out), FILLED, self.fills),
            self.number("outputs", off_one(out), SUM, self.exact),
        ]

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        if not measures:
            return []
        near, fills, sums = measures
        spoken = [sums] if sums.value < self.exact else [fills] if fills.value > self.fills else []
        if near.value < self.near and trace.learned > self.learned:
            spoken.append(near)
        why = "no example can lose less than this leaves: give the objective what comes before the softmax or sigmoid."
        return [self.finding(m, "outputs are squashed before the objective squashes them", why) for m in spoken[:1]]
