"""Signals that vanish or explode with depth."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .. import techniques as T
from ..probe import Finding, Measure, Probe, Trace, ratio, slope

MOMENT, DRIFT, RATE, RANGE = "second moment", "e-folds over the depth", "per layer", "largest over smallest"
TINY = 1e-300


def second_moment(a: Tensor) -> float:
    """q = mean a²; not the variance, as ReLU signals have a mean."""
    return float(a.detach().square().mean(dtype=torch.float64))


def rate(q: Sequence[float]) -> float:
    """Factor per layer, exp of the least-squares slope of ln q on the layer's number."""
    return math.exp(slope([math.log(max(v, TINY)) for v in q]))


class ActivationProfile(Probe):
    """Scale of the activations by depth at the start: q_l = mean a_l², and s, the slope of ln q_l on l.

    In a linear net whose weights have variance v/n, q is multiplied by v per layer: S^(m−1) over m layers.

    Rule: |s|·L > ln 10⁴ over L hidden layers, or one q_l outside [10⁻⁴, 10⁴], while training has not got far (less than
        half of the constant's loss explained). Read at step 0, without the output layer and the last maps of residual
        branches, which start at zero on purpose.
    Known false alarms: small inputs on purpose; nets that learn in spite of it are left alone by the condition.
    Source: Glorot and Bengio (2010); He et al. (2015); decks D1, D4; equipoise METHODS A.1 (2).
    """

    follows = ("symmetry", "unscaled_inputs")
    drift: float = math.log(1e4)
    low: float = 1e-4
    high: float = 1e4
    learned: float = 0.5

    def measure(self, trace: Trace) -> list[Measure]:
        hidden = [s for s in trace.first.layers if not s.is_output and not s.ends_branch]
        q = [second_moment(s.a) for s in hidden]
        out = [self.number(s.name, v, MOMENT, self.low if v < 1 else self.high) for s, v in zip(hidden, q, strict=True)]
        if len(q) >= 2:
            out += [
                self.number("all layers", math.log(rate(q)) * len(q), DRIFT, self.drift),
                self.number("all layers", rate(q), RATE),
                self.number("all layers", ratio(max(q), min(q)), RANGE),
            ]
        return out

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        if trace.learned >= self.learned:
            return []
        for m in sorted(measures, key=lambda m: m.unit != DRIFT):  # the drift names the cause best
            beyond = abs(m.value) > self.drift if m.unit == DRIFT else not self.low <= m.value <= self.high
            if m.unit in (DRIFT, MOMENT) and beyond:
                grows = m.value > (0 if m.unit == DRIFT else 1)
                linear = trace.first.layers[0].activation not in ("relu", "")
                what = "explode" if grows else "vanish"
                why = "a factor of 10⁴ in the second moment leaves some layers without signal or saturated."
                return [
                    self.finding(
                        m, f"activations {what} with depth at the start", why, [T.Xavier() if linear else T.He()]
                    )
                ]
        return []
