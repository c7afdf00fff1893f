"""Sigmoid and tanh layers that are held where they are lines."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .. import techniques as T
from ..probe import WARNING, Finding, Measure, Probe, Trace

LINE = "R² of the activation on its line"


def linearity(a: Tensor, activation: str) -> float:
    """R² of the least-squares line of a = f(z) on z over all units and rows; z = f⁻¹(a), saturated ends clamped."""
    a = a.double().flatten()
    if activation == "sigmoid":
        z = torch.logit(a.clamp(1e-12, 1 - 1e-12))
    else:
        z = torch.atanh(a.clamp(-1 + 1e-12, 1 - 1e-12))
    return float(torch.corrcoef(torch.stack([z, a]))[0, 1] ** 2) if a.std() > 0 else math.nan


class LinearRange(Probe):
    """How well one line describes a hidden sigmoid or tanh layer, at the start or at the end, where it is straighter.

    R² of the least-squares line of a = f(z) on z: .984 for a sigmoid fed N(0, 1), .84 at four times that.

    Rule: R² > 0.9999 at both moments while less than half of the constant's loss is explained: a layer that is a line
        adds no depth. A start in the linear range alone is health (Xavier's).
    Known false alarms: layers that are to be linear, as in a bottleneck.
    Source: decks D0, D3 (the cost of simple normalization); docs/decisions/0011.
    """

    follows = (
        "symmetry",
        "unscaled_inputs",
        "activation_profile",
        "gradient_profile",
        "gradient_spikes",
        "update_ratio",
    )

    threshold: float = 0.9999
    learned: float = 0.5

    def measure(self, trace: Trace) -> list[Measure]:
        out = []
        for first, last in zip(trace.first.layers, trace.last.layers, strict=True):
            if last.activation in ("tanh", "sigmoid") and not last.is_output:
                both = [linearity(s.a, s.activation) for s in (first, last)]
                out.append(self.number(last.name, min(both), LINE, self.threshold))
        return out

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        if trace.learned >= self.learned:
            return []
        why = "the layer computes a line, so the net is no deeper than without it."
        return [
            self.finding(m, "units are held in their linear range", why, [T.Xavier(5 / 3)], WARNING)
            for m in measures
            if m.value > self.threshold
        ]
