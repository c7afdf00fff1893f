"""A network that predicts worse than it trains, on the same rows."""

from __future__ import annotations

from collections.abc import Sequence

from .. import techniques as T
from ..probe import Finding, Measure, Probe, Trace, ratio

RATIO, SHARE = "prediction loss over training loss, same rows", "their difference in losses of a constant"


class EvaluationMismatch(Probe):
    """L(prediction mode)/L(training mode, noise off) on the probe batch at the end: what running statistics cost.

    Rule: over 2, the difference over a tenth of the best constant's loss (both losses of a net that has converged are
        tiny, and their ratio says nothing), after at least 20 steps (running averages need about 10).
    Known false alarms: momentum of the running averages made for longer training.
    Source: Ioffe and Szegedy (2015); deck D2; equipoise METHODS A.1 (16).
    """

    follows = ("minibatch_shift", "batch_norm_statistics", "dropout_before_batch_norm", "gradient_spikes")
    threshold: float = 2.0
    share: float = 0.1
    steps: int = 20

    def measure(self, trace: Trace) -> list[Measure]:
        m = trace.last
        return [
            self.number("loss", ratio(m.evaluated, m.loss), RATIO, self.threshold),
            self.number("loss", ratio(m.evaluated - m.loss, trace.constant), SHARE, self.share),
        ]

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        times, share = measures
        if (
            trace.failed
            or trace.last.step < self.steps
            or not (times.value > self.threshold and share.value > self.share)
        ):
            return []
        why = "the running statistics do not describe what the network computes."
        ours = any(t.slot == "normalization" for t in trace.recipe)
        entries = [T.BatchNorm(statistics="population")] if ours else []
        return [self.finding(times, "the network predicts worse than it trains, on the same rows", why, entries)]
