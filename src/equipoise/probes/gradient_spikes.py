"""Steep slopes, the steps that are clipped, and divergence."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .. import techniques as T
from ..probe import Finding, Measure, Probe, Trace, ratio
from ..technique import Technique
from ._rates import usual_first

TAIL, CLIPPED, LOSS, BROKEN = "p99/p50 of ‖g‖", "share of clipped steps", "end loss in losses of a constant", "step"


def tail(norms: Sequence[float]) -> float:
    """99th percentile of ‖g‖ over its median, non-finite norms counted as infinite."""
    v = torch.tensor(list(norms), dtype=torch.float64).nan_to_num(math.inf, math.inf, math.inf)
    if not len(v):
        return math.nan
    v = v.sort().values
    return ratio(v[math.ceil(0.99 * len(v)) - 1], v[(len(v) - 1) // 2])


def clip(g: Tensor, ceiling: float) -> tuple[float, Tensor]:
    """(‖g‖, g·min(1, c/(‖g‖ + 10⁻⁶))): what clipping by norm makes of a gradient."""
    norm = float(g.norm())
    return norm, g * min(1.0, ceiling / (norm + 1e-6))


class GradientSpikes(Probe):
    """Tail of the gradient norms over the steps; the share of steps that the recipe's clipping shortens; the loss on
    the probe batch at the end, in units of the best constant's.

    Rule: a loss that became non-finite; or an end loss over 1.1 times the best constant's, and over the start's by a
        tenth of the best constant's; or
        p99/p50 > 100 while less than half of the constant's loss is explained (a net that learns fast leaves large
        first gradients behind it, which is health).
    Known false alarms: very few steps from a poor start.
    Source: Pascanu, Mikolov, Bengio (2013); deck D2; equipoise METHODS A.1 (10).
    """

    follows = ("unscaled_inputs", "minibatch_shift", "activation_profile", "batch_norm_statistics")
    tail: float = 100.0
    loss: float = 1.1
    further: float = 0.1
    learned: float = 0.5

    def measure(self, trace: Trace) -> list[Measure]:
        out = [
            self.number("all parameters", tail(trace.norms), TAIL, self.tail),
            self.number("loss", ratio(trace.last.loss, trace.constant), LOSS, self.loss),
        ]
        bad = [i for i, v in enumerate(trace.losses) if not math.isfinite(v)]
        out.append(self.number("loss", bad[0] if bad else math.nan, f"first non-finite {BROKEN}"))
        clipping = trace.entry("clip")
        if clipping is not None and getattr(clipping, "by", "") == "norm" and len(trace.norms):
            over = sum(v > clipping.knobs()["threshold"] for v in trace.norms)
            out.append(self.number("all parameters", over / len(trace.norms), CLIPPED))
        return out

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        spikes, loss, broken = measures[:3]
        if not math.isnan(broken.value):
            why = "no update after it means anything."
            return [self.finding(broken, "the loss became non-finite", why, self._calmer(trace))]
        if loss.value > self.loss and trace.last.loss > trace.first.loss + self.further * trace.constant:
            why = "training moved away: worse than the start and than any constant."
            return [self.finding(loss, "training diverges", why, self._calmer(trace))]
        if spikes.value > self.tail and trace.learned < self.learned:
            why = "single steps a hundred times the usual throw away what the others learned."
            return [self.finding(spikes, "gradients spike", why, self._calmer(trace))]
        return []

    def _calmer(self, trace: Trace) -> Sequence[Technique]:
        """Clipping at twice the median norm, within 1 and 5, and a rate that fits the weights."""
        r = trace.first_ratio
        factor = min(usual_first(trace) / r, 0.1) if r > 0 else 0.1
        norms = sorted(v for v in trace.norms if math.isfinite(v) and v > 0)
        ceiling = float(f"{2 * norms[len(norms) // 2]:.2g}") if norms else 1.0
        return (T.ClipGradients(min(max(ceiling, 1.0), 5.0), "norm"), *trace.at_rate(factor))
