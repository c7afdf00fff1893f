"""ReLU units that answer to nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from ..probe import FAULT, WARNING, Finding, Measure, Moment, Probe, Trace
from ._starts import usual_start

DEAD, SPARSE = "share of dead units", "share of zero activations"


def dead(a: Tensor, gradient: Tensor) -> Tensor:
    """Boolean (units,): a = 0 on all rows of the probe batch (all positions), and no gradient reaches its weights."""
    return (a == 0).flatten(0, -2).all(0) & (gradient.flatten(1) == 0).all(1)


def silent(m: Moment) -> float:
    """Largest share, over ReLU layers, of units that are 0 on all rows of a moment."""
    layers = [s for s in m.layers if s.activation == "relu" and not s.is_output]
    return max((float((s.a == 0).flatten(0, -2).all(0).double().mean()) for s in layers), default=0.0)


class DeadUnits(Probe):
    """Share of the units of a ReLU layer that are 0 on the whole probe batch and get no gradient, at the end.

    Rule: over 80 % of a layer a fault while less than 80 % of the constant's loss is explained (less than half where
        the layer lies inside a residual branch: signal and gradient go around it); elsewhere over 50 % a warning while
        less than half is: units to spare may die. A sparse layer (half its activations at 0) has no dead units: each
        answers to some example.
    Known false alarms: probe batches of few rows, layers much wider than the task needs.
    Source: Lu et al. (2019), Dying ReLU and initialization; deck D4; equipoise METHODS A.1 (5).
    """

    follows = ("symmetry", "unscaled_inputs", "activation_profile", "gradient_spikes", "update_ratio")
    warn: float = 0.5
    fault: float = 0.8
    learned: float = 0.8
    learned_little: float = 0.5

    def measure(self, trace: Trace) -> list[Measure]:
        out = []
        for layer, _, g in trace.last.weights():
            if layer.activation == "relu" and not layer.is_output and layer.a.shape[-1] == len(g):
                out.append(self.number(layer.name, dead(layer.a, g).double().mean(), DEAD, self.warn))
                out.append(self.number(layer.name, (layer.a == 0).double().mean(), SPARSE))
        return out

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        if trace.learned >= self.learned:
            return []
        bypassed = {s.name for s in trace.last.layers if s.bypassed}
        return [
            self.finding(
                m,
                "units are 0 for every example and get no gradient: they are out for good",
                f"over {self.warn:.0%} of the layer is lost.",
                [usual_start(trace)],
                FAULT if m.value > self.fault else WARNING,
            )
            for m in measures
            if m.unit == DEAD and m.value > self._limit(trace.learned, m.where in bypassed)
        ]

    def _limit(self, learned: float, bypassed: bool) -> float:
        """The share of a layer over which its dead units are a finding: the more is learned the more may be spared."""
        little = learned < self.learned_little
        if bypassed:
            return self.fault if little else math.inf
        return self.warn if little else self.fault
