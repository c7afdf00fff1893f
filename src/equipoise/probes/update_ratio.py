"""Updates too large or too small for the weights they change."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from torch import Tensor

from ..probe import Finding, Measure, Probe, Trace
from ._rates import usual_first, usual_ratio
from ._starts import begun
from .dead_units import silent

LAYER, ALL = "‖ΔW‖/‖W‖ a step, median", "‖ΔW‖/‖W‖ a step, median of layers"
FIRST, STEPS = "largest ‖ΔW‖/‖W‖ of the first steps, median of layers", 5


def update_ratio(new: Tensor, old: Tensor) -> Tensor:
    """r = ‖W′ − W‖/‖W‖ of one actual update; ∞ where W = 0. 0-d."""
    return (new - old).norm() / old.norm()


class UpdateRatio(Probe):
    """r_l = ‖ΔW_l‖/‖W_l‖ of the actual updates, by layer: the median over steps.

    Rule: the median over layers that move outside [3·10⁻⁴, 10⁻¹] while less than half of the constant's loss is
        explained: some 10⁻³ are usual. Too small is none where the start explains over half of what rows tell of each
        other's targets (fine-tuning), or leaves half of a layer dead.
        Or the largest of the first five steps, median (lower) over layers, above 0.3 while less than 95 % are
        explained: steps that long throw the start away; above 0.1 where over half of a ReLU layer answers to nothing
        at the end, and less did at the start, while less than half is explained: a net that learns well with units
        to spare is not harmed by their silence.
    Known false alarms: a long warm-up seen in its first part only; fine-tuning on a hard task; a head that starts at
        zero, while what lies before it has hardly moved.
    Source: folklore, widely taught; equipoise METHODS A.1 (13).
    """

    follows = ("symmetry", "unscaled_inputs", "activation_profile", "gradient_profile", "gradient_spikes")
    low: float = 3e-4
    high: float = 1e-1
    usual: float = 3e-3
    first: float = 0.3
    deadly: float = 0.1
    learned: float = 0.5
    done: float = 0.95
    dead: float = 0.5

    def measure(self, trace: Trace) -> list[Measure]:
        layers = {s.weight: s.name for s in trace.first.layers}
        ratios = {n: r for w, n in layers.items() if (r := self._finite(trace.ratios.get(w, ())))}
        if not ratios:
            return []
        medians = {n: statistics.median(r) for n, r in ratios.items()}
        middle = statistics.median([v for v in medians.values() if v > 0] or [0.0])
        first = statistics.median_low(max(r[:STEPS]) for r in ratios.values())
        out = [self.number(n, v, LAYER) for n, v in medians.items()]
        return [
            self.number("all layers", middle, ALL, self.low if middle < self.usual else self.high),
            self.number("all layers", first, FIRST, self.first),
            *out,
        ]

    def _finite(self, ratios: Sequence[float]) -> list[float]:
        return [r for r in ratios if math.isfinite(r)]

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        if not measures:
            return []
        m, first = measures[:2]
        usual = f"steps of {self.low:g} to {self.high:g} of the weights are usual"
        if trace.learned < self.learned and 0 < m.value < self.low and not self._begun(trace):
            reason = f"{usual}, and little is learned at this rate."
            return [self.finding(m, "the weights hardly move", reason, trace.at_rate(usual_ratio(trace) / m.value))]
        if trace.learned < self.learned and m.value > self.high:
            reason = f"{usual}, and little is learned at this rate."
            factor = min(usual_ratio(trace) / m.value, usual_first(trace) / first.value)
            return [self.finding(m, "each step replaces much of the weights", reason, trace.at_rate(factor))]
        if trace.learned < self.done and first.value > (self.deadly if self._killed(trace) else self.first):
            factor = min(usual_first(trace) / first.value, 0.1)
            return [self.finding(first, "the first steps throw the start away", f"{usual}.", trace.at_rate(factor))]
        return []

    def _begun(self, trace: Trace) -> bool:
        """Is the start trained already? Then small steps are meant. Or are units dead? Then that is why."""
        return begun(trace) or silent(trace.first) > self.dead

    def _killed(self, trace: Trace) -> bool:
        """Did units fall silent on the way, and is little learned with those that are left?"""
        return trace.learned < self.learned and silent(trace.first) <= self.dead < silent(trace.last)
