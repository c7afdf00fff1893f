"""The loss along the step that training takes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..probe import WARNING, Finding, Measure, Probe, Trace

LOW, HIGH, LOSS_LOW, LOSS_HIGH = "least ‖Δg‖", "largest ‖Δg‖", "least loss", "largest loss"
BETA, STEEP, COSINE = "β, largest ‖Δg‖/‖Δθ‖", "step times β", "least cosine of g and g′"


class Landscape(Probe):
    """Loss variation, gradient predictiveness and effective β-smoothness along the actual update Δ, at eight lengths c
    from ½ to 4, spaced evenly in their logarithm, on the probe batch halfway.

    Loss variation: [min, max] of L(θ + cΔ). Predictiveness: [min, max] of ‖g(θ + cΔ) − g(θ)‖.
    β = max ‖g(θ + cΔ) − g(θ)‖/‖cΔ‖; the step's length in gradients is η = ‖Δ‖/‖g‖ (the rate, for plain SGD).

    Rule: η·β > 2, where a quadratic of that curvature diverges, while less than a tenth of the constant's loss is
        explained: large steps that still get on (the edge of stability) are health.
    Known false alarms: momentum and adaptive steps, whose direction is not the gradient's.
    Source: Santurkar et al. (2018), Fig. 4; Cohen et al. (2021); deck D4; equipoise METHODS A.2.
    """

    follows = (
        "unscaled_inputs",
        "symmetry",
        "activation_profile",
        "gradient_profile",
        "gradient_spikes",
        "saturation",
        "dead_units",
    )
    threshold: float = 2.0
    learned: float = 0.1

    def measure(self, trace: Trace) -> list[Measure]:
        found, where = trace.line, "along the update"
        return [
            self.number(where, found.eta * max(found.beta), STEEP, self.threshold),
            self.number(where, max(found.beta), BETA),
            self.number(where, min(found.loss), LOSS_LOW),
            self.number(where, max(found.loss), LOSS_HIGH),
            self.number(where, min(found.change), LOW),
            self.number(where, max(found.change), HIGH),
            self.number(where, min(found.cosine), COSINE),
        ]

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        steep = measures[0]
        if trace.learned >= self.learned or not steep.value > self.threshold:
            return []
        why = "on a quadratic of this curvature such steps diverge."
        factor = 1.0 / steep.value if math.isfinite(steep.value) else math.nan
        return [self.finding(steep, "steps are too long for the curvature", why, trace.at_rate(factor), WARNING)]
