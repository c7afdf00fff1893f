"""Signals that vanish or explode with depth, and outputs that start too large."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import takewhile

import torch
from torch import Tensor

from ..probe import Finding, Measure, Probe, Trace, ratio, slope
from ._starts import usual_start
from .dead_units import silent

MOMENT, DRIFT, RATE, RANGE = "second moment", "e-folds over the depth", "per layer", "largest over smallest"
SIGNAL, START = "variance over examples", "loss at the start in losses of a constant or of equally likely classes"
GAIN = "√n·(root mean square of the weights), median of layers"
TINY = 1e-300


def second_moment(a: Tensor) -> float:
    """q = mean a²; not the variance, as ReLU signals have a mean."""
    return float(torch.linalg.vector_norm(a.detach(), dtype=torch.float64)) ** 2 / a.numel()


def signal(a: Tensor) -> float:
    """Variance of a (rows, units) over the examples, mean over the units: what of q tells examples apart."""
    return float(a.detach().double().var(0, correction=0).mean())


def gain(w: Tensor) -> float:
    """√n·√(mean w²) of a weight (units, n): the factor of a map on the root mean square of signals without a mean."""
    w = w.detach().double().flatten(1)
    return math.sqrt(w.shape[1] * float(w.square().mean()))


def rate(q: Sequence[float]) -> float:
    """Factor per layer, exp of the least-squares slope of ln q on the layer's number."""
    return math.exp(slope([math.log(max(v, TINY)) for v in q]))


class ActivationProfile(Probe):
    """Scale of the activations by depth at the start: q_l = mean a_l², and s, the slope of ln q_l on l; their variance
    over examples v_l; the loss of the start over the best constant's, or over that of outputs of 0 (ln K of K classes)
    where some classes are so rare that it is larger, which says how large the outputs are; and the gain of the weights,
    √n·√(mean w²) of n inputs: 1 for Xavier, √2 for He, 1/√3 for PyTorch's own.

    In a linear net whose weights have variance v/n, q is multiplied by v per layer: S^(m−1) over m layers.

    Rule: the loss of the start over twice that: outputs that know nothing yet are to be small. Or |s|·L > ln 10⁵
        over L hidden layers, one q_l outside [10⁻⁵, 10⁴], one v_l under 10⁻⁵, or a median gain under 0.1, while
        training has not got far (less than 95 % of the constant's loss explained). Read at step 0, without the output
        layer and the last maps of residual branches, which start at zero on purpose, and up to a layer that is dead or
        at zero altogether. What vanishes is not told where half of a layer's units start dead: that is why.
    Known false alarms: small inputs on purpose; nets that learn in spite of it are left alone by the condition.
    Source: Glorot and Bengio (2010); He et al. (2015); decks D1, D4; equipoise METHODS A.1 (2).
    """

    follows = ("symmetry", "unscaled_inputs")
    drift: float = math.log(1e5)
    low: float = 1e-5
    high: float = 1e4
    signal: float = 1e-5
    start: float = 2.0
    gain: float = 0.1
    dead: float = 0.5
    learned: float = 0.95

    def measure(self, trace: Trace) -> list[Measure]:
        every = [s for s in trace.first.layers if not s.is_output and not s.ends_branch]
        hidden = list(takewhile(lambda s: bool((s.a != 0).any()), every))
        q = [second_moment(s.a) for s in hidden]
        out = [self.number(s.name, v, MOMENT, self.low if v < 1 else self.high) for s, v in zip(hidden, q, strict=True)]
        out += [self.number(s.name, signal(s.a), SIGNAL, self.signal) for s in hidden]
        out.append(self.number("output", ratio(trace.first.loss, trace.uniform), START, self.start))
        gains = [g for _, w, _ in trace.first.weights() if (g := gain(w)) > 0]  # zero on purpose: heads, branches
        if gains:
            out.append(self.number("all layers", statistics.median(gains), GAIN, self.gain))
        if len(q) >= 2:
            out += [
                self.number("all layers", math.log(rate(q)) * len(q), DRIFT, self.drift),
                self.number("all layers", rate(q), RATE),
                self.number("all layers", ratio(max(q), min(q)), RANGE),
            ]
        return out

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        start = [usual_start(trace)]
        for m in measures:
            if m.unit == START and m.value > self.start:
                why = "what knows nothing yet is to say nothing: such a start has to be unlearned first."
                return [self.finding(m, "outputs start large and wrong", why, start)]
        if trace.learned >= self.learned:
            return []
        for m in sorted(measures, key=lambda m: (m.unit == GAIN, m.unit != DRIFT)):  # the drift names the cause best
            if self._beyond(m) and m.unit == GAIN:
                why = "maps that leave less than a tenth of a signal; the first steps replace such weights."
                return [self.finding(m, "the weights start too small", why, start)]
            what = "explode" if m.value > (0 if m.unit == DRIFT else 1) else "vanish"
            if self._beyond(m) and not (what == "vanish" and silent(trace.first) > self.dead):
                why = "a factor of 10⁴ or 10⁵ in the second moment leaves some layers without signal or saturated."
                return [self.finding(m, f"activations {what} with depth at the start", why, start)]
        return []

    def _beyond(self, m: Measure) -> bool:
        if m.unit == DRIFT:
            return abs(m.value) > self.drift
        if m.unit in (SIGNAL, GAIN):
            return m.value < (self.signal if m.unit == SIGNAL else self.gain)
        return m.unit == MOMENT and not self.low <= m.value <= self.high
