"""Gradients that vanish or explode on their way to the first layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .. import techniques as T
from ..probe import Finding, Measure, Moment, Probe, Trace, of_unit, ratio, slope
from ._starts import usual_start

RMS, FIRST_LAST, RATE = "root mean square of the gradient", "first over last layer", "per layer"
HALFWAY = "first over last layer, halfway"


def rms(g: Tensor) -> float:
    """√(mean g²)."""
    return float(torch.linalg.vector_norm(g.detach())) / math.sqrt(g.numel())


def first_over_last(m: Moment) -> float:
    """ρ of a moment."""
    each = [rms(g) for _, _, g in m.weights()]
    return ratio(each[0], each[-1]) if len(each) >= 2 else math.nan


class GradientProfile(Probe):
    """Scale of ∂L/∂W_l by depth after a few steps, and halfway: ρ = RMS(g_first)/RMS(g_last); slope of ln RMS on l.

    Rule: ρ < 10⁻³ (vanishing) or > 10³ (exploding) both times, free of the loss's scale, while training has not got far
        (less than half of the constant's loss explained): a converged net has small gradients everywhere. By halfway a
        head that starts at zero has moved; not where the first steps threw the loss over the start's and over 1.1 times
        the best constant's, which saturates any net.
    Known false alarms: a first layer that is to learn slowly on purpose (fine-tuning) where little is learned.
    Source: Bengio, Simard, Frasconi (1994); Glorot and Bengio (2010); deck D4; equipoise METHODS A.1 (3).
    """

    follows = ("symmetry", "activation_profile", "unscaled_inputs")
    low: float = 1e-3
    high: float = 1e3
    learned: float = 0.5
    thrown: float = 1.1

    def measure(self, trace: Trace) -> list[Measure]:
        each = [(layer.name, rms(g)) for layer, _, g in trace.early.weights()]
        out = [self.number(name, v, RMS) for name, v in each]
        if len(each) >= 2:
            rho, half = ratio(each[0][1], each[-1][1]), first_over_last(trace.turn)
            logs = [math.log(max(v, 1e-300)) for _, v in each]
            out.append(self.number("all layers", rho, FIRST_LAST, self.low if rho < 1 else self.high))
            out.append(self.number("all layers", half, HALFWAY, self.low if half < 1 else self.high))
            out.append(self.number("all layers", math.exp(slope(logs)), RATE))
        return out

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        thrown = trace.early.loss > max(self.thrown * trace.constant, trace.first.loss)
        if trace.learned >= self.learned or thrown:
            return []
        found, halfway = [], of_unit(measures, HALFWAY)
        for m in measures:
            if m.unit == FIRST_LAST and self._beyond(m.value) and self._beyond(halfway[m.where].value):
                vanish = m.value < self.low
                what = "gradients vanish on their way to the first layer" if vanish else "gradients explode towards it"
                entries = [usual_start(trace), T.LayerNorm()]
                entries += [] if vanish else [T.ClipGradients(1.0, "norm")]
                entries = (
                    entries[1:] if any(t.slot == "initialization" for t in trace.recipe) and not vanish else entries
                )
                found.append(self.finding(m, what, "a factor of 10³ leaves layers untrained at any one rate.", entries))
        return found

    def _beyond(self, rho: float) -> bool:
        return not math.isnan(rho) and not self.low <= rho <= self.high
