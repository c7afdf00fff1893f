"""Recurrent weights that make a state grow at every step in time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import techniques as T
from ..probe import Finding, Measure, Probe, Trace
from ._starts import begun

RADIUS = "spectral radius of the recurrent weight at the start, largest of its gates"


def radius(w: Tensor) -> float:
    """Largest |eigenvalue| of the square blocks that W (gates·n, n) stacks; NaN where W is not finite."""
    w = w.detach().cpu().double()
    if not bool(w.isfinite().all()):
        return float("nan")
    return max(float(torch.linalg.eigvals(block).abs().max()) for block in w.split(w.shape[1]))


def square(w: Tensor) -> bool:
    """Is it one block, or the three or four of a gated cell?"""
    return w.dim() == 2 and len(w) in (w.shape[1], 3 * w.shape[1], 4 * w.shape[1])


class RecurrentRadius(Probe):
    """Spectral radius ρ of the weights from state to state, gate by gate, before the first step: over τ steps in time a
    small change of the state grows like ρ^τ as long as no unit saturates, and then the units stay saturated.

    Rule: ρ over 2 at the start, where that is not trained yet (it explains less than half of what rows tell of each
        other's targets) and training has not got far (less than 95 %). Orthogonal starts have 1, PyTorch's own 1/√3;
        training itself may grow to 3.
    Known false alarms: reservoirs that are chaotic on purpose; cells of the user's own are not read.
    Source: Bengio, Simard, Frasconi (1994); Pascanu, Mikolov, Bengio (2013), ρ > 1 is needed for gradients to explode;
        docs/decisions/0020.
    """

    follows = ("symmetry", "unscaled_inputs")
    threshold: float = 2.0
    learned: float = 0.95

    def measure(self, trace: Trace) -> list[Measure]:
        found = {k: w for k, w in trace.first.params.items() if "weight_hh" in k and square(w)}
        return [self.number(k, radius(w), RADIUS, self.threshold) for k, w in found.items()]

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        if trace.learned >= self.learned or begun(trace):
            return []
        worst = max(measures, key=lambda m: m.value, default=None)
        if worst is None or not worst.value > self.threshold:
            return []
        why = "a change of the state more than doubles with every step in time, until its units saturate."
        return [self.finding(worst, "recurrent weights blow the state up", why, [T.Orthogonal()])]
