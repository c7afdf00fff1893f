"""Updates too large or too small for the weights they change."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from torch import Tensor

from ..probe import Finding, Measure, Probe, Trace

LAYER, ALL = "‖ΔW‖/‖W‖ a step, median", "‖ΔW‖/‖W‖ a step, median of layers"


def update_ratio(new: Tensor, old: Tensor) -> Tensor:
    """r = ‖W′ − W‖/‖W‖ of one actual update; ∞ where W = 0. 0-d."""
    return (new - old).norm() / old.norm()


class UpdateRatio(Probe):
    """r_l = ‖ΔW_l‖/‖W_l‖ of the actual updates, by layer: the median over steps.

    Rule: the median over layers outside [10⁻⁵, 10⁻¹] while less than half of the constant's loss is explained: some
        10⁻³ are usual. Training that gets on at another ratio (fine-tuning, normalized weights) is left alone.
    Known false alarms: a long warm-up seen in its first part only; fine-tuning on a hard task.
    Source: folklore, widely taught; equipoise METHODS A.1 (13).
    """

    follows = ("symmetry", "activation_profile", "gradient_profile", "gradient_spikes", "saturation", "dead_units")
    low: float = 1e-5
    high: float = 1e-1
    usual: float = 3e-3
    learned: float = 0.5

    def measure(self, trace: Trace) -> list[Measure]:
        layers = {s.weight: s.name for s in trace.first.layers}
        medians = {n: statistics.median(r) for w, n in layers.items() if (r := self._finite(trace.ratios.get(w, ())))}
        if not medians:
            return []
        middle = statistics.median(medians.values())
        out = [self.number(n, v, LAYER) for n, v in medians.items()]
        return [self.number("all layers", middle, ALL, self.low if middle < self.usual else self.high), *out]

    def _finite(self, ratios: Sequence[float]) -> list[float]:
        return [r for r in ratios if math.isfinite(r)]

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        m = next((m for m in measures if m.unit == ALL), None)
        if m is None or trace.learned >= self.learned or self.low <= m.value <= self.high:
            return []
        large = m.value > self.high
        symptom = "each step replaces much of the weights" if large else "the weights hardly move"
        factor = self.usual / m.value if m.value > 0 else math.nan
        reason = f"steps of {self.low:g} to {self.high:g} of the weights are usual, and little is learned at this rate."
        return [self.finding(m, symptom, reason, trace.at_rate(factor))]
