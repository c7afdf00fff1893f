"""Layers that hand on a copy of what they are given."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from .. import techniques as T
from ..probe import WARNING, Finding, Measure, Probe, Trace

ALIKE = "linear CKA of input and output"


def alignment(x: Tensor, a: Tensor) -> float:
    """Linear CKA ‖XᵀA‖²_F/(‖XᵀX‖_F ‖AᵀA‖_F) of centred x (rows, p) and a (rows, q): 1 for a rotated, scaled copy."""
    x, a = (v.double() - v.double().mean(0) for v in (x, a))
    square = lambda u, v: float((u.T @ v).square().sum())  # noqa: E731
    scale = math.sqrt(square(x, x) * square(a, a))
    return square(x, a) / scale if scale > 0 else math.nan


class ClonedLayers(Probe):
    """Is the activation of a hidden layer a linear copy of its input? Linear CKA between the two, at the end.

    Rule: over 0.9999 in a layer of two units or more that has an activation, while less than half of the constant's
        loss is explained: the layer adds no depth. Convolutions and sequences are not read.
    Known false alarms: blocks that start as the identity on purpose without a residual addition.
    Source: Kornblith et al. (2019); deck D2; docs/decisions/0011.
    """

    follows = ("symmetry", "unscaled_inputs", "activation_profile", "gradient_spikes", "dead_units", "linear_range")

    threshold: float = 0.9999
    learned: float = 0.5

    def measure(self, trace: Trace) -> list[Measure]:
        hidden = [s for s in trace.last.layers if s.activation and not s.is_output and s.x.dim() == 2]
        wide = [s for s in hidden if s.x.shape[1] > 1 and s.a.shape[1] > 1 and len(s.x) == len(s.a)]
        return [self.number(s.name, alignment(s.x, s.a), ALIKE, self.threshold) for s in wide]

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        if trace.learned >= self.learned:
            return []
        why = "a layer that copies its input adds no depth."
        return [
            self.finding(m, "the layer is a linear copy of its input", why, [T.Xavier(5 / 3)], WARNING)
            for m in measures
            if m.value > self.threshold
        ]
